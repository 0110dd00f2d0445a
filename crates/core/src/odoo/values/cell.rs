//! Values as columns and cells of a `load` matrix.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Line, Reference, Typed, Values};

/// One record, split into what one `load` can carry and what must follow it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Columns of the record itself; the first is `id`, its external id.
    head: Vec<(String, Value)>,
    /// The lines of each one2many that go along: all of one set of columns.
    blocks: Vec<Block>,
    /// Lines that need another set of columns, or what a cell cannot hold: `(field, line)`.
    pub later_lines: Vec<(String, Line)>,
    /// Fields that only a write can set.
    pub later_values: Values,
}

#[derive(Debug, Clone, PartialEq)]
struct Block {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// Several records of the same columns, ready for `load`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    pub fields: Vec<String>,
    pub data: Vec<Vec<Value>>,
    /// First and last row of each record.
    pub spans: Vec<(usize, usize)>,
}

impl Sheet {
    /// The sheet of the record `external_id`.
    #[must_use]
    pub fn new(external_id: &str, values: &Values) -> Self {
        let mut sheet = Self {
            head: vec![("id".to_owned(), json!(external_id))],
            blocks: Vec::new(),
            later_lines: Vec::new(),
            later_values: Values::new(),
        };
        for (name, value) in values {
            if let Typed::Lines(lines) = value {
                sheet.add_lines(name, lines);
                continue;
            }
            match cell(name, value) {
                Some(column) => sheet.head.push(column),
                None => {
                    sheet.later_values.insert(name.clone(), value.clone());
                }
            }
        }
        sheet
    }

    /// The sheet of a record that exists; `None` where one `load` cannot carry all of it.
    #[must_use]
    pub fn of_record(id: i64, values: &Values) -> Option<Self> {
        let mut sheet = Self::new("", values);
        sheet.head[0] = (".id".to_owned(), json!(id.to_string()));
        let whole = sheet.later_values.is_empty()
            && sheet.later_lines.is_empty()
            && sheet.blocks.is_empty();
        whole.then_some(sheet)
    }

    /// The record's own external id.
    #[must_use]
    pub fn external_id(&self) -> &str {
        self.head
            .first()
            .and_then(|(_, cell)| cell.as_str())
            .unwrap_or_default()
    }

    /// Records go into one matrix only where this is the same: a column that a record does not have would be an empty
    /// cell, and an empty cell clears the value.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let head = self.head.iter().map(|(name, _)| name.as_str());
        head.chain(
            self.blocks
                .iter()
                .flat_map(|block| block.columns.iter().map(String::as_str)),
        )
        .collect()
    }

    fn add_lines(&mut self, field: &str, lines: &[Line]) {
        let mut block: Option<Block> = None;
        let kinds = kinds_of_references(lines);
        for line in lines {
            let cells = line_cells(field, line, &kinds);
            match (&mut block, cells) {
                (None, Some((columns, row))) => {
                    block = Some(Block {
                        columns,
                        rows: vec![row],
                    })
                }
                (Some(block), Some((columns, row))) if block.columns == columns => {
                    block.rows.push(row)
                }
                (_, Some(_) | None) => self.later_lines.push((field.to_owned(), line.clone())),
            }
        }
        self.blocks.extend(block);
    }
}

/// The matrix of `sheets`, which have the same columns.
#[must_use]
pub fn matrix(sheets: &[&Sheet]) -> Matrix {
    let mut matrix = Matrix::default();
    let Some(first) = sheets.first() else {
        return matrix;
    };
    matrix.fields = first.columns().into_iter().map(str::to_owned).collect();
    for sheet in sheets {
        let from = matrix.data.len();
        let rows = sheet
            .blocks
            .iter()
            .map(|block| block.rows.len())
            .max()
            .unwrap_or(0)
            .max(1);
        for row in 0..rows {
            // Rows after the first hold lines only: that is how `load` knows that they belong to the record above.
            let head = sheet
                .head
                .iter()
                .map(|(_, cell)| if row == 0 { cell.clone() } else { json!("") });
            let lines = sheet
                .blocks
                .iter()
                .flat_map(|block| match block.rows.get(row) {
                    Some(cells) => cells.clone(),
                    None => vec![json!(""); block.columns.len()],
                });
            matrix.data.push(head.chain(lines).collect());
        }
        matrix.spans.push((from, matrix.data.len() - 1));
    }
    matrix
}

