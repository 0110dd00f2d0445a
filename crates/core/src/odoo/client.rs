//! One connection to one Odoo: its transport, its protocol, what it learned about the models.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};

use super::call::Call;
use super::endpoint::{Endpoint, ProtocolChoice};
use super::fields::{Catalog, ModelFields};
use super::judge;
use super::pacer::Pacer;
use super::probe;
use super::protocol::{Json2, JsonRpc, Protocol, ProtocolKind};
use crate::failure::{ErrorClass, Failure};
use crate::http::{self, Method, Request, Response, Transport, TransportError, TransportSettings};
use crate::secret::Secret;

/// What the settings say, and what was learned by an earlier client of the same connection.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `etl.max_response_bytes`.
    pub max_response_bytes: usize,
    /// `etl.request_timeout`; the connection's own `timeout` goes before it.
    pub request_timeout: Duration,
    pub connect_timeout: Duration,
    /// Connections kept open while idle: as many calls as may be in flight.
    pub max_in_flight: u32,
    /// What [`Client::known_protocol`] said before; used where the endpoint says `auto`.
    pub known_protocol: Option<ProtocolKind>,
    /// What [`Client::known_web_save_multi`] said before.
    pub known_web_save_multi: Option<bool>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            max_response_bytes: 16 * 1024 * 1024,
            request_timeout: Duration::from_secs(150),
            connect_timeout: Duration::from_secs(10),
            max_in_flight: 4,
            known_protocol: None,
            known_web_save_multi: None,
        }
    }
}

/// A client of one connection; shared by threads. Every method blocks for at most the request timeout per request.
pub struct Client {
    endpoint: Endpoint,
    secret: Secret,
    transport: Transport,
    learned: Mutex<Learned>,
    catalog: Catalog,
    pacer: Pacer,
}

/// What requests taught us; replaced value by value.
struct Learned {
    kind: Option<ProtocolKind>,
    /// Ready to be used; for JSON-RPC that means authenticated.
    protocol: Option<Arc<dyn Protocol>>,
    uid: Option<i64>,
    version: Option<String>,
    web_save_multi: Option<bool>,
    /// What the last answer's `Date` said, and when it came.
    clock: Option<(SystemTime, Instant)>,
}

impl Client {
    /// Opens nothing; fails only where `ca_file` cannot be read ([`ErrorClass::Misconfigured`]).
    pub fn new(
        endpoint: Endpoint,
        secret: Secret,
        settings: ClientSettings,
    ) -> Result<Self, Failure> {
        let transport = Transport::new(&TransportSettings {
            timeout: endpoint.timeout.unwrap_or(settings.request_timeout),
            connect_timeout: settings.connect_timeout,
            max_response_bytes: settings.max_response_bytes,
            max_idle_connections: settings.max_in_flight as usize,
            ca_file: endpoint.ca_file.clone(),
        })
        .map_err(|why| {
            Failure::new(ErrorClass::Misconfigured, why).with_remedy(
                "The file is read on the database server, by the user Postgres runs as.",
            )
        })?;
        let kind = match endpoint.protocol {
            ProtocolChoice::Auto => settings.known_protocol,
            ProtocolChoice::Json2 => Some(ProtocolKind::Json2),
            ProtocolChoice::JsonRpc => Some(ProtocolKind::JsonRpc),
        };
        let learned = Learned {
            kind,
            protocol: None,
            uid: None,
            version: None,
            web_save_multi: settings.known_web_save_multi,
            clock: None,
        };
        let pacer = Pacer::new(endpoint.rate_limit);
        Ok(Self {
            endpoint,
            secret,
            transport,
            learned: Mutex::new(learned),
            catalog: Catalog::default(),
            pacer,
        })
    }

