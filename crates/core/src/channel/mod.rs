//! Channels: endpoints that people read. A row of the outbox for one is a message ([`crate::alerts::Message`]), and is delivered by the same
//! claim, pace, breaker and settle as a row for Odoo; here is only how it is written and what the answer means.

mod github;
mod options;
mod relay;
mod slack;
mod smtp;
mod webhook;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alerts::Message;
use crate::failure::{ErrorClass, Failure};
use crate::http::{self, Method, Request, Response, Transport, TransportError, TransportSettings};
use crate::outbox::{Batch, Outcome};
use crate::secret::Secret;

pub use options::{Kind, Options};
pub use smtp::{Mail, Tls};

/// Longest answer read: nothing of it is needed but the first words of a refusal.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// What to do about a channel that is set up wrongly.
const CORRECT_IT: &str =
    "Correct the channel with etl.set_connection(), and try it with etl.test_alert().";
/// Longest wait for an answer, where the connection does not say. People read these; nobody waits longer for a page.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A channel that is ready to be used; shared by threads.
#[derive(Debug)]
pub struct Channel {
    options: Options,
    secret: Option<Secret>,
    transport: Transport,
    requests: AtomicU64,
    /// When the last message was sent.
    sent: Mutex<Option<Instant>>,
}

impl Channel {
    /// Opens nothing. Fails where an option, the secret or `ca_file` cannot be used ([`ErrorClass::Misconfigured`]).
    pub fn new(options: Options, secret: Option<Secret>) -> Result<Self, Failure> {
        let transport = Transport::new(&TransportSettings {
            timeout: options.timeout.unwrap_or(TIMEOUT),
            connect_timeout: Duration::from_secs(5),
            max_response_bytes: LONGEST_ANSWER,
            max_idle_connections: 1,
            ca_file: options.ca_file.clone(),
        });
        let transport = transport.map_err(|why| Failure::new(ErrorClass::Misconfigured, why))?;
        if secret.is_none() && options.needs_secret() {
            let why = format!("a {} channel needs a secret", options.kind.name());
            return Err(
                Failure::new(ErrorClass::Misconfigured, why).with_remedy(options.kind.secret())
            );
        }
        Ok(Self {
            options,
            secret,
            transport,
            requests: AtomicU64::new(0),
            sent: Mutex::new(None),
        })
    }

    /// Requests sent so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether something answers there. Of HTTP any answer will do but a proxy's that nothing does: there is no request that shows more
    /// and tells nobody, and many take no other than POST.
    pub fn probe(&self) -> Result<(), Failure> {
        let _answers = http::until_end();
        if self.options.kind == Kind::Smtp {
            return smtp::probe(self).map_err(|failure| self.masked(failure));
        }
        let url = self.options.origin();
        let response = self.exchange(Method::Get, &url, Vec::new(), Vec::new())?;
        match response.status {
            429 | 502 | 504 => self.judge(&response),
            _ => Ok(()),
        }
    }

    /// Sends the messages of a batch one after another; gives an outcome for each of its rows.
    pub fn deliver(&self, batch: &Batch, should_stop: &dyn Fn() -> bool) -> Vec<(i64, Outcome)> {
        let _answers = http::until_end();
        let mut outcomes = Vec::with_capacity(batch.rows.len());
        let mut stopped = None;
        for row in &batch.rows {
            if stopped.is_none() && should_stop() {
                stopped = Some(Failure::new(
                    ErrorClass::Unreachable,
                    "not sent: the time was over",
                ));
            }
            let outcome = match &stopped {
                Some(failure) => Err(failure.clone()),
                None => {
                    self.wait_for_its_turn();
                    message_of(&row.payload).and_then(|message| self.say(&message))
                }
            };
            if let Err(failure) = &outcome
                && is_of_the_channel(failure.class)
            {
                // What it did to this one it would do to the others.
                stopped.get_or_insert_with(|| Failure {
                    // They are not sent, and lose no attempt.
                    class: match failure.class {
                        ErrorClass::Unknown | ErrorClass::Server => ErrorClass::Unreachable,
                        class => class,
                    },
                    ..failure.clone()
                });
            }
            let outcome = match outcome {
                Ok(note) => Outcome::Delivered {
                    odoo_id: None,
                    went_with: None,
                    note,
                },
                Err(failure) => Outcome::Failed(self.masked(failure)),
            };
            outcomes.extend(
                batch
                    .members(row.id)
                    .into_iter()
                    .map(|id| (id, outcome.clone())),
            );
        }
        outcomes
    }

