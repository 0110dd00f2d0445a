//! Answers that Odoo's own code did not write: a proxy in front of it, or its HTTP layer.

use crate::failure::{ErrorClass, Failure};
use crate::http::Response;

/// The verdict on a status other than 200 whose body is no exception of Odoo.
pub(super) fn judge(response: &Response) -> Failure {
    let status = response.status;
    let (class, words) = match status {
        // Nothing but 200 is a success of either protocol, and something accepted it.
        0..=299 => (ErrorClass::Unknown, "neither protocol answers so"),
        300..=399 => (
            ErrorClass::Misconfigured,
            "the server redirects elsewhere, which is not followed",
        ),
        400 | 415 => (ErrorClass::Bug, "the request is not understood"),
        401 => (ErrorClass::Misconfigured, "the key is refused"),
        402 | 403 | 407 => (
            ErrorClass::Misconfigured,
            "the server, or a proxy before it, refuses us",
        ),
        404 => (
            ErrorClass::Misconfigured,
            "no such database, or no Odoo, at this address",
        ),
        405 | 406 | 411 | 414 | 416 | 417 | 422 | 431 => (
            ErrorClass::Bug,
            "the request is refused before Odoo read it",
        ),
        408 => (ErrorClass::Unknown, "the server gave up waiting"),
        409 => (ErrorClass::Conflict, "a concurrent change won"),
        413 => (
            ErrorClass::TooLarge,
            "the request is larger than the server takes",
        ),
        425 | 429 => (ErrorClass::Throttled, "the server asks for fewer requests"),
        400..=499 => (ErrorClass::Bug, "the request is refused"),
        503 => (ErrorClass::Conflict, "the server is busy or in maintenance"),
        // A gateway that lost its server, or did not wait for it: the request may run to its end.
        502 | 504 | 520..=527 | 530 => (ErrorClass::Unknown, "the gateway has no answer from Odoo"),
        500..=599 => (ErrorClass::Server, "the server failed"),
        600.. => (ErrorClass::Unknown, "no such status exists"),
    };
    Failure::new(class, format!("HTTP {status}: {words}"))
}
