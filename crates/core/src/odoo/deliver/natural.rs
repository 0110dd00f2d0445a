//! References by a natural key: `{"by": {"code": "DE"}}` is the record of the field's model whose `code` is `DE`. One question per
//! model and field finds the ids of a whole batch; what is sent then names records by id.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::Delivery;
use super::apart::comes_again;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::fields::ModelFields;
use crate::outbox::Row;

/// Keys of one question.
const MOST: usize = 1_000;

/// A record by one of its fields: model, field, value as text.
type Key = (String, String, String);

/// What Odoo has under each key.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Several where the key is none.
    ids: HashMap<Key, Vec<i64>>,
    /// Models that cannot be searched by a field: the rows that do are refused, and no other.
    refused: HashMap<(String, String), Failure>,
}

impl Delivery<'_> {
    /// Asks for the natural keys in the payloads of `rows`.
    pub(super) fn natural_keys(&mut self, rows: &[&Row]) -> Result<Found, Failure> {
        let payloads = || {
            rows.iter()
                .flat_map(|row| [Some(&row.payload), row.changes.as_ref()])
                .flatten()
        };
        let mut found = Found::default();
        if !payloads().any(|payload| payload.values().any(may_be_natural)) {
            return Ok(found);
        }
        let mut keys: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for payload in payloads().filter(|payload| payload.values().any(may_be_natural)) {
            let mut payload = payload.clone();
            self.walk(&self.batch.model, &mut payload, &mut |key, _| {
                let (model, field, value) = key;
                keys.entry((model, field)).or_default().insert(value);
                Ok(())
            })?;
        }
        for ((model, field), values) in keys {
            let values: Vec<String> = values.into_iter().collect();
            for part in values.chunks(MOST) {
                match self.ask_for_all(&model, &field, part) {
                    Ok(ids) => found.ids.extend(
                        ids.into_iter()
                            .map(|(value, ids)| ((model.clone(), field.clone(), value), ids)),
                    ),
                    // Rows that refer to nothing there have nothing to do with it.
                    Err(failure) if !comes_again(failure.class) => {
                        found.refused.insert((model, field), failure);
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(found)
    }

    /// `payload` with ids instead of natural keys. Most have none, and are taken as they are.
    pub(super) fn named<'p>(
        &mut self,
        payload: &'p Map<String, Value>,
        found: &Found,
    ) -> Result<Cow<'p, Map<String, Value>>, Failure> {
        if !payload.values().any(may_be_natural) {
            return Ok(Cow::Borrowed(payload));
        }
        let mut named = payload.clone();
        self.walk(&self.batch.model, &mut named, &mut |key, value| {
            *value = json!(found.id(&key)?);
            Ok(())
        })?;
        Ok(Cow::Owned(named))
    }

    /// The ids under each of `values`: all of them, or two where there are more.
    fn ask_for_all(
        &mut self,
        model: &str,
        field: &str,
        values: &[String],
    ) -> Result<HashMap<String, Vec<i64>>, Failure> {
        let mut found: HashMap<String, Vec<i64>> = HashMap::new();
        let mut wanted = values.to_vec();
        while !wanted.is_empty() {
            let records = self.ask_for(model, field, &wanted)?;
            let is_full = records.len() > 2 * wanted.len();
            let mut seen: HashMap<String, Vec<i64>> = HashMap::new();
            for (value, id) in records {
                seen.entry(value).or_default().push(id);
            }
            // One that has many records pushes those of others out of a full answer.
            let before = wanted.len();
            wanted.retain(|value| is_full && seen.get(value).is_none_or(|ids| ids.len() < 2));
            found.extend(seen);
            if wanted.len() == before {
                break;
            }
        }
        Ok(found)
    }

    fn ask_for(
        &mut self,
        model: &str,
        field: &str,
        values: &[String],
    ) -> Result<Vec<(String, i64)>, Failure> {
        let mut call = self
            .new_call(model, "search_read")
            .with("domain", json!([[field, "in", values]]))
            .with("fields", json!([field]))
            // Two of a kind are enough to see that it is no key.
            .with("limit", json!(2 * values.len() + 1))
            .with("order", json!("id"));
        // A key is what it is in no language.
        call.context.remove("lang");
        let answer = self.ask(&call).map_err(|failure| match failure.class {
            ErrorClass::Invalid | ErrorClass::Bug => Failure::new(
                ErrorClass::Invalid,
                format!(
                    "{model} cannot be searched by {field:?}: {}",
                    failure.message
                ),
            )
            .with_remedy("\"by\" names a stored field of the model that is referred to."),
            _ => failure,
        })?;
        let Value::Array(records) = answer else {
            return Err(Failure::new(
                ErrorClass::Server,
                format!("search_read of {model} answered no list"),
            ));
        };
        Ok(records
            .iter()
            .filter_map(|record| Some((text(record.get(field)?)?, record["id"].as_i64()?)))
            .collect())
    }

    /// Goes through what may refer: many2one, many2many and, in lines, those of the lines.
    fn walk(
        &mut self,
        model: &str,
        payload: &mut Map<String, Value>,
        visit: &mut dyn FnMut(Key, &mut Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let fields = self.fields(model)?;
        for (name, value) in payload
            .iter_mut()
            .filter(|(_, value)| may_be_natural(value))
        {
            let Some(field) = fields.get(name) else {
                continue;
            };
            let Some(relation) = field.relation.as_deref() else {
                continue;
            };
            match (field.kind.as_str(), value) {
                ("many2one" | "many2many", Value::Array(items)) => {
                    for item in items {
                        visit_one(relation, item, visit)?;
                    }
                }
                ("many2one" | "many2many", value) => visit_one(relation, value, visit)?,
                ("one2many", Value::Array(lines)) => {
                    let of_lines = self.fields(relation)?;
                    for line in lines.iter_mut().filter_map(as_line) {
                        walk_line(&of_lines, line, visit)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Found {
    fn id(&self, key: &Key) -> Result<i64, Failure> {
        let (model, field, value) = key;
        if let Some(failure) = self.refused.get(&(model.clone(), field.clone())) {
            return Err(failure.clone());
        }
        match self.ids.get(key).map_or(&[][..], Vec::as_slice) {
            [id] => Ok(*id),
            [] => Err(Failure::new(
                ErrorClass::Dependency,
                format!("refers to the {model} whose {field} is {value:?}, which Odoo does not have"),
            )
            .with_remedy("It waits for somebody to make that record; check the spelling if nobody will.")),
            several => Err(Failure::new(
                ErrorClass::Invalid,
                format!(
                    "refers to the {model} whose {field} is {value:?}, and Odoo has several: {several:?}"
                ),
            )
            .with_remedy("Refer to it by a field that is different in every record, or by its Odoo id.")),
        }
    }
}

fn walk_line(
    fields: &ModelFields,
    line: &mut Map<String, Value>,
    visit: &mut dyn FnMut(Key, &mut Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (name, value) in line.iter_mut() {
        let relation = fields.get(name).and_then(|field| field.relation.clone());
        if let Some(relation) = relation {
            visit_one(&relation, value, visit)?;
        }
    }
    Ok(())
}

fn visit_one(
    model: &str,
    value: &mut Value,
    visit: &mut dyn FnMut(Key, &mut Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match natural(value) {
        Some((field, of)) => visit((model.to_owned(), field, of), value),
        None => Ok(()),
    }
}

/// The field and the value of `{"by": {field: value}}`.
fn natural(value: &Value) -> Option<(String, String)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let by = object.get("by")?.as_object().filter(|by| by.len() == 1)?;
    let (field, value) = by.iter().next()?;
    Some((field.clone(), text(value)?))
}

/// A key as text: Odoo compares what it is given with what it has.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Scalars are spared.
fn may_be_natural(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.contains_key("by"),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    }
}

/// A line as an object, or as the `[0, 0, {…}]` and `[1, id, {…}]` that Odoo itself uses.
fn as_line(item: &mut Value) -> Option<&mut Map<String, Value>> {
    match item {
        Value::Object(object) => Some(object),
        Value::Array(parts) => parts.get_mut(2)?.as_object_mut(),
        _ => None,
    }
}
