//! One connection's share of the worker: its client, its claims, what of them is on the wire.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_etl_core::channel::{Channel, Options};
use pg_etl_core::failure::Failure;
use pg_etl_core::odoo::{Client, ClientSettings, Endpoint, ProtocolKind};
use pg_etl_core::outbox::{Batch, Claim, Pace, Walk};
use pg_etl_core::secret::Secret;

use super::intake::Intake;
use super::line::Line;
use crate::connections::store::Look;
use crate::gucs;
use crate::runs::Counts;

/// Where the rows of a connection go; shared with the threads.
#[derive(Clone)]
pub enum Target {
    Odoo(Arc<Client>),
    Channel(Arc<Channel>),
}

/// How long an Odoo may be silent before it is asked how it is: whoever waits for a row to fail learns too late.
const SILENCE: Duration = Duration::from_secs(50);
/// The same after a failure that was not enough to open the circuit.
const SILENCE_IN_DOUBT: Duration = Duration::from_secs(5);
/// How often one that refused us is asked again with the same credentials; with others at once.
const REFUSED_FOR: Duration = Duration::from_secs(300);

/// How long after a client is ready its user's keys are asked for: what waits goes first, and an idle worker wakes once for both questions.
const KEYS_FIRST: Duration = Duration::from_secs(45);

impl Target {
    fn requests(&self) -> u64 {
        match self {
            Self::Odoo(client) => client.requests(),
            Self::Channel(channel) => channel.requests(),
        }
    }
}

/// What a target was made from.
#[derive(PartialEq)]
enum MadeFrom {
    Endpoint(Endpoint, Secret),
    Options(Options, Option<Secret>),
}

/// One connection. Lives as long as the connection is configured.
pub struct Lane {
    pub look: Look,
    pub claims: Vec<Claim>,
    pub walk: Walk,
    pub probing: bool,
    /// What has not been sent is to be planned again, for the connection is another one.
    pub was_set_anew: bool,
    /// Something of the last round says that nothing more may be sent before the next look.
    pub closed: bool,
    pub last_ok_written: Option<Instant>,
    /// Counts of the run that are not written down yet, and when the last ones were.
    pub counts: Counts,
    pub counted_at: Option<Instant>,
    target: Option<Target>,
    /// Requests of the client that are counted already.
    counted: u64,
    /// What the client was made from.
    made_from: Option<MadeFrom>,
    /// When it last answered or failed; at first, when it came to be known. `None`: it was set anew, and is asked at once.
    pub heard_at: Option<Instant>,
    /// Counts what it was made from, so that an answer to the one before is known as such.
    pub target_number: u64,
    /// When what it was made from was refused; `None`: not that anybody knows.
    pub refused_at: Option<Instant>,
    /// How much the endpoint bears.
    pub pace: Pace,
    /// Calls that wait for a thread.
    pub line: Line,
    /// The open run of one of its mirrors.
    pub intake: Option<Intake>,
    /// When its user's keys are asked for, and what was answered and is not written down yet.
    pub keys_at: Option<Instant>,
    pub key_ends: Option<Result<Vec<String>, Failure>>,
}

impl Lane {
    pub fn new(look: Look) -> Self {
        Self {
            look,
            claims: Vec::new(),
            walk: Walk::default(),
            probing: false,
            was_set_anew: false,
            closed: false,
            last_ok_written: None,
            counts: Counts::default(),
            counted_at: None,
            target: None,
            counted: 0,
            made_from: None,
            heard_at: Some(Instant::now()),
            target_number: 0,
            refused_at: None,
            pace: Pace::default(),
            line: Line::default(),
            intake: None,
            keys_at: None,
            key_ends: None,
        }
    }

    /// Takes a newer look at the same connection. Where it was set anew, what waits for a thread goes back, for it would go with the
    /// old client.
    pub fn see(&mut self, look: Look) {
        self.was_set_anew = (&self.look.url, &self.look.options, &self.look.secret)
            != (&look.url, &look.options, &look.secret);
        if self.was_set_anew {
            // Whether it is right is known before the first row needs it.
            self.heard_at = None;
        }
        self.closed = false;
        self.look = look;
    }

