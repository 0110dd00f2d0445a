//! Model definitions and the registry of all models.

use super::env::Env;
use super::field::{Field, char, datetime, integer, many2one};
use super::method::Method;
use super::value::Value;
use crate::exception::Outcome;
use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Values of one record, in the order of the model's fields.
pub(crate) type Row = Vec<Value>;

/// A model: its fields, and the few places where it differs from every other model.
pub(crate) struct Model {
    pub index: usize,
    pub name: &'static str,
    pub label: &'static str,
    pub rec_name: &'static str,
    pub order: &'static str,
    /// The parent model and the many2one to it, for `_inherits`.
    pub inherits: Option<(&'static str, &'static str)>,
    /// Names of fields that must be unique, with the message.
    pub unique: Vec<(&'static str, &'static str)>,
    pub fields: Vec<Field>,
    by_name: HashMap<&'static str, usize>,
    pub methods: Vec<Method>,
    pub hooks: Hooks,
}

type Complete = fn(&mut Env, i64, &mut Row, &Map<String, Json>) -> Outcome<()>;
type AfterChange = fn(&mut Env, i64, &Changed) -> Outcome<()>;
type Unlinked = fn(&mut Env, &[Row]) -> Outcome<()>;
type Compute = fn(&Env, i64, &Row, &str) -> Json;
type Invert = fn(&mut Env, i64, &str, &Json) -> Outcome<()>;

/// What changed about a saved record.
pub(crate) enum Changed<'c> {
    /// It is new, so every rule looks at it.
    Everything,
    /// What a caller wrote.
    Written(&'c Map<String, Json>),
    /// Something a rule names itself.
    Only(&'c [&'c str]),
}

impl Changed<'_> {
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Changed::Everything => true,
            Changed::Written(vals) => vals.contains_key(name),
            Changed::Only(names) => names.contains(&name),
        }
    }

    pub fn is_new(&self) -> bool {
        matches!(self, Changed::Everything)
    }
}

/// A model's own behaviour.
#[derive(Default, Clone, Copy)]
pub(crate) struct Hooks {
    /// Completes the values of a new record, once defaults are in.
    pub complete: Option<Complete>,
    /// Recomputes stored computed fields of a saved record. `changed` holds the names that were written.
    pub recompute: Option<AfterChange>,
    /// Raises when a saved record breaks a rule.
    pub constrain: Option<AfterChange>,
    /// Raises when a record must not be deleted.
    pub guard_unlink: Option<fn(&mut Env, i64) -> Outcome<()>>,
    /// Runs once records of this model were deleted, with the deleted rows.
    pub unlinked: Option<Unlinked>,
    /// The value of a field that is not stored.
    pub compute: Option<Compute>,
    /// Takes a value that was written to a field that is not stored.
    pub invert: Option<Invert>,
    /// The display name, where it is more than the record name.
    pub display_name: Option<fn(&Env, i64, &Row) -> String>,
}

/// Columns every model has; what a caller sends for them is dropped.
pub(crate) const MAGIC: [&str; 5] = ["id", "create_uid", "create_date", "write_uid", "write_date"];

impl Model {
    pub fn new(name: &'static str, label: &'static str, fields: Vec<Field>) -> Self {
        let mut all = vec![
            integer("id", "ID").readonly(),
            char("display_name", "Display Name").computed(),
            many2one("create_uid", "Created by", "res.users").readonly(),
            datetime("create_date", "Created on").readonly(),
            many2one("write_uid", "Last Updated by", "res.users").readonly(),
            datetime("write_date", "Last Updated on").readonly(),
        ];
        all.extend(fields);
        let by_name = all
            .iter()
            .enumerate()
            .map(|(index, field)| (field.name, index))
            .collect();
        Self {
            index: 0,
            name,
            label,
            rec_name: "name",
            order: "id",
            inherits: None,
            unique: vec![],
            fields: all,
            by_name,
            methods: vec![],
            hooks: Hooks::default(),
        }
    }

    pub fn rec_name(mut self, name: &'static str) -> Self {
        self.rec_name = name;
        self
    }

    pub fn order(mut self, order: &'static str) -> Self {
        self.order = order;
        self
    }

    pub fn inherits(mut self, model: &'static str, field: &'static str) -> Self {
        self.inherits = Some((model, field));
        self
    }

    pub fn unique(mut self, field: &'static str, message: &'static str) -> Self {
        self.unique.push((field, message));
        self
    }

    pub fn methods(mut self, methods: Vec<Method>) -> Self {
        self.methods = methods;
        self
    }

    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    pub fn field(&self, name: &str) -> Option<&'static Field>
    where
        Self: 'static,
    {
        let index = *self.by_name.get(name)?;
        registry().models[self.index].fields.get(index)
    }

    /// Position of a field in a [`Row`].
    ///
    /// # Panics
    /// When the model has no such field: only model files and the ORM itself name fields this way.
    pub fn at(&self, name: &str) -> usize {
        self.by_name[name]
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// True for models with messages and followers.
    pub fn has_chatter(&self) -> bool {
        self.methods
            .iter()
            .any(|method| method.name == "message_post")
    }

    pub fn has_active(&self) -> bool {
        self.by_name.contains_key("active")
    }
}

/// A field that points to other records, seen from the model it points to.
#[derive(Clone, Copy)]
pub(crate) struct Reference {
    pub model: usize,
    pub field: usize,
}

/// All models of the simulator.
pub(crate) struct Registry {
    pub models: Vec<Model>,
    by_name: HashMap<&'static str, usize>,
    /// For each model the stored fields of all models that point to it.
    pub references: Vec<Vec<Reference>>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut models = crate::models::all();
    for (index, model) in models.iter_mut().enumerate() {
        model.index = index;
    }
    let by_name: HashMap<_, _> = models
        .iter()
        .map(|model| (model.name, model.index))
        .collect();
    let mut references = vec![vec![]; models.len()];
    for model in &models {
        for (position, field) in model.fields.iter().enumerate() {
            let points = field.stored && !matches!(field.kind, super::field::Kind::One2many { .. });
            if let (true, Some(comodel)) = (points, field.kind.comodel()) {
                references[by_name[comodel]].push(Reference {
                    model: model.index,
                    field: position,
                });
            }
        }
    }
    Registry {
        models,
        by_name,
        references,
    }
});

pub(crate) fn registry() -> &'static Registry {
    &REGISTRY
}

impl Registry {
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.by_name.get(name).map(|index| &self.models[*index])
    }

    /// A model that a model file names, hence one that exists.
    pub fn model(&self, name: &str) -> &Model {
        &self.models[self.by_name[name]]
    }
}
