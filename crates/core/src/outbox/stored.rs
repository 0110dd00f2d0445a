//! Claimed rows as they are stored, and their check.

use serde_json::Value;

use super::admission::{MAX_PAYLOAD, admit};
use super::config::Terms;
use super::cursor::Cursor;
use super::plan::Claimed;
use super::row::{Operation, Row};
use crate::external_id::{Identity, external_id};
use crate::failure::{ErrorClass, Failure};

/// A claimed row as it is stored; nothing of it is checked yet.
#[derive(Debug, Clone)]
pub struct RawRow {
    /// `ops.odoo_outbox.id`.
    pub id: i64,
    pub model: String,
    pub operation: String,
    /// JSON text; `None`: larger than anything that is sent.
    pub payload: Option<String>,
    pub record_key: Option<String>,
    pub idempotency_key: String,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// The Odoo record, as the row or the link of its record key has it.
    pub odoo_id: Option<i64>,
    /// The hash of the record: rows with one key go one after another.
    pub key: Option<i64>,
    /// `odoo_id` is the row's own: an earlier try made the record and was not over.
    pub own: bool,
    /// What goes first: the higher.
    pub priority: i16,
    /// Of a two-way table: Odoo's `write_date` of the record when it was last pulled.
    pub seen: Option<String>,
}

/// One claim: its fencing token and its rows in the order of their ids.
#[derive(Debug, Clone)]
pub struct ClaimedRows {
    /// The token.
    pub claim: i64,
    pub rows: Vec<RawRow>,
    /// Where the next claim goes on; a lap that is over is at the start again.
    pub cursor: Cursor,
    /// Its rows were in the hands of a worker when it died.
    pub suspect: bool,
}

/// Reads and checks one stored row.
///
/// # Errors
/// What is wrong with it, for the person who wrote it: it can never be delivered as it is.
pub fn check(raw: RawRow, terms: &Terms<'_>) -> Result<Claimed, Failure> {
    let config = terms.config;
    let refuse = |message: String, hint: &str| {
        Failure::new(ErrorClass::Invalid, format!("{message}. {hint}"))
    };
    let Some(text) = &raw.payload else {
        return Err(Failure::new(
            ErrorClass::TooLarge,
            format!("the payload has more than {MAX_PAYLOAD} bytes"),
        )
        .with_remedy("Odoo refuses requests over 128 MiB. Send large attachments by reference."));
    };
    let payload: Value = serde_json::from_str(text).map_err(|error| {
        refuse(
            format!("the payload cannot be read: {error}"),
            "Correct it and replay the row.",
        )
    })?;
    let known = raw.record_key.is_some() || raw.odoo_id.is_some();
    let admitted = admit(&raw.model, &raw.operation, payload, known)
        .map_err(|refusal| refuse(refusal.message, &refusal.hint))?;
    let identity = match &raw.record_key {
        Some(key) => Identity::RecordKey(key),
        None => Identity::IdempotencyKey(&raw.idempotency_key),
    };
    let model_config = config.models.get(&raw.model).cloned().unwrap_or_default();
    // A create never names its record: the id in the row is what an earlier attempt was told.
    let odoo_id = if admitted.operation == Operation::Create {
        admitted.odoo_id
    } else {
        admitted.odoo_id.or(raw.odoo_id)
    };
    Ok(Claimed {
        row: Row {
            id: raw.id,
            external_id: external_id(&config.namespace, terms.connection, &raw.model, identity),
            model: raw.model,
            operation: admitted.operation,
            payload: admitted.fields,
            odoo_id,
            has_record_key: raw.record_key.is_some(),
            changes: None,
            circle: None,
            seen: raw.seen,
        },
        key: raw.key,
        priority: raw.priority,
        references: Vec::new(),
        described: false,
        joinable: model_config.policy.editable_when.is_empty(),
        context: {
            let mut context = model_config.context;
            context.extend(admitted.context);
            context
        },
        max_batch: model_config.max_batch.unwrap_or(terms.defaults.max_batch),
    })
}
