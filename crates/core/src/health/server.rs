//! The findings about what must be there before anything is delivered, and about the server: state tables, library, worker, dead rows,
//! jobs.

use super::finding::{Finding, Status, age, finding};
use super::signals::Signals;

pub(super) fn setup(signals: &Signals) -> Finding {
    if signals.copied {
        return finding(
            "setup",
            Status::Fail,
            "copy",
            "done",
            "this database is a copy or was restored: nothing is sent before you say so",
            "If this database is to deliver from now on: SELECT etl.resume();",
        );
    }
    if signals.set_up {
        finding(
            "setup",
            Status::Pass,
            "done",
            "done",
            "state tables and triggers are in place",
            "",
        )
    } else {
        finding(
            "setup",
            Status::Fail,
            "missing",
            "done",
            "the state tables or their triggers are missing",
            "SELECT etl.setup();",
        )
    }
}

pub(super) fn version(signals: &Signals) -> Finding {
    let (library, extension) = (&signals.loaded_version, &signals.extension_version);
    if library == extension {
        finding(
            "version",
            Status::Pass,
            library,
            "equal",
            "library and extension are of one version",
            "",
        )
    } else {
        let detail = format!(
            "the library is {library}, the extension's SQL is {extension}: the worker is idle"
        );
        finding(
            "version",
            Status::Fail,
            format!("{library} / {extension}"),
            "equal",
            detail,
            "ALTER EXTENSION pg_etl UPDATE;  (and restart Postgres if the library is the older one)",
        )
    }
}

pub(super) fn worker(signals: &Signals) -> Finding {
    const ALIVE: &str = "1 alive";
    if signals.standby {
        let detail = "a standby delivers nothing; promoted, it does";
        return finding("worker", Status::Pass, "standby", "none", detail, "");
    }
    if !signals.enabled {
        return finding(
            "worker",
            Status::Warn,
            "disabled",
            ALIVE,
            "etl.enabled is off: nothing is delivered",
            "ALTER SYSTEM SET etl.enabled = on; SELECT pg_reload_conf();",
        );
    }
    if !signals.preloaded {
        return finding(
            "worker",
            Status::Warn,
            "none",
            ALIVE,
            "the library is not preloaded, so rows go only when etl.drain_outbox() is called",
            "Add pg_etl to shared_preload_libraries and restart, or let pg_cron run SELECT etl.drain_outbox();",
        );
    }
    match signals.workers.first() {
        Some(worker) if worker.state == "trouble" => finding(
            "worker",
            Status::Fail,
            &worker.state,
            ALIVE,
            &worker.detail,
            "Look into the server log for \"pg_etl worker\".",
        ),
        Some(worker) => finding(
            "worker",
            Status::Pass,
            &worker.state,
            ALIVE,
            &worker.detail,
            "",
        ),
        None => finding(
            "worker",
            Status::Fail,
            "none",
            ALIVE,
            "no worker serves this database",
            "It comes back within 5 s of a crash. If not: is this database listed in etl.database, and is max_worker_processes large enough?",
        ),
    }
}

/// Fewer dead rows than these are nobody's trouble.
const DEAD_ROWS: f64 = 50_000.0;

/// The table that is worst off.
pub(super) fn bloat(signals: &Signals) -> Finding {
    let share = |dead: f64, live: f64| {
        if dead < DEAD_ROWS {
            0.0
        } else {
            100.0 * dead / live.max(1.0)
        }
    };
    let tables = signals.tables.iter();
    let worst = tables.max_by(|a, b| share(a.dead, a.live).total_cmp(&share(b.dead, b.live)));
    let percent = worst.map_or(0.0, |table| share(table.dead, table.live));
    let (status, threshold) = signals.judge("bloat", percent);
    let worst = worst.filter(|_| percent > 0.0);
    let detail = worst.map_or_else(
        || "the tables in ops and etl have few dead rows".to_owned(),
        |table| {
            format!(
                "{} has {} dead rows beside {} others",
                table.name, table.dead, table.live
            )
        },
    );
    let table = worst.map_or("ops.odoo_outbox", |table| table.name.as_str());
    finding(
        "bloat",
        status,
        format!("{percent:.0} %"),
        threshold,
        detail,
        format!("Look at oldest snapshot in this report; without one: VACUUM {table};"),
    )
}

/// The oldest transaction for whose sake dead rows stay.
pub(super) fn snapshot(signals: &Signals) -> Finding {
    let held = signals.oldest_snapshot.as_ref();
    let seconds = held.map_or(0.0, |held| held.seconds.max(0.0));
    let (status, threshold) = signals.judge("oldest snapshot", seconds);
    finding(
        "oldest snapshot",
        status,
        held.map_or_else(|| "none".to_owned(), |_| age(seconds)),
        threshold,
        held.map_or("no transaction keeps dead rows from going", |held| {
            &held.holder
        }),
        held.map_or("", |held| &held.remedy),
    )
}

/// The jobs of `pg_cron` that call us; one finding for all of them. `None`: there is no `pg_cron`.
pub(super) fn cron(signals: &Signals) -> Option<Finding> {
    let jobs = signals.cron_jobs.as_ref()?;
    let running = jobs.iter().filter_map(|job| job.running_seconds);
    let seconds = running.fold(0.0, f64::max);
    let (mut status, threshold) = signals.judge("pg_cron", seconds);
    let named = |job: &super::CronSignal| {
        format!("job {} {}", job.job, job.name)
            .trim_end()
            .to_owned()
    };
    let (value, detail, remedy);
    if let Some(job) = jobs.iter().find(|job| job.failed) {
        status = Status::Fail;
        value = "failing".to_owned();
        detail = format!("the last run of {} failed", named(job));
        remedy = format!(
            "SELECT command, return_message FROM cron.job_run_details WHERE jobid = {} ORDER BY runid DESC LIMIT 5;  mend what it says, or: SELECT cron.unschedule({});",
            job.job, job.job
        );
    } else if status != Status::Pass {
        let stuck = jobs.iter().find(|job| job.running_seconds == Some(seconds));
        value = age(seconds);
        detail = stuck.map_or_else(String::new, |job| {
            format!("{} runs for so long", named(job))
        });
        remedy = "SELECT pid, wait_event, query FROM pg_stat_activity WHERE application_name LIKE 'pg_cron%';".to_owned();
    } else if !signals.preloaded && !jobs.iter().any(|job| job.active && job.drains) {
        status = Status::Warn;
        value = "no job".to_owned();
        detail = "no worker is preloaded, and no job calls etl.drain_outbox()".to_owned();
        remedy =
            "SELECT cron.schedule('pg_etl', '* * * * *', 'SELECT etl.drain_outbox()');".to_owned();
    } else {
        value = format!("{} jobs", jobs.len());
        detail = "those that call etl ran as they should".to_owned();
        remedy = String::new();
    }
    Some(finding("pg_cron", status, value, threshold, detail, remedy))
}
