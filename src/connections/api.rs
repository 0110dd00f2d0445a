//! `etl.set_connection()` and `etl.test_connection()`.

use std::time::Duration;

use pg_etl_core::channel;
use pg_etl_core::odoo::Endpoint;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::secret::{NoReference, Reference};
use crate::error::{complain, spi_failed};
use crate::worker::{Errand, run_errand};

const KINDS: [&str; 7] = [
    "odoo",
    "airbyte",
    "slack",
    "webhook",
    "github",
    "smtp",
    "firecrawl",
];
const EXAMPLE: &str = "SELECT etl.set_connection('odoo', 'odoo', 'https://erp.example.com', '{\"database\": \"prod\", \"login\": \"etl\"}', secret => 'vault:odoo_api_key');";

#[pg_extern(sql = false)]
fn set_connection(
    name: Option<String>,
    kind: Option<String>,
    url: Option<String>,
    options: Option<pgrx::JsonB>,
    secret: Option<String>,
) {
    let (Some(name), Some(kind), Some(url)) = (name, kind, url) else {
        complain(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "name, kind and url must not be null",
        )
        .hint(EXAMPLE)
        .raise();
    };
    let options = options.map_or_else(|| json!({}), |options| options.0);
    // Nothing of the arguments is quoted before this says that it holds no secret; and the statement stays out of the log.
    check_secret(secret.as_deref());
    check_name(&name, &kind);
    check_endpoint(&kind, &url, &options);
    let before = known(&name);
    let url_changed = before
        .as_ref()
        .is_some_and(|before| before["url"] != json!(url));
    if url_changed
        && secret.is_none()
        && before
            .as_ref()
            .is_some_and(|before| before["secret"].is_string())
    {
        complain(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("the url of connection \"{name}\" changes, and its secret is not named"))
            .hint("A secret is sent to the url: name it again (secret => 'vault:…') if the new url may have it.")
            .raise();
    }
    if !crate::setup::is_set_up() {
        Spi::run("SELECT etl.setup()").unwrap_or_else(|error| spi_failed(error));
    }
    let stored = Spi::get_one_with_args::<pgrx::JsonB>(
        include_str!("../../sql/queries/set_connection.sql"),
        &[
            name.clone().into(),
            kind.into(),
            url.into(),
            pgrx::JsonB(options).into(),
            secret.into(),
        ],
    );
    let after = stored.unwrap_or_else(|error| spi_failed(error));
    let audit = Spi::run_with_args(
        "SELECT etl._audit('set_connection', $1, $2, $3), etl._wake()",
        &[name.into(), before.map(pgrx::JsonB).into(), after.into()],
    );
    audit.unwrap_or_else(|error| spi_failed(error));
}

fn known(name: &str) -> Option<Value> {
    let row = crate::reading::one::<pgrx::JsonB>(
        "SELECT (SELECT jsonb_build_object('kind', c.kind, 'url', c.url, 'options', c.options, 'secret', c.secret) FROM etl.connections c WHERE c.name = $1)",
        &[name.into()],
    );
    row.map(|json| json.0)
}

fn check_name(name: &str, kind: &str) {
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    };
    if name.is_empty() || name.len() > 63 || !name.bytes().all(fits) {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_NAME,
            "a connection's name has 1 to 63 lower-case letters, digits, _ and -",
        )
        .hint(EXAMPLE)
        .hide_statement()
        .raise();
    }
    if !KINDS.contains(&kind) {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "this kind of connection is not known",
        )
        .hint(format!("Use one of: {}.", KINDS.join(", ")))
        .hide_statement()
        .raise();
    }
}

fn check_endpoint(kind: &str, url: &str, options: &Value) {
    if let Some(channel) = channel::Kind::from_name(kind) {
        if let Err(error) = channel::Options::parse(channel, url, options) {
            complain(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                error.message,
            )
            .hint(error.hint)
            .hide_statement()
            .raise();
        }
        return;
    }
    let of_odoo = if kind == "odoo" {
        options.clone()
    } else {
        json!({})
    };
    if let Err(error) = Endpoint::parse(url, &of_odoo) {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            error.message,
        )
        .hint(error.hint)
        .hide_statement()
        .raise();
    }
    if kind != "odoo"
        && options
            .as_object()
            .is_none_or(|options| !options.is_empty())
    {
        complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("connections of kind {kind} have no options yet"),
        )
        .hint("Leave options out.")
        .hide_statement()
        .raise();
    }
}

fn check_secret(secret: Option<&str>) {
    let Some(secret) = secret else { return };
    let prefix = crate::gucs::secret_env_prefix();
    let Err(why) = Reference::parse(secret, &prefix) else {
        return;
    };
    let (message, hint) = match why {
        NoReference::Literal => (
            "the secret must be a reference, not the secret itself".to_owned(),
            "Store it in Supabase Vault (SELECT vault.create_secret('…', 'odoo_api_key');) and give 'vault:odoo_api_key', or use 'env:NAME' or 'file:NAME'. If what you typed is a real secret, change it: statements are logged in many places.".to_owned(),
        ),
        NoReference::EmptyName => ("the secret reference has no valid name".to_owned(), "Use vault:NAME, env:NAME or file:NAME.".to_owned()),
        NoReference::OutsidePrefix => (
            format!("env: secrets are read from variables whose name begins with {prefix}"),
            "Rename the variable, or let the administrator change etl.secret_env_prefix.".to_owned(),
        ),
        NoReference::OutsideFolder => (
            "file: takes the name of a file inside etl.secret_dir, not a path".to_owned(),
            "Put the file into that folder and give its name.".to_owned(),
        ),
    };
    complain(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
        .hint(hint)
        .hide_statement()
        .raise();
}

#[pg_extern(sql = false)]
fn test_connection(name: &str) -> pgrx::JsonB {
    crate::setup::must_be_set_up();
    // A function that returns nothing: only its ERROR counts.
    crate::reading::one::<()>("SELECT etl._connection_must_exist($1)", &[name.into()]);
    let mut answer = run_errand(&Errand::Test {
        connection: name.to_owned(),
        max_time: Duration::from_secs(60),
    });
    if let Some(fields) = answer.as_object_mut() {
        for counter in ["claimed", "done", "retried", "failed", "calls"] {
            fields.remove(counter);
        }
        fields.entry("ok").or_insert_with(|| json!(false));
        if fields.remove("running").is_some() {
            fields.insert(
                "error".to_owned(),
                json!({"class": "unreachable", "message": "no answer within 60 s"}),
            );
        }
    }
    pgrx::JsonB(answer)
}
