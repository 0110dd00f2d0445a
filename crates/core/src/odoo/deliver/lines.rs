//! Lines that do not travel inside their record: each is a record of its own that names its parent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Delivery;
use super::create::Record;
use super::update::Change;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::values::{Line, Reference, Typed, Values};

/// A line with the number of its record, that record's id, and the one2many it stands in.
pub(super) type Placed<'l> = (usize, i64, &'l str, &'l Line);

impl Delivery<'_> {
    /// Makes, changes or deletes `lines` of records of `model`. Returns the failures, by the number of their record. Lines that
    /// are not named stay as they are.
    pub(super) fn save_lines(
        &mut self,
        model: &str,
        lines: &[Placed<'_>],
    ) -> Vec<(usize, Failure)> {
        if lines.is_empty() {
            return Vec::new();
        }
        let mut by_field: BTreeMap<&str, Vec<Placed<'_>>> = BTreeMap::new();
        for line in lines {
            by_field.entry(line.2).or_default().push(*line);
        }
        let mut failures = Vec::new();
        for (field, lines) in by_field {
            match self.relation(model, field) {
                Ok((relation, back)) => {
                    failures.extend(self.save_lines_of(&relation, &back, &lines))
                }
                Err(failure) => {
                    failures.extend(lines.iter().map(|(record, ..)| (*record, failure.clone())))
                }
            }
        }
        failures
    }

    fn save_lines_of(
        &mut self,
        relation: &str,
        back: &str,
        lines: &[Placed<'_>],
    ) -> Vec<(usize, Failure)> {
        let strangers = self.strangers(relation, back, lines);
        let refused: BTreeSet<usize> = strangers.iter().map(|(record, _)| *record).collect();
        let (removed, kept): (Vec<_>, Vec<_>) = lines
            .iter()
            .filter(|(record, ..)| !refused.contains(record))
            .partition(|(.., line)| line.removed);
        // First what goes: a new line may take its place.
        let removed = self.remove_lines_of(relation, &removed);
        let mut made: Vec<(usize, String, Values)> = Vec::new();
        let mut changed: Vec<(usize, i64, &Values)> = Vec::new();
        for (record, parent, _, line) in kept {
            match &line.identity {
                Reference::Id(id) => changed.push((*record, *id, &line.values)),
                Reference::External(name) => {
                    let mut values = line.values.clone();
                    values.insert(back.to_owned(), Typed::One(Some(Reference::Id(*parent))));
                    made.push((*record, name.clone(), values));
                }
            }
        }
        let records: Vec<Record<'_>> = made
            .iter()
            .map(|(_, name, values)| Record {
                external_id: name.clone(),
                values,
                changes: None,
                back: Some(back),
            })
            .collect();
        let made_results = self.upsert_records(relation, &records);
        let changes: Vec<Change<'_>> = changed
            .iter()
            .map(|(_, id, values)| Change { id: *id, values })
            .collect();
        let changed_results = self.change(relation, &changes);
        let made = made
            .iter()
            .zip(made_results)
            .filter_map(|((record, ..), result)| Some((*record, result.err()?)));
        let changed = changed
            .iter()
            .zip(changed_results)
            .filter_map(|((record, ..), result)| Some((*record, result.err()?)));
        strangers
            .into_iter()
            .chain(removed)
            .chain(made)
            .chain(changed)
            .map(|(record, failure)| (record, of_line(relation, failure)))
            .collect()
    }

    /// Records of which a line is named by its Odoo id and is none of theirs, with why. An id says nothing of whose line it is, and
    /// whoever may enqueue for one record may not thereby change those of all others.
    fn strangers(
        &mut self,
        relation: &str,
        back: &str,
        lines: &[Placed<'_>],
    ) -> Vec<(usize, Failure)> {
        let named: Vec<(usize, i64, i64)> = lines
            .iter()
            .filter_map(|(record, parent, _, line)| match &line.identity {
                Reference::Id(id) => Some((*record, *parent, *id)),
                Reference::External(_) => None,
            })
            .collect();
        if named.is_empty() {
            return Vec::new();
        }
        let ids: BTreeSet<i64> = named.iter().map(|(.., id)| *id).collect();
        let parents = match self.parents(relation, back, &ids) {
            Ok(parents) => parents,
            Err(failure) => {
                let failed = |(record, ..): &(usize, i64, i64)| (*record, failure.clone());
                return named.iter().map(failed).collect();
            }
        };
        named
            .iter()
            .filter(|(_, parent, id)| {
                let of = parents.get(id);
                of.is_some_and(|of| *of != Some(*parent))
            })
            .map(|(record, _, id)| (*record, no_line(relation, *id)))
            .collect()
    }

    /// The record that each of these lines belongs to; `None` where nobody may see it. One that is gone is left out: what is done to it
    /// next says so, and harms nobody.
    fn parents(
        &mut self,
        relation: &str,
        back: &str,
        ids: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, Option<i64>>, Failure> {
        let mut call = self
            .new_call(relation, "search_read")
            .with("domain", json!([["id", "in", ids]]))
            .with("fields", json!([back]));
        call.context.insert("active_test".to_owned(), json!(false));
        let Value::Array(read) = self.ask(&call)? else {
            return Err(Failure::new(
                ErrorClass::Server,
                format!("search_read of {relation} answered no list"),
            ));
        };
        let of = |record: &Value| {
            // A many2one is [id, name]; a reference by id alone is a number.
            let parent = record[back][0].as_i64().or(record[back].as_i64());
            Some((record["id"].as_i64()?, parent))
        };
        let mut parents: BTreeMap<i64, Option<i64>> = read.iter().filter_map(of).collect();
        // What a search does not find is gone, or hidden from us by a rule that may allow to delete it all the same.
        let unseen: Vec<i64> = ids
            .iter()
            .filter(|id| !parents.contains_key(id))
            .copied()
            .collect();
        let hidden = self.hidden(relation, &unseen)?;
        parents.extend(hidden.into_iter().map(|id| (id, None)));
        Ok(parents)
    }

    /// Those of `unseen` that are not gone. One that is hidden makes the answer about all of them an error, so halves are asked for then.
    fn hidden(&mut self, relation: &str, unseen: &[i64]) -> Result<Vec<i64>, Failure> {
        if unseen.is_empty() {
            return Ok(Vec::new());
        }
        match self.gone(relation, &unseen.iter().copied().collect())? {
            Some(gone) => Ok(unseen
                .iter()
                .filter(|id| !gone.contains(id))
                .copied()
                .collect()),
            None if unseen.len() == 1 => Ok(unseen.to_vec()),
            None => {
                let (first, second) = unseen.split_at(unseen.len() / 2);
                let mut hidden = self.hidden(relation, first)?;
                hidden.extend(self.hidden(relation, second)?);
                Ok(hidden)
            }
        }
    }

    /// Deletes lines. One that is gone already is a success.
    fn remove_lines_of(&mut self, relation: &str, lines: &[&Placed<'_>]) -> Vec<(usize, Failure)> {
        let mut failures = Vec::new();
        let mut targets: Vec<(usize, i64)> = Vec::new();
        for (record, _, _, line) in lines {
            let id = match &line.identity {
                Reference::Id(id) => Ok(Some(*id)),
                Reference::External(name) => self.lookup(name, Some(relation)),
            };
            match id {
                Ok(id) => targets.extend(id.map(|id| (*record, id))),
                Err(failure) => failures.push((*record, failure)),
            }
        }
        let ids: Vec<i64> = targets.iter().map(|(_, id)| *id).collect();
        let results = match self.existing(relation, &ids) {
            _ if ids.is_empty() => Vec::new(),
            // One `unlink` with a missing id deletes none, so that these two never travel together.
            Ok(seen) => {
                let (there, unseen): (Vec<i64>, Vec<i64>) =
                    ids.iter().partition(|id| seen.contains(id));
                let there = there.iter().copied().zip(self.unlink(relation, &there));
                let unseen = unseen.iter().copied().zip(self.unlink(relation, &unseen));
                there.chain(unseen).collect()
            }
            Err(failure) => ids.iter().map(|id| (*id, Err(failure.clone()))).collect(),
        };
        let results: BTreeMap<i64, Result<Option<i64>, Failure>> = results.into_iter().collect();
        failures.extend(targets.into_iter().filter_map(|(record, id)| {
            let failure = results.get(&id)?.as_ref().err()?;
            Some((record, failure.clone()))
        }));
        failures
    }

    /// The model of the lines in `field`, and the many2one that points back.
    fn relation(&mut self, model: &str, field: &str) -> Result<(String, String), Failure> {
        let fields = self.fields(model)?;
        let described = fields
            .get(field)
            .and_then(|field| Some((field.relation.clone()?, field.relation_field.clone()?)));
        described.ok_or_else(|| {
            Failure::new(
                ErrorClass::Invalid,
                format!("the lines of {model}.{field} name no field that points back"),
            )
            .with_remedy("Send the lines in rows of their own.")
        })
    }
}

fn no_line(relation: &str, id: i64) -> Failure {
    Failure::new(
        ErrorClass::Invalid,
        format!("{relation}({id}) is no line of this record"),
    )
    .with_remedy(
        "Name lines of the record itself; one of another record is changed by a row for that one.",
    )
}

fn of_line(relation: &str, mut failure: Failure) -> Failure {
    failure.message = Failure::new(
        failure.class,
        format!("a line ({relation}): {}", failure.message),
    )
    .message;
    failure
}
