//! Search domains: parsing and matching.

use super::clock;
use super::env::Env;
use super::field::{Field, Kind};
use super::model::{Model, Row, registry};
use super::python;
use super::value::Value;
use crate::exception::{Exception, Outcome};
use serde_json::Value as Json;

/// A parsed domain.
#[derive(Debug, Clone)]
pub(crate) enum Domain {
    All(Vec<Domain>),
    Any(Vec<Domain>),
    Not(Box<Domain>),
    Constant(bool),
    Condition {
        path: String,
        operator: String,
        value: Json,
    },
}

const OPERATORS: [&str; 22] = [
    "=",
    "!=",
    "<>",
    "==",
    "<",
    ">",
    "<=",
    ">=",
    "in",
    "not in",
    "like",
    "not like",
    "ilike",
    "not ilike",
    "=like",
    "=ilike",
    "not =like",
    "not =ilike",
    "child_of",
    "parent_of",
    "any",
    "not any",
];

/// Reads the prefix notation.
pub(crate) fn parse(json: &Json) -> Outcome<Domain> {
    let items = match json {
        Json::Array(items) => items,
        Json::Bool(constant) => return Ok(Domain::Constant(*constant)),
        other => {
            return Err(Exception::type_error(format!(
                "Domain() invalid argument type for domain: {}",
                python::repr(other)
            )));
        }
    };
    let mut stack: Vec<Domain> = vec![];
    for item in items.iter().rev() {
        let next = match item {
            Json::Array(parts) if parts.len() == 3 => condition(parts)?,
            Json::String(operator) if matches!(operator.as_str(), "&" | "|" | "!") => {
                let mut operand = || {
                    stack.pop().ok_or_else(|| {
                        Exception::value_error(format!(
                            "Domain() malformed domain {}",
                            python::repr(json)
                        ))
                    })
                };
                match operator.as_str() {
                    "!" => Domain::Not(Box::new(operand()?)),
                    "&" => Domain::All(vec![operand()?, operand()?]),
                    _ => Domain::Any(vec![operand()?, operand()?]),
                }
            }
            other => {
                return Err(Exception::value_error(format!(
                    "Domain() invalid item in domain: {}",
                    python::repr(other)
                )));
            }
        };
        stack.push(next);
    }
    stack.reverse();
    Ok(Domain::All(stack))
}

fn condition(parts: &[Json]) -> Outcome<Domain> {
    let shown = || {
        format!(
            "({}, {}, {})",
            python::repr(&parts[0]),
            python::repr(&parts[1]),
            python::repr(&parts[2])
        )
    };
    match (&parts[0], &parts[1]) {
        (Json::Number(left), _) if left.is_i64() => Ok(Domain::Constant(
            left == parts[2].as_number().unwrap_or(left),
        )),
        (Json::String(path), Json::String(operator)) if !path.is_empty() => {
            let operator = operator.to_lowercase();
            if !OPERATORS.contains(&operator.as_str()) {
                return Err(Exception::value_error(format!(
                    "Invalid operator in condition {}",
                    shown()
                )));
            }
            Ok(Domain::Condition {
                path: path.clone(),
                operator,
                value: parts[2].clone(),
            })
        }
        _ => Err(Exception::type_error(format!(
            "Empty field name in condition {}",
            shown()
        ))),
    }
}

impl Domain {
    /// True when the domain itself decides about archived records.
    pub fn mentions_active(&self) -> bool {
        match self {
            Domain::All(parts) | Domain::Any(parts) => parts.iter().any(Domain::mentions_active),
            Domain::Not(inner) => inner.mentions_active(),
            Domain::Constant(_) => false,
            Domain::Condition { path, .. } => path == "active",
        }
    }

    /// Checks names and values once, so that a bad domain fails even on an empty table.
    pub fn check(&self, model: &'static Model) -> Outcome<()> {
        match self {
            Domain::All(parts) | Domain::Any(parts) => {
                parts.iter().try_for_each(|part| part.check(model))
            }
            Domain::Not(inner) => inner.check(model),
            Domain::Constant(_) => Ok(()),
            Domain::Condition {
                path,
                operator,
                value,
            } => {
                let (head, rest) = path
                    .split_once('.')
                    .map_or((path.as_str(), None), |(head, rest)| (head, Some(rest)));
                let Some(field) = model.field(head) else {
                    return Err(Exception::value_error(format!(
                        "Invalid field {}.{head} in condition ({}, {}, {})",
                        model.name,
                        python::quoted(path),
                        python::quoted(operator),
                        python::repr(value)
                    )));
                };
                if let (Some(rest), Some(comodel)) = (rest, field.kind.comodel()) {
                    let inner = Domain::Condition {
                        path: rest.into(),
                        operator: operator.clone(),
                        value: value.clone(),
                    };
                    return inner.check(registry().model(comodel));
                }
                if operator.ends_with("any") {
                    return match field.kind.comodel() {
                        Some(comodel) => parse(value)?.check(registry().model(comodel)),
                        None => Err(Exception::value_error(format!(
                            "Cannot use 'any' with non-relational field {head}"
                        ))),
                    };
                }
                check_time(field, value)
            }
        }
    }

