//! How changes of several records travel: in as few calls as this Odoo offers.
//!
//! | changes | call |
//! |---|---|
//! | equal ones | one `write` |
//! | different ones | one `web_save_multi` (Odoo 19) |
//! | different ones, on an Odoo without it | one `write` for each set of equal values, one `load` by `.id` for the rest |
//!
//! Each is all or nothing. On Odoo 19, 100 different changes of partners went at 174/s by `web_save_multi`, at 62 to 127/s by
//! `load`, and at 16 to 19/s by a `write` each; with two callers at 278 to 374, 121 to 127, and 26 to 27.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Delivery;
use super::apart::{comes_again, not_sent};
use super::divide::Refusal;
use super::update::missing;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::judge::load::{self, Loaded};
use crate::odoo::judge::names_record;
use crate::odoo::values::cell::{Sheet, matrix};
use crate::odoo::values::{Reference, Typed, Values};

/// One change, as a write takes it.
pub(super) struct Written {
    /// Its number among the changes that were asked for.
    pub place: usize,
    pub id: i64,
    pub native: Map<String, Value>,
    /// The same for a `load`, where it can carry it.
    pub cells: Option<Values>,
}

impl Delivery<'_> {
    /// Writes what can go together in one call; one result per change. Changes of one record take effect in their order.
    pub(super) fn write_all(
        &mut self,
        model: &str,
        written: &[Written],
    ) -> Vec<Result<(), Failure>> {
        let mut results: BTreeMap<usize, Result<(), Failure>> = BTreeMap::new();
        // Records whose earlier change must be sent again, so that a later one must not go before it.
        let mut waiting: BTreeSet<i64> = BTreeSet::new();
        for wave in waves(written) {
            let (stay, go): (Vec<usize>, Vec<usize>) = wave
                .into_iter()
                .partition(|at| waiting.contains(&written[*at].id));
            results.extend(stay.into_iter().map(|at| (at, Err(not_sent()))));
            for (at, result) in self.write_wave(model, written, &go) {
                if matches!(&result, Err(failure) if comes_again(failure.class)) {
                    waiting.insert(written[at].id);
                }
                results.insert(at, result);
            }
        }
        let lost = || Err(Failure::new(ErrorClass::Bug, "a write has no result"));
        (0..written.len())
            .map(|at| results.remove(&at).unwrap_or_else(lost))
            .collect()
    }

    /// Writes the changes at `go`, of which no two are of one record.
    fn write_wave(
        &mut self,
        model: &str,
        written: &[Written],
        go: &[usize],
    ) -> Vec<(usize, Result<(), Failure>)> {
        let mut known_missing: BTreeSet<i64> = BTreeSet::new();
        let text = |at: &usize| Value::Object(written[*at].native.clone()).to_string();
        let mut sets = alike(go.to_vec(), text);
        if sets.len() > 1 && self.gateway.has_web_save_multi() != Some(false) {
            let results = self.divide(go.len(), |delivery, places| {
                let group = chosen(written, go, places);
                delivery.write(model, &group, &mut known_missing)
            });
            if self.gateway.has_web_save_multi() != Some(false) {
                return go.iter().copied().zip(results).collect();
            }
            // It was tried just now, and this Odoo does not have it: nothing took effect.
        }
        let mut results = Vec::with_capacity(go.len());
        let mut different: Vec<usize> = Vec::new();
        if sets.len() > 1 {
            sets.retain(|set| {
                let alone = set.len() == 1 && set.iter().all(|at| written[*at].cells.is_some());
                different.extend(set.iter().filter(|_| alone));
                !alone
            });
        }
        for set in sets {
            let sent = self.divide(set.len(), |delivery, places| {
                let group = chosen(written, &set, places);
                delivery.write(model, &group, &mut known_missing)
            });
            results.extend(set.iter().copied().zip(sent));
        }
        for set in alike(different, |at| {
            written[*at].native.keys().collect::<Vec<_>>()
        }) {
            let sent = self.divide(set.len(), |delivery, places| {
                let group = chosen(written, &set, places);
                // `load` does not find what is archived, and has other words for what is gone: the last word is a write's.
                match group.as_slice() {
                    [_] => delivery.write(model, &group, &mut known_missing),
                    _ => delivery.load_changes(model, &group),
                }
            });
            results.extend(set.iter().copied().zip(sent));
        }
        results
    }

    /// One attempt at writing `group`; `known_missing` gathers ids that Odoo was asked about after it missed one.
    fn write(
        &mut self,
        model: &str,
        group: &[&Written],
        known_missing: &mut BTreeSet<i64>,
    ) -> Result<Vec<()>, Refusal> {
        if let [one] = group
            && known_missing.contains(&one.id)
        {
            return Err(missing(model, one.id).into());
        }
        match self.write_once(model, group) {
            Ok(()) => Ok(vec![(); group.len()]),
            Err(failure) if failure.class == ErrorClass::Missing => {
                Err(self.find_missing(model, group, known_missing, failure))
            }
            Err(failure) => Err(self.with_rights(failure.into(), model, "write")),
        }
    }

    fn write_once(&mut self, model: &str, group: &[&Written]) -> Result<(), Failure> {
        let ids: Vec<i64> = group.iter().map(|written| written.id).collect();
        let Some(first) = group.first() else {
            return Ok(());
        };
        if group.iter().all(|written| written.native == first.native) {
            let distinct: BTreeSet<i64> = ids.iter().copied().collect();
            let distinct: Vec<i64> = distinct.into_iter().collect();
            let call = self
                .new_call(model, "write")
                .on(&distinct)
                .with("vals", Value::Object(first.native.clone()));
            return self.send(&call).map(drop);
        }
        let values: Vec<&Map<String, Value>> =
            group.iter().map(|written| &written.native).collect();
        let call = self
            .new_call(model, "web_save_multi")
            .on(&ids)
            .with("vals_list", json!(values))
            .with("specification", json!({}));
        let answer = self.send(&call);
        match &answer {
            Ok(_) => self.gateway.learn_web_save_multi(true),
            Err(failure)
                if failure.class == ErrorClass::UnknownModel
                    && failure.message.contains("web_save_multi") =>
            {
                self.gateway.learn_web_save_multi(false);
            }
            Err(_) => {}
        }
        answer.map(drop)
    }

    /// One attempt at changing `group`, all of the same fields, by `load`.
    fn load_changes(&mut self, model: &str, group: &[&Written]) -> Result<Vec<()>, Refusal> {
        let sheets: Vec<Sheet> = group
            .iter()
            .filter_map(|written| Sheet::of_record(written.id, written.cells.as_ref()?))
            .collect();
        let lost = || Failure::new(ErrorClass::Bug, "a change is no row of a load");
        if sheets.len() != group.len() {
            return Err(lost().into());
        }
        let matrix = matrix(&sheets.iter().collect::<Vec<_>>());
        let mut call = self
            .new_call(model, "load")
            .with("fields", matrix.fields)
            .with("data", json!(matrix.data));
        // Our times are in UTC, whatever the time zone of the connection's context.
        call.context.insert("tz".to_owned(), json!("UTC"));
        let answer = self.send(&call)?;
        match load::judge(&call, &answer, group.len()) {
            Loaded::Ids(_) => Ok(vec![(); group.len()]),
            Loaded::Refused { failure, .. } => {
                if failure.class == ErrorClass::Unknown {
                    self.halted = super::after(&failure);
                }
                Err(self.with_rights(failure.into(), model, "write"))
            }
        }
    }

    /// `values` with the ids that [`Delivery::native`] found, as a `load` takes them; `None` where it cannot carry them.
    pub(super) fn resolved(&self, values: &Values) -> Option<Values> {
        let id = |reference: &Reference| match reference {
            Reference::Id(id) => Some(Reference::Id(*id)),
            Reference::External(name) => {
                self.lookups.get(name).copied().flatten().map(Reference::Id)
            }
        };
        let mut resolved = Values::new();
        for (name, value) in values {
            let value = match value {
                Typed::One(Some(reference)) => Typed::One(Some(id(reference)?)),
                Typed::Many(references) => {
                    Typed::Many(references.iter().map(id).collect::<Option<_>>()?)
                }
                Typed::Late(_) => return None,
                // They are written by themselves.
                Typed::Lines(_) => continue,
                Typed::Null | Typed::Scalar(_) | Typed::Json(_) | Typed::One(None) => value.clone(),
            };
            resolved.insert(name.clone(), value);
        }
        Some(resolved)
    }

    /// Names the records of `group` that are gone, confirmed by a search.
    fn find_missing(
        &mut self,
        model: &str,
        group: &[&Written],
        known_missing: &mut BTreeSet<i64>,
        failure: Failure,
    ) -> Refusal {
        let ids: Vec<i64> = group.iter().map(|written| written.id).collect();
        let distinct: BTreeSet<i64> = ids.iter().copied().collect();
        let gone = match self.missing_of(model, &distinct, &failure) {
            Ok(gone) => gone,
            Err(failure) => return failure.into(),
        };
        let mut named = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            if gone.contains(id) {
                known_missing.insert(*id);
                named.push((place, missing(model, *id)));
            }
        }
        let failure = match distinct.first() {
            Some(id) if distinct.len() == 1 => missing(model, *id),
            _ => failure,
        };
        Refusal {
            failure,
            named,
            of_all: false,
        }
    }

    /// Those of `ids` that are gone, after `failure` said that one is. Not all that a search does not find is: it may be hidden.
    fn missing_of(
        &mut self,
        model: &str,
        ids: &BTreeSet<i64>,
        failure: &Failure,
    ) -> Result<BTreeSet<i64>, Failure> {
        let all: Vec<i64> = ids.iter().copied().collect();
        let existing = self.existing(model, &all)?;
        let unseen: BTreeSet<i64> = ids.difference(&existing).copied().collect();
        if unseen.is_empty() {
            // It is there after all: someone made or restored it meanwhile, or Odoo missed it under a lock.
            return Err(Failure::new(
                ErrorClass::Conflict,
                format!("Odoo missed a record that it has: {}", failure.message),
            ));
        }
        let named = |id: &i64| names_record(&failure.message, model, *id);
        if unseen.iter().all(named) {
            return Ok(unseen);
        }
        let named: BTreeSet<i64> = unseen.iter().copied().filter(named).collect();
        Ok(self.gone(model, &unseen)?.unwrap_or(named))
    }
}

/// Changes in groups that go one after another, no record twice in one of them. Where all are equal their order does not matter.
fn waves(written: &[Written]) -> Vec<Vec<usize>> {
    if written
        .windows(2)
        .all(|pair| pair[0].native == pair[1].native)
    {
        return vec![(0..written.len()).collect()];
    }
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut before: BTreeMap<i64, usize> = BTreeMap::new();
    for (at, written) in written.iter().enumerate() {
        let wave = before.entry(written.id).or_default();
        if waves.len() == *wave {
            waves.push(Vec::new());
        }
        waves[*wave].push(at);
        *wave += 1;
    }
    waves
}

/// Items in sets of one quality, in the order in which each was first met.
fn alike<K: Ord>(items: Vec<usize>, quality: impl Fn(&usize) -> K) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = Vec::new();
    let mut known: BTreeMap<K, usize> = BTreeMap::new();
    for item in items {
        let set = *known.entry(quality(&item)).or_insert(sets.len());
        if set == sets.len() {
            sets.push(Vec::new());
        }
        sets[set].push(item);
    }
    sets
}

fn chosen<'w>(written: &'w [Written], of: &[usize], places: &[usize]) -> Vec<&'w Written> {
    places.iter().map(|place| &written[of[*place]]).collect()
}
