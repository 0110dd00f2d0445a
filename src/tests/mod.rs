//! Tests inside a server: each runs in a transaction of its own that is rolled back, with the worker's own statements.

mod admission;
mod claim;
mod ground;
mod keys;
mod lane;
mod queue;
mod recover;
mod settle;
