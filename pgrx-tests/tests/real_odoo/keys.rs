//! Odoo's keys end.

use pg_etl_tests::keys::assert_key_ends_in_nine_days;

use crate::bench;

/// Odoo asks a person for the password before it gives a key, so the day is changed where Odoo keeps it.
#[test]
fn a_key_that_ends_soon_is_seen() {
    let (odoo, bench) = bench("json2");
    let changed = odoo.cluster().psql(
        "odoo",
        "UPDATE res_users_apikeys SET expiration_date = (now() + interval '9 days 1 hour') AT TIME ZONE 'UTC' RETURNING 1",
    );
    assert!(
        changed.is_ok_and(|said| said.contains('1')),
        "there is a key"
    );
    assert_key_ends_in_nine_days(&mut bench.client());
}
