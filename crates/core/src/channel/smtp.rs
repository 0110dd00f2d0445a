//! E-mail. lettre writes the message and speaks SMTP; one connection for each message, for there are few.

use std::time::{Duration, Instant};

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::{Channel, relay};
use crate::alerts::{Event, Line, Message};
use crate::failure::{ErrorClass, Failure};
use crate::http::pem_file;

/// What an address book and a postman need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    /// Who logs in, with the secret as the password.
    pub login: Option<String>,
    pub tls: Tls,
}

/// How a connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte (`smtps://`).
    Implicit,
    /// Before anything is said (`smtp://`).
    StartTls,
    /// Not at all, as somebody asked for.
    None,
}

pub(super) fn say(channel: &Channel, message: &Message) -> Result<(), Failure> {
    let mail = mail(channel)?;
    let email = compose(mail, message)?;
    let mut connection = connect(channel, mail)?;
    connection
        .send(email.envelope(), &email.formatted())
        .map_err(|error| judge(&error, true))?;
    // It has the message; how it says goodbye changes nothing.
    let _ = connection.quit();
    Ok(())
}

/// Whether the server is there and takes the login; sends nothing.
pub(super) fn probe(channel: &Channel) -> Result<(), Failure> {
    connect(channel, mail(channel)?)?
        .quit()
        .map(drop)
        .map_err(|error| judge(&error, false))
}

fn mail(channel: &Channel) -> Result<&Mail, Failure> {
    let mail = channel.options.mail.as_ref();
    mail.ok_or_else(|| misconfigured("this channel does not say who writes to whom"))
}

fn connect(channel: &Channel, mail: &Mail) -> Result<SmtpConnection, Failure> {
    let options = &channel.options;
    // An IPv6 address has brackets in a URL only.
    let host = options.url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = options.url.port().unwrap_or(match mail.tls {
        Tls::Implicit => 465,
        Tls::StartTls | Tls::None => 587,
    });
    let timeout = options.timeout.unwrap_or(super::TIMEOUT);
    channel.count();
    let server = relay::open(host, port, Duration::from_secs(5), Instant::now() + timeout)
        .map_err(|why| Failure::new(ErrorClass::Unreachable, why))?;
    let judged = |error: Error| judge(&error, false);
    let tls = match mail.tls {
        Tls::None => None,
        Tls::Implicit | Tls::StartTls => Some(trusting(channel, host)?),
    };
    let implicit = tls.as_ref().filter(|_| mail.tls == Tls::Implicit);
    let hello = ClientId::default();
    let mut connection =
        SmtpConnection::connect(server, Some(timeout), &hello, implicit, None).map_err(judged)?;
    if let Some(tls) = tls.filter(|_| mail.tls == Tls::StartTls) {
        if !connection.can_starttls() {
            return Err(misconfigured("the mail server offers no STARTTLS").with_remedy(
                "Use smtps://host:465, or the option {\"tls\": \"none\"} where the way to the server is your own.",
            ));
        }
        connection.starttls(&tls, &hello).map_err(judged)?;
    }
    if let Some(login) = &mail.login {
        let credentials = Credentials::new(login.clone(), channel.secret().to_owned());
        connection
            .auth(DEFAULT_MECHANISMS, &credentials)
            .map_err(judged)?;
    }
    Ok(connection)
}

/// The system's certificate authorities, and those of `ca_file`.
fn trusting(channel: &Channel, host: &str) -> Result<TlsParameters, Failure> {
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(path) = &channel.options.ca_file {
        let said = |why: String| misconfigured(&format!("ca_file {}: {why}", path.display()));
        let pem = pem_file(path).map_err(said)?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| said(error.to_string()))?;
        tls = tls.add_root_certificate(certificate);
    }
    tls.build_rustls()
        .map_err(|error| misconfigured(&error.to_string()))
}

/// What is written. Sent twice, it has the same id, so that a mail program shows it once.
fn compose(mail: &Mail, message: &Message) -> Result<lettre::Message, Failure> {
    let id: String = message
        .id
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || *character == '-')
        .collect();
    let subject = format!("[pg_etl] {}: {}", message.database, message.headline());
    let mut email = lettre::Message::builder()
        .from(mail.from.clone())
        .message_id(Some(format!("<{id}@{}>", mail.from.email.domain())))
        .subject(in_one_line(&subject))
        .header(ContentType::TEXT_PLAIN)
        // So that no answering machine answers (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    for to in &mail.to {
        email = email.to(to.clone());
    }
    email
        .body(text(message))
        .map_err(|error| misconfigured(&error.to_string()))
}

/// For people, without a mail program that shows more than text.
fn text(message: &Message) -> String {
    let mut text = String::new();
    for line in &message.alerts {
        text.push_str(&paragraph(line));
        text.push('\n');
    }
    text.push_str(&format!(
        "-- \npg_etl, database {}, {}\nSELECT * FROM etl.health_report();\n",
        message.database, message.at
    ));
    text
}

fn paragraph(line: &Line) -> String {
    let head = format!("{}\n", line.headline());
    match line.event {
        Event::Resolved | Event::Test => head,
        Event::Opened | Event::Worse | Event::Still => {
            let remedy = if line.remedy.is_empty() {
                String::new()
            } else {
                format!("  remedy: {}\n", line.remedy)
            };
            format!("{head}  limits: {}\n{remedy}", line.threshold)
        }
    }
}

fn in_one_line(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(200)
        .collect()
}

/// What an answer of the server, or none, means. `sending`: the message may have been taken.
fn judge(error: &Error, sending: bool) -> Failure {
    let class = match error.status().map(u16::from) {
        // Later, it says (greylisting and full disks among them).
        Some(400..=499) => ErrorClass::Server,
        // It took everything but this message.
        Some(552 | 554) if sending => ErrorClass::Invalid,
        // The login, or one of the addresses.
        Some(_) => ErrorClass::Misconfigured,
        // lettre itself would not: the server lacks what is needed.
        None if error.is_client() => ErrorClass::Misconfigured,
        None if sending => ErrorClass::Unknown,
        None => ErrorClass::Unreachable,
    };
    let words: String = format!("the mail server: {}", chain(error))
        .chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect();
    let failure = Failure::new(class, words);
    if class == ErrorClass::Misconfigured {
        failure.with_remedy("Correct the channel with etl.set_connection(), try it with etl.test_alert(), then etl.resume().")
    } else {
        failure
    }
}

/// An error with what caused it: lettre's own words are few.
fn chain(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = inner.source();
    }
    words
}

fn misconfigured(why: &str) -> Failure {
    Failure::new(ErrorClass::Misconfigured, why)
}
