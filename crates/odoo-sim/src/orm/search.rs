//! `search`: candidates, the domain, archived records, order and page.

use super::domain::{self, Domain};
use super::env::Env;
use super::field::Kind;
use super::model::{Model, registry};
use super::python::quoted;
use super::value::Value;
use crate::exception::{Exception, Outcome};
use serde_json::Value as Json;
use std::cmp::Ordering;

impl Env<'_> {
    /// Ids of matching records, sorted and cut to the page.
    pub fn search(
        &self,
        model: &'static Model,
        domain: &Json,
        offset: usize,
        limit: Option<usize>,
        order: Option<&str>,
    ) -> Outcome<Vec<i64>> {
        self.check_access(model, "read")?;
        let domain = domain::parse(domain)?;
        domain.check(model)?;
        let order = match order.map(str::trim).filter(|order| !order.is_empty()) {
            Some(order) => {
                check_order(model, order)?;
                order
            }
            None => model.order,
        };
        let hide_archived = model.has_active() && self.active_test() && !domain.mentions_active();
        let active_at = if hide_archived {
            Some(model.at("active"))
        } else {
            None
        };
        let keep = |id: &i64| {
            self.store.get(model.index, *id).is_some_and(|record| {
                active_at.is_none_or(|at| record.row[at].as_bool())
                    && domain.matches(self, model, *id, &record.row)
            })
        };
        let end = limit.map_or(usize::MAX, |limit| offset.saturating_add(limit));
        let by_id = order.eq_ignore_ascii_case("id") || order.eq_ignore_ascii_case("id asc");
        let mut found: Vec<i64> = match self.candidates(model, &domain) {
            Some(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                ids.into_iter().filter(keep).collect()
            }
            // In the order of ids the page is full before the table is read.
            None if by_id => self
                .store
                .ids_from(model.index, floor(&domain))
                .filter(keep)
                .take(end)
                .collect(),
            None => self.store.ids(model.index).filter(keep).collect(),
        };
        if !by_id {
            self.sort(model, &mut found, order);
        }
        Ok(found
            .into_iter()
            .skip(offset)
            .take(end.saturating_sub(offset))
            .collect())
    }

    /// The only records that can match, where the domain says so by id or by reference.
    fn candidates(&self, model: &'static Model, domain: &Domain) -> Option<Vec<i64>> {
        match domain {
            Domain::All(parts) => parts.iter().find_map(|part| self.candidates(model, part)),
            Domain::Condition {
                path,
                operator,
                value,
            } => {
                let wanted: Vec<i64> = match (operator.as_str(), value) {
                    ("=", Json::Number(id)) => vec![id.as_i64()?],
                    ("in", Json::Array(ids)) => {
                        ids.iter().map(Json::as_i64).collect::<Option<_>>()?
                    }
                    _ => return None,
                };
                let field = model.field(path)?;
                match field.kind {
                    _ if path == "id" => Some(wanted),
                    Kind::Many2one { .. } if field.stored => Some(
                        wanted
                            .into_iter()
                            .flat_map(|target| self.pointing(model, path, target))
                            .collect(),
                    ),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Sorts ids by an order specification.
    pub fn sort(&self, model: &'static Model, ids: &mut [i64], order: &str) {
        let keys: Vec<(usize, bool)> = order
            .split(',')
            .filter_map(|part| order_key(model, part))
            .collect();
        ids.sort_by(|left, right| {
            let (Some(left_row), Some(right_row)) = (
                self.store.get(model.index, *left),
                self.store.get(model.index, *right),
            ) else {
                return Ordering::Equal;
            };
            for (at, descending) in &keys {
                let field = &model.fields[*at];
                let value = |row| self.field_value(model, row, field);
                let order = match field.kind {
                    Kind::Many2one { comodel, .. } => {
                        let name = |value: Value| {
                            value
                                .as_ref_id()
                                .map(|id| self.display_name(registry().model(comodel), id))
                        };
                        name(value(&left_row.row)).cmp(&name(value(&right_row.row)))
                    }
                    _ => compare(&value(&left_row.row), &value(&right_row.row)),
                };
                if order != Ordering::Equal {
                    return if *descending { order.reverse() } else { order };
                }
            }
            left.cmp(right)
        });
    }
}

/// Nulls last, as Postgres sorts.
fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (Value::Str(left), Value::Str(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (left, right) => left
            .as_f64()
            .partial_cmp(&right.as_f64())
            .unwrap_or(Ordering::Equal),
    }
}

fn order_key(model: &Model, part: &str) -> Option<(usize, bool)> {
    let mut words = part.split_whitespace();
    let at = model.position(words.next()?)?;
    Some((
        at,
        words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("desc")),
    ))
}

fn check_order(model: &Model, order: &str) -> Outcome<()> {
    for part in order.split(',') {
        let words: Vec<&str> = part.split_whitespace().collect();
        let well_formed = matches!(words.as_slice(), [_] | [_, _] | [_, _, _, _])
            && words.get(1).is_none_or(|word| {
                ["asc", "desc", "nulls"].contains(&word.to_lowercase().as_str())
            })
            && words[0]
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if !well_formed {
            return Err(Exception::user(format!(
                "Invalid \"order\" specified ({order}). A valid \"order\" specification is a comma-separated list of valid \
                 field names (optionally followed by asc/desc for the direction)"
            )));
        }
        let name = words[0].split('.').next().unwrap_or_default();
        if model.position(name).is_none() {
            let message = format!(
                "Invalid field {} on model {}",
                quoted(name),
                quoted(model.name)
            );
            return Err(Exception::value_error(message));
        }
    }
    Ok(())
}

/// The lowest id that can match: what makes paging by id cheap.
fn floor(domain: &Domain) -> i64 {
    match domain {
        Domain::All(parts) => parts.iter().map(floor).max().unwrap_or(i64::MIN),
        Domain::Condition {
            path,
            operator,
            value,
        } if path == "id" => match (operator.as_str(), value.as_i64()) {
            (">", Some(id)) => id.saturating_add(1),
            (">=", Some(id)) => id,
            _ => i64::MIN,
        },
        _ => i64::MIN,
    }
}
