//! Running other programs: what they said is kept and shown when they fail.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::place::{self, ServerUser};
use crate::progress::Step;

/// How much of a failed command's output is shown.
const TAIL_BYTES: u64 = 4_000;

/// This program once more. What it was started from may have been built anew since, so it is not looked up by name where the system
/// keeps hold of it.
pub fn this_program() -> Result<Command> {
    let kept = Path::new("/proc/self/exe");
    if kept.exists() {
        return Ok(Command::new(kept));
    }
    let named = std::env::current_exe().context("this program has no name")?;
    Ok(Command::new(named))
}

/// Runs to the end and gives standard output, trimmed.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !out.status.success() {
        bail!(
            "{shown} failed ({}):\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Runs to the end with the output going to a log in the cache, its newest line shown beside the step.
pub fn logged(step: &Step, command: &mut Command, log: &str) -> Result<()> {
    let shown = show(command);
    let path = place::log_file(log)?;
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!(
                "{shown} failed ({status}); the end of {}:\n{}",
                path.display(),
                tail(&path, TAIL_BYTES)
            );
        }
        step.note(&newest(&tail(&path, 300)));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs to the end with output passed on as it comes; `watch` sees each line of standard output.
pub fn streamed(command: &mut Command, mut watch: impl FnMut(&str)) -> Result<()> {
    let shown = show(command);
    let cannot = || format!("cannot run {shown}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(cannot)?;
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            std::io::stdout().write_all(&line)?;
            watch(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let status = child.wait().with_context(cannot)?;
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(())
}

/// The last line of a log, cut to what fits beside a step.
fn newest(log: &str) -> String {
    const SHOWN: usize = 80;
    let line = log.lines().last().unwrap_or("").trim();
    let length = line.chars().count();
    if length <= SHOWN {
        line.to_owned()
    } else {
        format!("…{}", line.chars().skip(length - SHOWN).collect::<String>())
    }
}

/// Makes a command run as the servers' user, in a directory which that user may enter.
pub fn as_server<'a>(command: &'a mut Command, user: &ServerUser, dir: &Path) -> &'a mut Command {
    command.current_dir(dir);
    if user.switch {
        command
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .env("HOME", dir)
            .env("USER", &user.name)
            .env("LOGNAME", &user.name)
            .env_remove("XDG_CACHE_HOME");
    }
    command
}

/// Whether a program is on the PATH.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// The last bytes of a file, as text; empty when it cannot be read.
pub fn tail(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The command as a person would type it.
fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| {
        let word = word.to_string_lossy();
        if word.contains(char::is_whitespace) {
            format!("'{word}'")
        } else {
            word.into_owned()
        }
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_tells_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no luck") && error.contains("exit status: 3"),
            "{error}"
        );
    }

    #[test]
    fn streaming_shows_every_line() {
        let mut seen = Vec::new();
        streamed(Command::new("printf").arg("a\\nb"), |line| {
            seen.push(line.trim().to_owned())
        })
        .unwrap();
        assert_eq!(seen, ["a", "b"]);
    }

    #[test]
    fn long_lines_keep_their_end() {
        assert_eq!(newest("one\ntwo \n"), "two");
        let long = format!("{}end", "x".repeat(200));
        assert!(newest(&long).starts_with('…') && newest(&long).ends_with("end"));
    }

    #[test]
    fn output_is_trimmed() {
        assert_eq!(output(Command::new("echo").arg("hello")).unwrap(), "hello");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = format!(
            "{:#}",
            output(&mut Command::new("no-such-program")).unwrap_err()
        );
        assert!(error.contains("cannot run no-such-program"), "{error}");
    }
}
