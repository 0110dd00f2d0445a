//! Which endpoint a request is for.

use super::{Answer, Delivery, Request};
use crate::control;
use crate::protocol::{json2, jsonrpc, probe};
use crate::sim::Shared;
use std::sync::Arc;

pub(super) fn route(shared: &Arc<Shared>, request: &Request, generation: u64) -> Delivery {
    if let Some(path) = request.path.strip_prefix("/_sim/") {
        return Delivery::Whole(control::answer(shared, request, path));
    }
    match (request.verb.as_str(), request.path.as_str()) {
        ("GET", "/web/version") => probe::version(shared, request, generation),
        ("GET", "/web/health") => probe::health(shared, request, generation),
        ("POST", "/jsonrpc") => jsonrpc::answer(shared, request, generation),
        (_, path) if path == "/json/2" || path.starts_with("/json/2/") => {
            if shared.config.version < 19 {
                return Delivery::Whole(Answer::not_found());
            }
            json2::answer(shared, request, generation)
        }
        (_, "/jsonrpc") => Delivery::Whole(Answer::wrong_type(
            "&#39;http&#39;, &#39;json2&#39;",
            "/jsonrpc",
            "jsonrpc",
        )),
        _ => Delivery::Whole(Answer::not_found()),
    }
}
