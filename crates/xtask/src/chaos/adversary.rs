//! What goes wrong, and when: a schedule drawn from the seed. When is told in rows that are settled by then, so that every blow
//! falls into work.

use std::time::{Duration, Instant};

use anyhow::Result;
use odoo_sim::{Effect, Fault};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::json;

use super::arena::Arena;
use super::diary::Diary;
use super::mixed::STUCK;
use super::world::{Kind, World};

/// How often what goes wrong.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Intensity {
    pub worker_kills: usize,
    pub postmaster_kills: usize,
    /// Odoo killed, or its answer lost after it did the work.
    pub odoo_losses: usize,
    /// Everything else that an endpoint can do: throttling, errors of a proxy, conflicts, hangs, bodies that are no answer.
    pub nuisances: usize,
}

/// One blow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    KillWorker,
    /// At a named point of its code.
    KillWorkerAt {
        point: &'static str,
    },
    KillPostmaster,
    KillOdoo {
        down_ms: u64,
    },
    /// Odoo does the work; its answer is spoilt.
    LoseAnswer {
        method: &'static str,
        effect: Effect,
    },
    Nuisance {
        effect: Effect,
        times: u64,
    },
}

/// A blow and the number of settled rows at which it falls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    pub at: i64,
    #[serde(flatten)]
    pub action: Action,
}

/// Points of the extension's code on the way out: `src/chaos.rs`.
pub const OUTBOUND: [&str; 4] = [
    "after_claim",
    "after_send",
    "after_answer",
    "before_settle_commits",
];

/// The longest that Odoo goes on with a request after the connection broke. Less than the `etl.unknown_grace` of the arena.
const LATE_MS: u64 = 2_000;

/// The schedule for `rows` rows, or whatever else is counted. Named kills are at `points`.
pub fn schedule(
    seed: u64,
    rows: usize,
    kind: Kind,
    intensity: Intensity,
    points: &[&'static str],
) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed ^ 0xad_5e_5a_17);
    let mut actions = Vec::new();
    for n in 0..intensity.worker_kills {
        // Half of them by name, the others whenever it happens to be.
        actions.push(if n % 2 == 0 {
            let point = points[n / 2 % points.len()];
            Action::KillWorkerAt { point }
        } else {
            Action::KillWorker
        });
    }
    actions.extend((0..intensity.postmaster_kills).map(|_| Action::KillPostmaster));
    for n in 0..intensity.odoo_losses {
        let kills = if kind == Kind::Sim { 4 } else { 10 };
        actions.push(if n % kills == kills - 1 {
            let down_ms = random.random_range(0..800);
            Action::KillOdoo { down_ms }
        } else {
            lost_answer(n, &mut random)
        });
    }
    if kind == Kind::Sim {
        actions.extend((0..intensity.nuisances).map(|_| nuisance(&mut random)));
    }
    actions.shuffle(&mut random);
    let step = rows as f64 * 0.95 / (actions.len() as f64 + 1.0);
    let mut place = 0.0;
    actions
        .into_iter()
        .map(|action| {
            place += step * random.random_range(0.5..1.5);
            // Rounded down: a count of rows.
            let at = (place as i64).min(rows as i64 - 1);
            Planned { at, action }
        })
        .collect()
}

fn lost_answer(n: usize, random: &mut StdRng) -> Action {
    let effects = [
        Effect::AnswerLost,
        Effect::Reset,
        Effect::Truncated { bytes: 5 },
        Effect::Html,
        Effect::Unreadable,
        Effect::Status {
            status: 502,
            retry_after: None,
        },
        Effect::Status {
            status: 504,
            retry_after: None,
        },
        Effect::RunsLater {
            after_ms: random.random_range(100..LATE_MS),
        },
        // Longer than the request's timeout of the arena: the client gives up, Odoo does not.
        Effect::Delay {
            before_ms: 2_000 + LATE_MS / 2,
            after_ms: 0,
        },
        Effect::Delay {
            before_ms: 0,
            after_ms: 2_500,
        },
    ];
    let methods = [
        "load",
        "web_save_multi",
        "load",
        "write",
        "unlink",
        "load",
        "action_confirm",
        "web_save_multi",
    ];
    Action::LoseAnswer {
        method: methods[n % methods.len()],
        effect: effects[random.random_range(0..effects.len())].clone(),
    }
}

