//! One Odoo over one protocol, as a test sees it.

use crate::target::{Target, targets};
use crate::wire;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Protocol {
    Json2,
    JsonRpc,
}

/// An exception as a protocol reports it.
#[derive(Debug, Clone)]
pub struct Raised {
    /// HTTP status; 200 under JSON-RPC.
    pub status: u16,
    pub name: String,
    pub message: String,
}

/// Where a test runs. What it created through [`World::create`] or under [`World::external`] is deleted at the end.
pub struct World {
    pub target: &'static Target,
    pub protocol: Protocol,
    /// Who calls over JSON-RPC: uid and secret.
    rpc_user: (i64, String),
    module: String,
    created: RefCell<Vec<(String, i64)>>,
}

/// Create-once, the heart of delivery.
pub fn create_once() -> Value {
    json!({"mode": "update", "noupdate": true, "lang": "en_US", "tz": "UTC"})
}

/// Runs a test on every Odoo over both protocols.
pub fn everywhere(test: impl Fn(&World)) {
    for target in targets() {
        for protocol in [Protocol::Json2, Protocol::JsonRpc] {
            test(&World::new(target, protocol));
        }
    }
}

/// Runs a test once per Odoo, for what both protocols share or neither speaks.
pub fn every_target(test: impl Fn(&World)) {
    for target in targets() {
        test(&World::new(target, Protocol::JsonRpc));
    }
}

impl World {
    fn new(target: &'static Target, protocol: Protocol) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // The suite may run twice against the same database.
        let start = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            target,
            protocol,
            rpc_user: (uid_of(target), target.key.clone()),
            module: format!("conf_{start:x}_{number}"),
            created: RefCell::default(),
        }
    }

    /// Another caller in the same place, for threads; it leaves nothing behind.
    pub fn visiting(target: &'static Target, protocol: Protocol) -> Self {
        Self::new(target, protocol)
    }

    /// The same place with another user behind JSON-RPC.
    pub fn as_user(&self, uid: i64, secret: &str) -> Self {
        Self {
            target: self.target,
            protocol: Protocol::JsonRpc,
            rpc_user: (uid, secret.to_owned()),
            module: format!("{}_user", self.module),
            created: RefCell::default(),
        }
    }

    pub fn is_json2(&self) -> bool {
        self.protocol == Protocol::Json2
    }

    /// For messages of failing assertions.
    pub fn place(&self) -> String {
        format!("{} over {:?}", self.target.label, self.protocol)
    }

    /// An external id of this test alone.
    pub fn external(&self, name: &str) -> String {
        format!("{}.{name}", self.module)
    }

    /// A text that no other test uses.
    pub fn unique(&self, text: &str) -> String {
        format!("{text} {}", self.module)
    }

    /// Calls a method of the model.
    pub fn call(&self, model: &str, method: &str, arguments: Value) -> Result<Value, Raised> {
        self.send(model, method, None, arguments)
    }

    /// Calls a method of records.
    pub fn call_on(
        &self,
        model: &str,
        ids: Value,
        method: &str,
        arguments: Value,
    ) -> Result<Value, Raised> {
        self.send(model, method, Some(ids), arguments)
    }

    /// The result of a call that must succeed.
    #[track_caller]
    pub fn ok(&self, outcome: Result<Value, Raised>) -> Value {
        match outcome {
            Ok(value) => value,
            Err(raised) => panic!("{}: {raised:?}", self.place()),
        }
    }

    /// The exception of a call that must fail with this name, and over JSON-2 with this status.
    #[track_caller]
    pub fn raises(&self, outcome: Result<Value, Raised>, name: &str, status: u16) -> Raised {
        let raised = match outcome {
            Ok(value) => panic!("{}: expected {name}, got {value}", self.place()),
            Err(raised) => raised,
        };
        assert_eq!(raised.name, name, "{}: {raised:?}", self.place());
        let status = if self.is_json2() { status } else { 200 };
        assert_eq!(raised.status, status, "{}: {raised:?}", self.place());
        raised
    }

    #[track_caller]
    pub fn create(&self, model: &str, vals: Value) -> i64 {
        let ids = self.ok(self.call(model, "create", json!({"vals_list": [vals]})));
        let id = ids[0].as_i64().expect("an id");
        self.created.borrow_mut().push((model.to_owned(), id));
        id
    }

    #[track_caller]
    pub fn partner(&self, name: &str) -> i64 {
        self.create("res.partner", json!({"name": name}))
    }

    /// One field of one record, archived or not.
    #[track_caller]
    pub fn value(&self, model: &str, id: i64, field: &str) -> Value {
        self.ok(self.call_on(model, json!([id]), "read", json!({"fields": [field]})))[0][field]
            .clone()
    }

    /// `load` in this context.
    pub fn load(
        &self,
        model: &str,
        fields: Value,
        data: Value,
        context: Value,
    ) -> Result<Value, Raised> {
        self.call(
            model,
            "load",
            json!({"fields": fields, "data": data, "context": context}),
        )
    }

    /// Ids of a create-once `load` that must succeed.
    #[track_caller]
    pub fn load_once(&self, model: &str, fields: Value, data: Value) -> Vec<i64> {
        let answer = self.ok(self.load(model, fields, data, create_once()));
        let ids = answer["ids"]
            .as_array()
            .unwrap_or_else(|| panic!("{}: {answer}", self.place()));
        ids.iter().filter_map(Value::as_i64).collect()
    }

    fn send(
        &self,
        model: &str,
        method: &str,
        ids: Option<Value>,
        arguments: Value,
    ) -> Result<Value, Raised> {
        let Value::Object(arguments) = arguments else {
            panic!("arguments are an object")
        };
        match self.protocol {
            Protocol::Json2 => self.json2(model, method, ids, arguments),
            Protocol::JsonRpc => self.jsonrpc(model, method, ids, arguments),
        }
    }

    fn json2(
        &self,
        model: &str,
        method: &str,
        ids: Option<Value>,
        mut body: Map<String, Value>,
    ) -> Result<Value, Raised> {
        if let Some(ids) = ids {
            body.insert("ids".into(), ids);
        }
        let raw = wire::post_json(
            &format!("{}/json/2/{model}/{method}", self.target.url),
            &[
                ("Authorization", &format!("bearer {}", self.target.key)),
                ("X-Odoo-Database", &self.target.database),
            ],
            &Value::Object(body),
        );
        if raw.status == 200 {
            return Ok(raw.json());
        }
        Err(raised(raw.status, &raw.json()))
    }

    fn jsonrpc(
        &self,
        model: &str,
        method: &str,
        ids: Option<Value>,
        mut named: Map<String, Value>,
    ) -> Result<Value, Raised> {
        let mut positional: Vec<Value> = ids.into_iter().collect();
        // JSON-RPC takes the values of `create` by position only.
        if method == "create"
            && let Some(list) = named.remove("vals_list")
        {
            positional.push(list);
        }
        let (uid, secret) = &self.rpc_user;
        let args = json!([
            self.target.database,
            uid,
            secret,
            model,
            method,
            positional,
            named
        ]);
        let answer = wire::rpc(&self.target.url, "object", "execute_kw", args);
        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => {
                assert_eq!(error["code"], 0);
                assert_eq!(error["message"], "Odoo Server Error");
                Err(raised(200, &error["data"]))
            }
        }
    }
}

