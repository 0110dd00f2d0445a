//! One outbound row and what became of it.

use serde_json::{Map, Value};

use crate::failure::Failure;

/// What a row asks Odoo to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Make the record, or change it where it exists.
    Upsert,
    /// Make the record; where its external id exists, nothing happens.
    Create,
    /// Change a record that exists.
    Update,
    /// Remove the record; one that is gone already is a success.
    Delete,
    /// Call an allow-listed method.
    Call,
}

impl Operation {
    pub const ALL: [Self; 5] = [
        Self::Upsert,
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Call,
    ];

    /// The name stored in `ops.odoo_outbox.operation`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Call => "call",
        }
    }

    /// The operation of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }
}

/// One claimed row, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `ops.odoo_outbox.id`.
    pub id: i64,
    pub model: String,
    pub operation: Operation,
    /// Field values (or, for [`Operation::Call`], the call), without `odoo_id` and `id`.
    pub payload: Map<String, Value>,
    /// The Odoo record, where the payload or an earlier delivery names it. Always > 0.
    pub odoo_id: Option<i64>,
    /// The external id that belongs to this row's record: see [`crate::external_id`].
    pub external_id: String,
    /// Whether the row names its record by a record key. Without one, and without `odoo_id`, only a create makes sense.
    pub has_record_key: bool,
    /// For a create that later changes of the record were joined to: the changes alone. They are what a record gets that was
    /// there before, for a create never touches it.
    pub changes: Option<Map<String, Value>>,
    /// For a record that refers to itself, or through others, and that was cut in two for it.
    pub circle: Option<Circle>,
    /// Of a two-way table: Odoo's `write_date` of the record when it was last pulled, as Odoo writes a time.
    pub seen: Option<String>,
}

/// Why a row is sent in two steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// The way round, for people.
    pub way: String,
    /// Nothing was known of the fields: it may have been cut at one that the record cannot be without, and another try will tell.
    pub blind: bool,
}

/// What became of one row of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It took effect in Odoo, now or before; the id of the record where there is one.
    Delivered {
        odoo_id: Option<i64>,
        /// The row in whose call it travelled, where that was a later one of the same record.
        went_with: Option<i64>,
        /// What a person should know of it all the same: that it was left without effect, or that its record is also another's.
        note: Option<String>,
    },
    /// It did not, or nobody knows: the class says which.
    Failed(Failure),
}

impl Outcome {
    /// Delivered in a call of its own.
    #[must_use]
    pub fn delivered(odoo_id: Option<i64>) -> Self {
        Self::Delivered {
            odoo_id,
            went_with: None,
            note: None,
        }
    }
}
