//! Which fields of a payload may be sent. Odoo's `load` stores read-only and computed fields without a word; this
//! does not let it.

use super::{Field, ModelFields};
use crate::failure::{ErrorClass, Failure};

/// What the payload is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Create,
    /// Make it or change it. What may only be given when the record is made is left alone when it is changed.
    Upsert,
    Update,
}

/// Fields that Odoo keeps itself, whatever it says of them.
const KEPT_BY_ODOO: [&str; 6] = [
    "id",
    "create_uid",
    "create_date",
    "write_uid",
    "write_date",
    "display_name",
];

/// Refuses the field `name` of `model` where it does not exist or is not to be written, naming what is meant instead.
pub fn check<'f>(
    fields: &'f ModelFields,
    model: &str,
    name: &str,
    purpose: Purpose,
) -> Result<&'f Field, Failure> {
    let refuse = |why: String, remedy: String| {
        Err(Failure::new(ErrorClass::Invalid, why).with_remedy(remedy))
    };
    let Some(field) = fields.get(name) else {
        let close = closest(fields, name);
        let remedy = if close.is_empty() {
            format!(
                "See fields_get of {model} for its fields; a field may also be hidden from the connection's user."
            )
        } else {
            format!("Did you mean {}?", close.join(", "))
        };
        return refuse(format!("{model} has no field {name:?}"), remedy);
    };
    if KEPT_BY_ODOO.contains(&name) {
        return refuse(
            format!("{model}.{name} is kept by Odoo itself"),
            format!("Leave {name:?} out of the payload."),
        );
    }
    if field.readonly && purpose == Purpose::Update && !is_derived(field) {
        return refuse(
            format!("{model}.{name} is read-only once the record exists"),
            format!(
                "Leave {name:?} out of the payload; where a method of {model} sets it, send a call of that method."
            ),
        );
    }
    if field.readonly && is_derived(field) {
        let close: Vec<String> = closest(fields, name)
            .into_iter()
            .filter(|other| other != name)
            .collect();
        let also = if close.is_empty() {
            String::new()
        } else {
            format!(" Writable and alike: {}.", close.join(", "))
        };
        return refuse(
            format!("{model}.{name} is computed by Odoo and read-only"),
            format!(
                "Leave {name:?} out of the payload and write the fields it is computed from.{also}"
            ),
        );
    }
    Ok(field)
}

/// When the field `name` can be written: "always", "once" (when the record is made), or "never".
pub(super) fn writable(name: &str, field: &Field) -> &'static str {
    if KEPT_BY_ODOO.contains(&name) || (field.readonly && is_derived(field)) {
        "never"
    } else if field.readonly {
        "once"
    } else {
        "always"
    }
}

/// Whether a read-only field is Odoo's own business.
///
/// Odoo marks three kinds of fields read-only: computed ones (`amount_total`), ones that only its interface protects
/// because methods set them or because they never change (`state` of an order, `move_type` of an invoice), and ones that a
/// group may not write. The second kind may be given when a record is made, as an import may, but an update of it would
/// skip the method that belongs to it.
fn is_derived(field: &Field) -> bool {
    field.computed || field.related || !field.store
}

/// Up to three field names that a person may have meant, the closest first.
fn closest(fields: &ModelFields, name: &str) -> Vec<String> {
    if name.len() > 100 {
        return Vec::new();
    }
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    let mut found: Vec<(usize, &str)> = fields
        .names()
        .filter(|other| fields.get(other).is_some_and(|field| !field.readonly))
        .filter_map(|other| {
            let distance = distance(name, other);
            let alike =
                distance <= allowed || other.strip_suffix("_id").is_some_and(|stem| stem == name);
            alike.then_some((distance, other))
        })
        .collect();
    found.sort_unstable();
    found
        .into_iter()
        .take(3)
        .map(|(_, other)| other.to_owned())
        .collect()
}

/// Edits between two short names (Levenshtein, one row).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> ModelFields {
        ModelFields::from_json(&json!({
            "id": {"type": "integer", "readonly": true},
            "partner_id": {"type": "many2one", "relation": "res.partner"},
            "amount_total": {"type": "monetary", "readonly": true, "depends": ["order_line"]},
            "state": {"type": "selection", "selection": [["draft", "Draft"]], "readonly": true},
            "date_order": {"type": "datetime"},
            "fiscal_position_id": {"type": "many2one", "depends": ["partner_id"]},
            "tax_country_id": {"type": "many2one", "readonly": true, "store": false},
        }))
        .unwrap()
    }

    #[test]
    fn unknown_fields_name_the_closest() {
        let failure = check(&order(), "sale.order", "parter_id", Purpose::Create).unwrap_err();
        assert_eq!(failure.class, ErrorClass::Invalid);
        assert!(
            failure.message.contains("parter_id") && failure.remedy.unwrap().contains("partner_id")
        );
        let failure = check(&order(), "sale.order", "partner", Purpose::Create).unwrap_err();
        assert!(failure.remedy.unwrap().contains("partner_id"));
        let failure = check(&order(), "sale.order", "x_zzz", Purpose::Create).unwrap_err();
        assert!(failure.remedy.unwrap().contains("fields_get"));
    }

    #[test]
    fn computed_and_kept_fields_are_refused_and_editable_ones_are_not() {
        for name in ["id", "amount_total", "tax_country_id"] {
            assert!(
                check(&order(), "sale.order", name, Purpose::Create).is_err(),
                "{name}"
            );
        }
        for name in ["partner_id", "date_order", "fiscal_position_id", "state"] {
            assert!(
                check(&order(), "sale.order", name, Purpose::Create).is_ok(),
                "{name}"
            );
        }
        assert!(check(&order(), "sale.order", "state", Purpose::Upsert).is_ok());
        assert!(check(&order(), "sale.order", "state", Purpose::Update).is_err());
    }

    #[test]
    fn distances() {
        for (a, b, edits) in [
            ("", "", 0),
            ("a", "", 1),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("é", "e", 1),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
