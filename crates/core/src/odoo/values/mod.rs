//! From JSON payload values to what Odoo takes, guided by the field's type.
//!
//! A value is read once into a [`Typed`] form ([`read`]), which refuses what Odoo would take wrongly or silently, and is
//! then written either as cells of a `load` matrix ([`cell`]) or as native values of `create` and `write` ([`native`]).

pub mod cell;
pub mod native;
pub mod read;
mod references;
mod relation;
mod scalar;
mod temporal;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::fields::ModelFields;
use crate::failure::Failure;

pub use read::{Reader, read_payload};
pub use references::{guessed_references, may_refer, references};
pub use relation::Naming;

/// A checked value in a form that both ways of writing can use.
#[derive(Debug, Clone, PartialEq)]
pub enum Typed {
    /// Clears a field that is no relation.
    Null,
    /// A scalar as `write` takes it: text, number, boolean, normalised date.
    Scalar(Value),
    /// Any JSON, which `load` reads from text.
    Json(Value),
    /// Many2one; `None` clears it.
    One(Option<Reference>),
    /// Many2many: the whole new set.
    Many(Vec<Reference>),
    /// One2many: lines to make, to change or to delete; lines not named stay.
    Lines(Vec<Line>),
    /// What `load` cannot carry and a later `write` must (properties).
    Late(Value),
}

/// A record that a value points to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reference {
    /// By its id in Odoo.
    Id(i64),
    /// By external id, `module.name`.
    External(String),
}

/// One line below a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub identity: Reference,
    pub values: Values,
    /// It is to be deleted, and has no values.
    pub removed: bool,
}

/// Checked values by field name.
pub type Values = BTreeMap<String, Typed>;

/// Where field descriptions come from.
pub trait FieldSource {
    /// The fields of `model`.
    fn fields(&self, model: &str) -> Result<Arc<ModelFields>, Failure>;
}

/// Every external id that `values` point to outside of lines' identities: what [`native`] needs resolved.
#[must_use]
pub fn external_references(values: &Values) -> Vec<&str> {
    let mut found = Vec::new();
    for value in values.values() {
        let references: &[Reference] = match value {
            Typed::One(Some(reference)) => std::slice::from_ref(reference),
            Typed::Many(references) => references,
            Typed::Null
            | Typed::Scalar(_)
            | Typed::Json(_)
            | Typed::One(None)
            | Typed::Lines(_)
            | Typed::Late(_) => &[],
        };
        for reference in references {
            if let Reference::External(name) = reference {
                found.push(name.as_str());
            }
        }
    }
    found
}
