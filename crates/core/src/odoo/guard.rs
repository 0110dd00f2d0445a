//! What a connection lets rows touch: denied models, allowed methods. Checked before anything is sent.

use super::endpoint::Endpoint;
use crate::failure::{ErrorClass, Failure};

/// A name in which `*` stands for any text, dots included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// `None` for anything but ASCII letters, digits, `_`, `.`, `*`.
    #[must_use]
    pub fn parse(pattern: &str) -> Option<Self> {
        let fits = !pattern.is_empty()
            && pattern.len() <= 200
            && pattern
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'*'));
        fits.then(|| Self(pattern.to_owned()))
    }

    /// Whether the whole of `name` fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = self.0.rsplit('*').next().filter(|_| self.0.contains('*')) else {
            return rest.is_empty();
        };
        let middle: Vec<&str> = parts.collect();
        for part in &middle[..middle.len() - 1] {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// Refuses a model that no Odoo has the form of, and one that the connection denies.
pub fn check_model(endpoint: &Endpoint, model: &str) -> Result<(), Failure> {
    if !is_model_name(model) {
        return Err(Failure::new(
            ErrorClass::UnknownModel,
            format!("{model:?} is no model name"),
        )
        .with_remedy("A model is written like res.partner."));
    }
    if endpoint.deny_models.iter().any(|glob| glob.matches(model)) {
        return Err(Failure::new(
            ErrorClass::Forbidden,
            format!("the connection's deny_models forbids {model}"),
        )
        .with_remedy(
            "If rows may touch this model, set the connection's option deny_models without it.",
        ));
    }
    Ok(())
}

/// Refuses a private method, and one that the connection does not allow.
pub fn check_method(endpoint: &Endpoint, model: &str, method: &str) -> Result<(), Failure> {
    check_model(endpoint, model)?;
    if !is_method_name(method) {
        return Err(Failure::new(
            ErrorClass::Invalid,
            format!("{method:?} is no public method"),
        )
        .with_remedy("Name a method without a leading underscore, such as action_confirm."));
    }
    let name = format!("{model}.{method}");
    if endpoint
        .allow_methods
        .iter()
        .any(|glob| glob.matches(&name))
    {
        return Ok(());
    }
    Err(Failure::new(
        ErrorClass::Forbidden,
        format!("the connection's allow_methods does not name {name}"),
    )
    .with_remedy(format!(
        "If rows may call it, add \"{name}\" to the connection's option allow_methods."
    )))
}

/// Whether Odoo could have a model of that name: it goes into a URL and into messages.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    !name.is_empty()
        && name.len() <= 128
        && name.bytes().all(fits)
        && name.split('.').all(|part| !part.is_empty())
}

/// Whether it is a method that Odoo lets be called from outside.
#[must_use]
pub fn is_method_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(|c: char| c == '_' || c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn globs() {
        let table = [
            ("res.users", "res.users", true),
            ("res.users", "res.users.log", false),
            ("ir.*", "ir.model.data", true),
            ("ir.*", "hir.model", false),
            ("*", "anything.at.all", true),
            ("*.action_*", "sale.order.action_confirm", true),
            ("*.action_*", "sale.order.unlink", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.c.b", false),
            ("*b*b*", "b", false),
        ];
        for (pattern, name, fits) in table {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(name),
                fits,
                "{pattern} {name}"
            );
        }
        for wrong in ["", "a b", "a/b", "é"] {
            assert_eq!(Glob::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_connection_forbids() {
        let endpoint = Endpoint::parse(
            "https://h",
            &json!({"allow_methods": ["sale.order.action_confirm", "res.users.*"]}),
        )
        .unwrap();
        let class = |result: Result<(), Failure>| result.err().map(|failure| failure.class);
        assert_eq!(class(check_model(&endpoint, "res.partner")), None);
        assert_eq!(
            class(check_model(&endpoint, "ir.model.data")),
            Some(ErrorClass::Forbidden)
        );
        for wrong in ["", ".", "a..b", "res partner", "res/partner", "../web", "é"] {
            assert_eq!(
                class(check_model(&endpoint, wrong)),
                Some(ErrorClass::UnknownModel),
                "{wrong}"
            );
        }
        assert_eq!(
            class(check_method(&endpoint, "sale.order", "action_confirm")),
            None
        );
        assert_eq!(
            class(check_method(&endpoint, "sale.order", "unlink")),
            Some(ErrorClass::Forbidden)
        );
        assert_eq!(
            class(check_method(&endpoint, "sale.order", "_action_confirm")),
            Some(ErrorClass::Invalid)
        );
        assert_eq!(
            class(check_method(&endpoint, "res.users", "write")),
            Some(ErrorClass::Forbidden)
        );
    }
}
