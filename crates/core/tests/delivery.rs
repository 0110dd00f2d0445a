//! The way of a batch into Odoo and back, over both protocols.
//!
//! The same tests run against the simulator, as Odoo 19 and as an Odoo 18, and against the real Odoo that
//! `PG_ETL_ODOO_URL`, `_DB`, `_LOGIN` and `_KEY` name, where they are set.

use std::sync::atomic::{AtomicU64, Ordering};

use odoo_sim::{Config, Sim};
use pg_etl_core::external_id::{Identity, external_id};
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::odoo::{
    Client, ClientSettings, DeliverContext, Endpoint, ProtocolKind, deliver, explain, probe,
    test_connection,
};
use pg_etl_core::outbox::{Batch, Operation, Outcome, Row};
use pg_etl_core::secret::Secret;
use serde_json::{Map, Value, json};

/// One Odoo, over one protocol.
struct Target {
    name: &'static str,
    url: String,
    database: String,
    login: String,
    key: String,
    kind: ProtocolKind,
    namespace: String,
    version: &'static str,
    /// Stops with the target.
    sim: Option<Sim>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Target {
    fn options(&self) -> Value {
        json!({
            "database": self.database,
            "login": self.login,
            "protocol": self.kind.name(),
            "allow_methods": ["sale.order.action_confirm", "res.partner.action_archive", "res.partner.write"],
        })
    }

    fn client_with(&self, more: Value, key: &str) -> Client {
        let mut options = self.options();
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let endpoint = Endpoint::parse(&self.url, &options).unwrap();
        Client::new(endpoint, Secret::new(key), ClientSettings::default()).unwrap()
    }

    fn client(&self) -> Client {
        self.client_with(json!({}), &self.key)
    }

    fn deliver(&self, client: &Client, rows: Vec<Row>) -> Vec<Outcome> {
        self.deliver_while(client, rows, &|| false)
    }

    fn deliver_while(
        &self,
        client: &Client,
        rows: Vec<Row>,
        should_stop: &(dyn Fn() -> bool + Sync),
    ) -> Vec<Outcome> {
        let batch = Batch {
            model: rows[0].model.clone(),
            operation: rows[0].operation,
            context: Map::new(),
            rows,
            joined: std::collections::BTreeMap::new(),
            known: std::collections::BTreeMap::new(),
        };
        let cx = DeliverContext {
            namespace: &self.namespace,
            connection: "odoo",
            should_stop,
        };
        let outcomes = deliver(client, &batch, &cx);
        assert_eq!(
            outcomes.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            batch.rows.iter().map(|row| row.id).collect::<Vec<_>>(),
            "one outcome per row"
        );
        let shown = format!("{outcomes:?}");
        assert!(
            !shown.contains(&self.key) && !shown.contains("Traceback"),
            "{shown}"
        );
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn row(&self, model: &str, operation: Operation, key: &str, payload: Value) -> Row {
        Row {
            id: i64::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap(),
            model: model.to_owned(),
            operation,
            payload: payload.as_object().unwrap().clone(),
            odoo_id: None,
            external_id: external_id(&self.namespace, "odoo", model, Identity::RecordKey(key)),
            has_record_key: true,
            changes: None,
            circle: None,
        }
    }

    fn read(&self, client: &Client, model: &str, ids: &[i64], fields: &[&str]) -> Vec<Value> {
        let mut args = Map::new();
        args.insert("fields".to_owned(), json!(fields));
        let answer = client
            .call(model, "read", Some(ids), args, &Map::new())
            .unwrap();
        answer.as_array().unwrap().clone()
    }

    fn count(&self, client: &Client, model: &str, domain: Value) -> i64 {
        let mut args = Map::new();
        args.insert("domain".to_owned(), domain);
        client
            .call(model, "search_count", None, args, &Map::new())
            .unwrap()
            .as_i64()
            .unwrap()
    }
}

fn targets() -> Vec<Target> {
    static RUN: AtomicU64 = AtomicU64::new(1);
    let namespace = || {
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        format!("pg_etl_t{started}_{}", RUN.fetch_add(1, Ordering::Relaxed))
    };
    let mut targets = Vec::new();
    for (kind, major, version) in [
        (ProtocolKind::Json2, 19, "19.0"),
        (ProtocolKind::JsonRpc, 19, "19.0"),
        (ProtocolKind::JsonRpc, 18, "18.0"),
    ] {
        let sim = Sim::start(Config {
            version: major,
            ..Config::default()
        })
        .unwrap();
        targets.push(Target {
            name: "the simulator",
            url: sim.url(),
            database: sim.database().to_owned(),
            login: sim.admin().login,
            key: sim.admin().keys[0].key.clone(),
            kind,
            namespace: namespace(),
            version,
            sim: Some(sim),
        });
    }
    let env = |name: &str| std::env::var(format!("PG_ETL_ODOO_{name}"));
    if let (Ok(url), Ok(database), Ok(login), Ok(key)) =
        (env("URL"), env("DB"), env("LOGIN"), env("KEY"))
    {
        for kind in [ProtocolKind::Json2, ProtocolKind::JsonRpc] {
            targets.push(Target {
                name: "Odoo",
                url: url.clone(),
                database: database.clone(),
                login: login.clone(),
                key: key.clone(),
                kind,
                namespace: namespace(),
                version: "19.0",
                sim: None,
            });
        }
    }
    targets
}

fn each(test: impl Fn(&Target)) {
    each_of(&targets(), test);
}

fn each_of(targets: &[Target], test: impl Fn(&Target)) {
    for target in targets {
        eprintln!(
            "-- {} {} over {}",
            target.name,
            target.version,
            target.kind.name()
        );
        test(target);
    }
}

fn id(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Delivered {
            odoo_id: Some(id), ..
        } => *id,
        other => panic!("{other:?}"),
    }
}

fn failure(outcome: &Outcome) -> &Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn partners_are_created_once_updated_and_deleted() {
    each(|t| {
        let client = t.client();
        let rows = |operation, name: &str| {
            (0..5)
                .map(|n| {
                    t.row(
                        "res.partner",
                        operation,
                        &format!("p{n}"),
                        json!({"name": format!("{name} {n}"), "is_company": true}),
                    )
                })
                .collect::<Vec<_>>()
        };
        let ids: Vec<i64> = t
            .deliver(&client, rows(Operation::Create, "A"))
            .iter()
            .map(id)
            .collect();
        let again: Vec<i64> = t
            .deliver(&client, rows(Operation::Create, "B"))
            .iter()
            .map(id)
            .collect();
        assert_eq!(ids, again);
        let read = t.read(&client, "res.partner", &ids, &["name", "is_company"]);
        assert_eq!(read[0]["name"], "A 0");
        assert_eq!(read[0]["is_company"], true);
        // By record key, different values, in one call.
        let updated: Vec<i64> = t
            .deliver(&client, rows(Operation::Update, "C"))
            .iter()
            .map(id)
            .collect();
        assert_eq!(ids, updated);
        assert_eq!(
            t.read(&client, "res.partner", &ids, &["name"])[4]["name"],
            "C 4"
        );
        // Equal values, by id.
        let mut same = rows(Operation::Update, "x");
        for (row, id) in same.iter_mut().zip(&ids) {
            row.odoo_id = Some(*id);
            row.payload = json!({"ref": "same", "comment": null})
                .as_object()
                .unwrap()
                .clone();
        }
        t.deliver(&client, same).iter().for_each(|outcome| {
            id(outcome);
        });
        assert_eq!(
            t.count(
                &client,
                "res.partner",
                json!([["ref", "=", "same"], ["id", "in", ids]])
            ),
            5
        );
        let deleted = t.deliver(
            &client,
            rows(Operation::Delete, "x")
                .into_iter()
                .map(|row| Row {
                    payload: Map::new(),
                    ..row
                })
                .collect(),
        );
        assert!(
            deleted
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Delivered { .. })),
            "{deleted:?}"
        );
        assert_eq!(
            t.count(&client, "res.partner", json!([["id", "in", ids]])),
            0
        );
        let gone = t.deliver(&client, rows(Operation::Delete, "x"));
        assert!(
            gone.iter()
                .all(|outcome| *outcome == Outcome::delivered(None)),
            "{gone:?}"
        );
    });
}

