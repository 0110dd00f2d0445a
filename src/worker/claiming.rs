//! Claiming for one connection: how much, from where in the queue, and what to do when it is aborted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_etl_core::breaker::Asked;
use pg_etl_core::channel::{Kind, Options};
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::odoo::{Client, Endpoint};
use pg_etl_core::outbox::walk::RETRY;
use pg_etl_core::outbox::{Claim, Found, OutboundConfig, RawRow};

use super::engine::Engine;
use super::job::Finished;
use super::lane::Lane;
use super::session::{Aborted, transaction};
use super::settling::is_passing;
use crate::connections::secret;
use crate::connections::store as connections;
use crate::gucs;
use crate::outbox::config;
use crate::outbox::store::{self, Wanted};
use crate::runs;
use crate::two_way;

const AGAIN: &str = "Call etl.set_connection() with what is right.";
/// Payload bytes that one connection has in hand: what bounds a worker's memory whatever is in the outbox.
const CLAIM_BYTES: usize = 16 * 1024 * 1024;
/// Claims that one connection has in hand; each waits for its slowest record.
const MOST_CLAIMS: usize = 16;
/// Rows that one connection has in hand, and that one claim takes.
const MOST_HELD: usize = 10_000;
const MOST_CLAIMED: usize = 2_000;
/// The next claim is made when no more is in hand than goes in this time.
const DRY: Duration = Duration::from_millis(100);
/// A claim takes what is delivered in this time: enough to make its cost small, and little enough for urgent rows to get past.
const A_MOMENT: Duration = Duration::from_millis(250);
/// Calls of one connection on the wire at a time, where it does not say: Odoo's default of workers.
const DEFAULT_IN_FLIGHT: usize = 2;

impl Engine {
    pub(super) fn may_claim(&self, name: &str) -> bool {
        let Some(lane) = self.lanes.get(name) else {
            return false;
        };
        self.has_room(lane) && lane.is_open() && lane.has_work()
    }

    /// Whether another claim of this lane could be sent. The next one is claimed and planned while the calls of the one before it are
    /// on the wire.
    pub(super) fn has_room(&self, lane: &Lane) -> bool {
        let most = self
            .limits
            .max_rows
            .map_or(i64::MAX, |most| i64::try_from(most).unwrap_or(i64::MAX));
        let calls = 2 * self.calls(lane);
        !lane.has_suspect()
            && lane.claims.len() < MOST_CLAIMS
            && lane.held() < MOST_HELD
            && lane.bytes() < CLAIM_BYTES
            && (lane.in_hand(calls) < calls || self.runs_dry(lane))
            && self.totals.claimed < most
            && !self.is_over()
            && !self.is_choked(&lane.look.name)
    }

    /// Whether all that is in hand is delivered before another claim could be planned.
    fn runs_dry(&self, lane: &Lane) -> bool {
        (lane.held() as f64) < lane.pace.per_second() * DRY.as_secs_f64()
    }

    /// Calls that the connection may have on the wire now.
    pub(super) fn calls(&self, lane: &Lane) -> usize {
        lane.pace.calls(self.most_calls(lane))
    }

    /// Calls that the connection may have on the wire at best.
    pub(super) fn most_calls(&self, lane: &Lane) -> usize {
        let of_endpoint = lane.known_client().map_or(1, |client| {
            client
                .endpoint()
                .max_in_flight
                .map_or(DEFAULT_IN_FLIGHT, |most| most as usize)
        });
        of_endpoint.clamp(1, gucs::max_in_flight())
    }

    /// Rows to claim: what all calls can carry, or what goes in a moment, whichever is more.
    fn claim_rows(&self, lane: &Lane) -> usize {
        let of_calls = self.calls(lane) * lane.pace.most_rows(gucs::batch_rows());
        let of_moment = lane.pace.per_second() * A_MOMENT.as_secs_f64();
        of_calls.max(of_moment as usize).clamp(1, MOST_CLAIMED)
    }

