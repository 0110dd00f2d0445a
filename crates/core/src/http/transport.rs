//! One connection's transport: an agent with its pool of kept-alive connections, shared by all threads.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::TlsConfig;
use ureq::{Agent, Timeout};

use super::body::{BodyError, read_capped};
use super::date::{http_date, retry_after};
use super::resolver::Remembering;
use super::room;
use super::roots::roots;
use super::witness;

/// What one transport may take and how long it waits.
#[derive(Debug, Clone)]
pub struct TransportSettings {
    /// From the first packet to the last byte of the answer.
    pub timeout: Duration,
    /// For name resolution, and again for TCP and TLS; part of `timeout`.
    pub connect_timeout: Duration,
    /// Longest body read.
    pub max_response_bytes: usize,
    /// Connections kept open while idle; as many as may be in flight.
    pub max_idle_connections: usize,
    /// PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(150),
            connect_timeout: Duration::from_secs(10),
            max_response_bytes: 16 * 1024 * 1024,
            max_idle_connections: 16,
            ca_file: None,
        }
    }
}

/// The methods this project uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Patch,
}

impl Method {
    /// As written on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
        }
    }
}

/// One request. Headers are checked before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    /// Ignored for [`Method::Get`].
    pub body: Vec<u8>,
    /// Never use a kept-alive connection. The peer may close one at the moment we write to it, and then nobody knows
    /// whether the request was read; a request that must not run twice does not take that risk.
    pub fresh: bool,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// The `Content-Type` as sent, lower case, without parameters; empty where there is none.
    pub content_type: String,
    /// What `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// The server's clock (`Date`), to the second.
    pub date: Option<SystemTime>,
    pub body: Vec<u8>,
}

/// Why there is no answer. The texts are fit for a person and hold no header and no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request could not be built: a header or the URL is not valid. Nothing was sent.
    #[error("{0}")]
    Unbuildable(String),
    /// Name resolution, connection, TLS handshake or certificate failed. Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// Something went wrong after the first byte was sent. Nobody knows whether the request took effect.
    #[error("{0}")]
    Lost(String),
    /// An answer came and is longer than `max_response_bytes`, or than the memory there is for answers. The request probably took effect.
    #[error("{0}")]
    TooLarge(String),
}

/// Blocking HTTP for one connection; cheap to clone, shared by threads.
#[derive(Debug, Clone)]
pub struct Transport {
    agent: Agent,
    max_response_bytes: usize,
}

