//! What keeps the rows of one record together.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::tests::ground::{maybe, one};

    fn key(model: &str, record_key: Option<&str>, payload: &str) -> Option<i64> {
        let record_key = record_key.map_or("NULL".to_owned(), |key| format!("'{key}'"));
        maybe(&format!(
            "SELECT etl._key_hash('{model}', {record_key}, '{payload}')"
        ))
    }

    #[pg_test]
    fn a_record_key_is_the_record_of_its_model() {
        let ada = key("res.partner", Some("42"), "{}");
        assert!(ada.is_some());
        assert_eq!(
            ada,
            key("res.partner", Some("42"), r#"{"odoo_id": 7}"#),
            "the record key comes before the id"
        );
        assert_ne!(ada, key("res.partner", Some("43"), "{}"));
        assert_ne!(ada, key("sale.order", Some("42"), "{}"));
    }

    #[pg_test]
    fn without_a_record_key_the_odoo_id_is_the_record() {
        let seven = key("res.partner", None, r#"{"odoo_id": 7, "name": "Ada"}"#);
        assert!(seven.is_some());
        assert_eq!(seven, key("res.partner", None, r#"{"id": 7}"#));
        assert_eq!(
            seven,
            key("res.partner", None, r#"{"odoo_id": "7"}"#),
            "old triggers send numbers as text"
        );
        assert_eq!(
            seven,
            key("res.partner", None, r#"{"odoo_id": 0, "id": 7}"#)
        );
        assert_eq!(
            seven,
            key("res.partner", None, r#"{"method": "x", "ids": [7]}"#),
            "a call on one record is a change of it"
        );
        assert_ne!(seven, key("res.partner", None, r#"{"odoo_id": 8}"#));
    }

    #[pg_test]
    fn rows_that_name_no_record_wait_for_nobody() {
        for payload in [
            r#"{"name": "Ada"}"#,
            r#"{"odoo_id": 0}"#,
            r#"{"odoo_id": -7}"#,
            r#"{"odoo_id": false}"#,
            r#"{"odoo_id": null}"#,
            r#"{"odoo_id": 1.5}"#,
            r#"{"odoo_id": 99999999999999999999999}"#,
            r#"{"odoo_id": "seven"}"#,
            r#"{"ids": [7, 8]}"#,
            "[7]",
            "7",
            "null",
        ] {
            assert_eq!(key("res.partner", None, payload), None, "{payload}");
        }
    }

    #[pg_test]
    fn a_key_of_ten_thousand_characters_is_a_key() {
        assert!(one::<bool>(
            "SELECT etl._key_hash('res.partner', repeat('k', 10000), '{}') <> etl._key_hash('res.partner', repeat('k', 9999), '{}')"
        ));
    }
}
