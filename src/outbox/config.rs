//! What the user configured about deliveries: `ops.odoo_sync_config`, and where it says nothing the settings.

use pg_etl_core::outbox::{ModelConfig, OutboundConfig, Terms};
use pgrx::prelude::*;
use serde_json::Value;

use crate::gucs;

const PREFIX: &str = "sb_to_odoo:";

/// Reads the configuration; a value of the wrong kind counts as absent. Inside a transaction.
pub fn read() -> OutboundConfig {
    let result = Spi::connect(|client| {
        let query = "SELECT key::text, value::text FROM ops.odoo_sync_config WHERE starts_with(key, 'sb_to_odoo:') OR key = 'external_id_namespace'";
        let mut config = OutboundConfig::default();
        for tuple in client.select(query, None, &[])? {
            let (Some(key), Some(value)) = (tuple.get::<String>(1)?, tuple.get::<String>(2)?)
            else {
                continue;
            };
            let value: Value = serde_json::from_str(&value).unwrap_or_default();
            match key.strip_prefix(PREFIX) {
                Some(model) => {
                    let of_model = ModelConfig::read(&value);
                    config.models.insert(model.to_owned(), of_model);
                }
                None => value
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut config.namespace),
            }
        }
        Ok::<_, pgrx::spi::Error>(config)
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

/// On what terms the rows of a connection go, by this configuration and the settings as they are now.
pub fn terms<'a>(connection: &'a str, config: &'a OutboundConfig) -> Terms<'a> {
    Terms {
        connection,
        config,
        defaults: gucs::delivery_defaults(),
    }
}
