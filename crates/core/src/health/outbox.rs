//! The findings about the rows of this database: what waits, what was given up, what is open.

use super::finding::{Finding, Status, above, age, finding};
use super::signals::Signals;

/// Queued rows from which the outbox warns and fails.
pub const DEPTH: (u64, u64) = (100, 1_000);
/// Seconds that a due row may wait.
pub const OLDEST_DUE: (f64, f64) = (60.0, 600.0);
/// Share of deliveries that must succeed.
pub const SUCCESS_RATE: f64 = 0.95;
/// Seconds that a run may be open.
pub const RUN_AGE: (f64, f64) = (3_600.0, 21_600.0);

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
    let status = above(signals.queued, DEPTH);
    finding(
        "outbox",
        status,
        format!("{} queued", signals.queued),
        "warn 100, fail 1000",
        "rows that wait for delivery",
        "SELECT * FROM etl.queue_depth;  then look at connections and worker in this report.",
    )
}

pub(super) fn oldest_due(signals: &Signals) -> Finding {
    let seconds = signals.oldest_due_seconds.max(0.0);
    finding(
        "oldest due row",
        above(seconds, OLDEST_DUE),
        age(seconds),
        "warn 1 min, fail 10 min",
        "how late the first row that could go is",
        "Look at connections and worker in this report.",
    )
}

pub(super) fn dead_letters(signals: &Signals) -> Finding {
    let status = if signals.dead_letters > 0 {
        Status::Fail
    } else {
        Status::Pass
    };
    finding(
        "dead letters",
        status,
        signals.dead_letters.to_string(),
        "0",
        "rows that were given up",
        "SELECT id, model, last_error FROM etl.dead_letters;  mend the cause, then SELECT etl.replay(id);",
    )
}

pub(super) fn success_rate(signals: &Signals) -> Finding {
    let total = signals.done_last_hour + signals.failed_last_hour;
    if total == 0 {
        return finding(
            "success rate",
            Status::Pass,
            "no deliveries",
            "95 %",
            "nothing was delivered in the last hour",
            "",
        );
    }
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let rate = signals.done_last_hour as f64 / total as f64;
    let status = if rate < SUCCESS_RATE {
        Status::Fail
    } else {
        Status::Pass
    };
    let detail = format!(
        "{} of {total} rows of the last hour were delivered",
        signals.done_last_hour
    );
    // Rounded down: 94.99 % must not read as 95.
    let percent = (rate * 1_000.0).floor() / 10.0;
    finding(
        "success rate",
        status,
        format!("{percent} %"),
        "95 %",
        detail,
        "SELECT error_class, count(*) FROM etl.dead_letters GROUP BY 1;",
    )
}

pub(super) fn runs(signals: &Signals) -> Finding {
    match signals.oldest_run_seconds {
        None => finding(
            "runs",
            Status::Pass,
            "none open",
            "warn 1 h, fail 6 h",
            "no sync run is open",
            "",
        ),
        Some(seconds) => finding(
            "runs",
            above(seconds, RUN_AGE),
            age(seconds),
            "warn 1 h, fail 6 h",
            "age of the oldest open sync run",
            "SELECT * FROM ops.odoo_sync_runs WHERE status = 'running';  close one that died: SELECT etl.finish_run(id, 'gave up');",
        ),
    }
}
