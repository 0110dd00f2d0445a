//! Is it the record, or the model? Asked once, so that a batch nobody may send is not divided row by row.

use serde_json::json;

use super::Delivery;
use super::divide::Refusal;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::call::Call;

impl Delivery<'_> {
    /// `refusal`, knowing whether the user lacks `right` on the whole model.
    ///
    /// `load` reports a missing right as text only; where the connection's context asks for a language other than English
    /// that text is not recognised, so that every refusal of it leads to the question.
    pub(super) fn with_rights(
        &mut self,
        mut refusal: Refusal,
        model: &str,
        right: &'static str,
    ) -> Refusal {
        let doubtful = match refusal.failure.class {
            ErrorClass::Forbidden => true,
            ErrorClass::Invalid => !self.speaks_english(),
            _ => false,
        };
        if doubtful && !self.has_right(model, right) {
            refusal.of_all = true;
            if refusal.failure.class != ErrorClass::Forbidden {
                refusal.failure = Failure::new(ErrorClass::Forbidden, refusal.failure.message)
                    .with_remedy(format!("Give the connection's user the right to {right} {model} in Odoo, then etl.replay()."));
            }
        }
        refusal
    }

    fn speaks_english(&self) -> bool {
        let own = self
            .batch
            .context
            .get("lang")
            .or_else(|| self.gateway.endpoint().context.get("lang"));
        own.and_then(serde_json::Value::as_str)
            .is_none_or(|lang| lang.starts_with("en"))
    }

    /// Whether the user has `right` on `model` as far as Odoo tells; asked once per delivery.
    fn has_right(&mut self, model: &str, right: &'static str) -> bool {
        let key = (model.to_owned(), right);
        if let Some(has) = self.rights.get(&key) {
            return *has;
        }
        let call = Call {
            ids: Some(Vec::new()),
            ..self.new_call(model, "has_access").with("operation", right)
        };
        // Without an answer the refusal stays what it was.
        let has = self
            .ask(&call)
            .map_or(true, |answer| answer != json!(false));
        self.rights.insert(key, has);
        has
    }
}
