//! What an answer takes once it is parsed is never more than what was said before: memory is counted for real here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pg_etl_core::http::json::weight;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Counts what the thread has, as glibc rounds it.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn chunk(size: usize) -> isize {
    (size + 8).next_multiple_of(16).max(32).cast_signed()
}

fn add(bytes: isize) {
    // A thread that ends has no counters any more, and nobody who asks.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

// SAFETY: the system's allocator; counting touches two cells of the thread and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(chunk(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(-chunk(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if it were copied: for a moment both are there.
        add(chunk(size));
        // SAFETY: the caller's promise.
        let moved = unsafe { System.realloc(at, layout, size) };
        add(-chunk(layout.size()));
        moved
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most that parsing `body` had at a time.
fn taken(body: &[u8]) -> usize {
    let before = NOW.get();
    MOST.set(before);
    let value: Result<Value, _> = serde_json::from_slice(body);
    let taken = MOST.get() - before;
    drop(value);
    taken.max(0).cast_unsigned()
}

#[track_caller]
fn is_known(name: &str, body: &str) -> (usize, usize) {
    let (taken, said) = (taken(body.as_bytes()), weight(body.as_bytes()).unwrap());
    assert!(taken <= said, "{name}: took {taken}, said {said}");
    (taken, said)
}

#[test]
fn dense_shapes() {
    let n = 50_000;
    let keys = |count: usize| -> String {
        let entries: Vec<_> = (0..count).map(|key| format!("\"{key:06}\":0")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let backwards: Vec<_> = (0..n).rev().map(|key| format!("\"{key:06}\":0")).collect();
    let shapes = [
        ("objects of one", format!("[{}0]", "{\"\":0},".repeat(n))),
        ("empty objects", format!("[{}0]", "{},".repeat(n))),
        ("empty lists", format!("[{}0]", "[],".repeat(n))),
        ("lists of one", format!("[{}0]", "[0],".repeat(n))),
        ("numbers", format!("[{}0]", "0,".repeat(n))),
        (
            "numbers just past a doubling",
            format!("[{}0]", "0,".repeat(1 << 16)),
        ),
        ("empty texts", format!("[{}0]", "\"\",".repeat(n))),
        ("texts of one", format!("[{}0]", "\"a\",".repeat(n))),
        ("escapes", format!("[{}0]", "\"\\n\",".repeat(n))),
        ("one long text", format!("\"{}\"", "a".repeat(n))),
        (
            "one long text with escapes",
            format!("\"{}\"", "\\u00e9".repeat(n)),
        ),
        ("one wide object", keys(n)),
        (
            "one wide object, backwards",
            format!("{{{}}}", backwards.join(",")),
        ),
        (
            "the same key again",
            format!("{{{}\"a\":0}}", "\"a\":0,".repeat(n)),
        ),
        (
            "objects of twelve",
            format!("[{}0]", format!("{},", keys(12)).repeat(n / 12)),
        ),
        (
            "objects of thirteen",
            format!("[{}0]", format!("{},", keys(13)).repeat(n / 13)),
        ),
        ("deep", format!("{}{}", "[".repeat(120), "]".repeat(120))),
        (
            "deep objects",
            format!("{}0{}", "{\"a\":".repeat(120), "}".repeat(120)),
        ),
    ];
    for (name, body) in shapes {
        is_known(name, &body);
    }
}

#[test]
fn what_is_said_of_a_page_of_records_is_not_far_off() {
    let record: Map<String, Value> = (0..79)
        .map(|field| {
            (
                format!("field_{field}"),
                json!([field, "a name of something"]),
            )
        })
        .collect();
    let (taken, said) = is_known("a page", &json!(vec![record; 100]).to_string());
    assert!(said < taken * 2, "took {taken}, said {said}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<f64>().prop_map(Value::from),
        ".{0,60}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 200, 40, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..40)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_document(value in any_json(), cut in any::<prop::sample::Index>()) {
        let whole = value.to_string();
        for body in [whole.as_bytes(), &whole.as_bytes()[..cut.index(whole.len() + 1)]] {
            // An error is a small allocation of its own.
            let (taken, said) = (taken(body), weight(body).unwrap() + 256);
            prop_assert!(taken <= said, "took {}, said {}", taken, said);
        }
    }
}
