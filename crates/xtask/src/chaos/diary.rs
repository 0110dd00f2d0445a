//! The log of a run: its seed, its options and everything that was done to the system, one JSON object per line, in order. With
//! the seed it says how to do the same again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// An open log.
#[derive(Debug)]
pub struct Diary {
    file: Mutex<File>,
    path: PathBuf,
    begun: Instant,
}

impl Diary {
    /// A new log at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            file: Mutex::new(file),
            path: path.to_owned(),
            begun: Instant::now(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes what was done; `about` is an object.
    pub fn note(&self, what: &str, about: Value) {
        let mut line = json!({"ms": self.begun.elapsed().as_millis() as u64, "what": what});
        if let (Value::Object(line), Value::Object(about)) = (&mut line, about) {
            line.extend(about);
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the run: the verdict counts.
        let _ = writeln!(file, "{line}");
    }
}
