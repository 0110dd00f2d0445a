//! The findings about the rows of this database: what waits, what was given up, what is open.

use super::finding::{Finding, Status, age, finding};
use super::signals::Signals;

pub(super) fn outbox(signals: &Signals) -> Finding {
    if signals.unseen > 0 {
        let detail = format!(
            "{} queued rows came in while the triggers were off, and will not be delivered",
            signals.unseen
        );
        return finding(
            "outbox",
            Status::Fail,
            format!("{} unseen", signals.unseen),
            "0",
            detail,
            "SELECT etl.setup();  derives the queue anew.",
        );
    }
    #[allow(clippy::cast_precision_loss, reason = "limits are far smaller")]
    let (status, threshold) = signals.judge("outbox", signals.queued as f64);
    finding(
        "outbox",
        status,
        format!("{} queued", signals.queued),
        threshold,
        "rows that wait for delivery",
        "SELECT * FROM etl.queue_depth;  then look at connections and worker in this report.",
    )
}

pub(super) fn oldest_due(signals: &Signals) -> Finding {
    let seconds = signals.oldest_due_seconds.max(0.0);
    let (status, threshold) = signals.judge("oldest due row", seconds);
    finding(
        "oldest due row",
        status,
        age(seconds),
        threshold,
        "how late the first row that could go is",
        "Look at connections and worker in this report.",
    )
}

pub(super) fn dead_letters(signals: &Signals) -> Finding {
    #[allow(clippy::cast_precision_loss, reason = "limits are far smaller")]
    let (status, threshold) = signals.judge("dead letters", signals.dead_letters as f64);
    finding(
        "dead letters",
        status,
        signals.dead_letters.to_string(),
        threshold,
        "rows that were given up",
        "SELECT id, model, last_error FROM etl.dead_letters;  mend the cause, then SELECT etl.replay(id);",
    )
}

pub(super) fn success_rate(signals: &Signals) -> Finding {
    let total = signals.done_last_hour + signals.failed_last_hour;
    if total == 0 {
        let (_, threshold) = signals.judge("success rate", 100.0);
        return finding(
            "success rate",
            Status::Pass,
            "no deliveries",
            threshold,
            "nothing was delivered in the last hour",
            "",
        );
    }
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let rate = 100.0 * signals.done_last_hour as f64 / total as f64;
    let (status, threshold) = signals.judge("success rate", rate);
    let detail = format!(
        "{} of {total} rows of the last hour were delivered",
        signals.done_last_hour
    );
    // Rounded down: 94.99 % must not read as 95.
    let percent = (rate * 10.0).floor() / 10.0;
    finding(
        "success rate",
        status,
        format!("{percent} %"),
        threshold,
        detail,
        "SELECT error_class, count(*) FROM etl.dead_letters GROUP BY 1;",
    )
}

pub(super) fn runs(signals: &Signals) -> Finding {
    let (status, threshold) = signals.judge("runs", signals.oldest_run_seconds.unwrap_or_default());
    match signals.oldest_run_seconds {
        None => finding(
            "runs",
            Status::Pass,
            "none open",
            threshold,
            "no sync run is open",
            "",
        ),
        Some(seconds) => finding(
            "runs",
            status,
            age(seconds),
            threshold,
            "age of the oldest open sync run",
            "SELECT * FROM ops.odoo_sync_runs WHERE status = 'running';  close one that died: SELECT etl.finish_run(id, 'gave up');",
        ),
    }
}

pub(super) fn retention(signals: &Signals) -> Finding {
    let kept = signals.done_days;
    let oldest = signals.oldest_done_days.unwrap_or_default().max(0.0);
    let value = match signals.oldest_done_days {
        Some(_) => age(oldest * 86_400.0),
        None => "nothing is over".to_owned(),
    };
    let (status, later) = signals.judge("retention", oldest - kept);
    finding(
        "retention",
        status,
        value,
        format!("{kept} days; later: {later}"),
        "age of the oldest row that was delivered or cancelled",
        "SELECT etl.apply_retention();  the worker does it by itself; without one let pg_cron call it.",
    )
}

/// How long 95 of 100 rows of the last hour took.
pub(super) fn latency(signals: &Signals) -> Finding {
    let seconds = signals.latency_p95_seconds;
    let (status, threshold) = signals.judge("delivery latency", seconds.unwrap_or_default());
    let value = seconds.map_or_else(
        || "no deliveries".to_owned(),
        |seconds| {
            if seconds < 1.0 {
                format!("{:.0} ms", seconds * 1_000.0)
            } else {
                age(seconds)
            }
        },
    );
    finding(
        "delivery latency",
        status,
        value,
        threshold,
        "from a row's insertion to its delivery, 95 of 100 rows of the last hour",
        "SELECT * FROM etl.delivery_latency ORDER BY hour DESC;  then look at outbox, worker and connections in this report.",
    )
}
