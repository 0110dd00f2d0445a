//! Who calls: accounts of the configuration, and users that were created through the API with a password.

use crate::config::{Account, Rights};
use crate::exception::{Class, Exception, Outcome};
use crate::orm::model::{Row, registry};
use crate::orm::store::Store;
use crate::sim::{Shared, locked};
use std::time::SystemTime;

/// Rights that a group gives on top of reading, as `module.name`.
const GRANTS: [(&str, &[&str]); 4] = [
    (
        "base.group_partner_manager",
        &[
            "res.partner",
            "res.partner.category",
            "res.partner.industry",
        ],
    ),
    (
        "sales_team.group_sale_salesman_all_leads",
        &["sale.order", "sale.order.line"],
    ),
    (
        "product.group_product_manager",
        &["product.product", "product.template", "product.category"],
    ),
    ("base.group_user", &["mail.message"]),
];

/// The account of a uid, checked by password or key.
pub(super) fn by_uid(shared: &Shared, uid: i64, secret: &str) -> Outcome<Account> {
    let denied = || Exception::new(Class::AccessDenied, "Access Denied");
    let configured = locked(&shared.accounts)
        .iter()
        .find(|account| account.uid == uid)
        .cloned();
    let account = match configured {
        Some(account) => account,
        None => {
            let store = locked(&shared.store);
            let removed = shared
                .config
                .accounts
                .iter()
                .any(|account| account.uid == uid);
            if removed
                || store
                    .get(registry().model("res.users").index, uid)
                    .is_none()
            {
                return Err(Exception::missing("res.users", &[uid], uid));
            }
            // An archived user is refused.
            created(&store, uid).ok_or_else(denied)?
        }
    };
    if knows(&account, secret) {
        Ok(account)
    } else {
        Err(denied())
    }
}

/// The uid behind a login and its secret.
pub(super) fn authenticate(shared: &Shared, login: &str, secret: &str) -> Option<i64> {
    let matches = |account: &&Account| account.login == login && knows(account, secret);
    if let Some(account) = locked(&shared.accounts).iter().find(matches) {
        return Some(account.uid);
    }
    let store = locked(&shared.store);
    let users = registry().model("res.users");
    let uid = store.ids(users.index).find(|uid| {
        store
            .get(users.index, *uid)
            .is_some_and(|record| record.row[users.at("login")].as_str() == Some(login))
    })?;
    created(&store, uid)
        .filter(|account| knows(account, secret))
        .map(|account| account.uid)
}

/// Password or key.
fn knows(account: &Account, secret: &str) -> bool {
    let now = SystemTime::now();
    let by_password = !account.password.is_empty() && account.password == secret;
    by_password
        || account
            .keys
            .iter()
            .any(|known| known.key == secret && known.is_valid(now))
}

/// The account of a user record that is active and has a password.
fn created(store: &Store, uid: i64) -> Option<Account> {
    let users = registry().model("res.users");
    let row = &store.get(users.index, uid)?.row;
    let text = |name: &str| row[users.at(name)].as_str().map(str::to_owned);
    if !row[users.at("active")].as_bool() {
        return None;
    }
    Some(Account {
        uid,
        login: text("login")?,
        password: text("password")?,
        keys: vec![],
        rights: rights(store, row),
    })
}

fn rights(store: &Store, user: &Row) -> Vec<Rights> {
    let groups = user[registry().model("res.users").at("group_ids")].as_ids();
    let data = registry().model("ir.model.data");
    let is_in = |name: &str| {
        let target = store
            .external(name)
            .and_then(|row| store.get(data.index, row))
            .map(|r| r.row[data.at("res_id")].as_f64());
        target.is_some_and(|target| groups.iter().any(|group| *group as f64 == target))
    };
    if is_in("base.group_system") {
        return vec![];
    }
    let mut rights = vec![Rights::only("*", &["read"])];
    for (group, models) in GRANTS {
        if is_in(group) {
            rights.extend(models.iter().map(|model| Rights::full(model)));
        }
    }
    rights
}
