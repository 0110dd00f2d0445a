//! `unlink`: foreign keys, cascades and the external ids that go with a record.

use super::create::in_use;
use super::env::Env;
use super::field::{Kind, OnDelete};
use super::model::{Model, registry};
use super::value::Value;
use crate::exception::Outcome;

impl Env<'_> {
    /// Deletes records; falsy ids are skipped, a missing one raises.
    pub fn unlink(&mut self, model: &'static Model, ids: &[i64]) -> Outcome<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.check_access(model, "unlink")?;
        self.check_exist(model, ids)?;
        let mut ids: Vec<i64> = ids.iter().copied().filter(|id| *id != 0).collect();
        ids.sort_unstable();
        ids.dedup();
        if let Some(guard) = model.hooks.guard_unlink {
            for id in &ids {
                guard(self, *id)?;
            }
        }
        self.delete(model, &ids)
    }

    fn delete(&mut self, model: &'static Model, ids: &[i64]) -> Outcome<()> {
        let mut rows = vec![];
        for id in ids {
            if let Some(record) = self.store.get(model.index, *id) {
                rows.push((*record.row).clone());
            }
        }
        for id in ids {
            self.release(model, *id, ids)?;
        }
        for id in ids {
            for external in self.store.externals_of(model.name, *id) {
                self.drop_external_id(external);
            }
            self.store.put(model.index, *id, None);
        }
        if let Some(unlinked) = model.hooks.unlinked {
            unlinked(self, &rows)?;
        }
        Ok(())
    }

    /// Treats everything that points to a record about to go, as its `ondelete` says.
    fn release(&mut self, model: &'static Model, id: i64, going: &[i64]) -> Outcome<()> {
        for reference in &registry().references[model.index] {
            let holder = &registry().models[reference.model];
            let field = &holder.fields[reference.field];
            let holders = self.store.pointing(reference.model, reference.field, id);
            if holders.is_empty() {
                continue;
            }
            match field.kind {
                Kind::Many2many { .. } => {
                    for holder_id in holders {
                        let row = self.row(holder, holder_id)?;
                        let left = row[reference.field]
                            .as_ids()
                            .iter()
                            .copied()
                            .filter(|target| *target != id)
                            .collect();
                        self.set(holder, holder_id, &[(field.name, Value::Ids(left))])?;
                    }
                }
                Kind::Many2one {
                    on_delete: OnDelete::Restrict,
                    ..
                } => {
                    let also_going =
                        |other: &i64| holder.index == model.index && going.contains(other);
                    if !holders.iter().all(also_going) {
                        return Err(in_use(holder, field));
                    }
                }
                Kind::Many2one {
                    on_delete: OnDelete::Cascade,
                    ..
                } => self.delete(holder, &holders)?,
                _ => {
                    for holder_id in holders {
                        self.set(holder, holder_id, &[(field.name, Value::Null)])?;
                    }
                }
            }
        }
        Ok(())
    }
}
