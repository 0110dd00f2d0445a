//! What is tried: rows, how the worker goes about them, and what fails.

use std::collections::BTreeSet;
use std::fmt;

use odoo_sim::{Effect, Fault};
use pg_etl_core::outbox::{Operation, record_name};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Models, in the order of [`Record::model`].
pub const PARTNER: usize = 0;
pub const CATEGORY: usize = 1;
pub const ORDER: usize = 2;
pub const MODELS: [&str; 3] = ["res.partner", "product.category", "sale.order"];
/// Records of each model.
const RECORDS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub model: usize,
    pub number: usize,
}

impl Record {
    pub fn key(self) -> String {
        format!("{}{}", ["p", "c", "o"][self.model], self.number)
    }

    pub fn name(self) -> String {
        record_name(MODELS[self.model], &self.key())
    }

    /// What Postgres hashes from the name; never 0.
    pub fn hash(self) -> i64 {
        (self.model * RECORDS + self.number + 1) as i64
    }
}

/// What is wrong with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// Odoo refuses the value when it saves the record.
    Value,
    /// The field is refused before anything is sent.
    Field,
    /// It refers to a record that never comes.
    Reference,
    /// Odoo fails without saying why, each time.
    Server,
}

/// A row of the outbox.
#[derive(Clone, PartialEq)]
pub struct Row {
    pub id: i64,
    pub record: Record,
    pub operation: Operation,
    pub payload: Map<String, Value>,
    pub bad: Option<Bad>,
    pub priority: i16,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = Value::Object(self.payload.clone());
        let operation = self.operation.name();
        write!(f, "{} {operation} {} {payload}", self.id, self.record.key())?;
        match self.priority {
            0 => Ok(()),
            priority => write!(f, " priority {priority}"),
        }
    }
}

/// One step of the worker. Numbers choose among what there is.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Claims so many of the due rows, from a place among them on.
    Claim { rows: usize, from: usize },
    /// Sends a batch that may go; its delivery is stopped after so many requests.
    Send { at: usize, stop: Option<u64> },
    /// Takes in the outcomes of a batch.
    Settle { at: usize },
    /// The worker dies, with everything it has in hand; the next one knows the fields or does not.
    Crash { knows: bool },
    /// Requests that Odoo was still at run now.
    Late,
    /// Time passes.
    Wait { seconds: u64 },
}

#[derive(Clone)]
pub struct Case {
    pub rows: Vec<Row>,
    pub steps: Vec<Step>,
    pub faults: Vec<Fault>,
    pub max_batch: usize,
    pub version: u16,
    pub json2: bool,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = if self.json2 { "json2" } else { "jsonrpc" };
        writeln!(
            f,
            "Odoo {} over {wire}, batches of {}",
            self.version, self.max_batch
        )?;
        for row in &self.rows {
            writeln!(f, "  {row:?}")?;
        }
        writeln!(f, "  steps {:?}", self.steps)?;
        for fault in &self.faults {
            writeln!(f, "  fault {}", serde_json::to_string(fault).unwrap())?;
        }
        Ok(())
    }
}

/// What a row is made from. 0 is the plainest everywhere, for shrinking goes there.
#[derive(Clone, Debug)]
struct Raw {
    /// `false`: no row after all. It is left out without moving the others, which shrinks well.
    kept: bool,
    model: usize,
    number: usize,
    operation: usize,
    fields: u8,
    refers: usize,
    bad: usize,
    urgent: usize,
}

