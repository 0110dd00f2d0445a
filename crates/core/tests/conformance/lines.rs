//! One2many lines through `load`: continuation rows, identities, and what a replay does without them.

use crate::world::{World, create_once, everywhere};
use serde_json::{Value, json};

/// An order with two lines; the second line is a continuation row.
struct Order {
    external: String,
    product: String,
    customer: String,
}

impl Order {
    fn new(w: &World) -> Self {
        let (product, customer) = (w.external("product"), w.external("customer"));
        w.load_once(
            "product.product",
            json!(["id", "name", "list_price"]),
            json!([[product, "Product", "5"]]),
        );
        w.load_once(
            "res.partner",
            json!(["id", "name"]),
            json!([[customer, "Customer"]]),
        );
        Self {
            external: w.external("order"),
            product,
            customer,
        }
    }

    fn fields(&self, identified: bool) -> Value {
        let mut fields = vec![
            "id",
            "partner_id/id",
            "order_line/product_id/id",
            "order_line/product_uom_qty",
            "order_line/price_unit",
        ];
        if identified {
            fields.push("order_line/id");
        }
        json!(fields)
    }

    fn rows(&self, identified: bool) -> Value {
        let mut one = vec![
            json!(self.external),
            json!(self.customer),
            json!(self.product),
            json!("2"),
            json!("10"),
        ];
        let mut two = vec![
            json!(""),
            json!(""),
            json!(self.product),
            json!("1"),
            json!("7"),
        ];
        if identified {
            one.push(json!(format!("{}_line1", self.external)));
            two.push(json!(format!("{}_line2", self.external)));
        }
        json!([one, two])
    }

    #[track_caller]
    fn load(&self, w: &World, identified: bool, context: Value) -> i64 {
        let answer = w.ok(w.load(
            "sale.order",
            self.fields(identified),
            self.rows(identified),
            context,
        ));
        assert_eq!(answer["messages"], json!([]), "{}", w.place());
        assert_eq!(
            answer["ids"].as_array().map(Vec::len),
            Some(1),
            "{}: {answer}",
            w.place()
        );
        answer["ids"][0].as_i64().expect("an id")
    }
}

#[track_caller]
fn quantities(w: &World, order: i64) -> Vec<(f64, f64)> {
    let read = json!({"domain": [["order_id", "=", order]], "fields": ["product_uom_qty", "price_unit"], "order": "id"});
    let lines = w.ok(w.call("sale.order.line", "search_read", read));
    let number = |line: &Value, field: &str| line[field].as_f64().unwrap_or_default();
    lines
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| (number(line, "product_uom_qty"), number(line, "price_unit")))
        .collect()
}

#[test]
fn create_once_makes_two_lines_however_often() {
    everywhere(|w| {
        for identified in [true, false] {
            let order = Order {
                external: w.external(&format!("order_{identified}")),
                ..Order::new(w)
            };
            let first = order.load(w, identified, create_once());
            let second = order.load(w, identified, create_once());
            assert_eq!(first, second, "{}", w.place());
            assert_eq!(
                quantities(w, first),
                [(2.0, 10.0), (1.0, 7.0)],
                "{}",
                w.place()
            );
            assert_eq!(w.value("sale.order", first, "amount_untaxed"), 27.0);
        }
    });
}

#[test]
fn a_plain_load_replays_cleanly_only_with_an_identity_for_every_line() {
    everywhere(|w| {
        let order = Order::new(w);
        let id = order.load(w, true, json!({}));
        order.load(w, true, json!({}));
        assert_eq!(quantities(w, id).len(), 2, "{}", w.place());
        let order = Order {
            external: w.external("anonymous"),
            ..order
        };
        let id = order.load(w, false, json!({}));
        order.load(w, false, json!({}));
        assert_eq!(quantities(w, id).len(), 4, "{}: lines doubled", w.place());
    });
}

#[test]
fn lines_that_are_left_out_stay_and_an_empty_cell_deletes_all() {
    everywhere(|w| {
        let fields = json!(["id", "name", "child_ids/id", "child_ids/name"]);
        let (parent, one, two) = (w.external("parent"), w.external("one"), w.external("two"));
        let load = |rows: Value| {
            w.ok(w.load("res.partner", fields.clone(), rows, json!({})))["ids"][0]
                .as_i64()
                .expect("an id")
        };
        let id = load(json!([[parent, "P", one, "one"], ["", "", two, "two"]]));
        let children = |id: i64| {
            w.value("res.partner", id, "child_ids")
                .as_array()
                .map_or(0, Vec::len)
        };
        assert_eq!(children(id), 2, "{}", w.place());
        load(json!([[parent, "P", one, "one changed"]]));
        assert_eq!(children(id), 2, "{}: left out, kept", w.place());
        load(json!([[parent, "P", "", ""]]));
        assert_eq!(children(id), 0, "{}: empty cell", w.place());
        // Children outlive their parent's forgetting them; tidy up by name.
        for child in ["one", "two"] {
            let found = w.ok(w.call(
                "res.partner",
                "search",
                json!({"domain": [["name", "ilike", w.unique(child)]]}),
            ));
            assert_eq!(found, json!([]));
        }
    });
}

#[test]
fn a_bad_cell_in_a_line_is_a_message_about_the_lines() {
    everywhere(|w| {
        let fields = json!(["id", "name", "child_ids/name", "child_ids/color"]);
        let answer = w.ok(w.load(
            "res.partner",
            fields,
            json!([[w.external("p"), "P", "kid", "much"]]),
            create_once(),
        ));
        let message = &answer["messages"][0];
        assert_eq!(message["field"], "child_ids", "{}: {answer}", w.place());
        assert_eq!(
            message["message"],
            "'much' does not seem to be an integer for field 'Contact/Color Index'"
        );
    });
}

#[test]
fn lines_load_by_themselves() {
    everywhere(|w| {
        let order = Order::new(w);
        let id = order.load(w, true, create_once());
        let fields = json!(["id", "order_id/id", "product_id/id", "product_uom_qty"]);
        let row = json!([[w.external("late"), order.external, order.product, "3"]]);
        let first = w.load_once("sale.order.line", fields.clone(), row.clone());
        assert_eq!(w.load_once("sale.order.line", fields, row), first);
        assert_eq!(quantities(w, id).len(), 3, "{}", w.place());
        assert_eq!(
            w.value("sale.order.line", first[0], "price_unit"),
            5.0,
            "{}: the product's price",
            w.place()
        );
    });
}