#[test]
fn an_upsert_makes_and_changes_in_one_batch() {
    each(|t| {
        let client = t.client();
        let upsert = |key: &str, name: &str| {
            t.row("res.partner", Operation::Upsert, key, json!({"name": name}))
        };
        let first: Vec<i64> = t
            .deliver(&client, vec![upsert("u1", "one"), upsert("u2", "two")])
            .iter()
            .map(id)
            .collect();
        let second: Vec<i64> = t
            .deliver(
                &client,
                vec![
                    upsert("u2", "two changed"),
                    upsert("u3", "three"),
                    upsert("u1", "one changed"),
                ],
            )
            .iter()
            .map(id)
            .collect();
        assert_eq!([second[2], second[0]], [first[0], first[1]]);
        let names = t.read(
            &client,
            "res.partner",
            &[first[0], first[1], second[1]],
            &["name"],
        );
        assert_eq!(
            names
                .iter()
                .map(|read| read["name"].as_str().unwrap())
                .collect::<Vec<_>>(),
            ["one changed", "two changed", "three"]
        );
        // An archived record is found, too.
        let mut archive = t.row(
            "res.partner",
            Operation::Update,
            "u1",
            json!({"active": false}),
        );
        archive.odoo_id = Some(first[0]);
        id(&t.deliver(&client, vec![archive])[0]);
        assert_eq!(
            id(&t.deliver(&client, vec![upsert("u1", "one again")])[0]),
            first[0]
        );
    });
}