pub fn case() -> impl Strategy<Value = Case> {
    let row = (
        prop::bool::weighted(0.9),
        (0..3usize, 0..RECORDS),
        0..16usize,
        any::<u8>(),
        0..6usize,
        0..48usize,
        0..8usize,
    );
    let row = row.prop_map(
        |(kept, (model, number), operation, fields, refers, bad, urgent)| Raw {
            kept,
            model,
            number,
            operation,
            fields,
            refers,
            bad,
            urgent,
        },
    );
    (
        prop::collection::vec(row, 1..=30),
        prop::collection::vec(step(), 0..60),
        prop::collection::vec(fault(), 0..7),
        1..=8usize,
        prop_oneof![3 => Just((19, true)), 1 => Just((19, false)), 1 => Just((18, false))],
    )
        .prop_map(|(raw, steps, faults, max_batch, (version, json2))| Case {
            rows: rows(&raw),
            steps,
            faults,
            max_batch,
            version,
            json2,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let stop = prop_oneof![9 => Just(None), 1 => (0..6u64).prop_map(Some)];
    prop_oneof![
        8 => (1..12usize, 0..6usize).prop_map(|(rows, from)| Step::Claim { rows, from }),
        12 => (0..6usize, stop).prop_map(|(at, stop)| Step::Send { at, stop }),
        10 => (0..6usize).prop_map(|at| Step::Settle { at }),
        1 => any::<bool>().prop_map(|knows| Step::Crash { knows }),
        2 => Just(Step::Late),
        3 => (1..40u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let status = |status| Effect::Status {
        status,
        retry_after: None,
    };
    // What says that nothing was done does nothing; of the others nobody knows.
    let effect = prop_oneof![
        8 => Just((Effect::Postponed, false)),
        3 => Just((Effect::AnswerLost, true)),
        2 => Just((Effect::RequestLost, false)),
        2 => any::<bool>().prop_map(|done| (Effect::Reset, done)),
        2 => any::<bool>().prop_map(|done| (Effect::Truncated { bytes: 5 }, done)),
        1 => any::<bool>().prop_map(|done| (Effect::Html, done)),
        2 => any::<bool>().prop_map(move |done| (status(502), done)),
        2 => Just((Effect::Conflict, false)),
        1 => Just((status(503), false)),
        1 => Just((status(429), false)),
        1 => Just((status(500), false)),
        1 => Just((Effect::Raise { exception: "odoo.addons.x.Oops".into(), message: "?".into() }, false)),
    ];
    let method = prop_oneof![
        4 => Just("load"),
        5 => Just("write"),
        5 => Just("web_save_multi"),
        1 => Just("unlink"),
        1 => Just("search"),
        1 => Just("check_object_reference"),
        1 => Just("action_confirm"),
        1 => Just("action_cancel"),
        1 => Just("fields_get"),
    ];
    (effect, method, 1..6u64, 1..3u64).prop_map(|((effect, committed), method, nth, times)| {
        let fault = Fault::new(effect).on_method(method).nth(nth).times(times);
        Fault { committed, ..fault }
    })
}

/// Rows, without what the promise says nothing of.
fn rows(raw: &[Raw]) -> Vec<Row> {
    let mut rows: Vec<Row> = (1..)
        .zip(raw)
        .filter(|(_, raw)| raw.kept)
        .map(|(id, raw)| row(id, raw))
        .collect();
    let mut there: BTreeSet<Record> = BTreeSet::new();
    for row in &mut rows {
        match row.operation {
            // What goes into a record by a second call is not kept from one that was there: nobody knows who made it. For the same
            // reason a create that comes again leaves the reference out that was cut off from it the first time.
            Operation::Create if row.record.model == CATEGORY => {
                row.payload.remove("parent_id");
                there.insert(row.record);
            }
            Operation::Create if !there.insert(row.record) => {
                row.payload.remove("order_line");
            }
            Operation::Create | Operation::Upsert => {
                there.insert(row.record);
            }
            Operation::Update | Operation::Delete | Operation::Call => {}
        }
    }
    let made: BTreeSet<Record> = rows
        .iter()
        .filter(|row| {
            row.bad.is_none() && matches!(row.operation, Operation::Create | Operation::Upsert)
        })
        .map(|row| row.record)
        .collect();
    for row in &mut rows {
        for field in ["parent_id", "partner_id"] {
            let Some(number) = row.payload.get(field).and_then(Value::as_u64) else {
                continue;
            };
            let model = refers_to(row.record.model);
            let number = number as usize;
            let value = match made.contains(&Record { model, number }) {
                true => json!({"key": Record { model, number }.key()}),
                // The company's own partner is always there.
                false if field == "partner_id" => json!(1),
                false => Value::Null,
            };
            row.payload.insert(field.to_owned(), value);
        }
    }
    let referred: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| row.payload.values())
        .filter_map(|value| value.get("key")?.as_str().map(str::to_owned))
        .collect();
    for row in &mut rows {
        if row.operation == Operation::Delete && referred.contains(&row.record.key()) {
            row.operation = Operation::Update;
            row.payload = Map::from_iter([(main_field(row.record), json!(format!("v{}", row.id)))]);
        }
    }
    rows
}

/// The model of the records that a model refers to; by number until [`rows`] has seen them all.
pub fn refers_to(model: usize) -> usize {
    if model == CATEGORY { CATEGORY } else { PARTNER }
}

fn main_field(record: Record) -> String {
    if record.model == ORDER {
        "client_order_ref"
    } else {
        "name"
    }
    .to_owned()
}

fn row(id: i64, raw: &Raw) -> Row {
    let record = Record {
        model: raw.model,
        number: raw.number,
    };
    let operation = match (raw.operation, raw.model) {
        (0..=3, _) => Operation::Upsert,
        (4..=6, _) => Operation::Create,
        (13..=14, _) => Operation::Delete,
        (15, ORDER) | (12, ORDER) => Operation::Call,
        _ => Operation::Update,
    };
    let mut row = Row {
        id,
        record,
        operation,
        payload: Map::new(),
        bad: None,
        priority: if raw.urgent == 7 { 5 } else { 0 },
    };
    match operation {
        Operation::Delete => {}
        Operation::Call => row.payload = call(raw),
        Operation::Create | Operation::Upsert | Operation::Update => {
            row.payload = values(id, raw, operation != Operation::Update);
            spoil(&mut row, raw.bad);
        }
    }
    row
}

fn call(raw: &Raw) -> Map<String, Value> {
    let (method, state) = match raw.fields % 3 {
        0 => ("action_confirm", "sale"),
        1 => ("action_cancel", "cancel"),
        _ => ("action_draft", "draft"),
    };
    let unless = json!([["state", "=", state]]);
    Map::from_iter([
        ("method".to_owned(), json!(method)),
        ("unless".to_owned(), unless),
    ])
}

/// Every value carries the id of its row, so that it can be seen whose it is.
fn values(id: i64, raw: &Raw, makes: bool) -> Map<String, Value> {
    let mut values = Map::new();
    let mut put = |field: &str, value: Value| values.insert(field.to_owned(), value);
    let has = |bit: u8| raw.fields & (1 << bit) != 0;
    let tag = json!(format!("v{id}"));
    let or_null = |bit: u8| if has(bit) { Value::Null } else { tag.clone() };
    match raw.model {
        PARTNER => {
            if makes || has(0) {
                put("name", tag.clone());
            }
            if has(1) {
                put("ref", or_null(5));
            }
            if has(2) {
                put("city", or_null(6));
            }
            // Odoo refuses contacts in a circle.
            if raw.refers < raw.number {
                put("parent_id", json!(raw.refers));
            }
            if has(3) || !(makes || has(0) || has(1) || has(2)) {
                put("color", json!(id));
            }
        }
        CATEGORY => {
            if makes || has(0) || raw.refers < 3 {
                put("name", tag.clone());
            }
            if raw.refers >= 3 {
                // Itself and circles included.
                put("parent_id", json!(raw.refers - 3));
            }
        }
        _ => {
            if makes || raw.refers >= 3 {
                put("partner_id", json!(raw.refers % 3));
            }
            if has(0) {
                put("client_order_ref", or_null(5));
            }
            let lines: Vec<Value> = (1..3u8)
                .filter(|n| has(*n))
                .map(|n| line(id, n, has(6)))
                .collect();
            if !lines.is_empty() {
                put("order_line", Value::Array(lines));
            } else if !(makes || has(0) || raw.refers >= 3) {
                put("client_order_ref", tag);
            }
        }
    }
    values
}

fn line(id: i64, number: u8, more: bool) -> Value {
    let mut line =
        json!({"key": number.to_string(), "name": format!("v{id}"), "product_uom_qty": id});
    // Lines of other columns do not travel in one matrix.
    if more || number == 2 {
        line["price_unit"] = json!(id);
    }
    line
}

fn spoil(row: &mut Row, bad: usize) {
    let model = row.record.model;
    let (bad, field, value) = match (bad, model) {
        (43, _) | (44..=47, CATEGORY) => (Bad::Field, "nam", json!("x")),
        (44, PARTNER) => (Bad::Value, "function", json!("BAD")),
        (44, _) => (Bad::Value, "origin", json!("BAD")),
        (45, PARTNER) => (Bad::Reference, "industry_id", json!({"key": "ghost"})),
        (45, _) => (
            Bad::Reference,
            "partner_shipping_id",
            json!({"key": "ghost"}),
        ),
        (46, PARTNER) => (Bad::Server, "street", json!("OOPS")),
        (46, _) => (Bad::Server, "reference", json!("OOPS")),
        _ => return,
    };
    row.bad = Some(bad);
    row.payload.insert(field.to_owned(), value);
}
