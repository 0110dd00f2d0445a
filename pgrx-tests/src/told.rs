//! A webhook that is told of alerts, for the tests of them.

use odoo_sim::ear::Ear;
use postgres::Client;
use serde_json::Value;

use crate::bench::{Bench, Builder};
use crate::client::Sql;

/// A database that tells a webhook everything from a warning on.
#[track_caller]
pub fn watched() -> (Bench, Client, Ear) {
    watched_on(Bench::builder())
}

/// The same, on a server of one's own choice.
#[track_caller]
pub fn watched_on(builder: Builder) -> (Bench, Client, Ear) {
    let bench = builder.env("ETL_HOOK", "k3y9").start();
    let mut db = bench.client();
    let ear = hook(&mut db, "hook");
    db.run("SELECT etl.set_alert('all', ARRAY['hook'], status => 'warn')");
    (bench, db, ear)
}

/// A webhook of that name, signed with the variable `ETL_HOOK`.
#[track_caller]
pub fn hook(db: &mut Client, name: &str) -> Ear {
    let ear = Ear::new(&[]).expect("an ear");
    db.run(&format!(
        "SELECT etl.set_connection('{name}', 'webhook', '{}/hook', secret => 'env:ETL_HOOK')",
        ear.url()
    ));
    ear
}

/// Every alert of every message so far: event, component, status.
#[track_caller]
pub fn told(ear: &Ear) -> Vec<String> {
    let bodies = ear
        .heard()
        .into_iter()
        .filter(|heard| heard.method == "POST");
    let bodies = bodies.map(|heard| serde_json::from_str::<Value>(&heard.body).expect("JSON"));
    let mut told = Vec::new();
    for body in bodies {
        for alert in body["alerts"].as_array().expect("alerts") {
            let word = |name: &str| alert[name].as_str().unwrap_or_default().to_owned();
            told.push(format!(
                "{} {} {}",
                word("event"),
                word("component"),
                word("status")
            ));
        }
    }
    told
}

/// Looks as if whatever passes had passed long enough to be well again.
#[track_caller]
pub fn look_later(db: &mut Client) {
    db.run("UPDATE etl.alerts SET seen_at = seen_at - interval '1 min'; SELECT etl.check_alerts()");
}
