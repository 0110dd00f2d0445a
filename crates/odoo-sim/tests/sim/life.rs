//! Starting, stopping, versions, accounts.

use crate::caller::{call, exchange, load, partners, request};
use odoo_sim::{ApiKey, Config, Effect, Fault, Rights, Sim};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

#[test]
fn a_stopped_simulator_refuses_and_a_restarted_one_remembers() {
    let sim = Sim::start(Config::default()).expect("a free port");
    let port = sim.port();
    load(&sim, "a").expect("an answer");
    sim.stop();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    sim.restart().expect("the same port");
    assert_eq!(sim.port(), port);
    assert_eq!(partners(&sim, "a"), 1);
    assert_eq!(load(&sim, "b").expect("an answer").status, 200);
}

#[test]
fn what_had_not_committed_when_it_was_killed_never_does() {
    let sim = Sim::start(Config::default()).expect("a free port");
    sim.inject(Fault::new(Effect::Delay {
        before_ms: 300,
        after_ms: 0,
    }));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| load(&sim, "a"));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(sim.in_flight(), 1);
        sim.stop();
        assert!(call.join().expect("no panic").is_err());
    });
    sim.clear_faults();
    sim.restart().expect("the same port");
    assert!(sim.wait_idle(Duration::from_secs(2)));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(partners(&sim, "a"), 0);
}

#[test]
fn workers_are_a_line_and_not_an_error() {
    let sim = Sim::start(Config {
        workers: 1,
        call_cost: Duration::from_millis(50),
        ..Config::default()
    })
    .expect("a free port");
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let sim = &sim;
            scope.spawn(move || {
                assert_eq!(load(sim, &n.to_string()).expect("an answer").status, 200)
            });
        }
    });
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn before_19_there_is_only_json_rpc() {
    let sim = Sim::start(Config {
        version: 18,
        ..Config::default()
    })
    .expect("a free port");
    assert_eq!(load(&sim, "a").expect("an answer").status, 404);
    let version = exchange(&sim, &request(&sim, "GET", "/web/version", ""))
        .expect("an answer")
        .json();
    assert_eq!(version["version_info"][0], 18);
    let ask = |method: &str, args: Value| {
        let args = json!(["odoo", 2, "admin", "res.partner", method, args, {}]);
        let params = json!({"service": "object", "method": "execute_kw", "args": args});
        let body = json!({"jsonrpc": "2.0", "id": 1, "params": params}).to_string();
        exchange(&sim, &request(&sim, "POST", "/jsonrpc", &body))
            .expect("an answer")
            .json()
    };
    assert!(ask("create", json!([{"name": "x"}]))["result"].is_i64());
    let missing = ask("web_save_multi", json!([[1], [{}], {}]));
    assert_eq!(missing["error"]["data"]["name"], "builtins.AttributeError");
}

#[test]
fn keys_expire_and_are_revoked() {
    let sim = Sim::start(Config::default()).expect("a free port");
    let key = sim.admin().keys[0].key.clone();
    sim.revoke_key(&key);
    assert_eq!(load(&sim, "a").expect("an answer").status, 401);
    let past = SystemTime::now() - Duration::from_secs(1);
    sim.add_key(
        2,
        ApiKey {
            key: key.clone(),
            expires: Some(past),
        },
    );
    assert_eq!(load(&sim, "a").expect("an answer").status, 401);
    sim.revoke_key(&key);
    sim.add_key(
        2,
        ApiKey {
            key,
            expires: Some(SystemTime::now() + Duration::from_secs(60)),
        },
    );
    assert_eq!(load(&sim, "a").expect("an answer").status, 200);
}

