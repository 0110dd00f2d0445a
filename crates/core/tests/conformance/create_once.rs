//! The idempotent create: `load` with `mode=update` and `noupdate=true`, two keys of the context that no documentation
//! mentions. Everything G4 promises rests on what is pinned here.

use crate::world::{World, create_once, everywhere};
use serde_json::{Value, json};
use std::thread;

fn names(w: &World, ids: &[i64]) -> Vec<String> {
    let rows = w.ok(w.call_on(
        "res.partner",
        json!(ids),
        "read",
        json!({"fields": ["name"]}),
    ));
    rows.as_array()
        .into_iter()
        .flatten()
        .map(|row| row["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn fields() -> Value {
    json!(["id", "name"])
}

#[test]
fn the_same_call_twice_makes_one_record_each() {
    everywhere(|w| {
        let data = |suffix: &str| {
            json!([
                [w.external("a"), format!("A{suffix}")],
                [w.external("b"), format!("B{suffix}")]
            ])
        };
        let first = w.load_once("res.partner", fields(), data(""));
        let second = w.load_once("res.partner", fields(), data(" again"));
        assert_eq!(first, second, "{}", w.place());
        assert_eq!(
            names(w, &first),
            ["A", "B"],
            "{}: values of existing records stay",
            w.place()
        );
    });
}

#[test]
fn the_answer_has_ids_messages_and_nextrow() {
    everywhere(|w| {
        let answer = w.ok(w.load(
            "res.partner",
            fields(),
            json!([[w.external("a"), "A"]]),
            create_once(),
        ));
        assert_eq!(answer["messages"], json!([]));
        assert_eq!(answer["nextrow"], 0);
        assert_eq!(answer["ids"].as_array().map(Vec::len), Some(1));
        let empty = w.ok(w.load("res.partner", fields(), json!([]), create_once()));
        assert_eq!(empty, json!({"ids": [], "messages": [], "nextrow": 0}));
    });
}

#[test]
fn without_either_key_a_second_load_overwrites() {
    everywhere(|w| {
        for (number, context) in [
            json!({}),
            json!({"mode": "update"}),
            json!({"noupdate": true}),
        ]
        .into_iter()
        .enumerate()
        {
            let external = w.external(&format!("k{number}"));
            let first = w.ok(w.load(
                "res.partner",
                fields(),
                json!([[external, "A"]]),
                context.clone(),
            ));
            let second = w.ok(w.load(
                "res.partner",
                fields(),
                json!([[external, "B"]]),
                context.clone(),
            ));
            assert_eq!(first["ids"], second["ids"], "{}", w.place());
            let id = first["ids"][0].as_i64().expect("an id");
            assert_eq!(names(w, &[id]), ["B"], "{} {context}", w.place());
        }
    });
}

#[test]
fn a_record_loaded_with_noupdate_is_safe_from_update_mode_only() {
    everywhere(|w| {
        let row = |name: &str| json!([[w.external("a"), name]]);
        let ids = w.load_once("res.partner", fields(), row("A"));
        w.ok(w.load("res.partner", fields(), row("B"), json!({"mode": "update"})));
        assert_eq!(names(w, &ids), ["A"], "{}", w.place());
        w.ok(w.load("res.partner", fields(), row("C"), json!({})));
        assert_eq!(
            names(w, &ids),
            ["C"],
            "{}: a plain load looks at no flag",
            w.place()
        );
    });
}

#[test]
fn racing_callers_make_one_record_each() {
    const RACERS: usize = 8;
    const RECORDS: usize = 20;
    everywhere(|w| {
        let data: Vec<Value> = (0..RECORDS)
            .map(|n| {
                json!([
                    w.external(&format!("r{n}")),
                    w.unique(&format!("racer {n}"))
                ])
            })
            .collect();
        let data = json!(data);
        // A loser is told so in a message, with HTTP 200, and tries again.
        thread::scope(|scope| {
            for _ in 0..RACERS {
                let data = &data;
                let place = w.place();
                let (target, protocol) = (w.target, w.protocol);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let world = World::visiting(target, protocol);
                        let answer = world.ok(world.load(
                            "res.partner",
                            fields(),
                            data.clone(),
                            create_once(),
                        ));
                        if answer["ids"]
                            .as_array()
                            .is_some_and(|ids| ids.len() == RECORDS)
                        {
                            return;
                        }
                        assert_eq!(answer["ids"], false, "{place}: {answer}");
                        let text = answer["messages"][0]["message"]
                            .as_str()
                            .unwrap_or_default();
                        assert!(
                            text.contains("could not serialize access due to concurrent update"),
                            "{place}: {answer}"
                        );
                    }
                    panic!("{place}: no turn in 50 tries");
                });
            }
        });
        let count = json!({"domain": [["name", "ilike", w.unique("")]]});
        assert_eq!(
            w.ok(w.call("res.partner", "search_count", count)),
            RECORDS,
            "{}",
            w.place()
        );
    });
}

#[test]
fn a_deleted_record_is_made_anew() {
    everywhere(|w| {
        let row = json!([[w.external("a"), "A"]]);
        let first = w.load_once("res.partner", fields(), row.clone());
        w.ok(w.call_on("res.partner", json!(first), "unlink", json!({})));
        let second = w.load_once("res.partner", fields(), row);
        assert_ne!(first, second, "{}", w.place());
        assert_eq!(names(w, &second), ["A"]);
    });
}

#[test]
fn new_and_known_rows_mix_and_ids_keep_their_order() {
    everywhere(|w| {
        let known = w.load_once("res.partner", fields(), json!([[w.external("b"), "B"]]));
        let data = json!([
            [w.external("a"), "A"],
            [w.external("b"), "B2"],
            [w.external("c"), "C"]
        ]);
        let ids = w.load_once("res.partner", fields(), data);
        assert_eq!(ids[1], known[0], "{}", w.place());
        assert_eq!(names(w, &[ids[0], ids[1], ids[2]]), ["A", "B", "C"]);
    });
}

#[test]
fn one_id_twice_in_a_call_makes_one_record() {
    everywhere(|w| {
        let data = json!([[w.external("a"), "first"], [w.external("a"), "second"]]);
        let ids = w.load_once("res.partner", fields(), data);
        assert_eq!(ids.len(), 2, "{}", w.place());
        assert_eq!(ids[0], ids[1]);
        assert_eq!(names(w, &ids[..1]), ["first"]);
    });
}

#[test]
fn create_once_needs_an_identity() {
    everywhere(|w| {
        let answer = w.ok(w.load(
            "res.partner",
            json!(["name"]),
            json!([["A"]]),
            create_once(),
        ));
        assert_eq!(answer["ids"], false, "{}", w.place());
        let text = &answer["messages"][0]["message"];
        assert_eq!(
            text,
            "Cannot update a record without specifying its id or xml_id"
        );
    });
}

#[test]
fn products_are_named_with_their_templates() {
    everywhere(|w| {
        let external = w.external("p");
        let ids = w.load_once("product.product", fields(), json!([[external, "P"]]));
        let known = w.ok(w.call_on("product.product", json!(ids), "get_metadata", json!({})));
        assert_eq!(
            known[0]["xmlids"],
            json!([{"xmlid": external, "noupdate": true}]),
            "{}",
            w.place()
        );
        let template = w.value("product.product", ids[0], "product_tmpl_id")[0].clone();
        let known = w.ok(w.call_on(
            "product.template",
            json!([template]),
            "get_metadata",
            json!({}),
        ));
        assert_eq!(
            known[0]["xmlid"],
            json!(format!("{external}_product_template")),
            "{}",
            w.place()
        );
    });
}
