//! What a thread asks Odoo for a mirror. Nothing here knows Postgres.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::mirror::{Ask, Column, Columns, Fate, Mode, Page, Scope, columns};
use pg_etl_core::odoo::Client;

use super::job::Finished;

/// What a question was answered.
pub enum Answer {
    /// With the names of all fields that Odoo has, and the user that we are.
    Described(Columns, Vec<String>, Option<i64>),
    Listed(Vec<i64>),
    Read(Page),
    Fates(Vec<(i64, Fate)>),
}

/// A question that came back.
pub struct Read {
    pub run: i64,
    /// `None`: for the fields.
    pub ask: Option<Ask>,
    pub result: Result<Answer, Failure>,
    pub took: Duration,
    /// When it was asked, by the clock of this machine.
    pub asked: SystemTime,
    /// The server's clock at this moment, where it told.
    pub clock: Option<SystemTime>,
}

/// A question on its way, on a thread.
pub struct Reading {
    pub client: Arc<Client>,
    pub scope: Arc<Scope>,
    pub columns: Option<Arc<Vec<Column>>>,
    pub chosen: Option<Vec<String>>,
    pub mode: Mode,
    /// What is known of the fields may be wrong.
    pub anew: bool,
    pub ask: Option<Ask>,
    pub run: i64,
}

impl Reading {
    pub fn run(self, connection: String) -> Finished {
        let (at, asked) = (Instant::now(), SystemTime::now());
        let result = catch_unwind(AssertUnwindSafe(|| self.answer()));
        let result = result.unwrap_or_else(|_| {
            Err(Failure::new(
                ErrorClass::Bug,
                "a defect in pg_etl stopped this pull; the server log has its place",
            ))
        });
        Finished::Read {
            connection,
            read: Box::new(Read {
                run: self.run,
                ask: self.ask,
                result,
                took: at.elapsed(),
                asked,
                clock: self.client.clock(),
            }),
        }
    }

    fn answer(&self) -> Result<Answer, Failure> {
        let columns = || self.columns.as_deref().map_or(&[][..], Vec::as_slice);
        match &self.ask {
            None => {
                let model = &self.scope.model;
                // Once a run that meets every record, and after one that failed, a field is found that came or went.
                let fields = if self.mode.lists_all() || self.anew {
                    self.client.refreshed_fields(model)
                } else {
                    None
                };
                let fields = fields.unwrap_or_else(|| self.client.fields(model))?;
                let known = fields.names().map(str::to_owned).collect();
                Ok(Answer::Described(
                    self::columns(&fields, self.chosen.as_deref(), &self.scope.variants),
                    known,
                    // Who cannot tell pulls all the same.
                    self.client.own_uid().ok(),
                ))
            }
            Some(Ask::List { after }) => {
                let floor = match &self.mode {
                    Mode::Changes { floor } => Some(floor.as_str()),
                    Mode::Full | Mode::Reconcile | Mode::Verify => None,
                };
                self.scope
                    .list(&self.client, floor, *after)
                    .map(Answer::Listed)
            }
            Some(Ask::Page { ids }) => self
                .scope
                .page(&self.client, columns(), ids)
                .map(Answer::Read),
            Some(Ask::Fate { ids }) => self.scope.fates(&self.client, ids).map(Answer::Fates),
        }
    }
}
