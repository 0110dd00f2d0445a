//! From the matrix to nested records: columns grouped by field, lines collected from continuation rows.

use crate::exception::{Class, Exception, Outcome};
use crate::orm::field::Kind;
use crate::orm::model::{Model, registry};
use crate::orm::python::{quoted, truthy};
use serde_json::Value as Json;
use std::collections::HashSet;

/// A column name split at `/`. The empty name stands for the display name.
pub(super) type Path = Vec<String>;

/// A record as it stands in the matrix, unconverted.
pub(super) type Record = Vec<(String, Cell)>;

/// A cell of a plain field, or the sub-records of a relational one.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Raw(Json),
    Records(Vec<Record>),
}

/// The cell of a plain column.
pub(super) fn raw<'r>(record: &'r Record, name: &str) -> Option<&'r Json> {
    record.iter().rev().find_map(|(key, cell)| match cell {
        Cell::Raw(json) if key == name => Some(json),
        _ => None,
    })
}

/// Splits a column name; `field.id` and `field:id` are old spellings of `field/.id` and `field/id`.
pub(super) fn path(column: &str) -> Path {
    let mut fixed = String::with_capacity(column.len() + 2);
    for (at, c) in column.char_indices() {
        let after_name = at > 0 && !fixed.ends_with('/');
        match c {
            '.' if after_name && column[at..].starts_with(".id") => fixed.push_str("/."),
            ':' if after_name && column[at..].starts_with(":id") => fixed.push('/'),
            c => fixed.push(c),
        }
    }
    fixed.split('/').map(str::to_owned).collect()
}

/// The model itself and those of its lines: what pending rows may create.
pub(super) fn creatable(model: &'static Model, paths: &[Path]) -> HashSet<&'static str> {
    let mut models = HashSet::from([model.name]);
    for path in paths {
        let mut at = model;
        for name in path {
            let Some(Kind::One2many { comodel, .. }) = at.field(name).map(|field| field.kind)
            else {
                break;
            };
            models.insert(comodel);
            at = registry().model(comodel);
        }
    }
    models
}

/// Groups rows into records, with the first and last row of each.
pub(super) fn records(
    model: &'static Model,
    paths: &[Path],
    rows: &[Vec<&Json>],
) -> Outcome<Vec<(Record, (usize, usize))>> {
    for path in paths {
        let name = &path[0];
        if !name.is_empty() && !name.contains('.') && model.position(name).is_none() {
            return Err(Exception::value_error(format!(
                "Invalid field name {}",
                quoted(name)
            )));
        }
    }
    let kind = |path: &Path| model.field(&path[0]).map(|field| field.kind);
    let is_line = |path: &Path| matches!(kind(path), Some(Kind::One2many { .. }));
    let line_columns: Vec<usize> = (0..paths.len()).filter(|at| is_line(&paths[*at])).collect();
    let other_columns: Vec<usize> = (0..paths.len())
        .filter(|at| !is_line(&paths[*at]))
        .collect();
    let mut out = vec![];
    let mut at = 0;
    while at < rows.len() {
        let mut end = at + 1;
        while end < rows.len()
            && any(&line_columns, &rows[end])?
            && !any(&other_columns, &rows[end])?
        {
            end += 1;
        }
        out.push((record(model, paths, &rows[at..end])?, (at, end - 1)));
        at = end;
    }
    Ok(out)
}

fn record(model: &'static Model, paths: &[Path], span: &[Vec<&Json>]) -> Outcome<Record> {
    let comodel = |path: &Path| model.field(&path[0]).and_then(|field| field.kind.comodel());
    let mut record: Record = paths
        .iter()
        .zip(&span[0])
        .filter(|(path, _)| comodel(path).is_none())
        .map(|(path, cell)| (path[0].clone(), Cell::Raw((*cell).clone())))
        .collect();
    let mut done = HashSet::new();
    for path in paths {
        let Some(comodel) = comodel(path) else {
            continue;
        };
        if !done.insert(&path[0]) {
            continue;
        }
        let columns: Vec<usize> = (0..paths.len())
            .filter(|at| paths[*at][0] == path[0])
            .collect();
        let below: Vec<Path> = columns
            .iter()
            .map(|at| {
                if paths[*at].len() > 1 {
                    paths[*at][1..].to_vec()
                } else {
                    vec![String::new()]
                }
            })
            .collect();
        let mut cells = vec![];
        for row in span {
            if any(&columns, row)? {
                cells.push(columns.iter().map(|at| row[*at]).collect());
            }
        }
        let below = records(registry().model(comodel), &below, &cells)?;
        record.push((
            path[0].clone(),
            Cell::Records(below.into_iter().map(|(record, _)| record).collect()),
        ));
    }
    Ok(record)
}

fn any(columns: &[usize], row: &[&Json]) -> Outcome<bool> {
    for at in columns {
        match row.get(*at) {
            Some(cell) if truthy(cell) => return Ok(true),
            Some(_) => {}
            None => {
                return Err(Exception::new(
                    Class::Builtin("IndexError"),
                    "list index out of range",
                ));
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_old_and_new_spellings() {
        assert_eq!(path("country_id/.id"), ["country_id", ".id"]);
        assert_eq!(path("country_id.id"), ["country_id", ".id"]);
        assert_eq!(path("country_id:id"), ["country_id", "id"]);
        assert_eq!(path(".id"), [".id"]);
        assert_eq!(
            path("order_line/product_id/id"),
            ["order_line", "product_id", "id"]
        );
    }
}