    /// Whether the endpoint may be used now.
    pub fn is_open(&self) -> bool {
        !self.closed
            && !self.look.paused
            && self.look.failures < OPEN_AT
            && self.look.throttled_for.is_none_or(|seconds| seconds <= 0.0)
    }

    /// Whether the circuit is open and a probe is due.
    pub fn wants_probe(&self) -> bool {
        !self.probing
            && self.look.failures >= OPEN_AT
            && !self.look.paused
            && self.look.probe_in.is_none_or(|seconds| seconds <= 0.0)
    }

    /// When an Odoo that nobody calls is to be asked how it is; `None`: somebody does, or it is not to be called.
    pub fn asks_at(&self) -> Option<Instant> {
        let is_quiet = !self.probing && self.on_the_wire() == 0 && !self.is_asking();
        let silence = match (self.is_open(), self.look.failures) {
            (true, 0) => SILENCE,
            (true, _) => SILENCE_IN_DOUBT,
            (false, _) if self.look.paused && self.look.refused && !self.closed => SILENCE,
            (false, _) => return None,
        };
        let at = self.heard_at.map_or_else(Instant::now, |at| at + silence);
        (is_quiet && self.look.channel.is_none()).then_some(at)
    }

    /// Whether what we have now was refused, and that is not long ago.
    pub fn is_still_refused(&self) -> bool {
        let refused = self.refused_at.filter(|_| self.look.paused);
        refused.is_some_and(|at| at.elapsed() < REFUSED_FOR)
    }

    /// Whether rows wait that may be due, as of the last look.
    fn has_rows(&self) -> bool {
        self.look.has_fresh || self.look.due_in.is_some_and(|seconds| seconds <= 0.0)
    }

    /// Whether there is something to claim now.
    pub fn has_work(&self) -> bool {
        self.has_rows()
            && self
                .walk
                .rests_until()
                .is_none_or(|until| until <= Instant::now())
    }

    /// Whether answers should be written down at once: nothing is on the wire, or something waits for them.
    pub fn waits_for_settling(&self) -> bool {
        self.on_the_wire() == 0 || self.claims.iter().any(Claim::is_held_up)
    }

    /// Calls on the wire, and those that could go at once; counted no further than `most`.
    pub fn in_hand(&self, most: usize) -> usize {
        let mut count = self.on_the_wire();
        for claim in &self.claims {
            if count >= most {
                break;
            }
            count += claim.sendable(most - count);
        }
        count
    }

    /// Rows that are not settled yet.
    pub fn held(&self) -> usize {
        self.claims.iter().map(|claim| claim.held.len()).sum()
    }

    /// Bytes of payload in hand.
    pub fn bytes(&self) -> usize {
        self.claims.iter().map(|claim| claim.bytes).sum()
    }

    /// Whether a claim in hand must be the only one.
    pub fn has_suspect(&self) -> bool {
        self.claims.iter().any(|claim| claim.suspect)
    }

    /// The most urgent batch that may go now, of the claims in the order in which they were made.
    pub fn next_batch(&mut self) -> Option<(i64, i16, Batch)> {
        let alone = self.claims.len() == 1;
        let best = self
            .claims
            .iter()
            .enumerate()
            .filter(|(_, claim)| alone || !claim.suspect)
            .filter_map(|(place, claim)| Some((place, claim.next()?)))
            .min_by_key(|(place, (_, priority))| (Reverse(*priority), *place));
        let (place, (at, priority)) = best?;
        let claim = self.claims.get_mut(place)?;
        Some((claim.id, priority, claim.take(at)?))
    }

    /// Whether a mirror waits for Odoo's answer, or its answer to be written down.
    pub fn is_asking(&self) -> bool {
        self.intake.as_ref().is_some_and(Intake::is_asking)
    }

    pub fn on_the_wire(&self) -> usize {
        self.claims.iter().map(|claim| claim.on_the_wire).sum()
    }

