//! Named points and what happens at them.
//!
//! `etl.chaos_points` holds rules `point:action:chance`, separated by commas, for instance `after_send:kill:0.01,
//! before_settle_commits:sleep-200:0.5`. `etl.chaos_dir` names a directory; a file in it called after a point (`after_send`)
//! makes the first process that passes the point remove the file and die: once, whoever it is.

use std::ffi::CString;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use rand::RngExt;

use super::Point;

static POINTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static DIR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// What the settings said when the main thread last looked.
static SPEC: Mutex<Spec> = Mutex::new(Spec {
    text: String::new(),
    rules: Vec::new(),
    dir: None,
});

struct Spec {
    text: String,
    rules: Vec<Rule>,
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Rule {
    point: Point,
    action: Action,
    chance: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    /// SIGKILL to itself: Postgres restarts the whole cluster.
    Kill,
    /// The process ends without a word to anybody, as after `exit(1)` in a library.
    Exit,
    Sleep(Duration),
}

impl Point {
    const ALL: [Self; 5] = [
        Self::AfterClaim,
        Self::AfterSend,
        Self::AfterAnswer,
        Self::BeforeSettleCommits,
        Self::BeforeMergeCommits,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AfterClaim => "after_claim",
            Self::AfterSend => "after_send",
            Self::AfterAnswer => "after_answer",
            Self::BeforeSettleCommits => "before_settle_commits",
            Self::BeforeMergeCommits => "before_merge_commits",
        }
    }

    /// Whether it is the main thread that passes here.
    fn on_the_main_thread(self) -> bool {
        matches!(
            self,
            Self::AfterClaim | Self::BeforeSettleCommits | Self::BeforeMergeCommits
        )
    }
}

pub(super) fn define() {
    for (name, about, setting, context) in [
        (
            c"etl.chaos_points",
            c"Crash suite: point:action:chance, separated by commas.",
            &POINTS,
            GucContext::Sighup,
        ),
        (
            c"etl.chaos_dir",
            c"Crash suite: a file here named after a point kills whoever passes it first.",
            &DIR,
            GucContext::Postmaster,
        ),
    ] {
        GucRegistry::define_string_guc(name, about, c"", setting, context, GucFlags::default());
    }
    read_settings();
    pg_etl_core::chaos::when_sent(|| point(Point::AfterSend));
}

/// Passes a point: whatever is to happen there happens.
pub fn point(point: Point) {
    if point.on_the_main_thread() {
        read_settings();
    }
    let (dir, actions) = {
        let spec = SPEC.lock().unwrap_or_else(PoisonError::into_inner);
        let here = spec.rules.iter().filter(|rule| rule.point == point);
        let struck = here.filter(|rule| rand::rng().random::<f64>() < rule.chance);
        (
            spec.dir.clone(),
            struck.map(|rule| rule.action).collect::<Vec<_>>(),
        )
    };
    // Removing a file succeeds for exactly one of those who try.
    if dir.is_some_and(|dir| fs::remove_file(dir.join(point.name())).is_ok()) {
        act(Action::Kill);
    }
    actions.into_iter().for_each(act);
}

fn act(action: Action) {
    match action {
        // SAFETY: plain system calls; the first one does not return, for SIGKILL cannot be blocked.
        Action::Kill => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
        // SAFETY: ends the process without running anything of it.
        Action::Exit => unsafe { libc::_exit(1) },
        Action::Sleep(time) => std::thread::sleep(time),
    }
}

fn read_settings() {
    let text = |setting: &GucSetting<Option<CString>>| {
        let value = setting.get();
        value.map_or_else(String::new, |value| value.to_string_lossy().into_owned())
    };
    let (points, dir) = (text(&POINTS), text(&DIR));
    let mut spec = SPEC.lock().unwrap_or_else(PoisonError::into_inner);
    spec.dir = Some(PathBuf::from(dir)).filter(|dir| !dir.as_os_str().is_empty());
    if spec.text != points {
        // A rule that cannot be read would be a fault that never strikes: say so and stop.
        spec.rules = points
            .split(',')
            .map(str::trim)
            .filter(|rule| !rule.is_empty())
            .map(|rule| {
                parse(rule)
                    .unwrap_or_else(|| pgrx::error!("etl.chaos_points: cannot read {rule:?}"))
            })
            .collect();
        spec.text = points;
    }
}

fn parse(rule: &str) -> Option<Rule> {
    let mut parts = rule.split(':');
    let (name, action, chance) = (parts.next()?, parts.next()?, parts.next()?);
    let action = match action.split_once('-') {
        None if action == "kill" => Action::Kill,
        None if action == "exit" => Action::Exit,
        Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().ok()?)),
        _ => return None,
    };
    let point = Point::ALL.into_iter().find(|point| point.name() == name)?;
    let chance = chance
        .parse()
        .ok()
        .filter(|chance| (0.0..=1.0).contains(chance))?;
    parts.next().is_none().then_some(Rule {
        point,
        action,
        chance,
    })
}
