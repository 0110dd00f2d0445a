//! What the worker does per row beside SQL and HTTP: planning a claim, writing a batch as JSON, judging its answer.
//!
//! `cargo bench -p pg_etl_core`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pg_etl_core::http::Response;
use pg_etl_core::odoo::protocol::{Json2, Protocol};
use pg_etl_core::odoo::values::cell::{Sheet, matrix};
use pg_etl_core::odoo::values::{Typed, Values};
use pg_etl_core::odoo::{Call, judge};
use pg_etl_core::outbox::{Claimed, Nature, Operation, Row, plan};
use pg_etl_core::secret::Secret;
use serde_json::{Value, json};

/// Rows of one call, and of one claim.
const BATCH: usize = 200;
const CLAIM: i64 = 800;

fn sheets() -> Vec<Sheet> {
    let sheet = |n: usize| {
        let text = |text: String| Typed::Scalar(Value::from(text));
        let values: Values = [
            ("name".to_owned(), text(format!("Partner {n}"))),
            ("email".to_owned(), text(format!("p{n}@example.com"))),
            ("phone".to_owned(), text(format!("+41 44 {n}"))),
        ]
        .into();
        Sheet::new(&format!("pg_etl_0a1b2c3d.res_partner_{n:032x}"), &values)
    };
    (0..BATCH).map(sheet).collect()
}

fn load(sheets: &[Sheet]) -> Call {
    let matrix = matrix(&sheets.iter().collect::<Vec<_>>());
    Call::new("res.partner", "load")
        .with("fields", matrix.fields)
        .with("data", json!(matrix.data))
}

fn answer(status: u16, body: &Value) -> Response {
    Response {
        status,
        content_type: "application/json".to_owned(),
        retry_after: None,
        date: None,
        body: body.to_string().into_bytes(),
    }
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(BATCH as u64));
    let sheets = sheets();
    group.bench_function("load matrix of 200 rows", |bencher| {
        bencher.iter(|| load(black_box(&sheets)));
    });
    let protocol = Json2::new("http://localhost", Some("db"), Secret::new("key"));
    let call = load(&sheets);
    group.bench_function("JSON-2 request of 200 rows", |bencher| {
        bencher.iter(|| protocol.request(black_box(&call)));
    });
    group.finish();
}

fn judged(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge");
    let call = load(&sheets());
    let ids: Vec<usize> = (1..=BATCH).collect();
    let loaded = answer(200, &json!({"ids": ids, "messages": [], "nextrow": 0}));
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("load of 200 rows", |bencher| {
        bencher.iter(|| {
            let value = judge::json2(&call, black_box(&loaded));
            value.map(|value| judge::load::judge(&call, &value, BATCH))
        });
    });
    group.throughput(Throughput::Elements(1));
    let refused = answer(
        500,
        &json!({"name": "psycopg2.errors.SerializationFailure", "arguments": [], "context": {},
            "message": "could not serialize access due to concurrent update", "debug": "Traceback (most recent call last):\n".repeat(50)}),
    );
    let write = Call::new("res.partner", "write").on(&[7]);
    group.bench_function("conflict with a traceback", |bencher| {
        bencher.iter(|| judge::json2(&write, black_box(&refused)));
    });
    group.finish();
}

/// Two rows of every record, and every other record without an id.
fn claimed() -> Vec<Claimed> {
    let one = |id: i64| {
        let Value::Object(payload) = json!({"name": format!("Partner {id}"), "phone": "+41 44 1"})
        else {
            unreachable!("an object")
        };
        Claimed {
            row: Row {
                id,
                model: "res.partner".to_owned(),
                operation: Operation::Update,
                payload,
                odoo_id: (id % 2 == 0).then_some(id),
                external_id: format!("pg_etl_0a1b2c3d.res_partner_{id:032x}"),
                has_record_key: true,
                changes: None,
                circle: None,
                seen: None,
            },
            key: Some(id % (CLAIM / 2)),
            context: serde_json::Map::new(),
            max_batch: BATCH,
            priority: 0,
            references: Vec::new(),
            described: true,
            joinable: true,
        }
    };
    (1..=CLAIM).map(one).collect()
}

fn planned(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.throughput(Throughput::Elements(CLAIM.unsigned_abs()));
    group.bench_function("claim of 800 rows, two of each record", |bencher| {
        bencher.iter_batched(
            claimed,
            |claimed| plan(claimed, &|_, _| Nature::Plain),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, encode, judged, planned);
criterion_main!(benches);