fn nuisance(random: &mut StdRng) -> Action {
    let effects = [
        Effect::Status {
            status: 429,
            retry_after: Some(1),
        },
        Effect::Status {
            status: 503,
            retry_after: None,
        },
        Effect::Status {
            status: 409,
            retry_after: None,
        },
        Effect::RequestLost,
        Effect::Conflict,
        Effect::Raise {
            exception: "psycopg2.errors.SerializationFailure".into(),
            message: "could not serialize access due to concurrent update".into(),
        },
        Effect::Hang,
        Effect::SlowLoris { byte_ms: 200 },
        Effect::Giant { bytes: 64 << 20 },
        Effect::GzipBomb { bytes: 64 << 20 },
    ];
    Action::Nuisance {
        effect: effects[random.random_range(0..effects.len())].clone(),
        times: random.random_range(1..=3),
    }
}

/// What was done.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Done {
    pub worker_kills: usize,
    /// Of those, the ones at a named point.
    pub named: usize,
    pub postmaster_kills: usize,
    pub odoo_kills: usize,
    /// Answers that were asked to be lost; how many were is counted by the endpoint.
    pub answers_spoilt: usize,
    pub nuisances: usize,
}

/// Strikes blow after blow. `over` tells that nothing is left to strike.
pub fn strike(
    arena: &Arena,
    schedule: &[Planned],
    diary: &Diary,
    mut told: impl FnMut(usize, i64),
    over: impl Fn() -> bool,
) -> Result<Done> {
    let mut done = Done::default();
    for (number, planned) in schedule.iter().enumerate() {
        let mut settled = arena.settled()?;
        let mut moved = Instant::now();
        while settled < planned.at && !over() {
            told(number, settled);
            std::thread::sleep(Duration::from_millis(100));
            let now = arena.settled()?;
            if now != settled {
                (settled, moved) = (now, Instant::now());
            } else if moved.elapsed() > STUCK {
                // Whatever the reason is, the end of the run finds it.
                diary.note("stuck", json!({"number": number, "settled": settled}));
                return Ok(done);
            }
        }
        told(number, settled);
        diary.note(
            "strike",
            json!({"number": number, "settled": settled, "planned": planned}),
        );
        blow(arena, &planned.action, &mut done)?;
    }
    Ok(done)
}

pub fn blow(arena: &Arena, action: &Action, done: &mut Done) -> Result<()> {
    match action {
        Action::KillWorker => {
            arena.kill_worker()?;
            done.worker_kills += 1;
        }
        Action::KillWorkerAt { point } => {
            if arena.kill_worker_at(point, Duration::from_secs(20))? {
                done.named += 1;
            } else {
                arena.kill_worker()?;
            }
            done.worker_kills += 1;
        }
        Action::KillPostmaster => {
            arena.kill_postmaster()?;
            done.postmaster_kills += 1;
        }
        Action::KillOdoo { down_ms } => {
            arena.world.kill(Duration::from_millis(*down_ms))?;
            done.odoo_kills += 1;
            // As an operator would who knows that it is back; every other time the circuit finds out by itself.
            if done.odoo_kills.is_multiple_of(2) {
                arena.ask(|client| client.batch_execute("SELECT etl.resume()"))?;
            }
        }
        Action::LoseAnswer { method, effect } => {
            let fault = Fault::new(effect.clone()).on_method(method).times(1);
            arena.world.spoil(fault.committed());
            done.answers_spoilt += 1;
        }
        Action::Nuisance { effect, times } => {
            if let World::Sim(sim) = &arena.world {
                let mut fault = Fault::new(effect.clone()).times(*times);
                // A slow answer says what was done: it must be true.
                fault.committed = !matches!(effect, Effect::Status { .. });
                sim.inject(fault);
                done.nuisances += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTENSITY: Intensity = Intensity {
        worker_kills: 9,
        postmaster_kills: 3,
        odoo_losses: 20,
        nuisances: 5,
    };

    #[test]
    fn a_seed_repeats_itself_and_everything_asked_for_is_in_it() {
        let plan = |seed| schedule(seed, 1_000, Kind::Sim, INTENSITY, &OUTBOUND);
        assert_eq!(plan(5), plan(5));
        assert_ne!(plan(5), plan(6));
        assert_eq!(plan(5).len(), 37);
        assert!(plan(5).is_sorted_by_key(|planned| planned.at));
        assert!(plan(5).last().is_some_and(|last| last.at < 1_000));
        let named = |planned: &&Planned| matches!(planned.action, Action::KillWorkerAt { .. });
        assert_eq!(plan(5).iter().filter(named).count(), 5);
    }

    #[test]
    fn a_real_odoo_gets_no_faults_that_only_the_simulator_can_play() {
        let plan = schedule(5, 1_000, Kind::Real, INTENSITY, &OUTBOUND);
        assert!(
            !plan
                .iter()
                .any(|planned| matches!(planned.action, Action::Nuisance { .. }))
        );
    }
}
