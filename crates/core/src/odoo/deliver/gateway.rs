//! What a delivery asks of the world: a [`Client`], or a recorder that sends nothing.

use std::sync::Arc;

use serde_json::Value;

use crate::failure::Failure;
use crate::odoo::call::Call;
use crate::odoo::client::Client;
use crate::odoo::endpoint::Endpoint;
use crate::odoo::fields::ModelFields;
use crate::odoo::values::FieldSource;

/// The one way out of a delivery.
pub trait Gateway: FieldSource {
    fn endpoint(&self) -> &Endpoint;
    /// Sends one call and judges the answer.
    fn run(&self, call: &Call) -> Result<Value, Failure>;
    /// The fields of `model` asked for anew, where what is known may be old.
    fn refreshed_fields(&self, model: &str) -> Option<Result<Arc<ModelFields>, Failure>>;
    /// Whether this Odoo has `web_save_multi`; `None` until it was tried.
    fn has_web_save_multi(&self) -> Option<bool>;
    fn learn_web_save_multi(&self, has: bool);
    /// The user we are, as far as it is known without asking.
    fn known_uid(&self) -> Option<i64>;
    fn learn_uid(&self, uid: i64);
}

impl FieldSource for Client {
    fn fields(&self, model: &str) -> Result<Arc<ModelFields>, Failure> {
        Client::fields(self, model)
    }
}

impl Gateway for Client {
    fn endpoint(&self) -> &Endpoint {
        Client::endpoint(self)
    }

    fn run(&self, call: &Call) -> Result<Value, Failure> {
        Client::run(self, call)
    }

    fn refreshed_fields(&self, model: &str) -> Option<Result<Arc<ModelFields>, Failure>> {
        Client::refreshed_fields(self, model)
    }

    fn has_web_save_multi(&self) -> Option<bool> {
        self.known_web_save_multi()
    }

    fn learn_web_save_multi(&self, has: bool) {
        Client::learn_web_save_multi(self, has);
    }

    fn known_uid(&self) -> Option<i64> {
        Client::known_uid(self)
    }

    fn learn_uid(&self, uid: i64) {
        Client::learn_uid(self, uid);
    }
}
