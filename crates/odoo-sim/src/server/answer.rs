//! Answers, and the ways they fail to arrive.

use crate::fault::Effect;
use crate::orm::clock::http_date;
use crate::server::Running;
use serde_json::Value as Json;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// How an answer is sent.
#[derive(Debug)]
pub(crate) enum Delivery {
    Whole(Answer),
    /// With a fault that needs the socket.
    Spoilt(Answer, Effect),
}

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

impl Answer {
    pub fn json(status: u16, body: &Json) -> Self {
        Self {
            status,
            content_type: JSON,
            headers: vec![],
            body: serde_json::to_vec(body).unwrap_or_default(),
        }
    }

    /// Werkzeug's page for a status.
    pub fn page(status: u16, text: &str) -> Self {
        let reason = reason(status);
        let body = format!(
            "<!doctype html>\n<html lang=en>\n<title>{status} {reason}</title>\n<h1>{reason}</h1>\n<p>{text}</p>\n"
        );
        Self {
            status,
            content_type: HTML,
            headers: vec![],
            body: body.into_bytes(),
        }
    }

    /// The page for a body of the wrong media type.
    pub fn wrong_type(accepted: &str, path: &str, kind: &str) -> Self {
        let path = path
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let text = format!(
            "Request inferred type is compatible with [{accepted}] but &#39;{path}&#39; is \
             type=&#39;{kind}&#39;.<br><br>Please verify the Content-Type request header and try again."
        );
        Self::page(415, &text)
    }

