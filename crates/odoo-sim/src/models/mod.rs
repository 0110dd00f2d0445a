//! The models of the simulator, one file per family. Adding one is a list of fields, and hooks where it is special.

mod base;
mod data;
mod mail;
mod partner;
mod partner_rules;
mod product;
mod sale;
mod sale_flow;
mod seed;

use crate::orm::model::Model;

/// All models.
pub(crate) fn all() -> Vec<Model> {
    let mut models = vec![];
    models.extend(base::models());
    models.extend(data::models());
    models.extend(mail::models());
    models.extend(partner::models());
    models.extend(product::models());
    models.extend(sale::models());
    models
}

pub(crate) use seed::seed;