    /// Requests sent so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.pacer.sent()
    }

    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The protocol in use, once it is known; worth keeping for the next client.
    #[must_use]
    pub fn known_protocol(&self) -> Option<ProtocolKind> {
        self.learned().kind
    }

    /// Whether this Odoo has `web_save_multi`, once that is known; worth keeping for the next client.
    #[must_use]
    pub fn known_web_save_multi(&self) -> Option<bool> {
        self.learned().web_save_multi
    }

    pub(super) fn learn_web_save_multi(&self, has: bool) {
        self.learned().web_save_multi = Some(has);
    }

    /// The server's version as it names it, e.g. `19.0`, where it was asked.
    #[must_use]
    pub fn known_version(&self) -> Option<String> {
        self.learned().version.clone()
    }

    /// The server's clock now, to the second, as its last answer's `Date` has it.
    #[must_use]
    pub fn clock(&self) -> Option<SystemTime> {
        let (date, came) = self.learned().clock?;
        date.checked_add(came.elapsed())
    }

    /// The user we are, where the protocol told (JSON-RPC) or somebody asked.
    #[must_use]
    pub fn known_uid(&self) -> Option<i64> {
        self.learned().uid
    }

    /// The user we are, asked once.
    pub fn own_uid(&self) -> Result<i64, Failure> {
        if let Some(uid) = self.known_uid() {
            return Ok(uid);
        }
        let uid = probe::uid_of(&self.run(&probe::whoami())?)?;
        self.learn_uid(uid);
        Ok(uid)
    }

    /// What somebody asked Odoo.
    pub(super) fn learn_uid(&self, uid: i64) {
        self.learned().uid = Some(uid);
    }

    /// Calls `model.method` with named arguments. The connection's context goes below `context`.
    pub fn call(
        &self,
        model: &str,
        method: &str,
        ids: Option<&[i64]>,
        args: Map<String, Value>,
        context: &Map<String, Value>,
    ) -> Result<Value, Failure> {
        let mut call = Call::new(model, method).in_context(context);
        call.args = args;
        call.ids = ids.map(<[i64]>::to_vec);
        self.run(&call)
    }

    /// Sends one call and judges the answer. The connection's context goes below the call's.
    pub fn run(&self, call: &Call) -> Result<Value, Failure> {
        let protocol = self.protocol()?;
        let request = protocol
            .request(&self.placed(call))
            .map_err(|failure| self.masked(failure))?;
        let judged = self
            .send(&request)
            .and_then(|response| protocol.judge(call, &response));
        judged.map_err(|failure| self.forget_protocol(failure))
    }

    /// A user that was removed and made again has another uid, a server that was upgraded another protocol.
    fn forget_protocol(&self, failure: Failure) -> Failure {
        if failure.class == ErrorClass::Misconfigured {
            let mut learned = self.learned();
            learned.protocol = None;
            if self.endpoint.protocol == ProtocolChoice::Auto {
                learned.kind = None;
            }
        }
        self.masked(failure)
    }

    /// Sends a call that changes nothing, and gives the JSON text of its result to `read`, without a tree in between where the protocol
    /// answers with the bare result. An answer that is larger than may be taken is [`ErrorClass::TooLarge`]: whoever asks for less gets it.
    pub fn read<T>(
        &self,
        call: &Call,
        read: impl Fn(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let protocol = self.protocol()?;
        let request = protocol
            .request(&self.placed(call))
            .map_err(|failure| self.masked(failure))?;
        let answered = self.exchange(&request).map_err(|error| match error {
            TransportError::TooLarge(why) => Failure::new(ErrorClass::TooLarge, why)
                .with_remedy("Raise etl.max_response_bytes, or ask for less."),
            error => judge::transport(&error),
        });
        let read = answered.and_then(|response| match protocol.bare_result(&response) {
            Some(result) => read(result),
            None => protocol
                .judge(call, &response)
                .and_then(|value| read(value.to_string().as_bytes())),
        });
        read.map_err(|failure| self.forget_protocol(failure))
    }

    /// The fields of `model`, from memory or by `fields_get`.
    pub fn fields(&self, model: &str) -> Result<Arc<ModelFields>, Failure> {
        match self.catalog.known(model) {
            Some(fields) => Ok(fields),
            None => self.fetch_fields(model),
        }
    }

    /// The fields of `model` as far as they are known without asking.
    #[must_use]
    pub fn known_fields(&self, model: &str) -> Option<Arc<ModelFields>> {
        self.catalog.known(model)
    }

    /// Asks Odoo again where what is known of `model` is older than a minute: someone may have added a field. `None`
    /// where it is not.
    pub fn refreshed_fields(&self, model: &str) -> Option<Result<Arc<ModelFields>, Failure>> {
        self.catalog
            .may_be_stale(model)
            .then(|| self.fetch_fields(model))
    }

    fn fetch_fields(&self, model: &str) -> Result<Arc<ModelFields>, Failure> {
        let answer = self.run(&ModelFields::request(model))?;
        self.catalog.fetched(model, &answer).ok_or_else(|| {
            Failure::new(
                ErrorClass::Server,
                format!("fields_get of {model} answered nothing that describes fields"),
            )
        })
    }

    /// Takes what [`Client::take_new_fields`] gave to an earlier client. `false` where it is not of that form.
    pub fn preload_fields(&self, model: &str, json: &Value) -> bool {
        self.catalog.preload(model, json)
    }

    /// The field descriptions fetched since the last call of this, by model, for keeping.
    pub fn take_new_fields(&self) -> Vec<(String, Value)> {
        self.catalog.take_new()
    }

    /// Breaks every connection at once; for a process that must exit now.
    pub fn shutdown(&self) {
        self.transport.shutdown();
    }

    /// `GET /web/version`: the server's version, without credentials.
    pub fn version(&self) -> Result<String, Failure> {
        let request = Request {
            method: Method::Get,
            url: format!("{}/web/version", self.endpoint.base),
            headers: Vec::new(),
            body: Vec::new(),
            fresh: false,
        };
        let response = self
            .send(&request)
            .map_err(|failure| not_yet(self.masked(failure)))?;
        let (major, version) = version_of(&response)?;
        let mut learned = self.learned();
        learned.version = Some(version.clone());
        if learned.kind.is_none() {
            learned.kind = Some(ProtocolKind::for_major_version(major));
        }
        Ok(version)
    }

    /// The protocol to use, asking the server's version and our uid where they are not known yet.
    fn protocol(&self) -> Result<Arc<dyn Protocol>, Failure> {
        if let Some(protocol) = &self.learned().protocol {
            return Ok(Arc::clone(protocol));
        }
        // Two threads may both ask here; the answers are the same.
        let kind = match self.known_protocol() {
            Some(kind) => kind,
            None => {
                self.version()?;
                self.known_protocol().unwrap_or(ProtocolKind::Json2)
            }
        };
        let (protocol, uid): (Arc<dyn Protocol>, Option<i64>) = match kind {
            ProtocolKind::Json2 => (Arc::new(self.json2()), None),
            ProtocolKind::JsonRpc => {
                let unauthenticated = self.jsonrpc()?;
                let response = self
                    .send(&unauthenticated.authentication())
                    .map_err(|failure| not_yet(self.masked(failure)))?;
                let ready = unauthenticated
                    .authenticated(&response)
                    .map_err(|failure| not_yet(self.masked(failure)))?;
                let uid = ready.uid();
                (Arc::new(ready), uid)
            }
        };
        let mut learned = self.learned();
        learned.protocol = Some(Arc::clone(&protocol));
        learned.uid = uid;
        Ok(protocol)
    }

    /// The protocol as far as it is known without asking, for showing requests.
    pub(super) fn protocol_to_show(&self) -> Result<Box<dyn Protocol>, Failure> {
        Ok(match self.known_protocol() {
            Some(ProtocolKind::JsonRpc) => Box::new(self.jsonrpc()?),
            Some(ProtocolKind::Json2) | None => Box::new(self.json2()),
        })
    }

    fn json2(&self) -> Json2 {
        Json2::new(
            &self.endpoint.base,
            self.endpoint.database.as_deref(),
            self.secret.clone(),
        )
    }

    fn jsonrpc(&self) -> Result<JsonRpc, Failure> {
        match (&self.endpoint.database, &self.endpoint.login) {
            (Some(database), Some(login)) => Ok(JsonRpc::new(
                &self.endpoint.base,
                database,
                login,
                self.secret.clone(),
            )),
            _ => Err(Failure::new(
                ErrorClass::Misconfigured,
                "this Odoo speaks JSON-RPC, which needs a database and a login",
            )
            .with_remedy("Set the connection's options \"database\" and \"login\".")),
        }
    }

    /// `call` with the connection's context below its own.
    pub(super) fn placed(&self, call: &Call) -> Call {
        let mut placed = call.clone();
        for (key, value) in &self.endpoint.context {
            placed
                .context
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
        placed
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    fn send(&self, request: &Request) -> Result<Response, Failure> {
        self.exchange(request)
            .map_err(|error| judge::transport(&error))
    }

    fn exchange(&self, request: &Request) -> Result<Response, TransportError> {
        // Before the wait: others need the room of the answer before.
        http::release();
        std::thread::sleep(self.pacer.take_place(Instant::now()));
        let response = self.transport.send(request)?;
        if let Some(date) = response.date {
            self.learned().clock = Some((date, Instant::now()));
        }
        Ok(response)
    }

    /// The last guard: whatever text a failure was made from, it leaves without the secret.
    fn masked(&self, mut failure: Failure) -> Failure {
        failure.message = self.secret.mask_in(&failure.message);
        failure.remedy = failure.remedy.map(|remedy| self.secret.mask_in(&remedy));
        failure
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        // Values are replaced whole, so a panic elsewhere leaves them sound.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.endpoint.base)
            .finish_non_exhaustive()
    }
}

/// Asking for version and uid changes nothing in Odoo: where their own outcome is unknown, the call behind them was never
/// sent.
fn not_yet(mut failure: Failure) -> Failure {
    if failure.class == ErrorClass::Unknown {
        failure.class = ErrorClass::Unreachable;
    }
    failure
}

/// Major version and name from the answer to `/web/version`.
fn version_of(response: &Response) -> Result<(i64, String), Failure> {
    let unreachable = || {
        Failure::new(
            ErrorClass::Unreachable,
            format!("HTTP {} to /web/version", response.status),
        )
        .with_remedy("The server is there and does not work; nothing was sent.")
    };
    let not_odoo = || {
        Failure::new(
            ErrorClass::Misconfigured,
            format!(
                "HTTP {} to /web/version: no Odoo at this URL",
                response.status
            ),
        )
        .with_remedy(
            "The connection's url names the server itself, without /web or /odoo behind it.",
        )
    };
    if response.status == 429 {
        let mut throttled = Failure::new(ErrorClass::Throttled, "HTTP 429 to /web/version");
        throttled.retry_after = response.retry_after;
        return Err(throttled);
    }
    if response.status >= 500 {
        return Err(unreachable());
    }
    if response.status != 200 {
        return Err(not_odoo());
    }
    let answer = http::json::parse(&response.body).map_err(|_| not_odoo())?;
    let major = answer
        .get("version_info")
        .and_then(|info| info.get(0))
        .and_then(Value::as_i64);
    // Odoo Online numbers its versions `saas~18.2`.
    let major = major.or_else(|| {
        let text = answer.get("version_info")?.get(0)?.as_str()?;
        text.trim_start_matches("saas~")
            .split('.')
            .next()?
            .parse()
            .ok()
    });
    let version = answer.get("version").and_then(Value::as_str);
    match (major, version) {
        (Some(major), Some(version)) => Ok((major, version.chars().take(40).collect())),
        _ => Err(not_odoo()),
    }
}
