//! Rows that wait while credentials are refused: untouched whatever the refusal was, delivered once the right ones are there.

use postgres::Client;
use serde_json::json;

use crate::client::Sql;
use crate::wait::{PATIENCE, eventually};

/// A record to be deleted, and rows of every kind that must survive the trouble.
pub struct Waiting {
    /// The Odoo id of the record to be deleted: it lives as long as the trouble lasts.
    pub victim: i64,
    create: i64,
    rows: Vec<i64>,
}

impl Waiting {
    /// Makes the record `Victim`, while all is well. Gives its Odoo id.
    #[track_caller]
    pub fn victim(db: &mut Client) -> i64 {
        let name = json!({"name": "Victim"});
        let id = db.enqueue("res.partner", "create", name, Some("partner:victim"));
        db.await_status(id, "done").record()
    }

    /// Queues the rows: the victim's end, and a partner `Kept` in the city `Kept`.
    #[track_caller]
    pub fn queue(db: &mut Client, victim: i64) -> Self {
        let kept = Some("partner:kept");
        let delete = db.enqueue("res.partner", "delete", json!({"odoo_id": victim}), None);
        // Its record was never made here: only Odoo can tell whether it exists.
        let never = Some("partner:never-made");
        let never = db.enqueue("res.partner", "delete", json!({}), never);
        let create = db.enqueue("res.partner", "create", json!({"name": "Kept"}), kept);
        let update = db.enqueue("res.partner", "update", json!({"city": "Kept"}), kept);
        Self {
            victim,
            create,
            rows: vec![delete, never, create, update],
        }
    }

    /// The connection is paused with a remedy; nothing was settled, no attempt burnt.
    #[track_caller]
    pub fn assert_paused_and_untouched(&self, db: &mut Client) {
        eventually(PATIENCE, "the connection to be paused", || {
            db.connection("state") == "paused"
        });
        eventually(PATIENCE, "nothing to be on its way", || {
            db.count("processing") == 0
        });
        for id in &self.rows {
            let row = db.row(*id);
            assert_eq!(
                (row.status.as_str(), row.attempts),
                ("queued", 0),
                "{row:?}"
            );
        }
        let report = db.health("connection odoo");
        println!("{report}");
        assert!(
            report.contains("fail") && report.contains("paused") && report.contains("etl.resume"),
            "{report}"
        );
    }

    /// Resumed, every row is delivered by its first attempt. Gives the Odoo id of `Kept`.
    #[track_caller]
    pub fn assert_delivered(&self, db: &mut Client) -> i64 {
        db.run("SELECT etl.resume()");
        for id in &self.rows {
            assert_eq!(db.await_status(*id, "done").attempts, 1);
        }
        db.row(self.create).record()
    }
}
