//! What a thread does for the engine: one batch, or one probe. Nothing here knows Postgres.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::odoo::{self, Client, DeliverContext};
use pg_etl_core::outbox::{Batch, OutboundConfig, Outcome};

use super::lane::Target;
use super::question::Read;

/// What came back from a thread.
pub enum Finished {
    /// One outcome for each row of the batch.
    Sent {
        connection: String,
        claim: i64,
        outcomes: Vec<(i64, Outcome)>,
        /// `None`: the endpoint was not asked at all.
        call: Option<Sent>,
    },
    Probed {
        connection: String,
        /// Which of the lane's targets was asked.
        target: u64,
        result: Result<(), Failure>,
    },
    /// When the keys of the connection's user end.
    Keys {
        connection: String,
        ends: Result<Vec<String>, Failure>,
    },
    /// What a mirror asked.
    Read { connection: String, read: Box<Read> },
}

impl Finished {
    /// Whose it is.
    pub fn connection(&self) -> &str {
        match self {
            Self::Sent { connection, .. }
            | Self::Probed { connection, .. }
            | Self::Keys { connection, .. }
            | Self::Read { connection, .. } => connection,
        }
    }
}

/// What a batch was on its way.
pub struct Sent {
    pub model: String,
    pub rows: usize,
    pub at: Instant,
    pub took: Duration,
    /// It was refused for some of its rows and sent again in parts.
    pub divided: bool,
}

/// Asks whether the endpoint answers and lets us in.
pub fn probe(connection: String, number: u64, target: &Target) -> Finished {
    let result = catch_unwind(AssertUnwindSafe(|| match target {
        Target::Odoo(client) => odoo::probe(client),
        Target::Channel(channel) => channel.probe(),
    }));
    let result = result.unwrap_or_else(|_| {
        Err(Failure::new(
            ErrorClass::Unreachable,
            "the probe failed inside pg_etl",
        ))
    });
    Finished::Probed {
        connection,
        target: number,
        result,
    }
}

/// Asks how long the keys of the connection's user last.
pub fn keys(connection: String, client: &Client) -> Finished {
    let ends = catch_unwind(AssertUnwindSafe(|| odoo::key_ends(client)));
    let ends = ends.unwrap_or_else(|_| {
        Err(Failure::new(
            ErrorClass::Bug,
            "the question failed inside pg_etl",
        ))
    });
    Finished::Keys { connection, ends }
}

/// One batch.
pub struct Job {
    pub target: Target,
    pub connection: String,
    pub config: Arc<OutboundConfig>,
    pub claim: i64,
    pub batch: Batch,
    pub priority: i16,
    /// After it no further request is sent.
    pub deadline: Option<Instant>,
}

impl Job {
    pub fn run(self) -> Finished {
        let (deadline, at) = (self.deadline, Instant::now());
        let should_stop = move || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let divided = Cell::new(false);
        let context = DeliverContext {
            namespace: &self.config.namespace,
            connection: &self.connection,
            policy: self.config.policy(&self.batch.model),
            should_stop: &should_stop,
            divided: &divided,
        };
        let outcomes = catch_unwind(AssertUnwindSafe(|| match &self.target {
            Target::Odoo(client) => odoo::deliver(client, &self.batch, &context),
            Target::Channel(channel) => channel.deliver(&self.batch, &should_stop),
        }));
        crate::chaos::point(crate::chaos::Point::AfterAnswer);
        // Nobody knows how far it came.
        let mut outcomes = outcomes.unwrap_or_else(|_| {
            let failure = Failure::new(
                ErrorClass::Unknown,
                "a defect in pg_etl stopped this delivery half-way; the server log has its place",
            );
            self.batch
                .ids()
                .map(|row| (row, Outcome::Failed(failure.clone())))
                .collect()
        });
        // Every row of the batch is settled whatever happens: one without an outcome would stay on its way for ever.
        let told: HashSet<i64> = outcomes.iter().map(|(row, _)| *row).collect();
        for row in self.batch.ids() {
            if !told.contains(&row) {
                let failure = Failure::new(
                    ErrorClass::Unknown,
                    "this delivery ended without an outcome; please report it",
                );
                outcomes.push((row, Outcome::Failed(failure)));
            }
        }
        Finished::Sent {
            connection: self.connection,
            claim: self.claim,
            outcomes,
            call: Some(Sent {
                model: self.batch.model,
                rows: self.batch.rows.len(),
                at,
                took: at.elapsed(),
                divided: divided.get(),
            }),
        }
    }
}
