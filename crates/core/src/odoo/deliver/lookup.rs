//! Which id an external id stands for, asked one by one: no right on `ir.model.data` is needed for that, and Odoo has no
//! such question for several.

use std::collections::BTreeSet;

use serde_json::json;

use super::Delivery;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::values::{Values, external_references, native};
use crate::outbox::Row;
use serde_json::{Map, Value};

impl Delivery<'_> {
    /// The id of `external_id`; `None` where Odoo has no such external id. A record of another model than `model` is
    /// refused, where one is given. Each external id is asked for once per batch.
    pub(super) fn lookup(
        &mut self,
        external_id: &str,
        model: Option<&str>,
    ) -> Result<Option<i64>, Failure> {
        if let Some(found) = self.lookups.get(external_id) {
            return Ok(*found);
        }
        let Some((module, name)) = external_id.split_once('.') else {
            return Err(Failure::new(
                ErrorClass::Invalid,
                format!("{external_id:?} is no external id"),
            ));
        };
        let mut call = self
            .new_call("ir.model.data", "check_object_reference")
            .with("module", module)
            .with("xml_id", name);
        call.context.insert("active_test".to_owned(), json!(false));
        let found = match self.ask(&call) {
            Ok(answer) => found(external_id, &answer, model)?,
            // `judge` calls an unknown external id a dependency; here it is an answer.
            Err(failure) if failure.class == ErrorClass::Dependency => None,
            Err(failure) => return Err(failure),
        };
        self.lookups.insert(external_id.to_owned(), found);
        Ok(found)
    }

    /// Forgets what was looked up: records may have come since.
    pub(super) fn forget_lookups(&mut self) {
        self.lookups.retain(|_, found| found.is_some());
    }

    /// The record of a row that must exist already.
    pub(super) fn target(&mut self, row: &Row) -> Result<Option<i64>, Failure> {
        match row.odoo_id {
            Some(id) if id > 0 => Ok(Some(id)),
            _ if !row.has_record_key => {
                let operation = row.operation.name();
                Err(Failure::new(ErrorClass::Invalid, format!("the row names no record to {operation}"))
                    .with_remedy("Put odoo_id into the payload, or enqueue the row with the record_key of its create."))
            }
            _ => self.lookup(&row.external_id, Some(&row.model)),
        }
    }

    /// `values` as a write takes them, with every reference resolved.
    pub(super) fn native(&mut self, values: &Values) -> Result<Map<String, Value>, Failure> {
        let names: BTreeSet<&str> = external_references(values).into_iter().collect();
        for name in names {
            self.lookup(name, None)?;
        }
        native::native(values, &|name| self.lookups.get(name).copied().flatten()).map_err(|name| {
            Failure::new(
                ErrorClass::Dependency,
                format!("refers to the external id {name}, which Odoo does not have"),
            )
            .with_remedy(
                "It waits for the row that makes that record; check the spelling if none does.",
            )
        })
    }
}

fn found(external_id: &str, answer: &Value, model: Option<&str>) -> Result<Option<i64>, Failure> {
    let (of, id) = (
        answer.get(0).and_then(Value::as_str).unwrap_or_default(),
        answer.get(1),
    );
    if model.is_some_and(|model| model != of) {
        return Err(Failure::new(
            ErrorClass::Invalid,
            format!("the external id {external_id} is a record of {of}"),
        ));
    }
    match id.and_then(Value::as_i64) {
        Some(id) if id > 0 => Ok(Some(id)),
        // Odoo has the external id and does not find its record: it is hidden from the user, or this process of Odoo remembers an
        // external id of a call that was rolled back (each remembers before the commit, and never forgets). Asking another one helps.
        _ => Err(Failure::new(
            ErrorClass::Dependency,
            format!("Odoo does not show the record of {of} behind {external_id}"),
        )
        .with_remedy("It is asked again. If that does not help, the connection's user lacks access to the record (record rules, companies).")),
    }
}