/// By which kind of reference other lines name a record in each field: a line that has none there goes into their column.
fn kinds_of_references(lines: &[Line]) -> BTreeMap<&str, &'static str> {
    let mut kinds = BTreeMap::new();
    for (name, value) in lines.iter().flat_map(|line| &line.values) {
        if let Typed::One(Some(reference)) = value {
            let kind = match reference {
                Reference::Id(_) => ".id",
                Reference::External(_) => "id",
            };
            kinds.entry(name.as_str()).or_insert(kind);
        }
    }
    kinds
}

/// Columns and cells of a line; `None` where a cell cannot hold all of it.
fn line_cells(
    field: &str,
    line: &Line,
    kinds: &BTreeMap<&str, &'static str>,
) -> Option<(Vec<String>, Vec<Value>)> {
    let Reference::External(name) = &line.identity else {
        return None;
    };
    if line.removed {
        return None;
    }
    let mut columns = vec![format!("{field}/id")];
    let mut row = vec![json!(name)];
    for (name, value) in &line.values {
        let (column, cell) = match (value, kinds.get(name.as_str())) {
            (Typed::One(None), Some(kind)) => (format!("{name}/{kind}"), json!("")),
            _ => cell(name, value)?,
        };
        columns.push(format!("{field}/{column}"));
        row.push(cell);
    }
    Some((columns, row))
}

