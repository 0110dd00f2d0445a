//! The findings about copies of Odoo's models, and about tables whose changes go there.

use super::finding::{Finding, Status, age, finding};
use super::signals::{ConflictSignal, MirrorSignal, Signals, TrackSignal};

/// How far a mirror is behind.
pub(super) fn mirror(signals: &Signals, mirror: &MirrorSignal) -> Finding {
    let name = if mirror.connection == "odoo" {
        format!("sync lag {}", mirror.model)
    } else {
        format!("sync lag {} of {}", mirror.model, mirror.connection)
    };
    // What is pulled less often may be further behind.
    let slack = 2.0 * mirror.every_seconds.max(0.0);
    let seconds = mirror.lag_seconds.unwrap_or_default().max(0.0);
    let (status, threshold) = signals.judge_with(&name, seconds, slack);
    let why = mirror.last_error.clone();
    let remedy = mirror.remedy.clone().unwrap_or_else(|| {
        format!(
            "SELECT etl.pull('{}'); and see etl.sync_lag and the connection above.",
            mirror.model
        )
    });
    if let Some(paused) = &mirror.paused {
        let remedy = format!(
            "SELECT etl.request_pull('{}', '{}');",
            mirror.model, mirror.connection
        );
        return finding(name, Status::Warn, "paused", threshold, paused, remedy);
    }
    match mirror.lag_seconds {
        None if mirror.failures > 0 => finding(
            name,
            Status::Fail,
            "never pulled",
            threshold,
            why.unwrap_or_default(),
            remedy,
        ),
        None => finding(
            name,
            Status::Pass,
            "first pull",
            threshold,
            "it has not ended yet",
            "",
        ),
        Some(_) => {
            let detail =
                why.unwrap_or_else(|| "what Odoo has changed since is not here yet".to_owned());
            finding(name, status, age(seconds), threshold, detail, remedy)
        }
    }
}

/// Fields that Odoo has otherwise than the mirrors, where somebody must do something.
pub(super) fn drift(signals: &Signals) -> Finding {
    #[allow(clippy::cast_precision_loss, reason = "limits are far smaller")]
    let (status, threshold) = signals.judge("schema drift", signals.drift.len() as f64);
    let (detail, remedy) = signals.drift.first().map_or_else(
        || {
            (
                "mirrors have the fields that Odoo has".to_owned(),
                String::new(),
            )
        },
        |first| {
            (
                format!("{}.{}: {}", first.model, first.field, first.detail),
                format!("{} All: SELECT * FROM etl.schema_drift;", first.remedy),
            )
        },
    );
    let value = signals.drift.len().to_string();
    finding("schema drift", status, value, threshold, detail, remedy)
}

/// Fields that both sides changed in the last day.
pub(super) fn conflicts(signals: &Signals, conflicts: ConflictSignal) -> Finding {
    let ConflictSignal { decided, apart } = conflicts;
    #[allow(clippy::cast_precision_loss, reason = "limits are far smaller")]
    let (status, threshold) = signals.judge("conflicts", apart as f64);
    finding(
        "conflicts",
        status,
        apart.to_string(),
        threshold,
        format!(
            "fields of the last day that are not the same on both sides; {decided} others were decided by two_way"
        ),
        "SELECT * FROM etl.conflicts WHERE winner IS NULL ORDER BY at DESC;  detail says why: correct the value on one side.",
    )
}

/// A table whose rows cannot be sent.
pub(super) fn backfill(track: &TrackSignal) -> Finding {
    finding(
        format!("backfill {}", track.tab),
        Status::Fail,
        format!("{} rows sent", track.rows),
        "no error",
        track.error.clone(),
        format!(
            "Correct the rows or the mapping (SELECT etl.track('{}', …)); it is tried again by itself.",
            track.tab
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::signals::DriftSignal;
    use super::*;

    fn signal(lag_seconds: Option<f64>) -> MirrorSignal {
        MirrorSignal {
            connection: "odoo".to_owned(),
            model: "res.partner".to_owned(),
            lag_seconds,
            every_seconds: 300.0,
            ..MirrorSignal::default()
        }
    }

    #[test]
    fn a_mirror_is_as_well_as_it_is_fresh() {
        let well = Signals::default();
        for (lag, expected) in [
            (Some(-3.0), Status::Pass),
            (Some(599.0), Status::Pass),
            (Some(601.0), Status::Warn),
            (Some(3_601.0), Status::Fail),
            (None, Status::Pass),
        ] {
            assert_eq!(mirror(&well, &signal(lag)).status, expected, "{lag:?}");
        }
        let mut never = signal(None);
        never.failures = 1;
        assert_eq!(mirror(&well, &never).status, Status::Fail);
        let mut daily = signal(Some(80_000.0));
        daily.every_seconds = 86_400.0;
        assert_eq!(mirror(&well, &daily).status, Status::Pass);
        let mut paused = signal(Some(0.0));
        paused.paused = Some("run 7 was rolled back".to_owned());
        let found = mirror(&well, &paused);
        assert_eq!(found.status, Status::Warn);
        assert!(found.remedy.contains("etl.request_pull"));
    }

    #[test]
    fn drift_is_said_with_what_mends_it() {
        assert_eq!(drift(&Signals::default()).status, Status::Pass);
        let one = DriftSignal {
            model: "res.partner".to_owned(),
            field: "phone".to_owned(),
            detail: "Odoo's field needs text".to_owned(),
            remedy: "ALTER TABLE …;".to_owned(),
        };
        let found = drift(&Signals {
            drift: vec![one],
            ..Signals::default()
        });
        assert_eq!(
            (found.status, found.remedy.contains("ALTER TABLE")),
            (Status::Warn, true)
        );
    }
}
