//! What the sink reads of a request and writes as an answer: bytes, without a parser.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::{memchr2, memmem};

use super::sink::{Captured, STUBBORN_MODEL};

/// Where a request's parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Of request line and headers, with the empty line.
    pub length: usize,
    /// Of the body.
    pub body: usize,
    /// Of the path, in the request line.
    path: (usize, usize),
}

/// A request that this server does not read: no length, or no HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The head, once all of it is there.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, Unreadable> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        // Nobody sends 64 kB of headers here.
        return if bytes.len() > 65_536 {
            Err(Unreadable)
        } else {
            Ok(None)
        };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Unreadable)?;
    let (line, headers) = text.split_once("\r\n").unwrap_or((text, ""));
    let start = line.find(' ').ok_or(Unreadable)? + 1;
    let length = line[start..].find(' ').ok_or(Unreadable)?;
    let mut body = 0;
    for header in headers.split("\r\n") {
        let (name, value) = header.split_once(':').ok_or(Unreadable)?;
        if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse().map_err(|_| Unreadable)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Unreadable);
        }
    }
    Ok(Some(Head {
        length: end + 4,
        body,
        path: (start, start + length),
    }))
}

/// Appends the answer to a whole request; gives the rows that it carried.
pub fn answer(request: &[u8], head: &Head, records: &AtomicU64, out: &mut Vec<u8>) -> u64 {
    let path = std::str::from_utf8(&request[head.path.0..head.path.1]).unwrap_or_default();
    let body = &request[head.length..];
    let mut parts = path.trim_start_matches("/json/2/").split('/');
    let (model, method) = (parts.next().unwrap_or_default(), parts.next());
    let (status, text, rows) = match method {
        _ if path == "/web/version" => ("200 OK", VERSION.to_owned(), 0),
        Some("fields_get") => ("200 OK", FIELDS.to_owned(), 0),
        Some("load" | "write" | "web_save_multi" | "create" | "unlink")
            if model == STUBBORN_MODEL =>
        {
            ("500 Internal Server Error", CONFLICT.to_owned(), 0)
        }
        Some("load") => {
            let rows = elements(body, b"\"data\"");
            let ids = ids(records, rows);
            let text = format!("{{\"ids\":{ids},\"messages\":[],\"nextrow\":0}}");
            ("200 OK", text, rows)
        }
        Some("create") => {
            let rows = elements(body, b"\"vals_list\"");
            ("200 OK", ids(records, rows), rows)
        }
        Some("write" | "unlink") => ("200 OK", "true".to_owned(), elements(body, b"\"ids\"")),
        Some("web_save_multi") => ("200 OK", "[]".to_owned(), elements(body, b"\"ids\"")),
        Some("search") => ("200 OK", "[]".to_owned(), 0),
        Some("context_get") => (
            "200 OK",
            r#"{"lang":"en_US","tz":"UTC","uid":2}"#.to_owned(),
            0,
        ),
        Some("has_access") => ("200 OK", "true".to_owned(), 0),
        // Whoever posts something else, such as another queue's worker: one request, one row.
        _ => ("200 OK", "true".to_owned(), 1),
    };
    let length = text.len();
    out.extend_from_slice(
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{text}").as_bytes(),
    );
    rows
}

/// A copy of a whole request.
pub fn captured(request: &[u8], head: &Head, rows: u64) -> Captured {
    let text = String::from_utf8_lossy(&request[..head.length]);
    let headers = text.lines().skip(1).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Captured {
        path: String::from_utf8_lossy(&request[head.path.0..head.path.1]).into_owned(),
        headers: headers.collect(),
        body: request[head.length..].to_vec(),
        rows,
    }
}

const VERSION: &str = r#"{"version_info":[19,0,0,"final",0,""],"version":"19.0"}"#;

const FIELDS: &str = r#"{"id":{"type":"integer","readonly":true,"store":true},"name":{"type":"char","store":true},"email":{"type":"char","store":true},"phone":{"type":"char","store":true},"street":{"type":"char","store":true},"ref":{"type":"char","store":true},"active":{"type":"boolean","store":true}}"#;

const CONFLICT: &str = r#"{"name":"psycopg2.errors.SerializationFailure","message":"could not serialize access due to concurrent update","arguments":[],"context":{},"debug":""}"#;

fn ids(records: &AtomicU64, rows: u64) -> String {
    let first = records.fetch_add(rows, Ordering::AcqRel) + 1;
    let mut text = String::with_capacity(2 + 9 * usize::try_from(rows).unwrap_or(0));
    text.push('[');
    for id in first..first + rows {
        let comma = if id > first { "," } else { "" };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma}{id}");
    }
    text.push(']');
    text
}

/// How many elements the array behind `key` has. The key is written as JSON, and stands in no other place of what is sent here:
/// inside a string its quotes would be escaped.
fn elements(body: &[u8], key: &[u8]) -> u64 {
    let Some(at) = memmem::find(body, key) else {
        return 0;
    };
    let mut at = at + key.len();
    let (mut depth, mut count, mut empty) = (0_u32, 0, true);
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => {
                (empty, at) = (false, string_end(body, at + 1));
                continue;
            }
            b'[' | b'{' => {
                empty &= depth == 0;
                depth += 1;
            }
            b']' | b'}' if depth <= 1 => {
                return if empty || depth == 0 { 0 } else { count + 1 };
            }
            b']' | b'}' => depth -= 1,
            b',' if depth == 1 => count += 1,
            b',' if depth == 0 => return 0,
            b':' | b' ' | b'\n' => {}
            _ => empty = false,
        }
        at += 1;
    }
    0
}

/// Behind the closing quote.
fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'"', b'\\', body.get(at..).unwrap_or_default()) {
        at += found;
        if body[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_counted_at_the_top_only() {
        let count = |text: &str| elements(text.as_bytes(), b"\"data\"");
        assert_eq!(count(r#"{"data":[]}"#), 0);
        assert_eq!(count(r#"{"data": [ ]}"#), 0);
        assert_eq!(count(r#"{"data":[1]}"#), 1);
        assert_eq!(
            count(r#"{"a":"\"data\":[1,2,3]","data":[[1,2],{"b":[3,4]}, "],["]}"#),
            3
        );
        assert_eq!(count(r#"{"data":["\\","\"",[]]}"#), 3);
        assert_eq!(count(r#"{"data":null,"b":[1]}"#), 0);
        assert_eq!(count(r#"{"b":[1],"data":null}"#), 0);
        assert_eq!(count(r#"{"b":[1]}"#), 0);
        assert_eq!(count(r#"{"data":[1,"#), 0);
    }

    #[test]
    fn a_head_comes_in_pieces() {
        let request = b"POST /json/2/a/load HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        for cut in 0..request.len() - 2 {
            assert_eq!(head(&request[..cut]), Ok(None), "{cut}");
        }
        let head = head(request).unwrap().unwrap();
        assert_eq!((head.length, head.body), (request.len() - 2, 2));
        assert_eq!(&request[head.path.0..head.path.1], b"/json/2/a/load");
    }

    #[test]
    fn what_is_no_http_is_refused() {
        assert_eq!(head(b"nonsense\r\n\r\n"), Err(Unreadable));
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(chunked), Err(Unreadable));
        let odd = b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n";
        assert_eq!(head(odd), Err(Unreadable));
    }
}
