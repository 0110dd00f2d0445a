//! What arrives is what was sent.

use serde_json::{Value, json};

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::outbox::Operation;

use crate::target::*;

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
fn a_reference_by_natural_key_is_one_question_for_the_batch() {
    each(|t| {
        let client = t.client();
        let country = |code: &str| json!({"by": {"code": code}});
        let row = |key: &str, payload: Value| t.row("res.partner", Operation::Upsert, key, payload);
        let rows = vec![
            row("n1", json!({"name": "one", "country_id": country("BE")})),
            row("n2", json!({"name": "two", "country_id": country("NL")})),
            row("n3", json!({"name": "three", "country_id": country("ZZ")})),
            row(
                "n4",
                json!({"name": "four", "country_id": country("BE"), "category_id": [{"by": {"name": format!("N {}", t.namespace)}}]}),
            ),
            row(
                "n5",
                json!({"name": "five", "country_id": {"by": {"no_such_field": 7}}}),
            ),
        ];
        // More of one name than two keys' worth of an answer, and one of another name behind them.
        for name in ["N", "M", "M", "M", "M", "M", "M", "L"] {
            let key = format!("n{}", t.count(&client, "res.partner.category", json!([])));
            let made = t.row(
                "res.partner.category",
                Operation::Create,
                &key,
                json!({"name": format!("{name} {}", t.namespace)}),
            );
            id(&t.deliver(&client, vec![made])[0]);
        }
        let asked = client.requests();
        let outcomes = t.deliver(&client, rows);
        assert!(
            client.requests() - asked <= 8,
            "{}",
            client.requests() - asked
        );
        let made = [&outcomes[0], &outcomes[1], &outcomes[3]].map(id);
        let read = t.read(
            &client,
            "res.partner",
            &made,
            &["country_id", "category_id"],
        );
        let names: Vec<&Value> = read.iter().map(|record| &record["country_id"][1]).collect();
        assert_eq!(names, ["Belgium", "Netherlands", "Belgium"]);
        assert_eq!(read[2]["category_id"].as_array().map(Vec::len), Some(1));
        let unknown = failure(&outcomes[2]);
        assert_eq!(unknown.class, ErrorClass::Dependency, "{unknown}");
        assert!(unknown.message.contains("\"ZZ\""), "{unknown}");
        assert_eq!(failure(&outcomes[4]).class, ErrorClass::Invalid);
        let twice = row(
            "n6",
            json!({"name": "six", "category_id": [{"by": {"name": format!("M {}", t.namespace)}}]}),
        );
        let twice = t.deliver(&client, vec![twice]);
        let tag = |name: &str| json!({"by": {"name": format!("{name} {}", t.namespace)}});
        let both = vec![
            row("n7", json!({"name": "seven", "category_id": [tag("M")]})),
            row("n8", json!({"name": "eight", "category_id": [tag("L")]})),
        ];
        let both = t.deliver(&client, both);
        assert_eq!(failure(&both[0]).class, ErrorClass::Invalid);
        id(&both[1]);
        let several = failure(&twice[0]);
        assert_eq!(several.class, ErrorClass::Invalid);
        assert!(several.message.contains("several"), "{several}");
    });
}
