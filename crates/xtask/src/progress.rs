//! One line per long step: a spinner on a terminal, plain lines elsewhere. Everything goes to standard error, so that
//! standard output stays for results. `NO_COLOR` is obeyed.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GREEN: Style = AnsiColor::Green.on_default();
pub const RED: Style = AnsiColor::Red.on_default().bold();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();

/// How often a step tells that it is still alive where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A step under way. Dropped without [`Step::done`], it counts as failed.
pub struct Step {
    label: String,
    bar: Option<ProgressBar>,
    started: Instant,
    spoke: Cell<Instant>,
    finished: Cell<bool>,
}

impl Step {
    pub fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(label.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            anstream::eprintln!("{DIM}…{DIM:#} {label}");
        }
        let now = Instant::now();
        Self {
            label,
            bar,
            started: now,
            spoke: Cell::new(now),
            finished: Cell::new(false),
        }
    }

    /// Shows what the step is doing just now.
    pub fn note(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        } else if self.spoke.get().elapsed() >= HEARTBEAT {
            self.spoke.set(Instant::now());
            anstream::eprintln!(
                "  {DIM}{} {}: {what}{DIM:#}",
                self.label,
                elapsed(self.started.elapsed())
            );
        }
    }

    pub fn done(self, result: &str) {
        self.finish(&format!("{GREEN}✓{GREEN:#}"), result);
    }

    fn finish(&self, mark: &str, result: &str) {
        self.finished.set(true);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let gap = if result.is_empty() { "" } else { ": " };
        anstream::eprintln!(
            "{mark} {}{gap}{result} {DIM}{}{DIM:#}",
            self.label,
            elapsed(self.started.elapsed())
        );
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.finish(&format!("{RED}✗{RED:#}"), "");
        }
    }
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 05 s`.
pub fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// Says something beside the steps.
pub fn say(line: impl std::fmt::Display) {
    anstream::eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(elapsed(Duration::from_millis(420)), "0.4 s");
        assert_eq!(elapsed(Duration::from_secs(12)), "12 s");
        assert_eq!(elapsed(Duration::from_secs(185)), "3 min 05 s");
    }
}
