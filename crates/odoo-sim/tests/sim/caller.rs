//! A small client that hides nothing.

use odoo_sim::Sim;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back over one connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A request as bytes.
pub fn request(sim: &Sim, verb: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{verb} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: bearer {}\r\nX-Odoo-Database: {}\r\nContent-Type: \
         application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        sim.admin().keys[0].key,
        sim.database(),
        body.len()
    )
    .into_bytes()
}

/// Sends bytes and reads to the end; an error of either is the answer of a broken connection.
pub fn exchange(sim: &Sim, bytes: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", sim.port()))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(bytes)?;
    let mut all = vec![];
    stream.read_to_end(&mut all)?;
    let end = all.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    Ok(Answer {
        status,
        head,
        body: all[end + 4..].to_vec(),
    })
}

/// A JSON-2 call.
pub fn call(sim: &Sim, model: &str, method: &str, arguments: Value) -> std::io::Result<Answer> {
    exchange(
        sim,
        &request(
            sim,
            "POST",
            &format!("/json/2/{model}/{method}"),
            &arguments.to_string(),
        ),
    )
}

/// Creates a partner by create-once `load`.
pub fn load(sim: &Sim, name: &str) -> std::io::Result<Answer> {
    let context = json!({"mode": "update", "noupdate": true});
    call(
        sim,
        "res.partner",
        "load",
        json!({"fields": ["id", "name"], "data": [[format!("t.{name}"), name]], "context": context}),
    )
}

/// Partners of that name that exist.
pub fn partners(sim: &Sim, name: &str) -> usize {
    sim.records("res.partner")
        .iter()
        .filter(|row| row["name"] == name)
        .count()
}