impl Transport {
    /// Reads the trusted roots; opens nothing. The error says what is wrong with `ca_file`.
    pub fn new(settings: &TransportSettings) -> Result<Self, String> {
        let tls = TlsConfig::builder()
            .root_certs(roots(settings.ca_file.as_deref())?)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Without this ureq reads HTTPS_PROXY and its like from the environment of the postmaster.
            .proxy(None)
            .user_agent(concat!("pg_etl/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .timeout_global(Some(settings.timeout))
            .timeout_resolve(Some(settings.connect_timeout.min(settings.timeout)))
            .timeout_connect(Some(settings.connect_timeout.min(settings.timeout)))
            .max_idle_connections(settings.max_idle_connections)
            .max_idle_connections_per_host(settings.max_idle_connections)
            // Shorter than the idle timeout of the usual proxies, so that we close first.
            .max_idle_age(Duration::from_secs(4))
            .build();
        let agent = Agent::with_parts(config, witness::connector(), Remembering::default());
        Ok(Self {
            agent,
            max_response_bytes: settings.max_response_bytes,
        })
    }

    /// Sends `request` once and reads the answer.
    pub fn send(&self, request: &Request) -> Result<Response, TransportError> {
        let uri: Uri = request.url.parse().map_err(|error| {
            TransportError::Unbuildable(format!("the URL is not valid: {error}"))
        })?;
        let headers = checked_headers(&request.headers)?;
        witness::reset();
        let answer = match request.method {
            Method::Get => {
                let mut builder = self.agent.get(uri);
                for (name, value) in headers {
                    builder = builder.header(name, value);
                }
                self.tuned(builder, request.fresh).call()
            }
            Method::Post | Method::Patch => {
                let mut builder = match request.method {
                    Method::Patch => self.agent.patch(uri),
                    Method::Get | Method::Post => self.agent.post(uri),
                };
                for (name, value) in headers {
                    builder = builder.header(name, value);
                }
                self.tuned(builder, request.fresh).send(&request.body[..])
            }
        };
        self.read(answer.map_err(|error| failed(&error, witness::begun()))?)
    }

    /// `GET url` with no further headers.
    pub fn get(&self, url: &str) -> Result<Response, TransportError> {
        self.send(&Request {
            method: Method::Get,
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            fresh: false,
        })
    }

    /// `POST url` with `headers` and `body`.
    pub fn post(
        &self,
        url: &str,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<Response, TransportError> {
        self.send(&Request {
            method: Method::Post,
            url: url.to_owned(),
            headers,
            body,
            fresh: false,
        })
    }

    /// Breaks every connection at once: requests in flight end as [`TransportError::Lost`], later ones as
    /// [`TransportError::NotSent`]. For a process that must exit now.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }

    fn tuned<B>(&self, builder: ureq::RequestBuilder<B>, fresh: bool) -> ureq::RequestBuilder<B> {
        // A pooled connection is never younger than zero: the request opens its own.
        if fresh {
            builder.config().max_idle_age(Duration::ZERO).build()
        } else {
            builder
        }
    }

    fn read(&self, answer: ureq::http::Response<ureq::Body>) -> Result<Response, TransportError> {
        let (parts, body) = answer.into_parts();
        let header = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let content_type = header("content-type").unwrap_or_default();
        let content_type = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let date = header("date").and_then(http_date);
        // Only a date is compared with a clock, best with the server's own.
        let retry_after = header("retry-after")
            .and_then(|value| retry_after(value, date.unwrap_or_else(SystemTime::now)));
        let status = parts.status.as_u16();
        let announced = header("content-length").and_then(|value| value.parse().ok());
        let mut reader = body.into_reader();
        let read = read_capped(
            &mut reader,
            announced,
            self.max_response_bytes,
            &room::BODIES,
        );
        let (body, room) = read.map_err(|error| match error {
                BodyError::TooLarge => TransportError::TooLarge(format!(
                    "HTTP {status} with an answer of more than {} bytes",
                    self.max_response_bytes
                )),
                BodyError::NoRoom => TransportError::TooLarge(format!(
                    "HTTP {status} with a large answer, while other answers took all memory there is for them"
                )),
                BodyError::Cut(why) => {
                    TransportError::Lost(format!("HTTP {status}, then the answer was cut: {why}"))
                }
            })?;
        room::keep(room);
        Ok(Response {
            status,
            content_type,
            retry_after,
            date,
            body,
        })
    }
}

fn checked_headers(
    headers: &[(&'static str, String)],
) -> Result<Vec<(HeaderName, HeaderValue)>, TransportError> {
    headers
        .iter()
        .map(|(name, value)| {
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| TransportError::Unbuildable(format!("{name:?} is no header name")))?;
            // The value may be a secret: it is not quoted.
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                TransportError::Unbuildable(format!(
                    "the value for the header {name} holds a character that HTTP forbids"
                ))
            })?;
            value.set_sensitive(true);
            Ok((key, value))
        })
        .collect()
}

fn failed(error: &ureq::Error, begun: bool) -> TransportError {
    let why = match error {
        ureq::Error::HostNotFound => "the host name is not known".to_owned(),
        ureq::Error::Timeout(Timeout::Resolve) => {
            "the host name was not resolved in time".to_owned()
        }
        ureq::Error::Timeout(Timeout::Connect) => "no connection in time".to_owned(),
        ureq::Error::Timeout(_) if begun => "no answer in time".to_owned(),
        ureq::Error::Timeout(_) => "no connection in time".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        other => other.to_string(),
    };
    if begun {
        TransportError::Lost(why)
    } else {
        TransportError::NotSent(why)
    }
}
