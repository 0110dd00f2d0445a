//! Public methods: their Python signatures, and how arguments by name and by position meet them.

use super::env::Env;
use super::model::Model;
use crate::exception::{Exception, Outcome};
use serde_json::{Map, Value as Json};

/// A public method of a model.
#[derive(Clone, Copy)]
pub(crate) struct Method {
    pub name: &'static str,
    /// Decorated with `@api.model`: called on the model, never with ids.
    pub on_model: bool,
    /// Parameters after `self`; a `?` at the end marks an optional one.
    pub parameters: &'static [&'static str],
    /// Takes any further argument by name.
    pub open: bool,
    pub run: Run,
}

/// A method's work: on these records, with these arguments. `None` is Python's `None`.
pub(crate) type Run = fn(&mut Env, &'static Model, &[i64], &Arguments) -> Outcome<Option<Json>>;

/// Arguments by parameter name.
#[derive(Debug, Default)]
pub(crate) struct Arguments(pub Map<String, Json>);

impl Arguments {
    /// An argument; an absent one is null.
    pub fn get(&self, name: &str) -> &Json {
        self.0.get(name).unwrap_or(&Json::Null)
    }

    pub fn text(&self, name: &str) -> &str {
        self.get(name).as_str().unwrap_or_default()
    }

    /// A list of names, empty when absent.
    pub fn names(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Json::Array(items) => items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => vec![],
        }
    }

    /// A count; null and false are none.
    pub fn count(&self, name: &str) -> Option<usize> {
        self.get(name)
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
    }

    /// A dictionary, or Python's complaint about something else.
    pub fn dict(&self, name: &str) -> Outcome<&Map<String, Json>> {
        match self.get(name) {
            Json::Object(map) => Ok(map),
            other => Err(Exception::attribute_error(format!(
                "'{}' object has no attribute 'get'",
                super::python::type_name(other)
            ))),
        }
    }

    /// A list of dictionaries; a single dictionary counts as a list of one.
    pub fn dicts(&self, name: &str) -> Outcome<Vec<Map<String, Json>>> {
        let wrong = |other: &Json| {
            Exception::attribute_error(format!(
                "'{}' object has no attribute 'get'",
                super::python::type_name(other)
            ))
        };
        match self.get(name) {
            Json::Object(map) => Ok(vec![map.clone()]),
            Json::Array(items) => items
                .iter()
                .map(|item| item.as_object().cloned().ok_or_else(|| wrong(item)))
                .collect(),
            other => Err(Exception::type_error(format!(
                "'{}' object is not iterable",
                super::python::type_name(other)
            ))),
        }
    }
}

/// Why arguments do not fit a method.
pub(crate) enum Misfit {
    TooMany(usize),
    Twice(String),
    Unknown(String),
    Missing(Vec<String>),
}

impl Misfit {
    /// In the words of `inspect.Signature.bind`, which JSON-2 uses.
    pub fn bound(&self) -> String {
        match self {
            Misfit::TooMany(_) => "too many positional arguments".into(),
            Misfit::Twice(name) => format!("multiple values for argument '{name}'"),
            Misfit::Unknown(name) => format!("got an unexpected keyword argument '{name}'"),
            Misfit::Missing(names) => format!("missing a required argument: '{}'", names[0]),
        }
    }

    /// In the words of a Python call, which JSON-RPC makes.
    pub fn called(&self, method: &Method) -> String {
        let name = format!("BaseModel.{}()", method.name);
        let most = method.parameters.len() + 1;
        let least = 1 + method
            .parameters
            .iter()
            .filter(|parameter| !parameter.ends_with('?'))
            .count();
        match self {
            Misfit::TooMany(given) if least == most => {
                let plural = if most == 1 { "" } else { "s" };
                format!(
                    "{name} takes {most} positional argument{plural} but {} were given",
                    given + 1
                )
            }
            Misfit::TooMany(given) => {
                format!(
                    "{name} takes from {least} to {most} positional arguments but {} were given",
                    given + 1
                )
            }
            Misfit::Twice(argument) => {
                format!("{name} got multiple values for argument '{argument}'")
            }
            Misfit::Unknown(argument) => {
                format!("{name} got an unexpected keyword argument '{argument}'")
            }
            Misfit::Missing(names) => {
                let plural = if names.len() == 1 { "" } else { "s" };
                let list = names
                    .iter()
                    .map(|name| format!("'{name}'"))
                    .collect::<Vec<_>>()
                    .join(" and ");
                format!(
                    "{name} missing {} required positional argument{plural}: {list}",
                    names.len()
                )
            }
        }
    }
}

impl Method {
    /// Binds arguments as Python would.
    pub fn bind(&self, positional: &[Json], named: Map<String, Json>) -> Result<Arguments, Misfit> {
        let plain = |parameter: &str| parameter.trim_end_matches('?').to_owned();
        if positional.len() > self.parameters.len() {
            return Err(Misfit::TooMany(positional.len()));
        }
        let mut bound = Map::new();
        for (parameter, value) in self.parameters.iter().zip(positional) {
            bound.insert(plain(parameter), value.clone());
        }
        for (name, value) in named {
            let known = self
                .parameters
                .iter()
                .any(|parameter| plain(parameter) == name);
            if bound.contains_key(&name) {
                return Err(Misfit::Twice(name));
            }
            if !known && !self.open {
                return Err(Misfit::Unknown(name));
            }
            bound.insert(name, value);
        }
        let required = self
            .parameters
            .iter()
            .filter(|parameter| !parameter.ends_with('?'));
        let missing: Vec<String> = required
            .filter(|name| !bound.contains_key(**name))
            .map(|name| (*name).to_owned())
            .collect();
        if !missing.is_empty() {
            return Err(Misfit::Missing(missing));
        }
        Ok(Arguments(bound))
    }
}
