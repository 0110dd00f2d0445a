//! What `cargo xtask … start` remembers about a server that goes on after the command, so that `stop` ends that one by id.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::place;

/// The directory of a standing server.
pub fn dir(name: &str) -> Result<PathBuf> {
    Ok(place::cache_dir("run")?.join(name))
}

fn file(name: &str) -> Result<PathBuf> {
    Ok(place::cache_dir("run")?.join(format!("{name}.json")))
}

pub fn save(name: &str, state: &impl Serialize) -> Result<()> {
    let path = file(name)?;
    fs::write(&path, serde_json::to_vec_pretty(state)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What was saved; none if nothing was, or in a form no longer known.
pub fn load<T: DeserializeOwned>(name: &str) -> Result<Option<T>> {
    Ok(fs::read(file(name)?)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

pub fn forget(name: &str) -> Result<()> {
    let _ = fs::remove_file(file(name)?);
    Ok(())
}

/// The names of all that begin with `kind-`.
pub fn names(kind: &str) -> Result<Vec<String>> {
    let prefix = format!("{kind}-");
    let mut names: Vec<String> = fs::read_dir(place::cache_dir("run")?)?
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_suffix(".json")
                .map(str::to_owned)
        })
        .filter(|name| name.starts_with(&prefix))
        .collect();
    names.sort();
    Ok(names)
}