#[test]
fn one_bad_row_fails_alone() {
    each(|t| {
        let client = t.client();
        let belgium = json!({"module": "base", "xml_id": "be"})
            .as_object()
            .unwrap()
            .clone();
        let belgium = client
            .call(
                "ir.model.data",
                "check_object_reference",
                None,
                belgium,
                &Map::new(),
            )
            .unwrap()[1]
            .clone();
        let mut rows: Vec<Row> = (0..40)
            .map(|n| {
                t.row(
                    "res.partner",
                    Operation::Create,
                    &format!("b{n}"),
                    json!({"name": format!("B{n}"), "country_id": belgium}),
                )
            })
            .collect();
        rows[3].payload.insert("name".to_owned(), json!(null));
        rows[17]
            .payload
            .insert("country_id".to_owned(), json!(999_999));
        rows[18]
            .payload
            .insert("country_id".to_owned(), json!("base.no_such_country"));
        rows[29].payload.insert("nam".to_owned(), json!("x"));
        rows[30].payload.insert("name".to_owned(), json!("a\u{0}b"));
        let outcomes = t.deliver(&client, rows.clone());
        let class = |n: usize| failure(&outcomes[n]).class;
        assert_eq!(class(3), ErrorClass::Invalid);
        assert!(
            failure(&outcomes[3])
                .message
                .contains("Contacts require a name"),
            "{:?}",
            outcomes[3]
        );
        assert_eq!(class(17), ErrorClass::Invalid);
        assert_eq!(class(18), ErrorClass::Dependency);
        assert_eq!(class(29), ErrorClass::Invalid);
        assert_eq!(class(30), ErrorClass::Invalid);
        let delivered = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Delivered { .. }))
            .count();
        assert_eq!(delivered, 35, "{outcomes:?}");
        // The same for updates: a missing record, a recursion, and innocent neighbours.
        let ids: Vec<i64> = outcomes
            .iter()
            .enumerate()
            .filter(|(n, _)| ![3, 17, 18, 29, 30].contains(n))
            .map(|(_, o)| id(o))
            .collect();
        let mut updates: Vec<Row> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| Row {
                odoo_id: Some(*id),
                ..t.row(
                    "res.partner",
                    Operation::Update,
                    &format!("x{n}"),
                    json!({"ref": format!("r{n}")}),
                )
            })
            .collect();
        updates[5].odoo_id = Some(99_999_999);
        updates[9]
            .payload
            .insert("parent_id".to_owned(), json!(ids[9]));
        let outcomes = t.deliver(&client, updates);
        assert_eq!(failure(&outcomes[5]).class, ErrorClass::Missing);
        assert_eq!(failure(&outcomes[9]).class, ErrorClass::Invalid);
        assert!(
            failure(&outcomes[9]).message.contains("recursive"),
            "{:?}",
            outcomes[9]
        );
        assert_eq!(
            outcomes
                .iter()
                .filter(|outcome| matches!(outcome, Outcome::Delivered { .. }))
                .count(),
            33
        );
        assert_eq!(
            t.read(&client, "res.partner", &[ids[33]], &["ref"])[0]["ref"],
            "r33"
        );
        // And for deletes: one is gone, one is in use.
        let mut deletes: Vec<Row> = ids[..4]
            .iter()
            .map(|id| Row {
                odoo_id: Some(*id),
                ..t.row("res.partner", Operation::Delete, "d", json!({}))
            })
            .collect();
        deletes[1].odoo_id = Some(99_999_999);
        let outcomes = t.deliver(&client, deletes);
        assert_eq!(outcomes[1], Outcome::delivered(None));
        assert_eq!(id(&outcomes[0]), ids[0]);
    });
}

