//! The name under which Odoo remembers a record that we created: what makes a create happen once.
//!
//! `module.name`, where `module` is the namespace of this installation (no installed Odoo module has it) and `name` is
//! a hash of what identifies the record. The same input gives the same name for ever: a request that is sent again after
//! its answer was lost finds its own record. The form is therefore part of the released contract.

use sha2::{Digest, Sha256};

/// What identifies a record on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity<'a> {
    /// The caller's key for the record: every row with this key is about one record.
    RecordKey(&'a str),
    /// A create without a record key: the row is its own record.
    IdempotencyKey(&'a str),
}

/// The external id of a record of `model` on `connection`, e.g. `pg_etl_1f2e3d4c.res_partner_9a0364b9e99bb480dd25e1f0284c8555`.
#[must_use]
pub fn external_id(
    namespace: &str,
    connection: &str,
    model: &str,
    identity: Identity<'_>,
) -> String {
    let (kind, key) = match identity {
        Identity::RecordKey(key) => ("record", key),
        Identity::IdempotencyKey(key) => ("row", key),
    };
    let mut hash = Sha256::new();
    for part in [kind, connection, model, key] {
        // The length before each part keeps ("ab","c") and ("a","bc") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut name = format!("{namespace}.{}_", model.replace('.', "_"));
    for byte in &digest[..16] {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// The external id of a line below the record `parent`, identified among its siblings by `key`.
#[must_use]
pub fn line_external_id(parent: &str, field: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    for part in [parent, field, key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut name = format!("{parent}_{field}_");
    for byte in &digest[..8] {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_never_changes() {
        assert_eq!(
            external_id(
                "pg_etl_1f2e3d4c",
                "odoo",
                "res.partner",
                Identity::RecordKey("42")
            ),
            "pg_etl_1f2e3d4c.res_partner_e66ed8d968aed1dfbdf9db0fa15e8d82"
        );
    }

    #[test]
    fn different_identities_have_different_names() {
        let name = |connection, model, identity| external_id("n", connection, model, identity);
        let all = [
            name("a", "m", Identity::RecordKey("k")),
            name("a", "m", Identity::IdempotencyKey("k")),
            name("b", "m", Identity::RecordKey("k")),
            name("a", "n", Identity::RecordKey("k")),
            name("a", "m", Identity::RecordKey("l")),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_line_hangs_on_its_parent() {
        let parent = external_id("n", "c", "sale.order", Identity::RecordKey("SO1"));
        let line = line_external_id(&parent, "order_line", "1");
        assert!(line.starts_with(&parent));
        assert_ne!(line, line_external_id(&parent, "order_line", "2"));
        assert!(!line.contains(' '));
    }
}
