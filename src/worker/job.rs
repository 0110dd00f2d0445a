//! What a thread does for the engine: one batch, or one probe. Nothing here knows Postgres.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::odoo::{self, Client, DeliverContext};
use pg_etl_core::outbox::{Batch, Outcome};

use crate::outbox::store::OutboundConfig;

/// What came back from a thread.
pub enum Finished {
    /// One outcome for each row of the batch.
    Sent {
        connection: String,
        claim: i64,
        outcomes: Vec<(i64, Outcome)>,
        /// Whether the endpoint was asked at all.
        asked: bool,
    },
    Probed {
        connection: String,
        result: Result<(), Failure>,
    },
}

/// Asks whether the endpoint answers and lets us in.
pub fn probe(connection: String, client: &Client) -> Finished {
    let result = catch_unwind(AssertUnwindSafe(|| odoo::probe(client)));
    let result = result.unwrap_or_else(|_| {
        Err(Failure::new(
            ErrorClass::Unreachable,
            "the probe failed inside pg_etl",
        ))
    });
    Finished::Probed { connection, result }
}

/// One batch.
pub struct Job {
    pub client: Arc<Client>,
    pub connection: String,
    pub config: Arc<OutboundConfig>,
    pub claim: i64,
    pub batch: Batch,
    /// After it no further request is sent.
    pub deadline: Option<Instant>,
}

impl Job {
    pub fn run(self) -> Finished {
        let deadline = self.deadline;
        let should_stop = move || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let context = DeliverContext {
            namespace: &self.config.namespace,
            connection: &self.connection,
            should_stop: &should_stop,
        };
        let outcomes = catch_unwind(AssertUnwindSafe(|| {
            odoo::deliver(&self.client, &self.batch, &context)
        }));
        // Nobody knows how far it came.
        let mut outcomes = outcomes.unwrap_or_else(|_| {
            let failure = Failure::new(
                ErrorClass::Unknown,
                "a defect in pg_etl stopped this delivery half-way; the server log has its place",
            );
            self.batch
                .rows
                .iter()
                .map(|row| (row.id, Outcome::Failed(failure.clone())))
                .collect()
        });
        // Every row of the batch is settled whatever happens: one without an outcome would stay on its way for ever.
        for row in &self.batch.rows {
            if !outcomes.iter().any(|(id, _)| *id == row.id) {
                let failure = Failure::new(
                    ErrorClass::Unknown,
                    "this delivery ended without an outcome; please report it",
                );
                outcomes.push((row.id, Outcome::Failed(failure)));
            }
        }
        Finished::Sent {
            connection: self.connection,
            claim: self.claim,
            outcomes,
            asked: true,
        }
    }
}
