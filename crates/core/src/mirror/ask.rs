//! Questions about records, put to Odoo.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::columns::{Column, Varies};
use super::config::Variants;
use super::pull::STRETCH;
use super::record::{Page, page};
use crate::failure::{ErrorClass, Failure};
use crate::odoo::{Call, Client};

/// Most calls that one question about records' fates may cost.
const MOST_CALLS: usize = 64;

/// Which records of which model.
#[derive(Debug, Clone)]
pub struct Scope {
    pub model: String,
    pub domain: Vec<Value>,
    pub context: Map<String, Value>,
    pub variants: Variants,
}

/// What became of a record that the mirror has, or that a list named, and that no page brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Odoo has it, and would show it.
    There,
    /// Odoo has it, and the mirror's domain no longer takes it in.
    Outside,
    /// Odoo has it, and the connection's user may not see it.
    Hidden,
    Deleted,
}

impl Scope {
    /// Ids above `after`, ascending, at most [`STRETCH`]; where `floor` is given, of records that changed since. A model that does
    /// not note when its records change has all of them read each time.
    pub fn list(
        &self,
        client: &Client,
        floor: Option<&str>,
        after: i64,
    ) -> Result<Vec<i64>, Failure> {
        let mut domain = self.domain.clone();
        if let Some(floor) = floor
            && self.is_dated(client)?
        {
            domain.push(json!(["write_date", ">=", floor]));
        }
        domain.push(json!(["id", ">", after]));
        let call = self
            .call("search")
            .with("domain", domain)
            .with("order", "id")
            .with("limit", STRETCH);
        let ids = ids(&client.run(&call)?)?;
        if ids.windows(2).any(|pair| pair[0] >= pair[1])
            || ids.first().is_some_and(|first| *first <= after)
        {
            return Err(odd("ids that are not in the order that was asked for"));
        }
        Ok(ids)
    }

    /// These records.
    pub fn page(
        &self,
        client: &Client,
        columns: &[Column],
        asked: &[i64],
    ) -> Result<Page, Failure> {
        // First: what they lack then is a record that came since, and is asked for again.
        let variants = self.variants(client, columns, asked)?;
        let plain: Vec<Column> = columns
            .iter()
            .filter(|column| column.varies == Varies::Not)
            .cloned()
            .collect();
        let fields: Vec<&str> = plain.iter().map(|column| column.name.as_str()).collect();
        let mut domain = self.domain.clone();
        domain.push(json!(["id", "in", asked]));
        let call = self
            .call("search_read")
            .with("domain", domain)
            .with("fields", fields)
            .with("order", "id")
            // Ids of other records without their names, which nobody asked for and Odoo would have to look up.
            .with("load", Value::Null);
        client.read(&call, |answer| {
            page(&plain, asked, variants.as_ref(), answer)
        })
    }

    /// What became of these records, as far as [`MOST_CALLS`] can tell: who asks again later learns the rest.
    pub fn fates(&self, client: &Client, asked: &[i64]) -> Result<Vec<(i64, Fate)>, Failure> {
        let mut found = Vec::with_capacity(asked.len());
        let seen = |domain: Vec<Value>| -> Result<BTreeSet<i64>, Failure> {
            let call = self
                .call("search")
                .with("domain", domain)
                .with("order", "id");
            Ok(ids(&client.run(&call)?)?.into_iter().collect())
        };
        let named = json!(["id", "in", asked]);
        let mut domain = self.domain.clone();
        domain.push(named.clone());
        let there = seen(domain)?;
        let visible = if self.domain.is_empty() {
            there.clone()
        } else {
            seen(vec![named])?
        };
        let mut rest = Vec::new();
        for id in asked {
            if there.contains(id) {
                found.push((*id, Fate::There));
            } else if visible.contains(id) {
                found.push((*id, Fate::Outside));
            } else {
                rest.push(*id);
            }
        }
        // A read leaves out what does not exist, and refuses all where one exists and may not be seen. (Of a field that is looked up:
        // the id alone is answered without a look.)
        let stored = if self.is_dated(client)? {
            "write_date"
        } else {
            "display_name"
        };
        let mut parts = vec![rest];
        let mut calls = 0;
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            calls += 1;
            if calls > MOST_CALLS {
                break;
            }
            let call = self
                .call("read")
                .on(&part)
                .with("fields", [stored].as_slice())
                .with("load", Value::Null);
            match client.run(&call) {
                Ok(answer) => {
                    let read = read_ids(&answer)?;
                    let fate = |id| {
                        if read.contains(id) {
                            Fate::There
                        } else {
                            Fate::Deleted
                        }
                    };
                    found.extend(part.iter().map(|id| (*id, fate(id))));
                }
                Err(failure) if failure.class == ErrorClass::Missing => {
                    found.extend(part.iter().map(|id| (*id, Fate::Deleted)));
                }
                Err(failure) if failure.class != ErrorClass::Forbidden => return Err(failure),
                Err(_) if part.len() == 1 => {
                    found.extend(part.iter().map(|id| (*id, Fate::Hidden)))
                }
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second.to_vec(), first.to_vec()]);
                }
            }
        }
        Ok(found)
    }

    /// Whether Odoo notes when a record of the model was written.
    fn is_dated(&self, client: &Client) -> Result<bool, Failure> {
        Ok(client.fields(&self.model)?.get("write_date").is_some())
    }

    /// Archived records are records.
    pub(super) fn call(&self, method: &str) -> Call {
        let mut call = Call::new(&self.model, method).in_context(&self.context);
        call.context.insert("active_test".to_owned(), json!(false));
        call
    }
}

fn ids(answer: &Value) -> Result<Vec<i64>, Failure> {
    let ids = answer
        .as_array()
        .map(|ids| ids.iter().map(Value::as_i64).collect::<Option<Vec<_>>>());
    match ids {
        Some(Some(ids)) if ids.iter().all(|id| *id > 0) => Ok(ids),
        _ => Err(odd("no list of ids")),
    }
}

/// Ids of the records of a `read`.
fn read_ids(answer: &Value) -> Result<BTreeSet<i64>, Failure> {
    let records = answer.as_array().ok_or_else(|| odd("no list of records"))?;
    let id = |record: &Value| record.get("id").and_then(Value::as_i64);
    let ids: Option<BTreeSet<i64>> = records.iter().map(id).collect();
    ids.ok_or_else(|| odd("a record without an id"))
}

fn odd(what: &str) -> Failure {
    Failure::new(ErrorClass::Server, format!("Odoo answered {what}"))
        .with_remedy("Look for an override of search in Odoo; nothing was taken of this answer.")
}
