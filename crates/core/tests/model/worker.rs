//! A worker that is driven step by step: claims, sends, settles, dies.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use odoo_sim::{Config, Poison, Sim};
use pg_etl_core::backoff::Backoff;
use pg_etl_core::odoo::{Client, ClientSettings, DeliverContext, Endpoint, ModelPolicy, deliver};
use pg_etl_core::outbox::{
    Claim, Defaults, OutboundConfig, Outcome, Pace, Patience, Terms, decide,
};
use pg_etl_core::secret::Secret;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::case::{Case, Step};
use crate::expected::expected;
use crate::queue::{Queue, Status, millis};
use crate::world::World;

pub const NAMESPACE: &str = "pg_etl_model";
pub const CONNECTION: &str = "odoo";

/// Virtual time that Odoo may go on with a request, and that younger rows wait.
const GRACE: Duration = Duration::from_secs(100);
/// More than faults and crashes can use up, so that only rows that always fail are given up.
const PATIENCE: Patience = Patience {
    max_attempts: 25,
    backoff: Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(4),
    },
    unknown_grace: GRACE,
};
/// Virtual milliseconds; no longer than the shortest hold, longer than any backoff.
const STRIDE: u64 = 10_000;
/// Steps after which a case that does not come to an end is one that never will.
const MOST_STEPS: usize = 20_000;

/// Lines of a story that are shown.
const MOST_TOLD: usize = 60;

pub struct Worker {
    sim: Sim,
    world: World,
    queue: Queue,
    client: Client,
    options: Value,
    config: OutboundConfig,
    defaults: Defaults,
    claims: Vec<Claim>,
    /// Outcomes that were not taken in yet, with their claim.
    answers: Vec<(i64, Vec<(i64, Outcome)>)>,
    /// Field descriptions that outlive a worker.
    fields: HashMap<String, Value>,
    /// When Odoo gives up what it is still at.
    late: Option<u64>,
    rng: StdRng,
    story: RefCell<Vec<String>>,
}

impl Worker {
    pub fn start(case: &Case) -> Self {
        let sim = Sim::start(Config {
            version: case.version,
            processes: 1,
            keep_alive: true,
            ..Config::default()
        })
        .expect("a port");
        sim.poison(Poison::new("res.partner", "function", "BAD"));
        sim.poison(Poison::new("sale.order", "origin", "BAD"));
        for (model, field) in [("res.partner", "street"), ("sale.order", "reference")] {
            sim.poison(Poison {
                exception: "odoo.addons.custom.Oops".into(),
                ..Poison::new(model, field, "OOPS")
            });
        }
        for fault in &case.faults {
            sim.inject(fault.clone());
        }
        let options = json!({
            "database": sim.database(), "login": sim.admin().login,
            "protocol": if case.json2 { "json2" } else { "jsonrpc" }, "allow_methods": ["sale.order.*"],
        });
        Self {
            world: World::of(&sim),
            queue: Queue::new(&case.rows),
            client: client(&sim, &options),
            options,
            config: OutboundConfig {
                namespace: NAMESPACE.to_owned(),
                ..OutboundConfig::default()
            },
            defaults: Defaults {
                max_batch: case.max_batch,
                patience: PATIENCE,
            },
            claims: Vec::new(),
            answers: Vec::new(),
            fields: HashMap::new(),
            late: None,
            rng: StdRng::seed_from_u64(1),
            story: RefCell::default(),
            sim,
        }
    }

    /// What happened, a line each.
    pub fn story(&self) -> String {
        let story = self.story.borrow();
        if story.len() <= MOST_TOLD {
            return story.join("\n");
        }
        let (first, last) = (
            &story[..MOST_TOLD / 2],
            &story[story.len() - MOST_TOLD / 2..],
        );
        format!("{}\n…\n{}", first.join("\n"), last.join("\n"))
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        let line = format!("[{:>6} ms] {}", self.queue.now, line());
        self.story.borrow_mut().push(line);
    }