    /// Between two messages, of one batch or of two.
    fn wait_for_its_turn(&self) {
        let Some(pause) = self.options.kind.pause() else {
            return;
        };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = *sent {
            std::thread::sleep(pause.saturating_sub(at.elapsed()));
        }
        *sent = Some(Instant::now());
    }

    /// Says it; gives what a person should know of it all the same.
    fn say(&self, message: &Message) -> Result<Option<String>, Failure> {
        match self.options.kind {
            Kind::Slack => slack::say(self, message).map(|()| None),
            Kind::Webhook => webhook::say(self, message).map(|()| None),
            Kind::Github => github::say(self, message).map(|()| None),
            Kind::Smtp => smtp::say(self, message),
        }
    }

    fn post(
        &self,
        url: &str,
        headers: Vec<(&'static str, String)>,
        body: &Value,
    ) -> Result<Response, Failure> {
        let mut headers = headers;
        headers.push(("content-type", "application/json".to_owned()));
        let response = self.exchange(Method::Post, url, headers, body.to_string().into_bytes())?;
        self.judge(&response).map(|()| response)
    }

    fn exchange(
        &self,
        method: Method,
        url: &str,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<Response, Failure> {
        self.count();
        // Others need the room of the answer before.
        http::release();
        let request = Request {
            method,
            url: url.to_owned(),
            headers,
            body,
            fresh: true,
        };
        self.transport.send(&request).map_err(|error| {
            let class = match error {
                TransportError::Unbuildable(_) => ErrorClass::Misconfigured,
                TransportError::NotSent(_) => ErrorClass::Unreachable,
                TransportError::Lost(_) => ErrorClass::Unknown,
                // It answered, and what it answered is of no interest.
                TransportError::TooLarge(_) => ErrorClass::Server,
            };
            Failure::new(class, error.to_string())
        })
    }

    /// What a status means. The body is a stranger's: a few words of it help, and no more is kept.
    fn judge(&self, response: &Response) -> Result<(), Failure> {
        let class = match response.status {
            200..=299 => return Ok(()),
            429 => ErrorClass::Throttled,
            // Redirects are not followed: the address is wrong.
            300..=399 | 401 | 403 | 404 | 405 | 407 | 410 => ErrorClass::Misconfigured,
            408 | 500..=599 => ErrorClass::Server,
            413 => ErrorClass::TooLarge,
            _ => ErrorClass::Invalid,
        };
        let words = self.words(&String::from_utf8_lossy(&response.body), 120);
        let mut failure = Failure::new(
            class,
            format!("the channel answered {} {words}", response.status),
        );
        failure.retry_after = response.retry_after;
        if class == ErrorClass::Misconfigured {
            failure = failure.with_remedy(CORRECT_IT);
        }
        Err(failure)
    }

    /// The first words of a stranger's text. What is secret is masked before they are cut: half a secret would not be known as one.
    fn words(&self, text: &str, most: usize) -> String {
        let masked = self.mask(text);
        let visible = masked.chars().filter(|character| !character.is_control());
        visible.take(most).collect()
    }

    fn mask(&self, text: &str) -> String {
        let Some(secret) = &self.secret else {
            return text.to_owned();
        };
        // The whole address may have been stored, and an answer quotes the path alone.
        let path = secret.expose().strip_prefix(&self.options.origin());
        let text = secret.mask_in(text);
        path.map_or(text.clone(), |path| Secret::new(path).mask_in(&text))
    }

    /// The last guard: whatever text a failure was made from, it leaves without the secret.
    fn masked(&self, failure: Failure) -> Failure {
        let message = self.mask(&failure.message);
        Failure { message, ..failure }
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn secret(&self) -> &str {
        self.secret.as_ref().map_or("", Secret::expose)
    }
}

/// Whether a failure says something of the channel, and not of the message.
fn is_of_the_channel(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Unreachable
            | ErrorClass::Misconfigured
            | ErrorClass::Throttled
            | ErrorClass::Unknown
            | ErrorClass::Server
    )
}

fn message_of(payload: &serde_json::Map<String, Value>) -> Result<Message, Failure> {
    let text = payload
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    serde_json::from_str(text).map_err(|error| {
        Failure::new(
            ErrorClass::Invalid,
            format!("this row is no message: {error}"),
        )
        .with_remedy("Messages are written by etl.check_alerts() and etl.test_alert().")
    })
}

#[cfg(test)]
mod tests;
