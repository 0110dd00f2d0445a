//! What is enqueued: lives of records, drawn from a seed, and what Odoo must hold when all of it was delivered.
//!
//! Every row writes its own number into the record, together with the record's name (`P12:345`), so that whoever looks at Odoo can
//! tell which row came last, and whether an older one came after a younger one.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

/// Begins the name of every record that the suite makes.
pub const MARK: &str = "Chaos ";

/// What must become of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Done,
    /// A dead letter of this class.
    Dead(&'static str),
    /// Done, or a dead letter because nobody knows: a bare call, which is sent at most once.
    DoneOrUnknown,
}

/// One row of the outbox.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its place among all rows, from 1; rows of one record are enqueued in this order.
    pub seq: i64,
    /// The record, as the checker names it: `P12`.
    pub record: String,
    pub model: &'static str,
    pub operation: &'static str,
    pub payload: Value,
    pub record_key: Option<String>,
    pub expect: Expect,
    /// Who enqueues it; one for all rows of a record.
    pub session: usize,
}

impl Row {
    pub fn idempotency_key(&self) -> String {
        format!("chaos-{}", self.seq)
    }

    /// What the row writes into the record to be recognized by.
    fn sign(record: &str, seq: i64) -> String {
        format!("{record}:{seq}")
    }
}

/// A sale order has two lines of this product; which one is known only when Odoo runs.
#[derive(Debug, Clone, Copy)]
pub struct Product(pub i64);

/// Record and number of the row that signed.
pub fn signature(text: &str) -> Option<(&str, i64)> {
    let (record, seq) = text.split_once(':')?;
    Some((record, seq.parse().ok()?))
}

/// The field that rows of a model sign in.
pub fn signed_field(model: &str) -> &'static str {
    if model == "sale.order" {
        "client_order_ref"
    } else {
        "ref"
    }
}

/// The rows of a run, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Workload {
    pub rows: Vec<Row>,
}

/// What Odoo must hold of one record at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub model: &'static str,
    /// `None`: it must not exist.
    pub fields: Option<Map<String, Value>>,
    /// Numbers of the rows that posted a message on it.
    pub messages: BTreeSet<i64>,
    pub confirmed: bool,
}

/// Sessions that enqueue at the same time. Session 0 does so in bulk.
pub const SESSIONS: usize = 4;

/// Lives that go on side by side, so that rows of one record lie apart and meet each other on the way all the same.
const OPEN: usize = 200;

const FIELDS: [&str; 4] = ["city", "street", "street2", "zip"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Upsert,
    Update,
    Delete,
    Order,
    OrderUpdate,
    Confirm,
    Post,
    BadUpdate,
}

struct Life {
    number: usize,
    session: usize,
    steps: std::vec::IntoIter<Step>,
    keyless: bool,
}

