//! Words on what a person can do, where the failure itself has none yet.

use crate::failure::{ErrorClass, Failure};
use crate::odoo::call::Call;

/// `failure` with a remedy for its class, unless it has a better one.
pub(crate) fn add(mut failure: Failure, call: Option<&Call>) -> Failure {
    if failure.remedy.is_none() {
        failure.remedy = words(failure.class, &failure.message, call);
    }
    failure
}

fn words(class: ErrorClass, message: &str, call: Option<&Call>) -> Option<String> {
    let model = call.map_or("the model", |call| call.model.as_str());
    let words = match class {
        ErrorClass::Unreachable => {
            "Nothing was sent and no attempt was counted; check the URL, DNS, firewall and certificate.".to_owned()
        }
        ErrorClass::Misconfigured => "Correct the connection (url, database, login, key) and call etl.resume(); \
             rows are untouched."
            .to_owned(),
        ErrorClass::Throttled => "Lower the connection's rate_limit or max_in_flight.".to_owned(),
        ErrorClass::Unknown => "Look in Odoo whether it took effect. What is safe to send again is sent again; \
             give a call an \"unless\" domain to make it so."
            .to_owned(),
        ErrorClass::Conflict => "It is tried again; if it stays, lower max_in_flight.".to_owned(),
        ErrorClass::Dependency => "It waits for the record it refers to; check that a row creates that record.".to_owned(),
        ErrorClass::Invalid if message.contains("record you are trying to delete") => {
            "On create or update Odoo says so when a value refers to a record that does not exist.".to_owned()
        }
        ErrorClass::Invalid => "Correct the values in a new row, or in this one and etl.replay() it.".to_owned(),
        ErrorClass::Forbidden => format!("Give the connection's user the right on {model} in Odoo, then etl.replay()."),
        ErrorClass::Missing => format!("The {model} record is gone from Odoo; send an upsert to make it again."),
        ErrorClass::UnknownModel => {
            let method = call.map_or("the method", |call| call.method.as_str());
            format!("Check the spelling of {model} and {method}, and that the module is installed in Odoo.")
        }
        ErrorClass::TooLarge => "Send less in one row, or raise the limit of Odoo or of the proxy before it.".to_owned(),
        ErrorClass::Bug => "Please report this as a bug of pg_etl, with the output of etl.explain() for the row.".to_owned(),
        ErrorClass::Server => "See Odoo's own log for the cause.".to_owned(),
        ErrorClass::Crashed | ErrorClass::Overtaken => return None,
    };
    Some(words)
}
