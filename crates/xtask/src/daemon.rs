//! Background processes: started so that none outlives its purpose, remembered by pid and start time, ended by id.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use serde::{Deserialize, Serialize};

/// How long a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// It ends when this process ends, however that happens (tests).
    WithOwner,
    /// It stays until it is stopped (`cargo xtask … start`).
    UntilStopped,
}

/// A process, safe against reuse of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks after boot at which it started.
    started: u64,
}

impl Process {
    /// The process that now has this number.
    pub fn of(pid: i32) -> Option<Self> {
        let (_, started) = stat(pid)?;
        Some(Self { pid, started })
    }

    pub fn current() -> Option<Self> {
        Self::of(std::process::id().cast_signed())
    }

    /// A zombie is dead.
    pub fn alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| state != 'Z' && started == self.started)
    }

    pub fn signal(&self, signal: Signal) {
        if self.alive() {
            // It may end between the look and the signal; then there is nothing left to do.
            let _ = kill(nix::unistd::Pid::from_raw(self.pid), signal);
        }
    }

    /// Signals the process and all of its group, of which it is the leader.
    pub fn signal_group(&self, signal: Signal) {
        if self.alive() {
            let _ = killpg(nix::unistd::Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits for the end; false when the time is over first.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.alive() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

/// State letter and start time from `/proc/<pid>/stat`.
fn stat(pid: i32) -> Option<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name is in parentheses and may itself hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// The kernel's "die with your parent" means the parent *thread*, so one thread that lives as long as this process
/// starts everything.
fn keeper() -> &'static Sender<Order> {
    static KEEPER: OnceLock<Sender<Order>> = OnceLock::new();
    KEEPER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    })
}

/// Starts a process as the leader of a group of its own. `farewell` is what it gets if this process ends first.
pub fn spawn(mut command: Command, life: Life, farewell: Signal) -> Result<Process> {
    command.process_group(0);
    if life == Life::WithOwner {
        let owner = nix::unistd::getpid();
        // SAFETY: between fork and exec only async-signal-safe calls are made: prctl and getppid.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(farewell)?;
                // The owner may have died before the line above.
                if nix::unistd::getppid() == owner {
                    Ok(())
                } else {
                    Err(std::io::ErrorKind::NotFound.into())
                }
            });
        }
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let (reply, answer) = channel();
    keeper()
        .send((command, reply))
        .ok()
        .context("the thread that starts processes is gone")?;
    let mut child = answer
        .recv()?
        .with_context(|| format!("cannot start {program}"))?;
    let process =
        Process::of(child.id().cast_signed()).with_context(|| format!("{program} ended at once"));
    // Reap it when it ends, so that no zombie is left.
    std::thread::spawn(move || child.wait());
    process
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_odd_names() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10";
        assert_eq!(parse_stat(line), Some(('S', 98765)));
    }

    #[test]
    fn a_process_is_seen_and_ended() {
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        let process = spawn(sleep, Life::WithOwner, Signal::SIGTERM).unwrap();
        assert!(process.alive());
        process.signal(Signal::SIGKILL);
        assert!(process.wait(Duration::from_secs(5)));
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let me = Process::current().unwrap();
        let other = Process {
            started: me.started + 1,
            ..me
        };
        assert!(me.alive() && !other.alive());
    }
}
