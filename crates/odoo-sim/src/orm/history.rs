//! What became of chosen fields, commit by commit: for those who must know in which order changes took effect.

use super::model::registry;
use super::value::Value;

/// A committed change of a watched field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Technical model name.
    pub model: String,
    /// The record.
    pub id: i64,
    /// Counts commits; several changes may have one.
    pub commit: u64,
    /// The text of the field from then on; empty for null and for what is no text. `None`: the record is gone.
    pub value: Option<String>,
}

/// Watched fields and their changes so far, oldest first.
#[derive(Default)]
pub(crate) struct History {
    watched: Vec<(usize, usize)>,
    changes: Vec<Change>,
}

impl History {
    pub fn watch(&mut self, model: usize, field: usize) {
        self.watched.push((model, field));
    }

    pub fn fields_of(&self, model: usize) -> impl Iterator<Item = usize> + '_ {
        self.watched
            .iter()
            .filter(move |(of, _)| *of == model)
            .map(|(_, field)| *field)
    }

    pub fn note(&mut self, model: usize, id: i64, commit: u64, value: Option<&Value>) {
        self.changes.push(Change {
            model: registry().models[model].name.to_owned(),
            id,
            commit,
            value: value.map(|value| value.as_str().unwrap_or_default().to_owned()),
        });
    }

    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}
