//! The commands of one2many and many2many fields, and values for fields that are not stored.

use super::env::Env;
use super::field::{Field, Kind};
use super::model::{Model, registry};
use super::python;
use super::value::Value;
use crate::exception::{Exception, Outcome};
use serde_json::{Map, Value as Json};

/// One parsed command.
enum Command {
    Create(Map<String, Json>),
    Update(i64, Map<String, Json>),
    Delete(i64),
    Unlink(i64),
    Link(i64),
    Clear,
    Set(Vec<i64>),
}

impl Env<'_> {
    /// Applies the x2many commands among `vals`, and hands values of fields that are not stored to the model.
    pub(super) fn apply_relations(
        &mut self,
        model: &'static Model,
        id: i64,
        vals: &Map<String, Json>,
        new: bool,
    ) -> Outcome<()> {
        for (name, json) in vals {
            let field = &model.fields[model.at(name)];
            if field.kind.is_x2many() && field.stored {
                for command in parse(model, field, json)? {
                    match field.kind {
                        Kind::One2many { comodel, inverse } => {
                            self.one2many(registry().model(comodel), inverse, id, command)?;
                        }
                        _ => self.many2many(model, field, id, command, new)?,
                    }
                }
            } else if !field.stored
                && field.through.is_none()
                && !field.readonly
                && let Some(invert) = model.hooks.invert
                && (!new || python::truthy(json))
            {
                invert(self, id, name, json)?;
            }
        }
        Ok(())
    }

    fn one2many(
        &mut self,
        comodel: &'static Model,
        inverse: &str,
        id: i64,
        command: Command,
    ) -> Outcome<()> {
        let link = |target: Json| Map::from_iter([(inverse.to_owned(), target)]);
        match command {
            Command::Create(mut vals) => {
                if let Some(name) = vals.keys().find(|name| comodel.position(name).is_none()) {
                    let (name, model) = (python::quoted(name), python::quoted(comodel.name));
                    return Err(Exception::value_error(format!(
                        "Invalid field {name} on model {model}"
                    )));
                }
                vals.insert(inverse.into(), Json::from(id));
                self.create(comodel, &[vals]).map(drop)
            }
            Command::Update(line, vals) => self.write(comodel, &[line], &vals),
            Command::Link(line) => self.write(comodel, &[line], &link(Json::from(id))),
            Command::Delete(line) => self.unlink(comodel, &[line]),
            Command::Unlink(line) => self.drop_line(comodel, inverse, line),
            Command::Clear => {
                for line in self.pointing(comodel, inverse, id) {
                    self.drop_line(comodel, inverse, line)?;
                }
                Ok(())
            }
            Command::Set(lines) => {
                for line in self.pointing(comodel, inverse, id) {
                    if !lines.contains(&line) {
                        self.drop_line(comodel, inverse, line)?;
                    }
                }
                for line in lines {
                    self.write(comodel, &[line], &link(Json::from(id)))?;
                }
                Ok(())
            }
        }
    }

    /// Takes a line out of its parent: a line that cannot live without one is deleted.
    fn drop_line(&mut self, comodel: &'static Model, inverse: &str, line: i64) -> Outcome<()> {
        let field = &comodel.fields[comodel.at(inverse)];
        if field.required {
            self.unlink(comodel, &[line])
        } else {
            self.write(
                comodel,
                &[line],
                &Map::from_iter([(inverse.to_owned(), Json::Bool(false))]),
            )
        }
    }

    fn many2many(
        &mut self,
        model: &'static Model,
        field: &Field,
        id: i64,
        command: Command,
        new: bool,
    ) -> Outcome<()> {
        let comodel = registry().model(field.kind.comodel().unwrap_or_default());
        let mut ids = self.row(model, id)?[model.at(field.name)].as_ids().to_vec();
        match command {
            Command::Create(vals) => ids.extend(self.create(comodel, &[vals])?),
            Command::Update(target, vals) => self.write(comodel, &[target], &vals)?,
            Command::Delete(target) => self.unlink(comodel, &[target])?,
            Command::Unlink(target) => ids.retain(|other| *other != target),
            Command::Link(target) => ids.push(target),
            Command::Clear => ids.clear(),
            Command::Set(targets) => ids = targets,
        }
        ids.retain(|target| *target != 0);
        let mut seen = std::collections::HashSet::new();
        ids.retain(|target| seen.insert(*target));
        if let Some(missing) = ids.iter().find(|target| !self.exists(comodel, **target)) {
            if new {
                return Err(Exception::missing(comodel.name, &[*missing], self.uid()));
            }
            let (table, other) = (model.name.replace('.', "_"), comodel.name.replace('.', "_"));
            return Err(Exception::integrity(
                None,
                format!(
                    "Another model is using the record you are trying to delete.\n\nThe troublemaker is: Unknown\nThanks to \
                     the following constraint: {table}_{other}_rel_{}_fkey\nHow about archiving the record instead?",
                    field.name
                ),
            ));
        }
        self.set(model, id, &[(field.name, Value::Ids(ids))])
    }
}

fn parse(model: &Model, field: &Field, json: &Json) -> Outcome<Vec<Command>> {
    let wrong = || {
        Exception::value_error(format!(
            "Wrong value for {}.{}: {}",
            model.name,
            field.name,
            python::text(json)
        ))
    };
    let Json::Array(items) = json else {
        return if python::truthy(json) {
            Err(wrong())
        } else {
            Ok(vec![Command::Set(vec![])])
        };
    };
    // A list without any command is the list of the records themselves.
    if items.iter().all(|item| item.is_i64()) && !items.is_empty() {
        return Ok(vec![Command::Set(
            items.iter().filter_map(Json::as_i64).collect(),
        )]);
    }
    let mut commands = vec![];
    for item in items {
        commands.push(match item {
            Json::Array(parts) => match command(parts) {
                Some(command) => command,
                // An unknown command is passed over in silence.
                None if parts
                    .first()
                    .is_some_and(|code| code.as_i64().is_some_and(|code| code > 6)) =>
                {
                    continue;
                }
                None => return Err(wrong()),
            },
            Json::Object(_) => return Err(Exception::type_error("unhashable type: 'dict'")),
            Json::Number(id) => Command::Link(id.as_i64().ok_or_else(wrong)?),
            _ => return Err(wrong()),
        });
    }
    Ok(commands)
}

fn command(parts: &[Json]) -> Option<Command> {
    let id = || parts.get(1).and_then(Json::as_i64);
    let vals = || parts.get(2).and_then(Json::as_object).cloned();
    match parts.first()?.as_i64()? {
        0 => Some(Command::Create(vals()?)),
        1 => Some(Command::Update(id()?, vals()?)),
        2 => Some(Command::Delete(id()?)),
        3 => Some(Command::Unlink(id()?)),
        4 => Some(Command::Link(id()?)),
        5 => Some(Command::Clear),
        6 => Some(Command::Set(
            parts
                .get(2)?
                .as_array()?
                .iter()
                .filter_map(Json::as_i64)
                .collect(),
        )),
        _ => None,
    }
}
