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
    db.run("SELECT etl.set_alert('all', ARRAY['hook'])");
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
    messages(ear).concat()
}

/// The same, message by message.
#[track_caller]
pub fn messages(ear: &Ear) -> Vec<Vec<String>> {
    let heard = ear.heard().into_iter();
    let posts = heard.filter(|heard| heard.method == "POST");
    let lines = |body: &str| {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let alerts = body["alerts"].as_array().expect("alerts").clone();
        let word = |alert: &Value, name: &str| alert[name].as_str().unwrap_or_default().to_owned();
        let line = |alert: &Value| {
            ["event", "component", "status"]
                .map(|name| word(alert, name))
                .join(" ")
        };
        alerts.iter().map(line).collect()
    };
    posts.map(|heard| lines(&heard.body)).collect()
}

/// Looks as if whatever passes had passed long enough to be well again.
#[track_caller]
pub fn look_later(db: &mut Client) {
    db.run("UPDATE etl.alerts SET seen_at = seen_at - interval '3 min'; SELECT etl.check_alerts()");
}
