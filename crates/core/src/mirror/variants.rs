//! Fields that have a value for each language or company, read once for each and put together: `{"en_US": "Chair", "de_DE": "Stuhl"}`.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::ask::Scope;
use super::columns::{Column, Varies};
use super::record::{push_text, write};
use crate::failure::{ErrorClass, Failure};
use crate::odoo::Client;

impl Scope {
    /// What of these records has several values, written as [`super::page`] takes it. `None`: nothing has.
    pub(super) fn variants(
        &self,
        client: &Client,
        columns: &[Column],
        asked: &[i64],
    ) -> Result<Option<HashMap<i64, String>>, Failure> {
        let mut found = Found::default();
        let languages = self.variants.languages.iter();
        let languages = languages.map(|code| (code.clone(), "lang", json!(code)));
        self.read_each(
            client,
            of(columns, Varies::ByLanguage),
            asked,
            languages,
            &mut found,
        )?;
        let companies = self.variants.companies.iter();
        let companies = companies.map(|id| (id.to_string(), "allowed_company_ids", json!([id])));
        self.read_each(
            client,
            of(columns, Varies::ByCompany),
            asked,
            companies,
            &mut found,
        )?;
        Ok(found.0.map(|records| {
            let text = |(id, columns)| (id, written(columns));
            records.into_iter().map(text).collect()
        }))
    }

    fn read_each(
        &self,
        client: &Client,
        columns: Vec<&Column>,
        asked: &[i64],
        variants: impl Iterator<Item = (String, &'static str, Value)>,
        found: &mut Found,
    ) -> Result<(), Failure> {
        if columns.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let mut domain = self.domain.clone();
        domain.push(json!(["id", "in", asked]));
        for (variant, key, value) in variants {
            let mut call = self
                .call("search_read")
                .with("domain", domain.clone())
                .with("fields", names.clone())
                .with("order", "id")
                .with("load", Value::Null);
            call.context.insert(key.to_owned(), value);
            let records: Vec<Map<String, Value>> = client.read(&call, |answer| {
                serde_json::from_slice(answer)
                    .map_err(|error| odd(&format!("what cannot be read as records: {error}")))
            })?;
            found.take(&columns, &variant, &records)?;
        }
        Ok(())
    }
}

/// By column, each value with its language or company.
type Values = BTreeMap<String, Vec<(String, String)>>;

/// By record.
#[derive(Default)]
struct Found(Option<HashMap<i64, Values>>);

impl Found {
    fn take(
        &mut self,
        columns: &[&Column],
        variant: &str,
        records: &[Map<String, Value>],
    ) -> Result<(), Failure> {
        let found = self.0.get_or_insert_default();
        for record in records {
            let id = record.get("id").and_then(Value::as_i64);
            let of_record = found
                .entry(id.ok_or_else(|| odd("a record without an id"))?)
                .or_default();
            for column in columns {
                let value = record.get(&column.name);
                let value = value
                    .ok_or_else(|| odd(&format!("a record without the field {:?}", column.name)))?;
                let mut text = String::new();
                let is_there =
                    write(&mut text, column.form, &value.to_string()).map_err(|expected| {
                        odd(&format!(
                            "something else where the field {:?} has {expected}",
                            column.name
                        ))
                    })?;
                let values = of_record.entry(column.name.clone()).or_default();
                if is_there {
                    values.push((variant.to_owned(), text));
                }
            }
        }
        Ok(())
    }
}

/// `,"name":{"en_US":"Chair"}`; a field without any value is left out, and so NULL.
fn written(columns: Values) -> String {
    let mut out = String::new();
    for (name, values) in columns.into_iter().filter(|(_, values)| !values.is_empty()) {
        out.push(',');
        push_text(&mut out, &name);
        for (place, (variant, value)) in values.into_iter().enumerate() {
            out.push_str(if place == 0 { ":{" } else { "," });
            push_text(&mut out, &variant);
            out.push(':');
            out.push_str(&value);
        }
        out.push('}');
    }
    out
}

fn of(columns: &[Column], varies: Varies) -> Vec<&Column> {
    columns
        .iter()
        .filter(|column| column.varies == varies)
        .collect()
}

fn odd(what: &str) -> Failure {
    Failure::new(ErrorClass::Server, format!("Odoo answered {what}"))
        .with_remedy("Nothing of this answer was taken. If it comes again, look for an override of search_read in Odoo.")
}
