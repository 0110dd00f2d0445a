//! `etl.enqueue()`: a row that is checked before it is stored.

use pg_etl_core::outbox::admission::{MAX_IDEMPOTENCY_KEY, MAX_PAYLOAD, admit};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use crate::error::{complain, spi_failed};

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the SQL signature")]
fn enqueue(
    model: Option<String>,
    operation: Option<String>,
    payload: Option<pgrx::JsonB>,
    record_key: Option<String>,
    idempotency_key: Option<String>,
    connection: Option<String>,
    priority: Option<i16>,
    not_before: Option<TimestampWithTimeZone>,
) -> i64 {
    crate::setup::must_be_set_up();
    let (Some(model), Some(operation), Some(payload)) = (model, operation, payload) else {
        complain(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, "model, operation and payload must not be null")
            .hint("SELECT etl.enqueue('res.partner', 'upsert', '{\"name\": \"Ada\"}', record_key => '42');")
            .raise();
    };
    let connection = connection.unwrap_or_else(|| "odoo".to_owned());
    if let Err(refusal) = admit(&model, &operation, payload.0.clone(), record_key.is_some()) {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            refusal.message,
        )
        .hint(refusal.hint)
        .raise();
    }
    let bytes = payload.0.to_string().len();
    if bytes > MAX_PAYLOAD {
        complain(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("the payload has {bytes} bytes; at most {MAX_PAYLOAD} can be sent"),
        )
        .hint("Odoo refuses requests over 128 MiB. Send large attachments by reference.")
        .raise();
    }
    if idempotency_key
        .as_ref()
        .is_some_and(|key| key.len() > MAX_IDEMPOTENCY_KEY || key.is_empty())
    {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("an idempotency_key has 1 to {MAX_IDEMPOTENCY_KEY} bytes"),
        )
        .hint(
            "Use a short key, or a hash such as md5() of a long one. record_key has no such limit.",
        )
        .raise();
    }
    let args: [DatumWithOid<'_>; 8] = [
        model.into(),
        operation.into(),
        payload.into(),
        record_key.into(),
        idempotency_key.clone().into(),
        connection.clone().into(),
        priority.unwrap_or(0).into(),
        not_before.into(),
    ];
    let stored = Spi::connect_mut(|client| {
        client.update(
            "SELECT etl._connection_must_exist($1)",
            None,
            &[connection.into()],
        )?;
        let stored = client.update(include_str!("../../sql/queries/enqueue.sql"), None, &args)?;
        if !stored.is_empty() {
            return Ok((stored.first().get_one::<i64>()?, Some(true)));
        }
        let found = client.update(
            include_str!("../../sql/queries/find_by_key.sql"),
            None,
            &args[..6],
        )?;
        if found.is_empty() {
            Ok((None, None))
        } else {
            found.first().get_two::<i64, bool>()
        }
    });
    match stored.unwrap_or_else(|error| spi_failed(error)) {
        (Some(id), Some(true)) => id,
        (Some(id), _) => complain(
            PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION,
            format!("idempotency_key \"{}\" belongs to outbox row {id}, whose content differs", idempotency_key.unwrap_or_default()),
        )
        .hint("One key stands for one change. Give this change a key of its own, or leave the key out.")
        .raise(),
        // In REPEATABLE READ: taken by a transaction that committed after this one's snapshot was made.
        (None, _) => complain(PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE, "another transaction used this idempotency_key just now")
            .hint("Run the transaction again.")
            .raise(),
    }
}
