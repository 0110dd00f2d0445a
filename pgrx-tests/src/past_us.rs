//! What somebody does in Odoo itself, past pg_etl.

use std::io::{Read, Write};
use std::net::TcpStream;

use odoo_sim::Sim;
use serde_json::{Value, json};

/// Calls of a user who sits before Odoo.
pub trait PastUs {
    /// Calls `model.method` and gives the result.
    fn call(&self, model: &str, method: &str, arguments: Value) -> Value;
    /// Deletes a record.
    fn unlink(&self, model: &str, id: i64);
}

impl PastUs for Sim {
    #[track_caller]
    fn call(&self, model: &str, method: &str, arguments: Value) -> Value {
        let body = arguments.to_string();
        let request = format!(
            "POST /json/2/{model}/{method} HTTP/1.1\r\nHost: odoo\r\nAuthorization: bearer {}\r\nX-Odoo-Database: {}\r\n\
             Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.admin().keys[0].key,
            self.database(),
            body.len()
        );
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.port())).expect("the simulator listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.split_whitespace().nth(1) == Some("200"),
            "{model}.{method}: {answer}"
        );
        serde_json::from_str(body).expect("JSON")
    }

    #[track_caller]
    fn unlink(&self, model: &str, id: i64) {
        self.call(model, "unlink", json!({"ids": [id]}));
    }
}
