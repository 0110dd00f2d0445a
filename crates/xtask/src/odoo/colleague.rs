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
    /// Makes the user.
    pub fn colleague(&self) -> Result<Colleague> {
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
        )?;
        Ok(Colleague {
            url: self.url.clone(),
            database: self.database.clone(),
            uid: made[0].as_i64().context("Odoo gave no id")?,
        })
    }
}

impl Colleague {
    /// Writes values into records, over JSON-RPC.
    pub fn write(&self, model: &str, ids: &[i64], values: &Value) -> Result<()> {
        let arguments = json!([self.database, self.uid, NAME, model, "write", [ids, values]]);
        let request = json!({"jsonrpc": "2.0", "method": "call", "id": 1,
            "params": {"service": "object", "method": "execute_kw", "args": arguments}});
        let mut answer = agent(Duration::from_secs(150))
            .post(format!("{}/jsonrpc", self.url))
            .send_json(&request)
            .with_context(|| format!("cannot reach {}", self.url))?;
        let answer: Value = answer.body_mut().read_json().context("no JSON")?;
        if answer["result"] != json!(true) {
            bail!("{model}.write: {}", brief(&answer.to_string()));
        }
        Ok(())
    }
}
