//! An Odoo to deliver to, over one protocol, and how tests look at it.

use std::sync::atomic::{AtomicU64, Ordering};

use odoo_sim::{Config, Sim};
use pg_etl_core::external_id::{Identity, external_id};
use pg_etl_core::failure::Failure;
use pg_etl_core::odoo::{
    Client, ClientSettings, DeliverContext, Endpoint, ModelPolicy, ProtocolKind, deliver,
};
use pg_etl_core::outbox::{Batch, Operation, Outcome, Row};
use pg_etl_core::secret::Secret;
use serde_json::{Map, Value, json};

/// One Odoo, over one protocol.
pub struct Target {
    pub name: &'static str,
    pub url: String,
    pub database: String,
    pub login: String,
    pub key: String,
    pub kind: ProtocolKind,
    pub namespace: String,
    /// What the model's configuration says.
    pub policy: ModelPolicy,
    pub version: &'static str,
    /// Stops with the target.
    pub sim: Option<Sim>,
}

pub static NEXT: AtomicU64 = AtomicU64::new(1);

impl Target {
    pub fn options(&self) -> Value {
        json!({
            "database": self.database,
            "login": self.login,
            "protocol": self.kind.name(),
            "allow_methods": ["sale.order.action_confirm", "res.partner.action_archive", "res.partner.write"],
        })
    }

    pub fn client_with(&self, more: Value, key: &str) -> Client {
        let mut options = self.options();
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let endpoint = Endpoint::parse(&self.url, &options).unwrap();
        Client::new(endpoint, Secret::new(key), ClientSettings::default()).unwrap()
    }

    pub fn client(&self) -> Client {
        self.client_with(json!({}), &self.key)
    }

    pub fn deliver(&self, client: &Client, rows: Vec<Row>) -> Vec<Outcome> {
        self.deliver_while(client, rows, &Map::new(), &|| false)
    }

    /// In a context, as the configuration of a model gives one.
    pub fn deliver_in(&self, client: &Client, rows: Vec<Row>, context: &Value) -> Vec<Outcome> {
        self.deliver_while(client, rows, context.as_object().unwrap(), &|| false)
    }