#[test]
fn a_sale_order_with_lines_is_created_changed_and_confirmed() {
    each(|t| {
        let client = t.client();
        let product = t.row(
            "product.product",
            Operation::Create,
            "prod",
            json!({"name": "Thing", "list_price": 12.5, "type": "service"}),
        );
        let product = id(&t.deliver(&client, vec![product])[0]);
        let partner = id(&t.deliver(
            &client,
            vec![t.row(
                "res.partner",
                Operation::Create,
                "buyer",
                json!({"name": "Buyer"}),
            )],
        )[0]);
        let order = json!({
            "partner_id": {"key": "buyer"},
            "date_order": "2024-01-31T09:00:00+01:00",
            "client_order_ref": "REF",
            "order_line": [
                {"key": "1", "product_id": product, "product_uom_qty": 2, "price_unit": 10},
                {"key": "2", "product_id": product, "product_uom_qty": 1, "price_unit": 5},
                {"key": "3", "display_type": "line_note", "name": "A note"},
            ],
        });
        let create = || t.row("sale.order", Operation::Create, "so", order.clone());
        let so = id(&t.deliver(&client, vec![create()])[0]);
        assert_eq!(id(&t.deliver(&client, vec![create()])[0]), so);
        let read = &t.read(
            &client,
            "sale.order",
            &[so],
            &["partner_id", "date_order", "order_line", "amount_untaxed"],
        )[0];
        assert_eq!(read["partner_id"][0], partner);
        assert_eq!(read["date_order"], "2024-01-31 08:00:00");
        assert_eq!(read["order_line"].as_array().unwrap().len(), 3, "{read}");
        assert_eq!(read["amount_untaxed"], 25.0);
        // An update changes the lines it names, adds new ones and leaves the others.
        let update = json!({"client_order_ref": "REF2", "order_line": [
            {"key": "2", "product_uom_qty": 3, "price_unit": 5},
            {"key": "4", "product_id": product, "product_uom_qty": 1, "price_unit": 1},
        ]});
        for _ in 0..2 {
            assert_eq!(
                id(&t.deliver(
                    &client,
                    vec![t.row("sale.order", Operation::Update, "so", update.clone())]
                )[0]),
                so
            );
        }
        let read = &t.read(
            &client,
            "sale.order",
            &[so],
            &["order_line", "amount_untaxed", "client_order_ref"],
        )[0];
        assert_eq!(read["order_line"].as_array().unwrap().len(), 4, "{read}");
        assert_eq!(read["amount_untaxed"], 36.0);
        assert_eq!(read["client_order_ref"], "REF2");
        let confirm = || {
            t.row(
                "sale.order",
                Operation::Call,
                "so",
                json!({"method": "action_confirm", "unless": [["state", "=", "sale"]]}),
            )
        };
        assert_eq!(id(&t.deliver(&client, vec![confirm()])[0]), so);
        assert_eq!(id(&t.deliver(&client, vec![confirm()])[0]), so);
        assert_eq!(
            t.read(&client, "sale.order", &[so], &["state"])[0]["state"],
            "sale"
        );
        let bare = t.row(
            "sale.order",
            Operation::Call,
            "so",
            json!({"method": "action_confirm"}),
        );
        assert_eq!(
            failure(&t.deliver(&client, vec![bare])[0]).class,
            ErrorClass::Invalid
        );
    });
}

