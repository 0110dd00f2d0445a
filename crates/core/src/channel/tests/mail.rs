//! E-mail against servers that are written here, the hostile ones among them. `pgrx-tests/tests/alerts_by_mail.rs` has a real one, with TLS and logins.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A mail server that answers each line by what begins it; the first of the answers that fits counts. Gives its port and what it was told.
fn server(answers: &'static [(&'static str, &'static str)]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&told);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = serve(client.unwrap(), answers, &heard);
        }
    });
    (port, told)
}

fn serve(
    mut client: TcpStream,
    answers: &[(&str, &str)],
    told: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let usual = [
        ("GREETING", "220 here\r\n"),
        ("EHLO", "250-here\r\n250 8BITMIME\r\n"),
        ("DATA", "354 go on\r\n"),
        ("QUIT", "221 bye\r\n"),
        ("", "250 ok\r\n"),
    ];
    let answer = |line: &str| {
        let all = answers.iter().chain(&usual);
        all.into_iter()
            .find(|(begin, _)| line.starts_with(begin))
            .map_or("", |(_, answer)| *answer)
    };
    client.write_all(answer("GREETING").as_bytes())?;
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut line, mut inside) = (String::new(), false);
    while reader.read_line(&mut line)? > 0 {
        told.lock().unwrap().push(line.trim_end().to_owned());
        if inside && line == ".\r\n" {
            inside = false;
            client.write_all(answer("END").as_bytes())?;
        } else if !inside {
            client.write_all(answer(&line).as_bytes())?;
            inside = line.starts_with("DATA") && answer(&line).starts_with('3');
        }
        line.clear();
    }
    Ok(())
}

fn mail(port: u16, more: &[(&str, Value)]) -> Channel {
    let mut options = json!({"from": "pg_etl <etl@shop.test>", "to": ["Ops <ops@shop.test>", "boss@shop.test"], "tls": "none", "timeout": 1});
    for (key, value) in more {
        options[*key] = value.clone();
    }
    channel(
        Kind::Smtp,
        &format!("smtp://127.0.0.1:{port}"),
        options,
        None,
    )
}

#[test]
fn a_message_says_what_it_is_and_has_its_id() {
    let (port, told) = server(&[]);
    let evil = Line {
        component: "outbox\r\nBcc: all@shop.test".to_owned(),
        ..outbox()
    };
    let outcomes = mail(port, &[]).deliver(&batch(&[outbox(), evil]), &|| false);
    assert_eq!(classes(&outcomes), [(10, None), (11, None)]);
    let told = told.lock().unwrap();
    let both: Vec<&str> = told.iter().map(String::as_str).collect();
    for said in [
        "MAIL FROM:<etl@shop.test>",
        "RCPT TO:<ops@shop.test>",
        "RCPT TO:<boss@shop.test>",
        "From: pg_etl <etl@shop.test>",
        "Message-ID: <0-1-2@shop.test>",
        "Auto-Submitted: auto-generated",
        "Subject: [pg_etl] shop: outbox: fail (1001 <queued>)",
        "  limits: warn 100",
        "  remedy: SELECT 1;",
        // No header of its own.
        "Subject: [pg_etl] shop: outbox  Bcc: all@shop.test: fail (1001 <queued>)",
    ] {
        assert!(both.contains(&said), "{said} is not in {both:#?}");
    }
}

#[test]
fn what_a_mail_server_answers_says_what_becomes_of_the_rows() {
    let table: [(&'static [(&'static str, &'static str)], ErrorClass); 10] = [
        (&[("GREETING", "421 too busy\r\n")], ErrorClass::Server),
        (
            &[("GREETING", "554 not for you\r\n")],
            ErrorClass::Misconfigured,
        ),
        (&[("GREETING", "what?\r\n")], ErrorClass::Unreachable),
        (
            &[("MAIL", "550 no such sender\r\n")],
            ErrorClass::Misconfigured,
        ),
        (&[("RCPT", "451 greylisted\r\n")], ErrorClass::Server),
        (
            &[("RCPT", "550 no such mailbox\r\n")],
            ErrorClass::Misconfigured,
        ),
        (&[("END", "554 looks like spam\r\n")], ErrorClass::Invalid),
        (&[("END", "550 no\r\n")], ErrorClass::Invalid),
        // It may have taken it.
        (&[("END", "")], ErrorClass::Unknown),
        (&[("EHLO", "")], ErrorClass::Unreachable),
    ];
    for (answers, class) in table {
        let (port, _) = server(answers);
        let outcomes = mail(port, &[]).deliver(&batch(&[outbox()]), &|| false);
        assert_eq!(
            classes(&outcomes),
            [(10, Some(class))],
            "{answers:?}: {outcomes:?}"
        );
    }
    // Nobody is there.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let outcomes = mail(free, &[]).deliver(&batch(&[outbox()]), &|| false);
    assert_eq!(classes(&outcomes), [(10, Some(ErrorClass::Unreachable))]);
    // No encryption, where it was asked for.
    let (port, told) = server(&[]);
    let options = json!({"from": "a@shop.test", "to": "b@shop.test", "login": "etl"});
    let secretive = channel(
        Kind::Smtp,
        &format!("smtp://localhost:{port}"),
        options,
        Some("pa55word"),
    );
    let outcomes = secretive.deliver(&batch(&[outbox()]), &|| false);
    assert_eq!(classes(&outcomes), [(10, Some(ErrorClass::Misconfigured))]);
    assert_eq!(
        secretive.probe().unwrap_err().class,
        ErrorClass::Misconfigured
    );
    let told = told.lock().unwrap().join("\n");
    assert!(!told.contains("AUTH") && !told.contains("MAIL"), "{told}");
}

#[test]
fn who_is_gone_silences_nobody_else() {
    let (port, told) = server(&[("RCPT TO:<boss", "550 no such mailbox\r\n")]);
    let outcomes = mail(port, &[]).deliver(&batch(&[outbox()]), &|| false);
    let Outcome::Delivered {
        note: Some(note), ..
    } = &outcomes[0].1
    else {
        panic!("{outcomes:?}")
    };
    assert!(
        note.contains("boss@shop.test") && note.contains("550"),
        "{note}"
    );
    let told = told.lock().unwrap().join("\n");
    assert!(told.contains("Subject: [pg_etl]"), "{told}");
}

/// Says so much, so often, whatever it is told.
fn babbler(what: Vec<u8>, pause: Duration) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        while client.write_all(&what).is_ok() {
            count.fetch_add(what.len(), Ordering::Relaxed);
            std::thread::sleep(pause);
        }
    });
    (port, said)
}