impl Workload {
    /// About `rows` rows; never less.
    pub fn generate(seed: u64, rows: usize, product: Product) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut workload = Self::default();
        let mut open: Vec<Life> = Vec::new();
        let mut born = 0;
        while workload.rows.len() < rows || !open.is_empty() {
            while open.len() < OPEN && workload.rows.len() + open.len() < rows {
                born += 1;
                open.push(Life::draw(born, &mut random));
            }
            let place = random.random_range(0..open.len());
            match open[place].steps.next() {
                Some(step) => workload.add(&open[place], step, product, &mut random),
                None => drop(open.swap_remove(place)),
            }
            if open.is_empty() && workload.rows.len() < rows {
                continue;
            }
        }
        workload
    }

    fn add(&mut self, life: &Life, step: Step, product: Product, random: &mut StdRng) {
        let partner = format!("P{}", life.number);
        let key = (!life.keyless).then(|| format!("chaos:{partner}"));
        let values = |record: &str, seq: i64, random: &mut StdRng| {
            let mut values = Map::from_iter([("ref".to_owned(), json!(Row::sign(record, seq)))]);
            for field in FIELDS {
                if random.random_bool(0.4) {
                    values.insert(field.to_owned(), json!(format!("v{seq}")));
                }
            }
            values
        };
        let seq = self.next();
        let named = |mut values: Map<String, Value>| {
            values.insert("name".to_owned(), json!(format!("{MARK}{partner}")));
            Value::Object(values)
        };
        match step {
            Step::Create | Step::Upsert => {
                let operation = if matches!(step, Step::Create) {
                    "create"
                } else {
                    "upsert"
                };
                let payload = named(values(&partner, seq, random));
                self.partner(life, operation, payload, key, Expect::Done);
            }
            Step::Update => {
                let payload = Value::Object(values(&partner, seq, random));
                self.partner(life, "update", payload, key, Expect::Done);
            }
            Step::BadUpdate => {
                let payload = json!({"ref": Row::sign(&partner, seq), "no_such_field": 1});
                self.partner(life, "update", payload, key, Expect::Dead("invalid"));
            }
            Step::Delete => self.partner(life, "delete", json!({}), key, Expect::Done),
            Step::Post => {
                let payload =
                    json!({"method": "message_post", "kwargs": {"body": format!("M{seq}")}});
                self.partner(life, "call", payload, key, Expect::DoneOrUnknown);
            }
            Step::Order | Step::OrderUpdate | Step::Confirm => {
                let record = format!("S{}", life.number);
                let sign = Row::sign(&record, seq);
                let (operation, payload) = match step {
                    Step::Order => (
                        "create",
                        json!({
                            "partner_id": {"key": key}, "client_order_ref": sign, "origin": format!("{MARK}{record}"),
                            "order_line": [
                                {"key": "1", "product_id": product.0, "product_uom_qty": 2},
                                {"key": "2", "product_id": product.0, "product_uom_qty": 3},
                            ],
                        }),
                    ),
                    Step::OrderUpdate => ("update", json!({"client_order_ref": sign})),
                    _ => (
                        "call",
                        json!({"method": "action_confirm", "unless": [["state", "=", "sale"]]}),
                    ),
                };
                self.rows.push(Row {
                    seq,
                    record_key: Some(format!("chaos:{record}")),
                    record,
                    model: "sale.order",
                    operation,
                    payload,
                    expect: Expect::Done,
                    session: life.session,
                });
            }
        }
    }

    fn partner(
        &mut self,
        life: &Life,
        operation: &'static str,
        payload: Value,
        record_key: Option<String>,
        expect: Expect,
    ) {
        let (seq, session) = (self.next(), life.session);
        let record = format!("P{}", life.number);
        self.rows.push(Row {
            seq,
            record,
            model: "res.partner",
            operation,
            payload,
            record_key,
            expect,
            session,
        });
    }

    /// Adds a row about the partner `record` for a scenario; `fields` are written beside name and signature.
    pub fn scripted(&mut self, record: &str, operation: &'static str, fields: Value) -> Row {
        let seq = self.next();
        let mut payload = json!({"ref": Row::sign(record, seq), "name": format!("{MARK}{record}")});
        if operation == "delete" {
            payload = json!({});
        }
        if let (Value::Object(all), Value::Object(more)) = (&mut payload, fields) {
            all.extend(more);
        }
        let row = Row {
            seq,
            record: record.to_owned(),
            model: "res.partner",
            operation,
            payload,
            record_key: Some(format!("chaos:{record}")),
            expect: Expect::Done,
            session: 0,
        };
        self.rows.push(row.clone());
        row
    }

    fn next(&self) -> i64 {
        i64::try_from(self.rows.len()).unwrap_or(i64::MAX) + 1
    }

    /// What Odoo must hold of each record when the rows were applied one after another, but for those in `dead`.
    pub fn wanted(&self, dead: &BTreeSet<i64>) -> BTreeMap<String, Wanted> {
        let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
        for row in &self.rows {
            let wanted = all.entry(row.record.clone()).or_insert_with(|| Wanted {
                model: row.model,
                fields: None,
                messages: BTreeSet::new(),
                confirmed: false,
            });
            if dead.contains(&row.seq) {
                continue;
            }
            let mut values = row.payload.as_object().cloned().unwrap_or_default();
            for unread in ["partner_id", "order_line"] {
                values.remove(unread);
            }
            match row.operation {
                "create" | "upsert" => wanted.fields.get_or_insert_with(Map::new).extend(values),
                "update" => {
                    if let Some(fields) = &mut wanted.fields {
                        fields.extend(values);
                    }
                }
                "delete" => wanted.fields = None,
                _ if row.payload["method"] == "message_post" => {
                    wanted.messages.insert(row.seq);
                }
                _ => wanted.confirmed = true,
            }
        }
        all
    }
}

impl Life {
    fn draw(number: usize, random: &mut StdRng) -> Self {
        use Step::{BadUpdate, Confirm, Create, Delete, Order, OrderUpdate, Post, Update, Upsert};
        let many = |step, most, random: &mut StdRng| vec![step; random.random_range(0..=most)];
        let mut keyless = false;
        let made = |random: &mut StdRng| {
            if random.random_bool(0.5) {
                Create
            } else {
                Upsert
            }
        };
        let steps = match random.random_range(0..100) {
            0..40 => [vec![Create], many(Update, 8, random)].concat(),
            40..62 => [vec![Upsert], many(Upsert, 5, random)].concat(),
            62..70 => [
                vec![made(random)],
                many(Update, 2, random),
                vec![Delete, made(random)],
                many(Update, 2, random),
            ]
            .concat(),
            70..75 => [vec![made(random)], many(Update, 2, random), vec![Delete]].concat(),
            75..83 => [
                vec![Upsert, Order],
                many(OrderUpdate, 3, random),
                vec![Confirm],
                many(OrderUpdate, 2, random),
            ]
            .concat(),
            83..93 => {
                keyless = true;
                vec![Create]
            }
            93..96 => vec![Create, Post, Update],
            _ => vec![Create, BadUpdate, Update],
        };
        Self {
            number,
            session: random.random_range(0..SESSIONS),
            steps: steps.into_iter(),
            keyless,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let texts = |seed| {
            let workload = Workload::generate(seed, 500, Product(7));
            let rows = workload.rows.iter();
            rows.map(|row| format!("{row:?}")).collect::<Vec<_>>()
        };
        assert_eq!(texts(3), texts(3));
        assert_ne!(texts(3), texts(4));
        assert!(texts(3).len() >= 500);
    }

    #[test]
    fn the_wanted_state_is_that_of_the_rows_one_after_another() {
        let mut workload = Workload::default();
        workload.scripted("P1", "upsert", json!({"city": "a", "zip": "1"}));
        let dead = workload.scripted("P1", "update", json!({"city": "b"}));
        workload.scripted("P1", "update", json!({"street": "c"}));
        workload.scripted("P2", "upsert", json!({}));
        workload.scripted("P2", "delete", json!({}));
        let wanted = workload.wanted(&BTreeSet::from([dead.seq]));
        let fields = wanted["P1"].fields.clone().unwrap();
        assert_eq!(
            (
                &fields["city"],
                &fields["zip"],
                &fields["street"],
                &fields["ref"]
            ),
            (&json!("a"), &json!("1"), &json!("c"), &json!("P1:3"))
        );
        assert_eq!(wanted["P2"].fields, None);
    }
}
