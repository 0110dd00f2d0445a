//! The small ORM: typed fields, a transactional store, and the public methods every model has.

pub(crate) mod access;
pub(crate) mod clock;
pub(crate) mod convert;
pub(crate) mod create;
pub(crate) mod describe;
pub(crate) mod domain;
pub(crate) mod env;
pub(crate) mod external_id;
pub(crate) mod field;
pub(crate) mod history;
pub(crate) mod lookup_cache;
pub(crate) mod method;
pub(crate) mod model;
pub(crate) mod python;
pub(crate) mod read;
pub(crate) mod search;
pub(crate) mod store;
pub(crate) mod unlink;
pub(crate) mod value;
pub(crate) mod web;
pub(crate) mod write;
pub(crate) mod x2many;
