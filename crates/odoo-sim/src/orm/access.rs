//! Access rights by model, worded as Odoo words them.

use super::env::Env;
use super::model::Model;
use crate::exception::{Class, Exception, Outcome};

impl Env<'_> {
    /// Raises AccessError unless the caller may do `operation` on `model`.
    pub fn check_access(&self, model: &Model, operation: &str) -> Outcome<()> {
        if self.account.may(model.name, operation) {
            return Ok(());
        }
        let verb = match operation {
            "read" => "access",
            "write" => "modify",
            "unlink" => "delete",
            _ => "create",
        };
        Err(Exception::new(
            Class::Access,
            format!(
                "You are not allowed to {verb} '{}' ({}) records.\n\nThis operation is allowed for the following groups:\n\
                 \t- Role / Administrator\n\nContact your administrator to request access if necessary.",
                model.label, model.name
            ),
        ))
    }
}
