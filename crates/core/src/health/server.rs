//! The findings about what must be there before anything is delivered: state tables, library, worker.

use super::finding::{Finding, Status, finding};
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
