//! What is in Odoo: read, compared with what must be there, and watched for what must never be seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use odoo_sim::Sim;
use pg_etl_core::external_id::{Identity, external_id, line_external_id};
use pg_etl_core::outbox::Operation;
use serde_json::{Map, Value, json};

use crate::case::{MODELS, ORDER, Record, Row};
use crate::expected::{Expected, Fields, compared, plain, written};
use crate::worker::{CONNECTION, NAMESPACE};

const LINES: &str = "sale.order.line";

/// What Odoo had before anything was sent, and the youngest row that was settled for each value.
pub struct World {
    own: BTreeMap<&'static str, BTreeSet<i64>>,
    floors: HashMap<(Record, String), i64>,
}

impl World {
    pub fn of(sim: &Sim) -> Self {
        let own = MODELS
            .into_iter()
            .chain([LINES])
            .map(|model| (model, ids(sim, model).collect()));
        Self {
            own: own.collect(),
            floors: HashMap::new(),
        }
    }

    /// A row is done: from now on none of its values may be followed by an older one.
    pub fn done(&mut self, row: &Row) {
        match row.operation {
            Operation::Delete => self.floors.retain(|(record, _), _| *record != row.record),
            // A create says nothing of a record that was there.
            Operation::Create | Operation::Call => {}
            Operation::Upsert | Operation::Update => {
                for (field, value) in written(row) {
                    if age(&value) == Some(row.id) {
                        let floor = self.floors.entry((row.record, field)).or_default();
                        *floor = row.id.max(*floor);
                    }
                }
            }
        }
    }

    /// Whether an older row's value stands where a younger one's was settled.
    pub fn watch(&self, sim: &Sim) -> Result<(), String> {
        let records = self.read(sim)?;
        for ((record, field), floor) in &self.floors {
            let value = records.get(record).and_then(|fields| fields.get(field));
            if let Some(age) = value.and_then(age).filter(|age| age < floor) {
                let key = record.key();
                return Err(format!(
                    "{key}.{field} is of row {age}, though row {floor} is done"
                ));
            }
        }
        Ok(())
    }

    pub fn compare(&self, sim: &Sim, expected: &Expected) -> Result<(), String> {
        let records = self.read(sim)?;
        for record in records.keys().chain(expected.records.keys()) {
            let (is, ought) = (records.get(record), expected.records.get(record));
            if is != ought {
                let key = record.key();
                return Err(format!("{key} is\n  {is:?}\nand ought to be\n  {ought:?}"));
            }
        }
        Ok(())
    }

    /// Our records. Odoo must have no other new ones, and none under two names.
    fn read(&self, sim: &Sim) -> Result<BTreeMap<Record, Fields>, String> {
        let mut names: HashMap<(String, i64), String> = HashMap::new();
        let mut targets: HashMap<String, (String, i64)> = HashMap::new();
        for (name, model, id) in sim.external_ids() {
            if !name.starts_with(NAMESPACE) {
                continue;
            }
            if targets.insert(name.clone(), (model.clone(), id)).is_some() {
                return Err(format!("the external id {name} is there twice"));
            }
            if let Some(other) = names.insert((model, id), name.clone()) {
                return Err(format!("one record is {other} and {name}"));
            }
        }
        let mut rows: HashMap<(&str, i64), Map<String, Value>> = HashMap::new();
        for (model, own) in &self.own {
            for row in sim.records(model) {
                let id = row["id"].as_i64().unwrap_or_default();
                if !own.contains(&id) && !names.contains_key(&((*model).to_owned(), id)) {
                    return Err(format!("{model}({id}) has no external id: a second record"));
                }
                rows.insert((model, id), row);
            }
        }
        let mut records = BTreeMap::new();
        for (model, name) in MODELS.into_iter().enumerate() {
            for number in 0..3 {
                let record = Record { model, number };
                let external = external(record);
                let Some((_, id)) = targets.get(&external) else {
                    continue;
                };
                let Some(row) = rows.get(&(name, *id)) else {
                    return Err(format!("{} has an external id and no record", record.key()));
                };
                let mut fields = Fields::new();
                for field in compared(model) {
                    fields.insert(
                        (*field).to_owned(),
                        shown(record, field, &row[*field], &names),
                    );
                }
                for key in ["1", "2"].iter().filter(|_| model == ORDER) {
                    let line = line_external_id(&external, "order_line", key);
                    let Some(line) = targets
                        .get(&line)
                        .and_then(|(_, id)| rows.get(&(LINES, *id)))
                    else {
                        continue;
                    };
                    if line["order_id"].as_i64() != Some(*id) {
                        return Err(format!(
                            "line {key} of {} is of another order",
                            record.key()
                        ));
                    }
                    for field in ["name", "product_uom_qty", "price_unit"] {
                        fields.insert(format!("line {key}.{field}"), plain(&line[field]));
                    }
                }
                records.insert(record, fields);
            }
        }
        Ok(records)
    }
}

fn ids(sim: &Sim, model: &str) -> impl Iterator<Item = i64> {
    sim.records(model)
        .into_iter()
        .filter_map(|row| row["id"].as_i64())
}

fn external(record: Record) -> String {
    let key = record.key();
    external_id(
        NAMESPACE,
        CONNECTION,
        MODELS[record.model],
        Identity::RecordKey(&key),
    )
}

/// A value as rows give it: records by their keys, and null for what Odoo shows as false.
fn shown(
    record: Record,
    field: &str,
    value: &Value,
    names: &HashMap<(String, i64), String>,
) -> Value {
    let (Some(id), true) = (value.as_i64(), field.ends_with("_id")) else {
        return if *value == json!(false) {
            Value::Null
        } else {
            plain(value)
        };
    };
    let model = crate::case::refers_to(record.model);
    let name = names.get(&(MODELS[model].to_owned(), id));
    let known = (0..3).map(|number| Record { model, number });
    let found = known
        .into_iter()
        .find(|record| name == Some(&external(*record)));
    found.map_or_else(|| plain(value), |record| json!(record.name()))
}

/// The row that a value is of.
fn age(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.strip_prefix('v')?.parse().ok(),
        Value::Number(number) => number.as_f64().map(|number| number as i64),
        _ => None,
    }
}
