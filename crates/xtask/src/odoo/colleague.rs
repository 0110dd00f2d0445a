//! Somebody else in Odoo: a user of their own, so that who wrote a record last can be told.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Access;
use super::access::{agent, brief};

/// Their login and password.
const NAME: &str = "colleague";

/// A user who may edit contacts.
#[derive(Debug, Clone)]
pub struct Colleague {
    url: String,
    database: String,
    uid: i64,
}

impl Access {
    /// The user, who is made if need be.
    pub fn colleague(&self) -> Result<Colleague> {
        if let Some(uid) = self.colleagues_uid()? {
            return Ok(self.as_colleague(uid));
        }
        let mut groups = Vec::new();
        for group in ["group_user", "group_partner_manager"] {
            let found = self.call(
                "ir.model.data",
                "search_read",
                &json!({"domain": [["module", "=", "base"], ["name", "=", group]], "fields": ["res_id"]}),
            )?;
            groups.push(found[0]["res_id"].clone());
        }
        let made = self.call(
            "res.users",
            "create",
            &json!({"vals_list": [{"name": NAME, "login": NAME, "password": NAME, "group_ids": [[6, 0, groups]]}]}),
        );
        match made {
            Ok(made) => Ok(self.as_colleague(made[0].as_i64().context("Odoo gave no id")?)),
            // Another session may have been faster.
            Err(error) => match self.colleagues_uid()? {
                Some(uid) => Ok(self.as_colleague(uid)),
                None => Err(error),
            },
        }
    }

    fn colleagues_uid(&self) -> Result<Option<i64>> {
        let there = self.call(
            "res.users",
            "search",
            &json!({"domain": [["login", "=", NAME]]}),
        )?;
        Ok(there[0].as_i64())
    }

    fn as_colleague(&self, uid: i64) -> Colleague {
        Colleague {
            url: self.url.clone(),
            database: self.database.clone(),
            uid,
        }
    }
}

impl Colleague {
    /// Writes values into records.
    pub fn write(&self, model: &str, ids: &[i64], values: &Value) -> Result<()> {
        self.call(model, "write", json!([ids, values])).map(drop)
    }

    /// Makes a record; returns its id.
    pub fn create(&self, model: &str, values: &Value) -> Result<i64> {
        let made = self.call(model, "create", json!([[values]]))?;
        made[0].as_i64().context("Odoo gave no id")
    }

    /// Over JSON-RPC, which takes a password.
    fn call(&self, model: &str, method: &str, arguments: Value) -> Result<Value> {
        let arguments = json!([self.database, self.uid, NAME, model, method, arguments]);
        let request = json!({"jsonrpc": "2.0", "method": "call", "id": 1,
            "params": {"service": "object", "method": "execute_kw", "args": arguments}});
        let mut answer = agent(Duration::from_secs(150))
            .post(format!("{}/jsonrpc", self.url))
            .send_json(&request)
            .with_context(|| format!("cannot reach {}", self.url))?;
        let mut answer: Value = answer.body_mut().read_json().context("no JSON")?;
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => bail!("{model}.{method}: {}", brief(&answer.to_string())),
        }
    }
}