#[test]
fn values_of_every_type_survive_the_trip() {
    each(|t| {
        let client = t.client();
        let category = id(&t.deliver(
            &client,
            vec![t.row(
                "res.partner.category",
                Operation::Create,
                "c1",
                json!({"name": "Tag"}),
            )],
        )[0]);
        let payload = json!({
            "name": "Ünïcode, \"quoted\"\nline", "is_company": false, "color": 7, "partner_latitude": 50.25, "zip": 1000,
            "comment": "<p>hi</p>", "type": "invoice", "country_id": "base.be", "parent_id": null,
            "category_id": [category, {"key": "c1"}], "image_1920": null, "lang": "en_US", "active": true, "ref": "",
        });
        let create = t.row("res.partner", Operation::Create, "v1", payload.clone());
        let made = id(&t.deliver(&client, vec![create])[0]);
        let fields = [
            "name",
            "is_company",
            "color",
            "partner_latitude",
            "zip",
            "type",
            "country_id",
            "category_id",
            "ref",
        ];
        let check = |read: &Value| {
            assert_eq!(read["name"], "Ünïcode, \"quoted\"\nline");
            assert_eq!(read["is_company"], false);
            assert_eq!(read["color"], 7);
            assert_eq!(read["partner_latitude"], 50.25);
            assert_eq!(read["zip"], "1000");
            assert_eq!(read["type"], "invoice");
            assert_eq!(read["country_id"][1], "Belgium");
            assert_eq!(read["category_id"], json!([category]));
        };
        check(&t.read(&client, "res.partner", &[made], &fields)[0]);
        let blank = id(&t.deliver(
            &client,
            vec![t.row(
                "res.partner",
                Operation::Create,
                "v2",
                json!({"name": "blank"}),
            )],
        )[0]);
        let update = t.row("res.partner", Operation::Update, "v2", payload);
        assert_eq!(id(&t.deliver(&client, vec![update])[0]), blank);
        check(&t.read(&client, "res.partner", &[blank], &fields)[0]);
        let clear = t.row(
            "res.partner",
            Operation::Update,
            "v2",
            json!({"country_id": null, "category_id": [], "zip": null, "color": 0}),
        );
        id(&t.deliver(&client, vec![clear])[0]);
        let read = &t.read(&client, "res.partner", &[blank], &fields)[0];
        assert_eq!(
            [&read["country_id"], &read["zip"]],
            [&json!(false), &json!(false)]
        );
        assert_eq!(
            [&read["category_id"], &read["color"]],
            [&json!([]), &json!(0)]
        );
    });
}

