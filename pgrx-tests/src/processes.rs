//! The server's processes, seen as an administrator sees them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::Client;

/// A background worker of pg_etl that is connected to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub pid: i32,
    pub database: String,
    pub backend_type: String,
    pub application: String,
}

impl Worker {
    /// All of them, in every database; whoever has no database (the launcher) is left out.
    pub fn all(client: &mut Client) -> Vec<Self> {
        let rows = client.query(
            "SELECT pid, datname::text, backend_type, application_name FROM pg_stat_activity
             WHERE backend_type LIKE 'pg_etl%' AND datname IS NOT NULL ORDER BY pid",
            &[],
        );
        rows.expect("pg_stat_activity")
            .iter()
            .map(|row| Self {
                pid: row.get(0),
                database: row.get(1),
                backend_type: row.get(2),
                application: row.get(3),
            })
            .collect()
    }

    /// Those of one database.
    pub fn of(client: &mut Client, database: &str) -> Vec<Self> {
        let mut workers = Self::all(client);
        workers.retain(|worker| worker.database == database);
        workers
    }
}

/// `kill -9`. Postgres restarts the whole cluster when that hits any backend.
pub fn kill9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the process is there");
}

/// Whether there is a process of that number.
pub fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// The launcher's pid, while it runs.
pub fn launcher(client: &mut Client) -> Option<i32> {
    let rows = client.query(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_etl launcher'",
        &[],
    );
    rows.expect("pg_stat_activity")
        .first()
        .map(|row| row.get(0))
}

/// Whether that process waits for a table lock right now.
pub fn tables_locked(client: &mut Client, pid: i32) -> bool {
    client
        .query_one("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'relation' AND NOT granted)", &[&pid])
        .is_ok_and(|row| row.get(0))
}