/// Column and cell of one value; `None` where a cell cannot hold it.
fn cell(name: &str, value: &Typed) -> Option<(String, Value)> {
    let by = |suffix: &str| format!("{name}/{suffix}");
    let column = match value {
        Typed::Null => (name.to_owned(), json!("")),
        // JSON true makes `load` fail: it asks every cell for its lower case.
        Typed::Scalar(Value::Bool(value)) => {
            (name.to_owned(), json!(if *value { "1" } else { "0" }))
        }
        Typed::Scalar(value) => (name.to_owned(), value.clone()),
        Typed::Json(value) => (name.to_owned(), json!(value.to_string())),
        Typed::One(None) => (by(".id"), json!("")),
        Typed::One(Some(Reference::Id(id))) => (by(".id"), json!(id.to_string())),
        Typed::One(Some(Reference::External(external))) => (by("id"), json!(external)),
        Typed::Many(references) => {
            let ids: Vec<String> = references
                .iter()
                .filter_map(|reference| match reference {
                    Reference::Id(id) => Some(id.to_string()),
                    Reference::External(_) => None,
                })
                .collect();
            let externals: Vec<&str> = references
                .iter()
                .filter_map(|reference| match reference {
                    Reference::External(external) => Some(external.as_str()),
                    Reference::Id(_) => None,
                })
                .collect();
            match (ids.is_empty(), externals.is_empty()) {
                (_, true) => (by(".id"), json!(ids.join(","))),
                (true, false) => (by("id"), json!(externals.join(","))),
                // One cell holds one kind of reference.
                (false, false) => return None,
            }
        }
        Typed::Late(_) | Typed::Lines(_) => return None,
    };
    Some(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, values: &[(&str, Typed)]) -> Line {
        Line {
            identity: Reference::External(format!("m.{key}")),
            values: named(values),
            removed: false,
        }
    }

    fn named(values: &[(&str, Typed)]) -> Values {
        values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn cells_by_type() {
        let id = |id| Reference::Id(id);
        let external = |name: &str| Reference::External(name.to_owned());
        let table = [
            (Typed::Null, Some(("f", json!("")))),
            (Typed::Scalar(json!(true)), Some(("f", json!("1")))),
            (Typed::Scalar(json!(false)), Some(("f", json!("0")))),
            (Typed::Scalar(json!(7)), Some(("f", json!(7)))),
            (
                Typed::Json(json!({"a": 1})),
                Some(("f", json!("{\"a\":1}"))),
            ),
            (Typed::One(None), Some(("f/.id", json!("")))),
            (Typed::One(Some(id(7))), Some(("f/.id", json!("7")))),
            (
                Typed::One(Some(external("base.be"))),
                Some(("f/id", json!("base.be"))),
            ),
            (Typed::Many(vec![]), Some(("f/.id", json!("")))),
            (
                Typed::Many(vec![id(1), id(2)]),
                Some(("f/.id", json!("1,2"))),
            ),
            (
                Typed::Many(vec![external("a.b"), external("c.d")]),
                Some(("f/id", json!("a.b,c.d"))),
            ),
            (Typed::Many(vec![external("a.b"), id(2)]), None),
            (Typed::Late(json!({})), None),
        ];
        for (value, expected) in table {
            assert_eq!(
                cell("f", &value),
                expected.map(|(name, cell)| (name.to_owned(), cell)),
                "{value:?}"
            );
        }
    }

    #[test]
    fn lines_go_below_their_record_and_never_mix_columns() {
        let name = |text: &str| ("name", Typed::Scalar(json!(text)));
        let price = ("price", Typed::Scalar(json!(5)));
        let values = named(&[
            ("partner_id", Typed::One(Some(Reference::Id(3)))),
            (
                "lines",
                Typed::Lines(vec![
                    line("1", &[name("a")]),
                    line("2", &[name("b"), price.clone()]),
                    line("3", &[name("c")]),
                ]),
            ),
            ("tags", Typed::Late(json!({}))),
        ]);
        let first = Sheet::new("m.a", &values);
        assert_eq!(first.later_lines.len(), 1);
        assert_eq!(first.later_values.keys().collect::<Vec<_>>(), ["tags"]);
        let values = named(&[
            ("partner_id", Typed::One(Some(Reference::Id(4)))),
            ("lines", Typed::Lines(vec![line("4", &[name("d")])])),
        ]);
        let second = Sheet::new("m.b", &values);
        assert_eq!(first.columns(), second.columns());
        let matrix = matrix(&[&first, &second]);
        // A BTreeMap orders the fields, so that the same payload always gives the same request.
        assert_eq!(
            matrix.fields,
            ["id", "partner_id/.id", "lines/id", "lines/name"]
        );
        assert_eq!(
            matrix.data,
            [
                vec![json!("m.a"), json!("3"), json!("m.1"), json!("a")],
                vec![json!(""), json!(""), json!("m.3"), json!("c")],
                vec![json!("m.b"), json!("4"), json!("m.4"), json!("d")],
            ]
        );
        assert_eq!(matrix.spans, [(0, 1), (2, 2)]);
    }

    #[test]
    fn a_line_without_a_reference_goes_along_and_one_to_be_deleted_does_not() {
        let product = |reference| ("product", Typed::One(reference));
        let mut gone = line("3", &[]);
        gone.removed = true;
        let lines = vec![
            line("1", &[product(None)]),
            line("2", &[product(Some(Reference::External("m.p".to_owned())))]),
            gone.clone(),
        ];
        let sheet = Sheet::new("m.r", &named(&[("lines", Typed::Lines(lines))]));
        assert_eq!(sheet.columns(), ["id", "lines/id", "lines/product/id"]);
        assert_eq!(sheet.later_lines, [("lines".to_owned(), gone)]);
        assert_eq!(
            matrix(&[&sheet]).data,
            [
                [json!("m.r"), json!("m.1"), json!("")],
                [json!(""), json!("m.2"), json!("m.p")]
            ]
        );
    }

    #[test]
    fn two_kinds_of_lines_stand_side_by_side() {
        let values = named(&[
            (
                "a",
                Typed::Lines(vec![
                    line("1", &[("x", Typed::Null)]),
                    line("2", &[("x", Typed::Null)]),
                ]),
            ),
            (
                "b",
                Typed::Lines(vec![line("3", &[("y", Typed::Scalar(json!(1)))])]),
            ),
        ]);
        let matrix = matrix(&[&Sheet::new("m.r", &values)]);
        assert_eq!(matrix.fields, ["id", "a/id", "a/x", "b/id", "b/y"]);
        assert_eq!(
            matrix.data[1],
            [json!(""), json!("m.2"), json!(""), json!(""), json!("")]
        );
    }
}