    pub fn deliver_while(
        &self,
        client: &Client,
        rows: Vec<Row>,
        context: &Map<String, Value>,
        should_stop: &(dyn Fn() -> bool + Sync),
    ) -> Vec<Outcome> {
        let batch = Batch {
            model: rows[0].model.clone(),
            operation: rows[0].operation,
            context: context.clone(),
            rows,
            joined: std::collections::BTreeMap::new(),
            known: std::collections::BTreeMap::new(),
        };
        let cx = DeliverContext {
            namespace: &self.namespace,
            connection: "odoo",
            policy: &self.policy,
            should_stop,
            divided: &std::cell::Cell::default(),
        };
        let outcomes = deliver(client, &batch, &cx);
        assert_eq!(
            outcomes.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            batch.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            "one outcome per row"
        );
        let shown = format!("{outcomes:?}");
        assert!(
            !shown.contains(&self.key) && !shown.contains("Traceback"),
            "{shown}"
        );
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    pub fn row(&self, model: &str, operation: Operation, key: &str, payload: Value) -> Row {
        Row {
            id: i64::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap(),
            model: model.to_owned(),
            operation,
            payload: payload.as_object().unwrap().clone(),
            odoo_id: None,
            external_id: external_id(&self.namespace, "odoo", model, Identity::RecordKey(key)),
            has_record_key: true,
            changes: None,
            circle: None,
            seen: None,
        }
    }

    pub fn read(&self, client: &Client, model: &str, ids: &[i64], fields: &[&str]) -> Vec<Value> {
        self.read_in(client, model, ids, fields, &json!({}))
    }

    pub fn read_in(
        &self,
        client: &Client,
        model: &str,
        ids: &[i64],
        fields: &[&str],
        context: &Value,
    ) -> Vec<Value> {
        let mut args = Map::new();
        args.insert("fields".to_owned(), json!(fields));
        let answer = client
            .call(model, "read", Some(ids), args, context.as_object().unwrap())
            .unwrap();
        answer.as_array().unwrap().clone()
    }

    pub fn count(&self, client: &Client, model: &str, domain: Value) -> i64 {
        let mut args = Map::new();
        args.insert("domain".to_owned(), domain);
        client
            .call(model, "search_count", None, args, &Map::new())
            .unwrap()
            .as_i64()
            .unwrap()
    }
}

pub fn targets() -> Vec<Target> {
    static RUN: AtomicU64 = AtomicU64::new(1);
    let namespace = || {
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        format!("pg_etl_t{started}_{}", RUN.fetch_add(1, Ordering::Relaxed))
    };
    let mut targets = Vec::new();
    for (kind, major, version) in [
        (ProtocolKind::Json2, 19, "19.0"),
        (ProtocolKind::JsonRpc, 19, "19.0"),
        (ProtocolKind::JsonRpc, 18, "18.0"),
    ] {
        let sim = Sim::start(Config {
            version: major,
            languages: vec!["en_US".into(), "fr_FR".into()],
            ..Config::default()
        })
        .unwrap();
        targets.push(Target {
            name: "the simulator",
            url: sim.url(),
            database: sim.database().to_owned(),
            login: sim.admin().login,
            key: sim.admin().keys[0].key.clone(),
            kind,
            namespace: namespace(),
            policy: ModelPolicy::NONE,
            version,
            sim: Some(sim),
        });
    }
    let env = |name: &str| std::env::var(format!("PG_ETL_ODOO_{name}"));
    if let (Ok(url), Ok(database), Ok(login), Ok(key)) =
        (env("URL"), env("DB"), env("LOGIN"), env("KEY"))
    {
        for kind in [ProtocolKind::Json2, ProtocolKind::JsonRpc] {
            targets.push(Target {
                name: "Odoo",
                url: url.clone(),
                database: database.clone(),
                login: login.clone(),
                key: key.clone(),
                kind,
                namespace: namespace(),
                policy: ModelPolicy::NONE,
                version: "19.0",
                sim: None,
            });
        }
    }
    targets
}

pub fn each(test: impl Fn(&Target)) {
    each_of(&targets(), test);
}

pub fn each_of(targets: &[Target], test: impl Fn(&Target)) {
    for target in targets {
        eprintln!(
            "-- {} {} over {}",
            target.name,
            target.version,
            target.kind.name()
        );
        test(target);
    }
}

pub fn id(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Delivered {
            odoo_id: Some(id), ..
        } => *id,
        other => panic!("{other:?}"),
    }
}

pub fn failure(outcome: &Outcome) -> &Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A second company that the user may act for; companies cannot be deleted, so that there is one for all runs.
pub fn second_company(client: &Client) -> i64 {
    const NAME: &str = "Second company of the delivery tests";
    let call = |method: &str, args: Value| {
        let args = args.as_object().unwrap().clone();
        client
            .call("res.company", method, None, args, &Map::new())
            .unwrap()
    };
    let known = call("search", json!({"domain": [["name", "=", NAME]]}));
    if let Some(id) = known[0].as_i64() {
        return id;
    }
    let first = call(
        "search_read",
        json!({"domain": [], "fields": ["currency_id"], "limit": 1}),
    );
    let partner = json!({"vals_list": [{"name": NAME}]});
    let partner = client
        .call(
            "res.partner",
            "create",
            None,
            partner.as_object().unwrap().clone(),
            &Map::new(),
        )
        .unwrap();
    let values =
        json!({"name": NAME, "partner_id": partner[0], "currency_id": first[0]["currency_id"][0]});
    call("create", json!({"vals_list": [values]}))[0]
        .as_i64()
        .unwrap()
}
