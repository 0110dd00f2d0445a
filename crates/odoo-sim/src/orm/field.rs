//! Field definitions: what a model file declares and what `fields_get` tells.

use super::env::Env;
use super::value::Value;

/// The type of a field, with what only that type has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Char,
    Text,
    Html,
    Boolean,
    Integer,
    /// With the digits after the point, when they are limited.
    Float(Option<i32>),
    Monetary,
    Date,
    Datetime,
    Selection(&'static [(&'static str, &'static str)]),
    Binary,
    Many2one {
        comodel: &'static str,
        on_delete: OnDelete,
    },
    One2many {
        comodel: &'static str,
        inverse: &'static str,
    },
    Many2many {
        comodel: &'static str,
    },
}

impl Kind {
    /// The name `fields_get` gives it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Char => "char",
            Kind::Text => "text",
            Kind::Html => "html",
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::Float(_) => "float",
            Kind::Monetary => "monetary",
            Kind::Date => "date",
            Kind::Datetime => "datetime",
            Kind::Selection(_) => "selection",
            Kind::Binary => "binary",
            Kind::Many2one { .. } => "many2one",
            Kind::One2many { .. } => "one2many",
            Kind::Many2many { .. } => "many2many",
        }
    }

    /// The model a relational field points to.
    pub fn comodel(self) -> Option<&'static str> {
        match self {
            Kind::Many2one { comodel, .. }
            | Kind::One2many { comodel, .. }
            | Kind::Many2many { comodel } => Some(comodel),
            _ => None,
        }
    }

    pub fn is_x2many(self) -> bool {
        matches!(self, Kind::One2many { .. } | Kind::Many2many { .. })
    }
}

/// What deleting the target of a many2one does to the record that points to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum OnDelete {
    SetNull,
    Restrict,
    Cascade,
}

/// One field of one model. Built by the constructors below and their chained modifiers.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    pub name: &'static str,
    pub label: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub readonly: bool,
    /// Kept in the record; a field that is not is computed when read.
    pub stored: bool,
    /// One value per language.
    pub translated: bool,
    /// One value per company.
    pub company_dependent: bool,
    /// Lives in the parent record that this many2one of the same model points to (`_inherits`).
    pub through: Option<&'static str>,
    pub default: Option<fn(&Env) -> Value>,
    /// What happens to a reference to nothing.
    pub dangling: Dangling,
}

/// When a many2one to a record that does not exist is found out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Dangling {
    /// By the database's foreign key.
    ForeignKey,
    /// By a computation that follows it before the database sees it: MissingError.
    Followed,
    /// Followed by what runs on `write` only.
    FollowedOnWrite,
}

fn field(name: &'static str, label: &'static str, kind: Kind) -> Field {
    Field {
        name,
        label,
        kind,
        required: false,
        readonly: false,
        stored: true,
        translated: false,
        company_dependent: false,
        through: None,
        default: None,
        dangling: Dangling::ForeignKey,
    }
}

macro_rules! constructors {
    ($($function:ident => $kind:expr),* $(,)?) => {
        $(pub(crate) fn $function(name: &'static str, label: &'static str) -> Field { field(name, label, $kind) })*
    };
}

constructors! {
    char => Kind::Char,
    html => Kind::Html,
    text => Kind::Text,
    boolean => Kind::Boolean,
    integer => Kind::Integer,
    float => Kind::Float(None),
    monetary => Kind::Monetary,
    date => Kind::Date,
    datetime => Kind::Datetime,
    binary => Kind::Binary,
}

pub(crate) fn decimal(name: &'static str, label: &'static str, digits: i32) -> Field {
    field(name, label, Kind::Float(Some(digits)))
}

pub(crate) fn selection(
    name: &'static str,
    label: &'static str,
    options: &'static [(&'static str, &'static str)],
) -> Field {
    field(name, label, Kind::Selection(options))
}

pub(crate) fn many2one(name: &'static str, label: &'static str, comodel: &'static str) -> Field {
    field(
        name,
        label,
        Kind::Many2one {
            comodel,
            on_delete: OnDelete::SetNull,
        },
    )
}

pub(crate) fn one2many(
    name: &'static str,
    label: &'static str,
    comodel: &'static str,
    inverse: &'static str,
) -> Field {
    field(name, label, Kind::One2many { comodel, inverse })
}

pub(crate) fn many2many(name: &'static str, label: &'static str, comodel: &'static str) -> Field {
    field(name, label, Kind::Many2many { comodel })
}

impl Field {
    pub fn required(mut self) -> Self {
        self.required = true;
        // A mandatory reference keeps its target alive, as Odoo's own default does.
        if let Kind::Many2one {
            comodel,
            on_delete: OnDelete::SetNull,
        } = self.kind
        {
            self.kind = Kind::Many2one {
                comodel,
                on_delete: OnDelete::Restrict,
            };
        }
        self
    }

    pub fn on_delete(mut self, rule: OnDelete) -> Self {
        if let Kind::Many2one { comodel, .. } = self.kind {
            self.kind = Kind::Many2one {
                comodel,
                on_delete: rule,
            };
        }
        self
    }

    pub fn dangling(mut self, found: Dangling) -> Self {
        self.dangling = found;
        self
    }

    pub fn readonly(mut self) -> Self {
        self.readonly = true;
        self
    }

    /// Computed when read, never stored.
    pub fn computed(mut self) -> Self {
        self.stored = false;
        self.readonly = true;
        self
    }

    /// Computed when read, and what is written to it is handed to the model.
    pub fn inverted(mut self) -> Self {
        self.stored = false;
        self
    }

    pub fn translated(mut self) -> Self {
        self.translated = true;
        self
    }

    pub fn company_dependent(mut self) -> Self {
        self.company_dependent = true;
        self
    }

    pub fn through(mut self, parent: &'static str) -> Self {
        self.through = Some(parent);
        self.stored = false;
        self
    }

    pub fn default(mut self, make: fn(&Env) -> Value) -> Self {
        self.default = Some(make);
        self
    }

    /// True for a field with one value per language or company.
    pub fn keyed(&self) -> bool {
        self.translated || self.company_dependent
    }
}
