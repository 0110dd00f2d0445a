//! Alerts by e-mail, to a real mail server with STARTTLS and a login.

use pg_etl_tests::Postman;
use pg_etl_tests::prelude::*;
use pg_etl_tests::told::look_later;

const PASSWORD: &str = "correct horse";

#[test]
fn a_turn_and_its_end_come_by_mail_and_a_wrong_password_is_said() {
    let postman = Postman::start(PASSWORD);
    let bench = Bench::builder()
        .env("ETL_MAIL", PASSWORD)
        .env("ETL_WRONG", "battery staple")
        .start();
    let mut db = bench.client();
    let connect = |db: &mut Client, secret: &str, trusted: bool| {
        let mut options = json!({"from": "pg_etl <etl@shop.test>", "to": ["ops@shop.test"], "login": Postman::LOGIN});
        if trusted {
            options["ca_file"] = json!(postman.certificate);
        }
        db.run(&format!(
            "SELECT etl.set_connection('mail', 'smtp', 'smtp://localhost:{}', '{options}', secret => '{secret}')",
            postman.port
        ));
    };
    let state = |db: &mut Client| -> String {
        db.one("SELECT concat_ws(' ', state, last_error_class, last_error) FROM etl.connections_status WHERE connection = 'mail'", &[])
    };

    // A certificate that nobody vouches for: like a server that is not there.
    connect(&mut db, "env:ETL_MAIL", false);
    db.run("SELECT etl.test_alert('mail')");
    eventually(PATIENCE, "the certificate to be refused", || {
        state(&mut db).contains("UnknownIssuer")
    });
    assert!(
        state(&mut db).starts_with("circuit open unreachable"),
        "{}",
        state(&mut db)
    );

    // A wrong password pauses the channel, and is in no text.
    connect(&mut db, "env:ETL_WRONG", true);
    eventually(PATIENCE, "the login to be refused", || {
        state(&mut db).starts_with("paused misconfigured")
    });
    assert!(state(&mut db).contains("535"), "{}", state(&mut db));
    assert!(!state(&mut db).contains("battery"), "{}", state(&mut db));
    assert_eq!(postman.letters(), Vec::<String>::new());

    connect(&mut db, "env:ETL_MAIL", true);
    db.run("SELECT etl.resume('mail')");
    eventually(PATIENCE, "the test message", || {
        postman.letters().len() == 1
    });
    assert!(
        postman.letters()[0].contains("a test message: this channel works"),
        "{:?}",
        postman.letters()
    );

    db.run("SELECT etl.set_alert('all', ARRAY['mail'], 'connection odoo'); SELECT etl.pause('odoo', 'topsecret reason'); SELECT etl.check_alerts()");
    eventually(PATIENCE, "the letter", || postman.letters().len() == 2);
    db.run("SELECT etl.resume('odoo'); SELECT etl.check_alerts()");
    look_later(&mut db);
    eventually(PATIENCE, "its end", || postman.letters().len() == 3);
    db.await_empty(PATIENCE);
    let letters = postman.letters();
    let subject = |at: usize| {
        let line = letters[at].lines().find(|line| line.starts_with("Subject"));
        line.unwrap_or_default().to_owned()
    };
    assert!(
        subject(1).contains("connection odoo: fail"),
        "{}",
        letters[1]
    );
    assert!(
        subject(2).contains("connection odoo: well again"),
        "{}",
        letters[2]
    );
    assert!(
        letters[1].contains("To: ops@shop.test") && letters[1].contains("remedy:"),
        "{}",
        letters[1]
    );
    for letter in &letters {
        assert!(
            !letter.contains("topsecret") && !letter.contains(PASSWORD),
            "{letter}"
        );
    }
    let rows: Vec<String> = db.all(
        "SELECT concat_ws(' ', connection, status) FROM ops.odoo_outbox WHERE connection = 'mail'",
        &[],
    );
    assert_eq!(rows, ["mail done"; 3]);
}