#[test]
fn accounts_have_rights() {
    let rights = vec![
        Rights::only("res.partner", &["read"]),
        Rights::full("res.partner.category"),
    ];
    let sim = Sim::start(Config::default().with_account(7, "few", "few-key", rights))
        .expect("a free port");
    let as_few = |model: &str, method: &str, arguments: Value| {
        let body = arguments.to_string();
        let head = format!(
            "POST /json/2/{model}/{method} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer few-key\r\nContent-Type: \
             application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(&sim, head.as_bytes()).expect("an answer")
    };
    assert_eq!(
        as_few("res.partner", "search_count", json!({"domain": []})).status,
        200
    );
    let refused = as_few(
        "res.partner",
        "create",
        json!({"vals_list": [{"name": "x"}]}),
    );
    assert_eq!(
        (refused.status, &refused.json()["name"]),
        (403, &json!("odoo.exceptions.AccessError"))
    );
    assert_eq!(
        as_few(
            "res.partner.category",
            "create",
            json!({"vals_list": [{"name": "x"}]})
        )
        .status,
        200
    );
    assert_eq!(
        as_few("sale.order", "search", json!({"domain": []})).status,
        403
    );
    sim.set_rights(7, vec![Rights::full("*")]);
    assert_eq!(
        as_few("sale.order", "search", json!({"domain": []})).status,
        200
    );
    sim.remove_account(7);
    assert_eq!(
        as_few("sale.order", "search", json!({"domain": []})).status,
        401
    );
}

#[test]
fn connections_are_kept_when_asked_to() {
    let sim = Sim::start(Config {
        keep_alive: true,
        ..Config::default()
    })
    .expect("a free port");
    let mut stream = TcpStream::connect(("127.0.0.1", sim.port())).expect("a connection");
    let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
    for _ in 0..3 {
        stream
            .write_all(b"GET /web/health HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("sent");
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(text) = line.strip_prefix("Content-Length: ") {
                length = text.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        assert_eq!(body, br#"{"status":"pass"}"#);
    }
    let plain = Sim::start(Config::default()).expect("a free port");
    let answer =
        call(&plain, "res.partner", "search_count", json!({"domain": []})).expect("an answer");
    assert!(
        answer.head.starts_with("HTTP/1.0 200 OK"),
        "{}",
        answer.head
    );
}

#[test]
fn the_program_says_where_it_is_and_ends_on_sigterm() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_odoo-sim"))
        .args([
            "--database",
            "shop",
            "--login",
            "root",
            "--password",
            "secret",
            "--api-key",
            "k",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&said["database"], &said["login"], &said["api_key"]),
        (&json!("shop"), &json!("root"), &json!("k"))
    );
    assert_eq!(
        (&said["password"], &said["uid"]),
        (&json!("secret"), &json!(2))
    );
    let address = said["url"]
        .as_str()
        .and_then(|url| url.strip_prefix("http://"))
        .expect("an address");
    assert!(address.starts_with("127.0.0.1:"));
    TcpStream::connect(address).expect("it listens");
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(killed.success());
    assert!(!child.wait().expect("an end").success());
}

#[test]
fn watched_fields_tell_their_history_in_the_order_of_commits() {
    let sim = Sim::start(Config::default()).expect("a free port");
    sim.watch("res.partner", "ref");
    let made = call(
        &sim,
        "res.partner",
        "create",
        json!({"vals_list": [{"name": "a", "ref": "1"}]}),
    );
    let id = made.expect("an answer").json()[0].as_i64().expect("an id");
    let write = |vals: Value| {
        call(
            &sim,
            "res.partner",
            "write",
            json!({"ids": [id], "vals": vals}),
        )
        .expect("an answer")
    };
    write(json!({"ref": "2"}));
    // Neither of these changes the field: one touches another, one is refused.
    write(json!({"city": "x"}));
    write(json!({"ref": "3", "no_such_field": 1}));
    call(&sim, "res.partner", "unlink", json!({"ids": [id]})).expect("an answer");
    let history = sim.history();
    let values: Vec<Option<&str>> = history
        .iter()
        .map(|change| change.value.as_deref())
        .collect();
    assert_eq!(values, [Some("1"), Some("2"), None]);
    assert!(
        history
            .iter()
            .all(|change| change.id == id && change.model == "res.partner")
    );
    assert!(history.is_sorted_by_key(|change| change.commit));
}
