//! The two protocols, and what they share: running a call under the faults in force.

pub(crate) mod call;
pub(crate) mod json2;
pub(crate) mod jsonrpc;
mod login;
pub(crate) mod probe;
mod work;