    /// Goes through the steps of the case, then on until every row is over.
    pub fn run(&mut self, case: &Case) -> Result<(), String> {
        for step in &case.steps {
            self.step(step)?;
        }
        self.tell(|| "the steps are over".to_owned());
        let mut left = MOST_STEPS;
        while !self.queue.is_over() {
            left = left.checked_sub(1).ok_or("it never ends")?;
            if !self.answers.is_empty() {
                self.settle(0)?;
            } else if !self.send(0, None)? && !self.claim(usize::MAX, 0)? {
                let next = self.queue.next_event().ok_or("rows wait for nothing")?;
                // Rows that refer to each other in a circle are cut free only in one claim. Where their retries are out of step they may
                // never meet in one, so that the clock goes in strides here.
                self.pass_until(next.next_multiple_of(STRIDE))?;
            }
        }
        self.run_late()?;
        let expected = expected(&case.rows);
        self.world.compare(&self.sim, &expected)?;
        for (id, ought) in &expected.outcomes {
            let stored = &self.queue.rows[id];
            let fits = match stored.status {
                Status::Done => ought.contains(&None),
                Status::Failed => stored.class.is_some() && ought.contains(&stored.class),
                Status::Queued | Status::Processing => false,
            };
            if !fits {
                let (status, class) = (stored.status, stored.class);
                return Err(format!(
                    "row {id} is {status:?} {class:?} and ought to be {ought:?}"
                ));
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Claim { rows, from } => self.claim(rows, from).map(drop),
            Step::Send { at, stop } => self.send(at, stop).map(drop),
            Step::Settle { at } => self.settle(at),
            Step::Crash { knows } => {
                self.crash(knows);
                Ok(())
            }
            Step::Late => self.run_late(),
            Step::Wait { seconds } => self.pass_until(self.queue.now + seconds * 1_000),
        }
    }

    /// `false`: there is nothing to claim.
    fn claim(&mut self, rows: usize, from: usize) -> Result<bool, String> {
        let Some(claimed) = self.queue.claim(rows, from) else {
            return Ok(false);
        };
        let ids: Vec<i64> = claimed.rows.iter().map(|row| row.id).collect();
        let pace = Pace::default();
        let fields = |model: &str| self.client.known_fields(model);
        let (claim, refused) =
            Claim::plan(claimed, &terms(&self.config, self.defaults), &fields, &pace);
        self.tell(|| format!("claim {} takes {ids:?}", claim.id));
        let id = claim.id;
        self.claims.push(claim);
        if !refused.is_empty() {
            self.take_in(id, refused)?;
        }
        Ok(true)
    }

    /// `false`: nothing may go.
    fn send(&mut self, at: usize, stop: Option<u64>) -> Result<bool, String> {
        let ready: Vec<usize> = (0..self.claims.len())
            .filter(|claim| self.claims[*claim].next().is_some())
            .collect();
        let Some(claim) = ready.get(at % ready.len().max(1)) else {
            return Ok(false);
        };
        let claim = &mut self.claims[*claim];
        let batch = claim.next().and_then(|(place, _)| claim.take(place));
        let (batch, id) = (batch.ok_or("a batch that may go is not there")?, claim.id);
        let (client, before) = (&self.client, self.client.requests());
        let should_stop = || stop.is_some_and(|stop| client.requests() >= before + stop);
        let context = DeliverContext {
            namespace: NAMESPACE,
            connection: CONNECTION,
            policy: &ModelPolicy::NONE,
            should_stop: &should_stop,
            divided: &Cell::default(),
        };
        let outcomes = deliver(client, &batch, &context);
        self.fields.extend(client.take_new_fields());
        self.tell(|| {
            let shown: Vec<String> = outcomes
                .iter()
                .map(|(row, outcome)| format!("{row}: {}", shown(outcome)))
                .collect();
            let operation = batch.operation.name();
            format!(
                "claim {id} sends {operation} of {:?}: {}",
                batch.ids().collect::<Vec<_>>(),
                shown.join(", ")
            )
        });
        let (mut sent, mut told): (Vec<i64>, Vec<i64>) = (
            batch.ids().collect(),
            outcomes.iter().map(|(row, _)| *row).collect(),
        );
        sent.sort_unstable();
        told.sort_unstable();
        if sent != told {
            return Err(format!("of the rows {sent:?}, {told:?} have an outcome"));
        }
        if self.sim.postponed() > 0 {
            let end = self.queue.now + millis(GRACE);
            self.late = Some(self.late.unwrap_or(end));
        }
        self.answers.push((id, outcomes));
        self.world.watch(&self.sim)?;
        Ok(true)
    }

    fn settle(&mut self, at: usize) -> Result<(), String> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let (claim, outcomes) = self.answers.remove(at % self.answers.len());
        if let Some(claim) = self.claims.iter_mut().find(|held| held.id == claim) {
            claim.on_the_wire -= 1;
        }
        self.take_in(claim, outcomes)
    }

