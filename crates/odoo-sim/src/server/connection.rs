//! One connection: read, answer, and again if it is kept.

use super::answer::{Answer, Delivery};
use super::request::{Broken, Request};
use super::route::route;
use crate::exception::{Class, Exception};
use crate::protocol::{json2, jsonrpc};
use crate::sim::Shared;
use serde_json::Value as Json;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

pub(super) fn serve(shared: &Arc<Shared>, mut stream: TcpStream, generation: u64) {
    // Small answers must not wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let mut rest = vec![];
    while shared.running.is(generation) {
        let (delivery, keep) = match Request::read(&mut stream, &mut rest, shared.config.max_body) {
            Ok(request) => {
                let keep = shared.config.keep_alive && request.may_keep;
                (route(shared, &request, generation), keep)
            }
            Err(Broken::Gone) => break,
            Err(Broken::Malformed) => {
                let text =
                    "The browser (or proxy) sent a request that this server could not understand.";
                (Delivery::Whole(Answer::page(400, text)), false)
            }
            Err(Broken::TooLarge(path)) => (Delivery::Whole(too_large(&path)), false),
        };
        if !shared.running.is(generation) {
            break;
        }
        let reset = matches!(&delivery, Delivery::Spoilt(_, crate::fault::Effect::Reset));
        match delivery.send(&mut stream, keep, &shared.running, generation) {
            Ok(true) => {}
            // A reset happens when the last handle is dropped; a shutdown before would send FIN instead.
            _ if reset => {
                shared.running.forget(&stream);
                return;
            }
            _ => break,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn too_large(path: &str) -> Answer {
    let text = "The data value transmitted exceeds the capacity limit.";
    match path {
        "/jsonrpc" => {
            let error = Exception::new(
                Class::TooLarge,
                format!("413 Request Entity Too Large: {text}"),
            );
            jsonrpc::envelope_of(Err(error), &Json::Null)
        }
        path if path.starts_with("/json/2/") => {
            json2::worded_error(&Exception::new(Class::TooLarge, text))
        }
        _ => Answer::page(413, text),
    }
}