    /// Claims for one connection, commits, and plans.
    pub(super) fn claim(&mut self, name: &str) -> Result<Found, Aborted> {
        let Some(lane) = self.lanes.get(name) else {
            return Ok(Found::Nothing);
        };
        let rows = self.claim_rows(lane);
        let bytes = CLAIM_BYTES.saturating_sub(lane.bytes()).max(1);
        let left = self.limits.max_rows.map_or(usize::MAX, |most| {
            most.saturating_sub(usize::try_from(self.totals.claimed).unwrap_or(0))
        });
        let config = Arc::clone(&self.config);
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(Found::Nothing);
        };
        // Who has not looked yet does not know.
        let both_ways = self
            .two_way
            .as_ref()
            .is_none_or(|connections| connections.contains(name));
        let (owner, statements) = (self.owner, &mut self.statements);
        let mut window = lane.walk.window(rows).1;
        let claimed = transaction(|| {
            if lane.look.channel.is_none() {
                namespace_is_sound(&config)?;
            }
            prepare(lane)?;
            let run = runs::open(name);
            // Before the statement whose snapshot must see what the claimer before us did.
            if !super::become_claimer(name) {
                return Ok(None);
            }
            store::open_outbox();
            // What is decided here outlives an abort: it says from where to step behind a row that cannot be claimed.
            let youngest = store::youngest_before(name, lane.walk.rank());
            let cursor = lane.walk.begin(youngest, Instant::now());
            let wanted;
            (wanted, window) = lane.walk.window(rows);
            let wanted = Wanted {
                connection: name,
                cursor,
                window,
                rows: wanted.min(left),
                bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                owner,
                run,
            };
            let mut claimed = store::claim(statements, &wanted);
            if both_ways {
                two_way::note_seen(name, &mut claimed.rows);
            }
            if let Some(client) = lane.known_client() {
                learn_kept_fields(name, client, &claimed.rows);
            }
            if lane.look.channel.is_some() {
                crate::alerts::put_in_messages(name, &mut claimed.rows);
            }
            Ok(Some(claimed))
        });
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(aborted) => return self.stumble(name, window, aborted),
        };
        let claimed = match claimed {
            Ok(Some(claimed)) => claimed,
            Ok(None) => {
                lane.walk.block(Instant::now() + Duration::from_millis(50));
                return Ok(Found::Nothing);
            }
            Err(failure) => {
                self.learn(name, Asked::Call, Some(&failure))?;
                return Ok(Found::Nothing);
            }
        };
        let (cursor, rows, release) = (claimed.cursor, claimed.rows.len(), lane.first_release());
        let found = lane.walk.took(cursor, rows, release, Instant::now());
        if found != Found::Rows {
            return Ok(found);
        }
        let count = i64::try_from(rows).unwrap_or(i64::MAX);
        crate::chaos::point(crate::chaos::Point::AfterClaim);
        self.totals.claimed += count;
        let client = lane.known_client();
        let fields = |model: &str| client.and_then(|client| client.known_fields(model));
        let terms = config::terms(name, &self.config);
        let (claim, refused) = Claim::plan(claimed, &terms, &fields, &lane.pace);
        let id = claim.id;
        lane.claims.push(claim);
        lane.counts.claimed += count;
        if !refused.is_empty() {
            self.take_in(Finished::Sent {
                connection: name.to_owned(),
                claim: id,
                outcomes: refused,
                call: None,
            });
            self.write_down()?;
        }
        Ok(Found::Rows)
    }

    /// A claim was aborted. Where a user's trigger or constraint raises on a row, ever smaller windows find it, and the lap goes on
    /// behind it; a lock is waited for.
    fn stumble(&mut self, name: &str, window: usize, aborted: Aborted) -> Result<Found, Aborted> {
        let Some(lane) = self.lanes.get_mut(name) else {
            return Err(aborted);
        };
        if is_passing(aborted.code) {
            lane.walk.block(Instant::now() + RETRY);
            return Err(aborted);
        }
        let is_alone = lane.walk.stumble(window);
        if lane.walk.is_told() {
            pgrx::log!(
                "pg_etl: {window} rows of connection \"{name}\" cannot be claimed: {}",
                aborted.message
            );
        }
        if is_alone {
            let place = lane.walk.place();
            let behind = transaction(|| store::behind(name, place)).inspect_err(|_| {
                lane.walk.block(Instant::now() + RETRY);
            })?;
            if lane.walk.step(behind, Instant::now()) == Found::Nothing {
                return Err(aborted);
            }
        }
        self.trouble = Some(aborted);
        Ok(Found::Passed)
    }
}

/// Without its namespace a create could be made a second time under another name: then nothing is sent.
fn namespace_is_sound(config: &OutboundConfig) -> Result<(), Failure> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !config.namespace.is_empty()
        && config.namespace.len() <= 64
        && config.namespace.bytes().all(sound)
    {
        return Ok(());
    }
    let message =
        "ops.odoo_sync_config has no valid external_id_namespace: sending could make records twice";
    Err(Failure::new(ErrorClass::Misconfigured, message).with_remedy(
        "Put back its row (a text such as \"pg_etl_1a2b3c4d\"; external ids in Odoo begin with it), then SELECT etl.resume(). If it is lost, SELECT etl.setup() draws a new one.",
    ))
}

/// Reads the secret, just before it is used, and sees that the client has it. Inside a transaction.
pub fn prepare(lane: &mut Lane) -> Result<(), Failure> {
    let misconfigured = |message: String, remedy: &str| {
        Failure::new(ErrorClass::Misconfigured, message).with_remedy(remedy)
    };
    if let Some(kind) = lane.look.channel {
        return prepare_channel(lane, kind);
    }
    let endpoint = Endpoint::parse(&lane.look.url, &lane.look.options).map_err(|error| {
        misconfigured(
            error.message.clone(),
            "Call etl.set_connection() with valid options, then etl.resume().",
        )
    })?;
    let Some(reference) = lane.look.secret.clone() else {
        return Err(misconfigured(
            "the connection has no secret".to_owned(),
            "Call etl.set_connection() with secret => 'vault:NAME', then etl.resume().",
        ));
    };
    let secret = secret::read(&reference)
        .map_err(|why| misconfigured(why, "Provide the secret, then: SELECT etl.resume();"))?;
    let name = lane.look.name.clone();
    lane.client(endpoint, secret, || connections::known_fields(&name))
}

/// The same for a channel, which may do without a secret.
fn prepare_channel(lane: &mut Lane, kind: Kind) -> Result<(), Failure> {
    let misconfigured =
        |message: String| Failure::new(ErrorClass::Misconfigured, message).with_remedy(AGAIN);
    let options = Options::parse(kind, &lane.look.url, &lane.look.options)
        .map_err(|error| misconfigured(error.message))?;
    let reference = lane.look.secret.as_deref();
    let secret = reference.map(secret::read).transpose();
    lane.channel(options, secret.map_err(misconfigured)?)
}

/// What another session has learned of the fields of models that this one meets for the first time: without it rows of one record would
/// not be joined. Inside a transaction.
fn learn_kept_fields(connection: &str, client: &Client, rows: &[RawRow]) {
    let models: BTreeSet<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    let unknown: Vec<String> = models
        .into_iter()
        .filter(|model| client.known_fields(model).is_none())
        .map(str::to_owned)
        .collect();
    if unknown.is_empty() || !connections::has_fields(connection, unknown) {
        return;
    }
    // Those of their lines, too.
    for (model, fields) in connections::known_fields(connection) {
        client.preload_fields(&model, &fields);
    }
}
