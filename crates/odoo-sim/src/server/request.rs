//! Reading requests.

use std::io::{self, Read, Write};
use std::net::TcpStream;

const MOST_HEADER_BYTES: usize = 64 << 10;
const MOST_HEADERS: usize = 100;

/// A request, read to its end.
#[derive(Debug)]
pub(crate) struct Request {
    pub verb: String,
    /// Path without the query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The client speaks HTTP/1.1 and did not ask to close.
    pub may_keep: bool,
}

/// What came instead of a request.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The client closed or the connection failed.
    Gone,
    /// It is no HTTP.
    Malformed,
    /// The body is larger than allowed; the path decides how that is said.
    TooLarge(String),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Broken::Gone
    }
}

impl Request {
    /// A header's value; names in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The media type without its parameters.
    pub fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_lowercase()
    }

    /// Reads one request. `rest` holds bytes of the next one that came along.
    pub fn read(stream: &mut TcpStream, rest: &mut Vec<u8>, most: usize) -> Result<Self, Broken> {
        let (mut request, head) = loop {
            if let Some(found) = parse(rest)? {
                break found;
            }
            if rest.len() > MOST_HEADER_BYTES {
                return Err(Broken::Malformed);
            }
            fill(stream, rest)?;
        };
        rest.drain(..head);
        // Without a length there is no body, as for Odoo's own server.
        let length = match request.header("content-length") {
            Some(text) => text.trim().parse::<u64>().map_err(|_| Broken::Malformed)?,
            None => 0,
        };
        if length > most as u64 {
            discard(stream, length.saturating_sub(rest.len() as u64));
            return Err(Broken::TooLarge(request.path));
        }
        let length = usize::try_from(length).map_err(|_| Broken::Malformed)?;
        if request
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let early = rest.len().min(length);
        request.body = rest.drain(..early).collect();
        request.body.reserve(length.min(1 << 20));
        let wanted = (length - early) as u64;
        let read = Read::take(&mut *stream, wanted).read_to_end(&mut request.body)?;
        if read as u64 != wanted {
            return Err(Broken::Gone);
        }
        Ok(request)
    }
}

fn fill(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Result<(), Broken> {
    let mut chunk = [0; 16 << 10];
    match stream.read(&mut chunk)? {
        0 => Err(Broken::Gone),
        read => {
            rest.extend_from_slice(&chunk[..read]);
            Ok(())
        }
    }
}

/// Reads what must not be kept, so that the client gets to read the answer instead of a reset.
fn discard(stream: &mut TcpStream, length: u64) {
    let _ = io::copy(
        &mut Read::take(stream, length.min(1 << 30)),
        &mut io::sink(),
    );
}

/// The head of a request and its length, once it is complete.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Broken::Malformed),
    };
    let target = parsed.path.unwrap_or("/");
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|header| {
            (
                header.name.to_lowercase(),
                String::from_utf8_lossy(header.value).into_owned(),
            )
        })
        .collect();
    let closes = headers
        .iter()
        .any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"));
    let request = Request {
        verb: parsed.method.unwrap_or_default().to_owned(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        headers,
        body: vec![],
        may_keep: parsed.version == Some(1) && !closes,
    };
    Ok(Some((request, length)))
}