    /// Text that calls itself HTML, as Odoo aborts a malformed JSON-RPC request.
    pub fn abort(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: HTML,
            headers: vec![],
            body: text.as_bytes().to_vec(),
        }
    }

    pub fn not_found() -> Self {
        Self::page(
            404,
            "The requested URL was not found on the server. If you entered the URL manually please check your spelling and \
             try again.",
        )
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Swaps the answer for what an effect puts in its place.
    pub fn spoilt(self, effect: &Effect) -> Delivery {
        match effect {
            Effect::Html => Delivery::Whole(Self {
                status: 200,
                content_type: HTML,
                headers: vec![],
                body: b"<!DOCTYPE html><html><body><h1>We will be back soon</h1></body></html>"
                    .to_vec(),
            }),
            Effect::Unreadable => Delivery::Whole(Self {
                status: 200,
                content_type: JSON,
                headers: vec![],
                body: b"{\"ids\": [1, 2,\x00\xff".to_vec(),
            }),
            Effect::Status {
                status,
                retry_after,
            } => {
                let mut page = Self::page(
                    *status,
                    "The server is temporarily unable to service your request.",
                );
                if let Some(seconds) = retry_after {
                    page = page.with("Retry-After", seconds.to_string());
                }
                Delivery::Whole(page)
            }
            Effect::Short { records } => Delivery::Whole(self.shortened(*records)),
            Effect::Redirect { location } => {
                Delivery::Whole(Self::page(303, "See other.").with("Location", location.clone()))
            }
            other => Delivery::Spoilt(self, other.clone()),
        }
    }

    /// The first of a list of records, in the words of either protocol. Another answer stays as it is.
    fn shortened(mut self, records: usize) -> Self {
        let Ok(mut body) = serde_json::from_slice::<Json>(&self.body) else {
            return self;
        };
        let list = match &mut body {
            Json::Array(list) => Some(list),
            Json::Object(answer) => answer.get_mut("result").and_then(Json::as_array_mut),
            _ => None,
        };
        if let Some(list) = list {
            list.truncate(records);
            self.body = serde_json::to_vec(&body).unwrap_or_default();
        }
        self
    }

    fn head(&self, length: Option<u64>, keep: bool) -> Vec<u8> {
        // Odoo's own server speaks HTTP/1.0 and closes; a proxy in front keeps the connection.
        let version = if keep { "HTTP/1.1" } else { "HTTP/1.0" };
        let connection = if keep { "keep-alive" } else { "close" };
        let mut head = format!(
            "{version} {} {}\r\nServer: Werkzeug/3.1.9 Python/3.11.2\r\nDate: {}\r\nContent-Type: {}\r\nConnection: {connection}\r\n",
            self.status,
            reason(self.status),
            http_date(),
            self.content_type
        );
        for (name, value) in &self.headers {
            // A header must not smuggle a line in; values come from tests.
            head.push_str(&format!("{name}: {}\r\n", value.replace(['\r', '\n'], "")));
        }
        if let Some(length) = length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

impl Delivery {
    /// Sends it. False when the connection is not to be used again.
    pub fn send(
        self,
        stream: &mut TcpStream,
        keep: bool,
        running: &Running,
        generation: u64,
    ) -> io::Result<bool> {
        let (answer, effect) = match self {
            Delivery::Whole(answer) => {
                let mut bytes = answer.head(Some(answer.body.len() as u64), keep);
                bytes.extend_from_slice(&answer.body);
                stream.write_all(&bytes)?;
                return Ok(keep);
            }
            Delivery::Spoilt(answer, effect) => (answer, effect),
        };
        match effect {
            Effect::Reset => reset(stream),
            Effect::Truncated { bytes } => {
                let mut out = answer.head(Some(answer.body.len() as u64), false);
                // At least one byte is missing, or it would not be truncated.
                out.extend_from_slice(
                    &answer.body[..bytes.min(answer.body.len().saturating_sub(1))],
                );
                stream.write_all(&out)?;
            }
            Effect::Hang => hang(stream, running, generation),
            Effect::SlowLoris { byte_ms } => {
                stream.write_all(&answer.head(Some(answer.body.len() as u64), false))?;
                for byte in &answer.body {
                    if !running.sleep(generation, Duration::from_millis(byte_ms)) {
                        break;
                    }
                    stream.write_all(&[*byte])?;
                }
            }
            Effect::Giant { bytes } => {
                stream.write_all(&answer.head(Some(bytes), false))?;
                stream.write_all(b"\"")?;
                io::copy(&mut io::repeat(b'a').take(bytes.saturating_sub(2)), stream)?;
                stream.write_all(b"\"")?;
            }
            Effect::Dense { bytes } => {
                let element = b"{\"\":0},";
                let mut left = bytes / element.len() as u64 * element.len() as u64;
                stream.write_all(&answer.head(Some(left + 3), false))?;
                let block = element.repeat(4_096);
                stream.write_all(b"[")?;
                while left > 0 {
                    let size = left.min(block.len() as u64);
                    stream.write_all(&block[..usize::try_from(size).unwrap_or(0)])?;
                    left -= size;
                }
                stream.write_all(b"0]")?;
            }
            Effect::Endless { bytes } => {
                stream.write_all(&answer.head(None, false))?;
                stream.write_all(b"\"")?;
                io::copy(&mut io::repeat(b'a').take(bytes), stream)?;
            }
            Effect::GzipBomb { bytes } => {
                let packed = bomb(bytes)?;
                let answer = answer.with("Content-Encoding", "gzip");
                stream.write_all(&answer.head(Some(packed.len() as u64), false))?;
                stream.write_all(&packed)?;
            }
            // The rest closes without a word.
            _ => {}
        }
        Ok(false)
    }
}

/// Closes with RST instead of FIN: a linger time of zero throws away what is unsent.
fn reset(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = std::mem::size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `stream` is borrowed, and the pointer and size describe one `linger`.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
}

/// Holds the connection until the client gives up or the server stops.
fn hang(stream: &mut TcpStream, running: &Running, generation: u64) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let mut byte = [0; 1];
    while running.is(generation) {
        match stream.read(&mut byte) {
            Ok(0) => return,
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return;
            }
            _ => {}
        }
    }
}

/// Gzip of one long JSON string; about a thousandth of its size.
fn bomb(bytes: u64) -> io::Result<Vec<u8>> {
    let mut packer = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    packer.write_all(b"\"")?;
    io::copy(
        &mut io::repeat(b'a').take(bytes.saturating_sub(2)),
        &mut packer,
    )?;
    packer.write_all(b"\"")?;
    packer.finish()
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_short_answer_has_the_first_records_over_either_protocol() {
        let short = |body: Json| -> Json {
            let Delivery::Whole(answer) =
                Answer::json(200, &body).spoilt(&Effect::Short { records: 2 })
            else {
                panic!("it is sent as a whole")
            };
            serde_json::from_slice(&answer.body).unwrap()
        };
        assert_eq!(short(json!([1, 2, 3])), json!([1, 2]));
        let wrapped = short(json!({"id": 1, "result": [1, 2, 3]}));
        assert_eq!(wrapped, json!({"id": 1, "result": [1, 2]}));
        assert_eq!(short(json!({"result": true})), json!({"result": true}));
    }
}