    fn take_in(&mut self, id: i64, outcomes: Vec<(i64, Outcome)>) -> Result<(), String> {
        let Some(claim) = self.claims.iter_mut().find(|claim| claim.id == id) else {
            return Ok(());
        };
        let terms = terms(&self.config, self.defaults);
        let settled = decide(claim, outcomes, &terms, &mut self.rng).rows;
        let gone: HashSet<i64> = settled.iter().map(|row| row.id).collect();
        let remaining = claim.remaining(&gone);
        let over = self.queue.settle(settled, remaining);
        claim.held.retain(|row, _| !gone.contains(row));
        self.claims.retain(|claim| !claim.held.is_empty());
        let mut gone: Vec<i64> = gone.into_iter().collect();
        gone.sort_unstable();
        self.tell(|| format!("claim {id} settles {gone:?}, of which {over:?} are over"));
        for row in over {
            let stored = &self.queue.rows[&row];
            if stored.status == Status::Done {
                self.world.done(&stored.row);
            }
        }
        Ok(())
    }

    fn crash(&mut self, knows: bool) {
        self.tell(|| "the worker dies".to_owned());
        self.claims.clear();
        self.answers.clear();
        self.client = client(&self.sim, &self.options);
        for (model, fields) in self.fields.iter().filter(|_| knows) {
            self.client.preload_fields(model, fields);
        }
        self.queue.recover(millis(GRACE));
    }

    fn pass_until(&mut self, time: u64) -> Result<(), String> {
        // What Odoo was still at it has ended when the grace is over, and not a moment sooner.
        if self.late.is_some_and(|late| late <= time) {
            self.run_late()?;
        }
        self.queue.now = time;
        Ok(())
    }

    fn run_late(&mut self) -> Result<(), String> {
        self.late = None;
        let count = self.sim.run_postponed();
        if count == 0 {
            return Ok(());
        }
        self.tell(|| format!("{count} requests run late"));
        self.world.watch(&self.sim)
    }
}

fn terms(config: &OutboundConfig, defaults: Defaults) -> Terms<'_> {
    Terms {
        connection: CONNECTION,
        config,
        defaults,
    }
}

fn client(sim: &Sim, options: &Value) -> Client {
    let endpoint = Endpoint::parse(&sim.url(), options).expect("an endpoint");
    let settings = ClientSettings {
        request_timeout: Duration::from_secs(20),
        ..ClientSettings::default()
    };
    Client::new(endpoint, Secret::new(&sim.admin().keys[0].key), settings).expect("a client")
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { odoo_id, .. } => format!("done ({})", odoo_id.unwrap_or_default()),
        Outcome::Failed(failure) => format!("{}: {}", failure.class.name(), failure.message),
    }
}
