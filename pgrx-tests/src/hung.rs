//! An Odoo that takes requests and never answers.

use odoo_sim::{Effect, Fault};
use postgres::Client;
use serde_json::json;

use crate::bench::{Bench, Builder, KEY_VARIABLE};
use crate::client::Sql;
use crate::seen::Seen;
use crate::wait::{PATIENCE, eventually_some};

/// Requests on the wire at the same time.
pub const HUNG: usize = 50;

/// A bench whose worker can have [`HUNG`] requests on the wire, and more.
pub fn many_threads() -> Builder {
    Bench::builder().setting("etl.max_in_flight", &(HUNG + 8).to_string())
}

/// [`HUNG`] creates of partners `Hung 1`, `Hung 2`, …, each of them a request that gets no answer. Gives the rows' ids.
///
/// Each goes by a connection of its own with one call at a time: then they are all on the wire however carefully a connection
/// begins.
#[track_caller]
pub fn hang(bench: &Bench, db: &mut Client) -> Vec<i64> {
    let sim = bench.sim();
    sim.inject(Fault::new(Effect::Hang).on("res.partner", "load"));
    let options = json!({
        "database": bench.endpoint.database,
        "login": bench.endpoint.login,
        "max_in_flight": 1,
    });
    let secret = format!("env:{KEY_VARIABLE}");
    let before = sim.calls("load").len();
    let mut ids = Vec::new();
    for number in 1..=HUNG {
        let name = format!("hung_{number}");
        let set = "SELECT etl.set_connection($1, 'odoo', $2, $3, secret => $4)";
        db.execute(set, &[&name, &bench.endpoint.url, &options, &secret])
            .expect("etl.set_connection");
        ids.push(db.one(
            "SELECT etl.enqueue('res.partner', 'create', $1, connection => $2)",
            &[&json!({"name": format!("Hung {number}")}), &name],
        ));
    }
    eventually_some(PATIENCE, "the requests to hang", || {
        match sim.calls("load").len() - before {
            all if all >= HUNG => Ok(()),
            some => Err((some, sim.in_flight())),
        }
    });
    ids
}
