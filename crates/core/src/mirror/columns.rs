//! Which columns a mirror has: those that Odoo's own table of the model has, with types that keep every value.

use super::config::Variants;
use crate::odoo::fields::{Field, ModelFields};

/// Most columns of a mirror; Postgres allows 1,600 in a table, fewer where they are wide.
const MOST_COLUMNS: usize = 1_000;
/// Longest name that Postgres keeps whole.
const LONGEST_NAME: usize = 63;
/// Names of our own columns begin so.
const OWN: &str = "_etl_";

/// How a value is written for Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Boolean,
    /// A whole number of 32 bits.
    Integer,
    Number,
    Text,
    Date,
    /// Naive UTC in Odoo.
    Datetime,
    /// One record, by its id.
    One,
    /// Several records, by their ids.
    Many,
    Json,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Of the column and of the field.
    pub name: String,
    pub sql_type: &'static str,
    /// Of the value, or of each of its variants.
    pub form: Form,
    pub varies: Varies,
}

/// Whether a column has one value, or one for each language or company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Varies {
    Not,
    ByLanguage,
    ByCompany,
}

/// A field that has no column, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub field: String,
    pub why: &'static str,
}

/// What a model's mirror consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// `id` first, then by name.
    pub columns: Vec<Column>,
    /// What was chosen and cannot be mirrored.
    pub skipped: Vec<Skipped>,
}

/// The columns of a mirror of a model with these fields.
///
/// Where nothing is chosen: every stored field that has a column in Odoo's own table. One2many, many2many, binary and
/// computed fields have none. A chosen relation of many is an array of ids; a chosen computed field is read as any other.
#[must_use]
pub fn columns(fields: &ModelFields, chosen: Option<&[String]>, variants: &Variants) -> Columns {
    let mut found = Columns {
        columns: vec![Column {
            name: "id".to_owned(),
            sql_type: "bigint",
            form: Form::One,
            varies: Varies::Not,
        }],
        skipped: Vec::new(),
    };
    let names: Vec<&str> = match chosen {
        Some(chosen) => chosen.iter().map(String::as_str).collect(),
        None => fields.names().collect(),
    };
    let mut names: Vec<&str> = names.into_iter().filter(|name| *name != "id").collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let told = match fields.get(name) {
            Some(field) if chosen.is_some() || has_column(field) => shape(field)
                .map(|(sql_type, form)| match varies(field, variants) {
                    Varies::Not => (sql_type, form, Varies::Not),
                    varies => ("jsonb", form, varies),
                })
                .ok_or("a binary field: files are not mirrored"),
            Some(_) => continue,
            None => Err("this Odoo has no such field"),
        };
        let told = told.and_then(|shape| {
            if name.starts_with(OWN) || name.len() > LONGEST_NAME || name.contains('\0') {
                Err("its name cannot be that of a column")
            } else if found.columns.len() >= MOST_COLUMNS {
                Err("the mirror has as many columns as it may have")
            } else {
                Ok(shape)
            }
        });
        match told {
            Ok((sql_type, form, varies)) => found.columns.push(Column {
                name: name.to_owned(),
                sql_type,
                form,
                varies,
            }),
            Err(why) => found.skipped.push(Skipped {
                field: name.to_owned(),
                why,
            }),
        }
    }
    found
}

/// Whether Odoo keeps the field in a column of the model's table.
fn has_column(field: &Field) -> bool {
    field.store
        && !matches!(
            field.kind.as_str(),
            "one2many" | "many2many" | "binary" | "image"
        )
}

fn varies(field: &Field, variants: &Variants) -> Varies {
    if field.translated && !variants.languages.is_empty() {
        Varies::ByLanguage
    } else if field.company_dependent && !variants.companies.is_empty() {
        Varies::ByCompany
    } else {
        Varies::Not
    }
}

/// The type of the column, and how its values are written; `None` where it cannot be mirrored.
fn shape(field: &Field) -> Option<(&'static str, Form)> {
    Some(match field.kind.as_str() {
        "boolean" => ("boolean", Form::Boolean),
        "integer" => ("integer", Form::Integer),
        "float" if !field.fixed_decimals => ("double precision", Form::Number),
        "float" | "monetary" => ("numeric", Form::Number),
        "char" | "text" | "html" | "selection" | "reference" => ("text", Form::Text),
        "date" => ("date", Form::Date),
        "datetime" => ("timestamp with time zone", Form::Datetime),
        "many2one" | "many2one_reference" => ("bigint", Form::One),
        "one2many" | "many2many" => ("bigint[]", Form::Many),
        "binary" | "image" => return None,
        // json, properties, properties_definition, and types of later versions: whatever they hold.
        _ => ("jsonb", Form::Json),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn model() -> ModelFields {
        ModelFields::from_json(&json!({
            "id": {"type": "integer", "store": true},
            "name": {"type": "char", "store": true},
            "active": {"type": "boolean", "store": true},
            "color": {"type": "integer", "store": true},
            "weight": {"type": "float", "store": true},
            "list_price": {"type": "float", "store": true, "digits": [16, 2]},
            "amount_total": {"type": "monetary", "store": true},
            "date_order": {"type": "datetime", "store": true},
            "birthday": {"type": "date", "store": true},
            "parent_id": {"type": "many2one", "store": true, "relation": "res.partner"},
            "res_id": {"type": "many2one_reference", "store": true},
            "child_ids": {"type": "one2many", "store": true, "relation": "res.partner"},
            "category_id": {"type": "many2many", "store": true, "relation": "res.partner.category"},
            "image_1920": {"type": "binary", "store": true},
            "display_name": {"type": "char", "store": false},
            "props": {"type": "properties", "store": true},
            "later": {"type": "a type of tomorrow", "store": true},
            "_etl_x": {"type": "char", "store": true},
        }))
        .unwrap()
    }

    fn shown(columns: &Columns) -> Vec<(&str, &str)> {
        columns
            .columns
            .iter()
            .map(|column| (column.name.as_str(), column.sql_type))
            .collect()
    }

    #[test]
    fn what_odoo_keeps_in_a_column_has_one() {
        let found = columns(&model(), None, &Variants::default());
        assert_eq!(
            shown(&found),
            [
                ("id", "bigint"),
                ("active", "boolean"),
                ("amount_total", "numeric"),
                ("birthday", "date"),
                ("color", "integer"),
                ("date_order", "timestamp with time zone"),
                ("later", "jsonb"),
                ("list_price", "numeric"),
                ("name", "text"),
                ("parent_id", "bigint"),
                ("props", "jsonb"),
                ("res_id", "bigint"),
                ("weight", "double precision"),
            ]
        );
        assert_eq!(
            found.skipped,
            [Skipped {
                field: "_etl_x".to_owned(),
                why: "its name cannot be that of a column"
            }]
        );
    }

    #[test]
    fn what_is_chosen_and_cannot_be_is_said_and_holds_up_nothing() {
        let chosen = [
            "name",
            "category_id",
            "display_name",
            "image_1920",
            "vat",
            "id",
            "name",
        ]
        .map(str::to_owned);
        let found = columns(&model(), Some(&chosen), &Variants::default());
        assert_eq!(
            shown(&found),
            [
                ("id", "bigint"),
                ("category_id", "bigint[]"),
                ("display_name", "text"),
                ("name", "text"),
            ]
        );
        let skipped: Vec<&str> = found
            .skipped
            .iter()
            .map(|skipped| skipped.field.as_str())
            .collect();
        assert_eq!(skipped, ["image_1920", "vat"]);
    }
}
