//! Tables for people, on standard output.

use anyhow::Result;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use postgres::{Client, SimpleQueryMessage};
use serde_json::{Value, json};

use crate::odoo::Access;
use crate::progress::BOLD;

/// Columns that are wider than the terminal wrap; where there is no terminal, at this width.
const WIDTH: u16 = 160;

pub fn section(title: &str) {
    anstream::println!("\n{BOLD}{title}{BOLD:#}");
}

/// Prints what a query gives.
pub fn query(client: &mut Client, sql: &str) -> Result<()> {
    let mut header: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for message in client.simple_query(sql)? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                header = columns
                    .iter()
                    .map(|column| column.name().to_owned())
                    .collect();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push(
                    (0..row.len())
                        .map(|at| row.get(at).unwrap_or_default().to_owned())
                        .collect(),
                );
            }
            _ => {}
        }
    }
    print(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows);
    Ok(())
}

/// The demo's partners, as Odoo has them.
pub fn partners(access: &Access) -> Result<()> {
    let fields = ["id", "name", "email", "phone", "is_company"];
    let domain = json!([["email", "=like", "%@demo.example"]]);
    records(access, "res.partner", &domain, &fields)
}

/// The demo's sale orders, as Odoo has them.
pub fn orders(access: &Access) -> Result<()> {
    let fields = [
        "id",
        "name",
        "partner_id",
        "client_order_ref",
        "order_line",
        "amount_untaxed",
        "state",
    ];
    records(
        access,
        "sale.order",
        &json!([["client_order_ref", "=like", "DEMO-%"]]),
        &fields,
    )
}

fn records(access: &Access, model: &str, domain: &Value, fields: &[&str]) -> Result<()> {
    let found = access.call(
        model,
        "search_read",
        &json!({ "domain": domain, "fields": fields, "order": "id", "context": { "active_test": false } }),
    )?;
    let rows = found.as_array().into_iter().flatten();
    let rows = rows
        .map(|record| fields.iter().map(|field| text(&record[*field])).collect())
        .collect();
    section(model);
    print(fields, rows);
    Ok(())
}

/// A value as a person reads it: `false` is Odoo's null, a pair is a reference with its name.
fn text(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(false) => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(pair) if pair.len() == 2 && pair[1].is_string() => text(&pair[1]),
        Value::Array(ids) => format!("{} records", ids.len()),
        other => other.to_string(),
    }
}

fn print(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    // anstream below takes the colours out again where nobody wants them.
    table.enforce_styling();
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(
        header
            .iter()
            .map(|name| Cell::new(name).add_attribute(Attribute::Bold)),
    );
    for row in rows {
        table.add_row(row.into_iter().map(|value| match colour(&value) {
            Some(colour) => Cell::new(value).fg(colour),
            None => Cell::new(value),
        }));
    }
    anstream::println!("{table}");
}

/// The words of a status, here and in Odoo.
fn colour(value: &str) -> Option<Color> {
    match value {
        "pass" | "done" | "sale" => Some(Color::Green),
        "warn" | "queued" | "processing" => Some(Color::Yellow),
        "fail" | "failed" => Some(Color::Red),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_like_a_form() {
        assert_eq!(text(&json!(false)), "");
        assert_eq!(text(&json!([7, "Blue Lagoon"])), "Blue Lagoon");
        assert_eq!(text(&json!(12.5)), "12.5");
    }
}