#[test]
fn no_mail_server_holds_us_or_fills_our_memory() {
    // A line without an end.
    let (port, said) = babbler(vec![b'x'; 64 * 1024], Duration::ZERO);
    let outcomes = mail(port, &[("timeout", json!(60))]).deliver(&batch(&[outbox()]), &|| false);
    assert_eq!(classes(&outcomes), [(10, Some(ErrorClass::Unreachable))]);
    // What the kernel's buffers take is more than what we did.
    assert!(said.load(Ordering::Relaxed) < 32 * 1024 * 1024);
    // A letter now and then: each comes in time, the line does not.
    let (port, _) = babbler(b"2".to_vec(), Duration::from_millis(100));
    let begun = Instant::now();
    let outcomes = mail(port, &[]).deliver(&batch(&[outbox()]), &|| false);
    assert_eq!(classes(&outcomes), [(10, Some(ErrorClass::Unreachable))]);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn options_of_mail_are_checked() {
    let good = json!({"from": "a@b.test", "to": "c@d.test"});
    let with = |key: &str, value: Value| {
        let mut options = good.clone();
        options[key] = value;
        options
    };
    let check = |url: &str, options: &Value| Options::parse(Kind::Smtp, url, options);
    assert!(check("smtp://mail.test", &good).is_ok());
    assert!(check("smtps://[::1]:465", &with("login", json!("x"))).is_ok());
    for (url, options, word) in [
        ("https://mail.test", good.clone(), "smtp://"),
        ("smtp://user:pa55@mail.test", good.clone(), "form"),
        ("smtp://mail.test/inbox", good.clone(), "form"),
        ("smtp://", good.clone(), ""),
        ("smtp://mail.test", json!({"to": "c@d.test"}), "\"from\""),
        ("smtp://mail.test", json!({"from": "a@b.test"}), "\"to\""),
        ("smtp://mail.test", with("to", json!([])), "\"to\""),
        (
            "smtp://mail.test",
            with("to", json!(["c@d.test", 7])),
            "\"to\"",
        ),
        (
            "smtp://mail.test",
            with("to", json!(vec!["c@d.test"; 51])),
            "\"to\"",
        ),
        (
            "smtp://mail.test",
            with("to", json!("c@d.test\r\nBcc: x@y.test")),
            "\"to\"",
        ),
        (
            "smtp://mail.test",
            with("from", json!("nobody")),
            "\"from\"",
        ),
        (
            "smtp://mail.test",
            with("tls", json!("sometimes")),
            "\"tls\"",
        ),
        ("smtps://mail.test", with("tls", json!("none")), "\"tls\""),
        (
            "smtp://mail.test",
            json!({"from": "a@b.test", "to": "c@d.test", "tls": "none", "login": "x"}),
            "encrypted",
        ),
        (
            "smtp://mail.test",
            with("repository", json!("a/b")),
            "unknown option",
        ),
    ] {
        let error = check(url, &options).unwrap_err();
        let said = format!("{} {}", error.message, error.hint);
        assert!(said.contains(word), "{url} {options}: {said}");
        assert!(!said.contains("pa55"), "{said}");
    }
    let no_password = check("smtp://mail.test", &with("login", json!("x"))).unwrap();
    assert_eq!(
        Channel::new(no_password, None).unwrap_err().class,
        ErrorClass::Misconfigured
    );
    Channel::new(check("smtp://mail.test", &good).unwrap(), None).unwrap();
}