    pub fn matches(&self, env: &Env, model: &'static Model, id: i64, row: &Row) -> bool {
        match self {
            Domain::All(parts) => parts.iter().all(|part| part.matches(env, model, id, row)),
            Domain::Any(parts) => parts.iter().any(|part| part.matches(env, model, id, row)),
            Domain::Not(inner) => !inner.matches(env, model, id, row),
            Domain::Constant(constant) => *constant,
            Domain::Condition {
                path,
                operator,
                value,
            } => {
                let (head, rest) = path
                    .split_once('.')
                    .map_or((path.as_str(), None), |(head, rest)| (head, Some(rest)));
                let Some(field) = model.field(head) else {
                    return false;
                };
                match (rest, field.kind.comodel()) {
                    (Some(rest), Some(comodel)) => {
                        let inner = Domain::Condition {
                            path: rest.into(),
                            operator: operator.clone(),
                            value: value.clone(),
                        };
                        any_target(
                            env,
                            model,
                            field,
                            id,
                            row,
                            registry().model(comodel),
                            &inner,
                        )
                    }
                    _ => holds(env, model, field, id, row, operator, value),
                }
            }
        }
    }
}

/// Naive UTC only: a `Z`, an offset or no time at all is an error of the caller.
fn check_time(field: &Field, value: &Json) -> Outcome<()> {
    if !matches!(field.kind, Kind::Datetime | Kind::Date) {
        return Ok(());
    }
    let values = match value {
        Json::Array(items) => items.iter().collect(),
        other => vec![other],
    };
    for value in values {
        match value {
            Json::String(text) => {
                drop(clock::parse_search_time(text).map_err(Exception::value_error)?)
            }
            Json::Number(_) | Json::Object(_) => {
                let kind = field.kind.name();
                return Err(Exception::value_error(format!(
                    "Failed to cast {} into a {kind}",
                    python::repr(value)
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn any_target(
    env: &Env,
    model: &'static Model,
    field: &Field,
    id: i64,
    row: &Row,
    comodel: &'static Model,
    inner: &Domain,
) -> bool {
    let targets = match field.kind {
        Kind::One2many { inverse, .. } => env.pointing(comodel, inverse, id),
        _ => match env.field_value(model, row, field) {
            Value::Ref(target) => vec![target],
            Value::Ids(targets) => targets,
            _ => vec![],
        },
    };
    targets.into_iter().any(|target| {
        env.store
            .get(comodel.index, target)
            .is_some_and(|record| inner.matches(env, comodel, target, &record.row))
    })
}

fn holds(
    env: &Env,
    model: &'static Model,
    field: &Field,
    id: i64,
    row: &Row,
    operator: &str,
    wanted: &Json,
) -> bool {
    if let Some(positive) = operator.strip_prefix("not ") {
        return !holds(env, model, field, id, row, positive, wanted);
    }
    let have = if field.name == "id" {
        Json::from(id)
    } else {
        env.shown(model, id, row, field, false)
    };
    match operator {
        "=" | "==" => equal(field, &have, wanted),
        "!=" | "<>" => !equal(field, &have, wanted),
        "in" => match wanted {
            Json::Array(items) => items.iter().any(|item| equal(field, &have, item)),
            other => equal(field, &have, other),
        },
        "<" | ">" | "<=" | ">=" => {
            compare(field, &have, wanted).is_some_and(|order| match operator {
                "<" => order.is_lt(),
                ">" => order.is_gt(),
                "<=" => order.is_le(),
                _ => order.is_ge(),
            })
        }
        "like" => pattern(
            &text_of(env, field, &have),
            &format!("%{}%", python::text(wanted)),
        ),
        "ilike" => {
            let wanted = format!("%{}%", python::text(wanted)).to_lowercase();
            pattern(&text_of(env, field, &have).to_lowercase(), &wanted)
        }
        "=like" => pattern(&text_of(env, field, &have), &python::text(wanted)),
        "=ilike" => pattern(
            &text_of(env, field, &have).to_lowercase(),
            &python::text(wanted).to_lowercase(),
        ),
        "any" => match (field.kind.comodel(), parse(wanted)) {
            (Some(comodel), Ok(inner)) => any_target(
                env,
                model,
                field,
                id,
                row,
                registry().model(comodel),
                &inner,
            ),
            _ => false,
        },
        "child_of" | "parent_of" => {
            related(env, model, field, id, row, operator == "child_of", wanted)
        }
        _ => false,
    }
}

fn text_of(env: &Env, field: &Field, have: &Json) -> String {
    match (field.kind.comodel(), have.as_i64()) {
        (Some(comodel), Some(target)) => env.display_name(registry().model(comodel), target),
        _ => have.as_str().unwrap_or_default().to_owned(),
    }
}

fn equal(field: &Field, have: &Json, wanted: &Json) -> bool {
    let blank = |json: &Json| !python::truthy(json);
    match have {
        Json::Array(ids) => match wanted {
            Json::Array(items) => ids.iter().any(|id| items.contains(id)),
            other if blank(other) => ids.is_empty(),
            other => ids.contains(other),
        },
        Json::Bool(false) if field.kind != Kind::Boolean => blank(wanted),
        Json::Bool(flag) => *flag == python::truthy(wanted),
        Json::Number(number) if wanted.is_number() => number.as_f64() == wanted.as_f64(),
        Json::Number(number) if blank(wanted) => number.as_f64() == Some(0.0),
        Json::String(text) if text.is_empty() && blank(wanted) => true,
        Json::String(_) => compare(field, have, wanted).is_some_and(std::cmp::Ordering::is_eq),
        other => other == wanted,
    }
}

fn compare(field: &Field, have: &Json, wanted: &Json) -> Option<std::cmp::Ordering> {
    match (have, wanted) {
        (Json::Number(have), Json::Number(wanted)) => have.as_f64()?.partial_cmp(&wanted.as_f64()?),
        (Json::String(have), Json::String(wanted)) => {
            let wanted = match field.kind {
                Kind::Datetime => clock::parse_search_time(wanted).ok()?,
                Kind::Date => clock::parse_search_time(wanted).ok()?[..10].to_owned(),
                _ => wanted.clone(),
            };
            Some(have.as_str().cmp(wanted.as_str()))
        }
        _ => None,
    }
}

/// SQL's LIKE: `%` for any text, `_` for one character.
fn pattern(text: &str, like: &str) -> bool {
    let (text, like): (Vec<char>, Vec<char>) = (text.chars().collect(), like.chars().collect());
    let (mut at, mut p, mut star) = (0, 0, None);
    while at < text.len() {
        match like.get(p) {
            Some('%') => {
                star = Some((p, at));
                p += 1;
            }
            Some(c) if *c == '_' || *c == text[at] => {
                at += 1;
                p += 1;
            }
            _ => match star {
                Some((from, taken)) => {
                    star = Some((from, taken + 1));
                    at = taken + 1;
                    p = from + 1;
                }
                None => return false,
            },
        }
    }
    like[p..].iter().all(|c| *c == '%')
}

fn related(
    env: &Env,
    model: &Model,
    field: &Field,
    id: i64,
    row: &Row,
    down: bool,
    wanted: &Json,
) -> bool {
    let roots: Vec<i64> = match wanted {
        Json::Array(items) => items.iter().filter_map(Json::as_i64).collect(),
        other => other.as_i64().into_iter().collect(),
    };
    let (comodel, start) = match field.kind.comodel() {
        Some(comodel) => (
            registry().model(comodel),
            env.field_value(model, row, field).as_ref_id(),
        ),
        None => (registry().model(model.name), Some(id)),
    };
    let Some(start) = start else { return false };
    let chain = |from: i64| ancestors(env, comodel, from);
    if down {
        chain(start).iter().any(|up| roots.contains(up))
    } else {
        roots.iter().any(|root| chain(*root).contains(&start))
    }
}

/// A record and everything above it.
fn ancestors(env: &Env, model: &Model, from: i64) -> Vec<i64> {
    let mut chain = vec![from];
    let Some(at) = model.position("parent_id") else {
        return chain;
    };
    while let Some(parent) = env
        .store
        .get(model.index, chain[chain.len() - 1])
        .and_then(|r| r.row[at].as_ref_id())
    {
        if chain.contains(&parent) {
            break;
        }
        chain.push(parent);
    }
    chain
}
