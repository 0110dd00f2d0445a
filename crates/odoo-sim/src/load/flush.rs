//! Creating and updating what an import has collected: all at once, and one by one when that fails.

use super::{Import, Pending};
use crate::exception::{Class, Exception, Outcome};
use crate::orm::model::registry;
use serde_json::{Value as Json, json};
use std::collections::HashSet;

impl Import<'_, '_> {
    /// Saves the batch.
    pub(super) fn flush(&mut self) {
        let batch = self.take_batch();
        if batch.is_empty() {
            return;
        }
        let before = self.env.store.savepoint();
        let first_error = match self.save(&batch) {
            Ok(ids) => {
                self.ids.extend(ids);
                return;
            }
            Err(error) => error,
        };
        self.env.store.rollback_to(before);
        let shared = first_error.is_user_error().then(|| {
            let mut message = batch[0].place.clone();
            message.insert("type".into(), json!("error"));
            message.insert("message".into(), json!(first_error.message));
            Json::Object(message)
        });
        let errors = self.save_one_by_one(&batch);
        if let Some(message) = shared
            && errors > 0
            && !self.messages.contains(&message)
        {
            self.messages.insert(0, message);
        }
    }

    /// Saves row by row to find out which one is to blame. Every failure undoes the whole import so far, so that later
    /// rows which refer to earlier ones fail too, though nothing is wrong with them.
    fn save_one_by_one(&mut self, batch: &[Pending]) -> usize {
        let mut errors = 0;
        for (index, pending) in batch.iter().enumerate() {
            match self.save(std::slice::from_ref(pending)) {
                Ok(ids) => self.ids.extend(ids),
                Err(error) => {
                    self.env.store.rollback_to(self.savepoint);
                    self.blame(pending, &error);
                    errors += 1;
                }
            }
            if errors >= 10 && errors * 10 > index {
                self.messages.push(json!({
                    "type": "warning",
                    "message": "Found more than 10 errors and more than one error per 10 records, interrupted to avoid \
                                showing too many errors.",
                }));
                break;
            }
        }
        errors
    }

    fn blame(&mut self, pending: &Pending, error: &Exception) {
        let model = self.model;
        match &error.class {
            Class::Integrity(field) => {
                self.report(&pending.place, "error", error.message.clone(), |message| {
                    if let Some(field) = field
                        .as_ref()
                        .filter(|field| model.position(field).is_some())
                    {
                        message.insert("field".into(), json!(field));
                    }
                })
            }
            Class::Serialization => {
                self.report(&pending.place, "error", error.message.clone(), |_| {})
            }
            Class::Named(name) if name.starts_with("psycopg2.") => {
                self.report(&pending.place, "error", error.message.clone(), |_| {});
            }
            _ if error.is_user_error() => {
                self.report(&pending.place, "error", error.message.clone(), |_| {})
            }
            _ => {
                let name = error.name();
                let class = name.strip_prefix("builtins.").unwrap_or(&name).to_owned();
                let text = format!(
                    "Unknown error during import: <class '{class}'>: {}",
                    error.text()
                );
                self.report(&pending.place, "error", text, |message| {
                    message.insert("moreinfo".into(), json!("Resolve other errors first"));
                });
            }
        }
    }

    /// Creates or updates, and names with external ids. Ids in the order of the rows.
    fn save(&mut self, batch: &[Pending]) -> Outcome<Vec<i64>> {
        let model = self.model;
        let mut ids: Vec<Option<i64>> = vec![None; batch.len()];
        let (mut new, mut changed) = (vec![], vec![]);
        for (at, pending) in batch.iter().enumerate() {
            let Some(external) = &pending.external else {
                match pending.vals.get("id").and_then(Json::as_i64) {
                    Some(id) => {
                        ids[at] = Some(id);
                        changed.push(at);
                    }
                    None if self.update => {
                        return Err(Exception::validation(
                            "Cannot update a record without specifying its id or xml_id",
                        ));
                    }
                    None => new.push(at),
                }
                continue;
            };
            match self
                .env
                .external_id(external)
                .filter(|known| self.sees(known.commit))
            {
                None => new.push(at),
                Some(known) if known.model != model.name => {
                    return Err(Exception::validation(format!(
                        "For external id {external} when trying to create/update a record of model {} found record of \
                         different model {} ({})",
                        model.name, known.model, known.row
                    )));
                }
                // The record was deleted behind the external id's back: the id starts anew.
                Some(known) if !self.env.exists(model, known.target) => {
                    self.env.drop_external_id(known.row);
                    new.push(at);
                }
                Some(known) => {
                    ids[at] = Some(known.target);
                    if !(self.update && known.no_update) {
                        changed.push(at);
                    }
                }
            }
        }
        for at in changed {
            if let Some(id) = ids[at] {
                self.env.write(model, &[id], &batch[at].vals)?;
            }
        }
        let vals: Vec<_> = new.iter().map(|at| batch[*at].vals.clone()).collect();
        for (at, id) in new.iter().zip(self.env.create(model, &vals)?) {
            ids[*at] = Some(id);
        }
        self.name_records(batch, &ids, &new)?;
        Ok(ids.into_iter().flatten().collect())
    }

    fn name_records(
        &mut self,
        batch: &[Pending],
        ids: &[Option<i64>],
        new: &[usize],
    ) -> Outcome<()> {
        let mut seen = HashSet::new();
        for (at, pending) in batch.iter().enumerate() {
            let (Some(external), Some(id)) = (&pending.external, ids[at]) else {
                continue;
            };
            // One INSERT … ON CONFLICT names them all, and it refuses to touch a row twice.
            if !seen.insert(external) && new.contains(&at) {
                let message = "ON CONFLICT DO UPDATE command cannot affect row a second time\n";
                return Err(Exception::database("CardinalityViolation", message));
            }
            self.name_parent(external, id, pending, new.contains(&at))?;
            self.env
                .set_external_id(external, self.model, id, self.no_update, self.update)?;
        }
        Ok(())
    }

    /// The parent record of a model that `_inherits` gets a derived external id.
    fn name_parent(
        &mut self,
        external: &str,
        id: i64,
        pending: &Pending,
        new: bool,
    ) -> Outcome<()> {
        let Some((parent, link)) = self.model.inherits else {
            return Ok(());
        };
        let given = pending
            .vals
            .get(link)
            .is_some_and(crate::orm::python::truthy);
        if !new || given {
            return Ok(());
        }
        let row = self.env.row(self.model, id)?;
        if let Some(target) = row[self.model.at(link)].as_ref_id() {
            let name = format!("{external}_{}", parent.replace('.', "_"));
            self.env.set_external_id(
                &name,
                registry().model(parent),
                target,
                self.no_update,
                self.update,
            )?;
        }
        Ok(())
    }
}