    /// The client, made anew where url, options or secret have changed.
    pub fn client(
        &mut self,
        endpoint: Endpoint,
        secret: Secret,
        fields: impl FnOnce() -> Vec<(String, serde_json::Value)>,
    ) -> Result<(), Failure> {
        let from = MadeFrom::Endpoint(endpoint.clone(), secret.clone());
        if self.made_from.as_ref() == Some(&from) {
            return Ok(());
        }
        let settings = client_settings(self.look.protocol.as_deref());
        let client = Client::new(endpoint, secret, settings)?;
        for (model, description) in fields() {
            client.preload_fields(&model, &description);
        }
        self.become_ready(Target::Odoo(Arc::new(client)), from);
        Ok(())
    }

    /// The same for a channel.
    pub fn channel(&mut self, options: Options, secret: Option<Secret>) -> Result<(), Failure> {
        let from = MadeFrom::Options(options.clone(), secret.clone());
        if self.made_from.as_ref() == Some(&from) {
            return Ok(());
        }
        let channel = Channel::new(options, secret)?;
        self.become_ready(Target::Channel(Arc::new(channel)), from);
        Ok(())
    }

    fn become_ready(&mut self, target: Target, from: MadeFrom) {
        self.counted = 0;
        self.refused_at = None;
        self.target_number += 1;
        self.keys_at = Some(Instant::now() + KEYS_FIRST);
        self.target = Some(target);
        self.made_from = Some(from);
    }

    /// Requests since this was last asked.
    pub fn take_requests(&mut self) -> i64 {
        let sent = self.target.as_ref().map_or(0, Target::requests);
        let fresh = sent.saturating_sub(self.counted);
        self.counted = sent;
        i64::try_from(fresh).unwrap_or(i64::MAX)
    }

    /// Where its rows go, once that is known.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// The same, if it is an Odoo.
    pub fn known_client(&self) -> Option<&Arc<Client>> {
        match self.target.as_ref()? {
            Target::Odoo(client) => Some(client),
            Target::Channel(_) => None,
        }
    }

    /// How long until a held key is free or a scheduled row is due, as of the last look.
    pub fn first_release(&self) -> Option<Duration> {
        let ahead = [self.look.held_for, self.look.due_in]
            .into_iter()
            .flatten()
            .filter(|seconds| *seconds > 0.0);
        ahead
            .map(|seconds| Duration::from_secs_f64(seconds.min(86_400.0)))
            .min()
    }

    /// How long until something is to be done that nothing else wakes us for; `None`: nothing is. `has_room`: it could be sent.
    pub fn next_due(&self, has_room: bool) -> Option<Duration> {
        let seconds = |value: Option<f64>| {
            value.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)))
        };
        // A closed one is opened by a look, a paused one by its owner, a probe comes back by itself.
        if self.closed || self.look.paused || self.probing {
            return None;
        }
        if self.look.failures >= OPEN_AT {
            return seconds(self.look.probe_in);
        }
        if self.look.throttled_for.is_some_and(|wait| wait > 0.0) {
            return seconds(self.look.throttled_for);
        }
        if !has_room {
            return None;
        }
        // Rows that were blocked and are gone meanwhile are nothing to come back for. What is due now was claimed in this turn.
        let blocked = self
            .walk
            .rests_until()
            .filter(|_| self.has_rows())
            .map(|until| until.saturating_duration_since(Instant::now()));
        let due = [
            seconds(self.look.due_in.filter(|due| *due > 0.0)),
            seconds(self.look.held_for),
            blocked,
        ];
        due.into_iter().flatten().min()
    }
}

/// A client's settings as this server has them; `protocol` is what an earlier client learned.
pub fn client_settings(protocol: Option<&str>) -> ClientSettings {
    ClientSettings {
        max_response_bytes: gucs::max_response_bytes(),
        request_timeout: gucs::request_timeout(),
        max_in_flight: u32::try_from(gucs::max_in_flight()).unwrap_or(u32::MAX),
        known_protocol: protocol.and_then(ProtocolKind::from_name),
        ..ClientSettings::default()
    }
}

/// Failures in a row that open the circuit, as [`pg_etl_core::breaker`] writes them down: an endpoint that could not be reached
/// counts as that many at once.
pub const OPEN_AT: u32 = pg_etl_core::breaker::TRIPS_AFTER;