#[test]
fn racing_creates_make_one_record_each() {
    each(|t| {
        let client = t.client();
        client.fields("res.partner").unwrap();
        let race = |n: usize| {
            let rows: Vec<Row> = (0..15)
                .map(|k| {
                    t.row(
                        "res.partner",
                        Operation::Create,
                        &format!("race{k}"),
                        json!({"name": format!("race {k} {n}"), "ref": t.namespace}),
                    )
                })
                .collect();
            t.deliver(&client, rows)
        };
        let outcomes: Vec<Vec<Outcome>> = std::thread::scope(|scope| {
            (0..6)
                .map(|n| scope.spawn(move || race(n)))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut ids = std::collections::BTreeSet::new();
        for outcome in outcomes.iter().flatten() {
            match outcome {
                Outcome::Delivered { odoo_id, .. } => {
                    ids.insert(odoo_id.unwrap());
                }
                Outcome::Failed(failure) => {
                    assert_eq!(failure.class, ErrorClass::Conflict, "{failure:?}")
                }
            }
        }
        assert_eq!(ids.len(), 15);
        assert_eq!(
            t.count(&client, "res.partner", json!([["ref", "=", t.namespace]])),
            15
        );
    });
}

#[test]
fn what_a_connection_forbids_is_not_sent() {
    each(|t| {
        let client = t.client();
        let class = |row: Row| failure(&t.deliver(&client, vec![row])[0]).class;
        assert_eq!(
            class(t.row("res.users", Operation::Create, "x", json!({"name": "x"}))),
            ErrorClass::Forbidden
        );
        assert_eq!(
            class(t.row(
                "res.partner",
                Operation::Call,
                "x",
                json!({"method": "unlink", "ids": [1]})
            )),
            ErrorClass::Forbidden
        );
        assert_eq!(
            class(t.row(
                "res.partner",
                Operation::Call,
                "x",
                json!({"method": "_write", "ids": [1]})
            )),
            ErrorClass::Invalid
        );
        assert_eq!(
            class(t.row(
                "no.such.model",
                Operation::Create,
                "x",
                json!({"name": "x"})
            )),
            ErrorClass::UnknownModel
        );
        assert_eq!(
            class(t.row(
                "res.partner",
                Operation::Update,
                "never made",
                json!({"name": "x"})
            )),
            ErrorClass::Missing
        );
        let call = |payload: Value| t.row("res.partner", Operation::Call, "x", payload);
        for bad in [
            json!({}),
            json!({"method": 1}),
            json!({"method": "action_archive", "ids": [0]}),
            json!({"method": "action_archive", "ids": [false]}),
            json!({"method": "action_archive", "ids": 7}),
            json!({"method": "action_archive", "unless": []}),
            json!({"method": "action_archive", "kwargs": {"model": "res.users"}}),
            json!({"method": "action_archive", "argz": []}),
        ] {
            assert_eq!(class(call(bad.clone())), ErrorClass::Invalid, "{bad}");
        }
        let partner = id(&t.deliver(
            &client,
            vec![t.row(
                "res.partner",
                Operation::Create,
                "arc",
                json!({"name": "arc"}),
            )],
        )[0]);
        let wrong = call(json!({"method": "write", "ids": [partner], "kwargs": {"nosuch": 1}}));
        assert_eq!(class(wrong), ErrorClass::Invalid);
        let positional =
            call(json!({"method": "write", "ids": [partner], "args": [{"ref": "by call"}]}));
        let outcome = &t.deliver(&client, vec![positional])[0];
        match t.kind {
            ProtocolKind::Json2 => assert_eq!(failure(outcome).class, ErrorClass::Invalid),
            ProtocolKind::JsonRpc => assert_eq!(id(outcome), partner),
        }
        let archive = call(
            json!({"method": "action_archive", "ids": [partner], "unless": [["active", "=", false]]}),
        );
        assert_eq!(id(&t.deliver(&client, vec![archive])[0]), partner);
    });
}

#[test]
fn a_connection_that_is_wrong_says_so_and_leaves_rows_alone() {
    each(|t| {
        let delete = || Row {
            odoo_id: Some(1),
            ..t.row("res.partner", Operation::Delete, "x", json!({}))
        };
        let wrong = [
            t.client_with(json!({}), "0000000000000000000000000000000000000000"),
            t.client_with(json!({"database": "nosuchdb"}), &t.key),
        ];
        for client in wrong {
            assert_eq!(probe(&client).unwrap_err().class, ErrorClass::Misconfigured);
            let failed = t.deliver(&client, vec![delete(), delete()]);
            assert!(
                failed
                    .iter()
                    .all(|outcome| failure(outcome).class == ErrorClass::Misconfigured),
                "{failed:?}"
            );
            let tested = test_connection(&client, &[]);
            assert_eq!(
                [&tested["ok"], &tested["error"]["class"]],
                [&json!(false), &json!("misconfigured")],
                "{tested}"
            );
        }
        let endpoint = Endpoint::parse("http://127.0.0.1:9", &t.options()).unwrap();
        let dead = Client::new(endpoint, Secret::new(&t.key), ClientSettings::default()).unwrap();
        assert_eq!(probe(&dead).unwrap_err().class, ErrorClass::Unreachable);
        let failed = t.deliver(&dead, vec![delete()]);
        assert_eq!(failure(&failed[0]).class, ErrorClass::Unreachable);
        let stopped = t.deliver_while(&t.client(), vec![delete()], &|| true);
        assert_eq!(failure(&stopped[0]).class, ErrorClass::Unreachable);
    });
}

#[test]
fn a_good_connection_is_reported() {
    each(|t| {
        let client = t.client();
        probe(&client).unwrap();
        let tested = test_connection(&client, &["res.partner", "sale.order", "no.such.model"]);
        assert_eq!(tested["ok"], true, "{tested}");
        assert_eq!(tested["version"], t.version);
        assert_eq!(tested["protocol"], t.kind.name());
        assert_eq!(tested["uid"], 2, "{tested}");
        assert_eq!(
            tested["missing_rights"],
            json!(["no.such.model: no such model in this Odoo"])
        );
        let auto = t.client_with(json!({"protocol": "auto"}), &t.key);
        probe(&auto).unwrap();
        let expected = if t.version == "18.0" {
            ProtocolKind::JsonRpc
        } else {
            ProtocolKind::Json2
        };
        assert_eq!(auto.known_protocol(), Some(expected));
        let row = t.row("res.partner", Operation::Create, "e", json!({"name": "e"}));
        let batch = Batch {
            model: row.model.clone(),
            operation: row.operation,
            context: Map::new(),
            rows: vec![row],
            joined: std::collections::BTreeMap::new(),
            known: std::collections::BTreeMap::new(),
        };
        let stop = || false;
        let cx = DeliverContext {
            namespace: &t.namespace,
            connection: "odoo",
            should_stop: &stop,
        };
        let shown = explain(&client, &batch, &cx).to_string();
        assert!(shown.contains("load") && !shown.contains(&t.key), "{shown}");
    });
}

#[test]
fn documents_that_odoo_protects_can_be_made_and_changed() {
    // The simulator has no accounting, purchase and expenses.
    let real: Vec<Target> = targets()
        .into_iter()
        .filter(|target| target.sim.is_none())
        .collect();
    each_of(&real, |t| {
        let client = t.client_with(
            json!({"allow_methods": ["account.move.action_post"]}),
            &t.key,
        );
        let product = t.row(
            "product.product",
            Operation::Create,
            "prod",
            json!({"name": "Thing", "type": "service", "can_be_expensed": true}),
        );
        let product = id(&t.deliver(&client, vec![product])[0]);
        let partner = id(&t.deliver(
            &client,
            vec![t.row("res.partner", Operation::Create, "p", json!({"name": "P"}))],
        )[0]);
        let invoice = |price: i64| {
            t.row("account.move", Operation::Upsert, "inv", json!({
                "move_type": "out_invoice", "partner_id": partner, "invoice_date": "2024-01-31", "ref": format!("R{price}"),
                "invoice_line_ids": [{"key": "1", "product_id": product, "quantity": 2, "price_unit": price, "tax_ids": []}],
            }))
        };
        let made = id(&t.deliver(&client, vec![invoice(10)])[0]);
        assert_eq!(id(&t.deliver(&client, vec![invoice(11)])[0]), made);
        let read = &t.read(
            &client,
            "account.move",
            &[made],
            &["amount_untaxed", "move_type", "ref", "invoice_line_ids"],
        )[0];
        assert_eq!(
            [&read["amount_untaxed"], &read["move_type"], &read["ref"]],
            [&json!(22.0), &json!("out_invoice"), &json!("R11")]
        );
        assert_eq!(read["invoice_line_ids"].as_array().unwrap().len(), 1);
        let post = t.row(
            "account.move",
            Operation::Call,
            "inv",
            json!({"method": "action_post", "unless": [["state", "=", "posted"]]}),
        );
        assert_eq!(id(&t.deliver(&client, vec![post])[0]), made);
        let update = t.row(
            "account.move",
            Operation::Update,
            "inv",
            json!({"invoice_date": "2024-02-01"}),
        );
        assert_eq!(
            failure(&t.deliver(&client, vec![update])[0]).class,
            ErrorClass::Invalid
        );
        let state = t.row(
            "account.move",
            Operation::Update,
            "inv",
            json!({"state": "draft"}),
        );
        assert!(
            failure(&t.deliver(&client, vec![state])[0])
                .message
                .contains("read-only")
        );
        let order = t.row("purchase.order", Operation::Create, "po", json!({
            "partner_id": partner,
            "order_line": [{"key": "1", "product_id": product, "product_qty": 3, "price_unit": 4, "date_planned": "2024-03-01T08:00:00Z", "tax_ids": []}],
        }));
        let order = id(&t.deliver(&client, vec![order])[0]);
        assert_eq!(
            t.read(&client, "purchase.order", &[order], &["amount_untaxed"])[0]["amount_untaxed"],
            12.0
        );
        let employee = id(&t.deliver(
            &client,
            vec![t.row("hr.employee", Operation::Create, "e", json!({"name": "E"}))],
        )[0]);
        let expense = t.row("hr.expense", Operation::Create, "x", json!({
            "name": "Taxi", "employee_id": employee, "product_id": product, "total_amount_currency": 30.5, "date": "2024-01-31",
            "payment_mode": "own_account", "analytic_distribution": null,
        }));
        let expense = id(&t.deliver(&client, vec![expense])[0]);
        assert_eq!(
            t.read(&client, "hr.expense", &[expense], &["total_amount"])[0]["total_amount"],
            30.5
        );
        for (model, key) in [("account.move", "inv"), ("hr.expense", "x")] {
            let outcome = &t.deliver(
                &client,
                vec![t.row(model, Operation::Delete, key, json!({}))],
            )[0];
            if model == "account.move" {
                assert_eq!(
                    failure(outcome).class,
                    ErrorClass::Invalid,
                    "a posted invoice stays: {outcome:?}"
                );
            } else {
                assert_eq!(id(outcome), expense);
            }
        }
    });
}
