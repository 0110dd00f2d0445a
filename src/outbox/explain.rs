//! `etl.explain()`: the request that a row would send, for a person to read.

use pg_etl_core::odoo::{self, Client, DeliverContext, Endpoint};
use pg_etl_core::outbox::{Nature, RawRow, check, plan};
use pg_etl_core::secret::{MASK, Secret};
use pgrx::prelude::*;
use serde_json::json;
use std::cell::Cell;

use super::{config, store};
use crate::connections::store as connections;
use crate::error::{complain, spi_failed};

#[pg_extern(sql = false)]
fn explain(outbox_id: i64) -> pgrx::JsonB {
    crate::setup::must_be_set_up();
    let Some((raw, connection, status)) = stored(outbox_id) else {
        complain(
            PgSqlErrorCode::ERRCODE_NO_DATA_FOUND,
            format!("outbox row {outbox_id} does not exist"),
        )
        .hint("SELECT id, model, operation, status FROM ops.odoo_outbox ORDER BY id DESC LIMIT 20;")
        .raise();
    };
    let look = connections::look()
        .into_iter()
        .find(|look| look.name == connection && look.channel.is_none());
    let Some(look) = look else {
        complain(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("connection \"{connection}\" of this row does not exist, or is not an Odoo"),
        )
        .hint("SELECT etl.set_connection(…);")
        .raise();
    };
    let configured = config::read();
    let about = json!({"outbox_id": outbox_id, "connection": connection, "status": status});
    let claimed = match check(raw, &config::terms(&connection, &configured)) {
        Ok(claimed) => claimed,
        Err(failure) => {
            return pgrx::JsonB(json!({"row": about, "requests": [], "refused": failure.message}));
        }
    };
    let endpoint = Endpoint::parse(&look.url, &look.options).unwrap_or_else(|error| {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            error.message,
        )
        .hint(error.hint)
        .raise()
    });
    // The secret is not even read.
    let settings = crate::worker::client_settings(look.protocol.as_deref());
    let client = Client::new(endpoint, Secret::new(MASK), settings).unwrap_or_else(|failure| {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            failure.message,
        )
        .raise()
    });
    for (model, fields) in connections::known_fields(&connection) {
        client.preload_fields(&model, &fields);
    }
    let planned = plan(vec![claimed], &|_, _| Nature::Unknown)
        .into_iter()
        .next();
    let mut answer = planned
        .map(|planned| {
            let context = DeliverContext {
                namespace: &configured.namespace,
                connection: &connection,
                policy: configured.policy(&planned.batch.model),
                should_stop: &|| true,
                divided: &Cell::default(),
            };
            odoo::explain(&client, &planned.batch, &context)
        })
        .unwrap_or_default();
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("row".to_owned(), about);
    }
    pgrx::JsonB(answer)
}

fn stored(outbox_id: i64) -> Option<(RawRow, String, String)> {
    let result = Spi::connect(|client| {
        let mut table = client.select(
            include_str!("../../sql/queries/stored_row.sql"),
            None,
            &[outbox_id.into()],
        )?;
        let Some(tuple) = table.next() else {
            return Ok(None);
        };
        let text = |name: &str| tuple[name].value::<String>().map(Option::unwrap_or_default);
        Ok::<_, pgrx::spi::Error>(Some((
            store::raw_row(outbox_id, &tuple)?,
            text("connection")?,
            text("status")?,
        )))
    });
    result.unwrap_or_else(|error| spi_failed(error))
}
