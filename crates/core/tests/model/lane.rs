//! The worker's check of a claimed row, as far as these rows need it.

use pg_etl_core::external_id::{Identity, external_id};
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::outbox::{Claimed, Operation, Row, admit};

use crate::outbox::store::{OutboundConfig, RawRow};

pub fn check(raw: RawRow, connection: &str, config: &OutboundConfig) -> Result<Claimed, Failure> {
    let text = raw.payload.as_deref().expect("no payload is too large");
    let payload = serde_json::from_str(text).expect("payloads are JSON");
    let key = raw.record_key.as_deref().expect("every row has a key");
    let admitted = admit(&raw.model, &raw.operation, payload, true)
        .map_err(|refusal| Failure::new(ErrorClass::Invalid, refusal.message))?;
    Ok(Claimed {
        row: Row {
            id: raw.id,
            external_id: external_id(
                &config.namespace,
                connection,
                &raw.model,
                Identity::RecordKey(key),
            ),
            model: raw.model,
            operation: admitted.operation,
            payload: admitted.fields,
            odoo_id: match admitted.operation {
                Operation::Create => admitted.odoo_id,
                _ => admitted.odoo_id.or(raw.odoo_id),
            },
            has_record_key: true,
            changes: None,
            circle: None,
        },
        key: raw.key,
        priority: raw.priority,
        references: Vec::new(),
        described: false,
        joinable: raw.attempts <= 1 || admitted.operation != Operation::Create,
        context: serde_json::Map::new(),
        max_batch: config.max_batch,
    })
}