/// Both protocols wrap an exception in the same five keys.
fn raised(status: u16, data: &Value) -> Raised {
    let text = |key: &str| {
        data[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {data}"))
            .to_owned()
    };
    assert!(data["arguments"].is_array(), "{data}");
    assert!(data["context"].is_object(), "{data}");
    assert!(data["debug"].is_string(), "{data}");
    Raised {
        status,
        name: text("name"),
        message: text("message"),
    }
}

fn uid_of(target: &Target) -> i64 {
    let args = json!([target.database, target.login, target.key, {}]);
    let answer = wire::rpc(&target.url, "common", "authenticate", args);
    answer["result"]
        .as_i64()
        .unwrap_or_else(|| panic!("{}: the login and key are refused: {answer}", target.label))
}

impl Drop for World {
    /// Tidies up, as far as it can: a failing test must not fail twice.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let known = json!({"domain": [["module", "=", self.module]], "fields": ["model", "res_id"], "order": "id desc"});
        let mut doomed: Vec<(String, i64)> = match self.call("ir.model.data", "search_read", known)
        {
            Ok(Value::Array(rows)) => rows
                .iter()
                .filter_map(|row| {
                    Some((row["model"].as_str()?.to_owned(), row["res_id"].as_i64()?))
                })
                .collect(),
            _ => vec![],
        };
        doomed.extend(self.created.borrow().iter().rev().cloned());
        // Orders first: they hold on to customers and products.
        doomed.sort_by_key(|(model, _)| !model.starts_with("sale."));
        for (model, id) in doomed {
            if model == "sale.order" {
                let _ = self.call_on(&model, json!([id]), "action_cancel", json!({}));
            }
            let _ = self.call_on(&model, json!([id]), "unlink", json!({}));
        }
    }
}
