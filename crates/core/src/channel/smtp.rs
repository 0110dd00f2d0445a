//! E-mail. lettre writes the message and speaks SMTP; one connection for each message, for there are few.

use std::time::{Duration, Instant};

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};

use super::{CORRECT_IT, Channel, relay};
use crate::alerts::{Event, Line, Message};
use crate::failure::{ErrorClass, Failure};
use crate::http::pem_file;

/// Longest exchange, where the connection does not say: servers look for spam and viruses before they take a message.
const TIMEOUT: Duration = Duration::from_secs(60);

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

/// Sends it; gives who was not written to, where there were others.
pub(super) fn say(channel: &Channel, message: &Message) -> Result<Option<String>, Failure> {
    let mail = mail(channel)?;
    let email = compose(mail, message)?;
    let mut connection = connect(channel, mail)?;
    let refused = hand_over(channel, &mut connection, &email)?;
    // It has the message; how it says goodbye changes nothing.
    let _ = connection.quit();
    Ok(refused)
}

/// lettre sends to all or to none: an address that is gone would silence a channel for everyone else.
fn hand_over(
    channel: &Channel,
    connection: &mut SmtpConnection,
    email: &lettre::Message,
) -> Result<Option<String>, Failure> {
    let before = |error: Error| judge(channel, &error, Stage::Before);
    let envelope = email.envelope();
    let formatted = email.formatted();
    let mut parameters = Vec::new();
    let addresses = envelope.from().into_iter().chain(envelope.to());
    if !addresses
        .into_iter()
        .all(|address| address.to_string().is_ascii())
    {
        if !connection
            .server_info()
            .supports_feature(Extension::SmtpUtfEight)
        {
            return Err(misconfigured(
                "the mail server takes addresses in ASCII only",
            ));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !formatted.is_ascii()
        && connection
            .server_info()
            .supports_feature(Extension::EightBitMime)
    {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    connection
        .command(MailFrom::new(envelope.from().cloned(), parameters))
        .map_err(before)?;
    let mut refused = None;
    let mut taken = 0;
    for to in envelope.to() {
        match connection.command(Rcpt::new(to.clone(), Vec::new())) {
            Ok(_) => taken += 1,
            Err(error) if error.is_permanent() => {
                refused.get_or_insert((to.to_string(), judge(channel, &error, Stage::Before)));
            }
            Err(error) => return Err(before(error)),
        }
    }
    let refused = match refused {
        Some((_, failure)) if taken == 0 => return Err(failure),
        refused => {
            refused.map(|(to, failure)| format!("{to} was not written to: {}", failure.message))
        }
    };
    connection.command(Data).map_err(before)?;
    connection
        .message(&formatted)
        .map_err(|error| judge(channel, &error, Stage::Sent))?;
    Ok(refused)
}

/// Whether the server is there and takes the login; sends nothing.
pub(super) fn probe(channel: &Channel) -> Result<(), Failure> {
    connect(channel, mail(channel)?)?
        .quit()
        .map(drop)
        .map_err(|error| judge(channel, &error, Stage::Before))
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
    let timeout = options.timeout.unwrap_or(TIMEOUT);
    channel.count();
    let server = relay::open(host, port, Duration::from_secs(5), Instant::now() + timeout)
        .map_err(|why| Failure::new(ErrorClass::Unreachable, why))?;
    let judged = |error: Error| judge(channel, &error, Stage::Before);
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

/// How far it came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The message itself was not sent.
    Before,
    /// It may have been taken.
    Sent,
}

/// What an answer of the server, or none, means.
fn judge(channel: &Channel, error: &Error, stage: Stage) -> Failure {
    let class = match (error.status().map(u16::from), stage) {
        // Later, it says (greylisting and full disks among them).
        (Some(400..=499), _) => ErrorClass::Server,
        // It took everything but this message.
        (Some(_), Stage::Sent) => ErrorClass::Invalid,
        // The login, or one of the addresses.
        (Some(_), Stage::Before) => ErrorClass::Misconfigured,
        // lettre itself would not: the server lacks what is needed.
        (None, _) if error.is_client() => ErrorClass::Misconfigured,
        (None, Stage::Sent) => ErrorClass::Unknown,
        (None, Stage::Before) => ErrorClass::Unreachable,
    };
    let words = channel.words(&format!("the mail server: {}", chain(error)), 300);
    let failure = Failure::new(class, words);
    if class == ErrorClass::Misconfigured {
        failure.with_remedy(CORRECT_IT)
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
