//! Deliveries into an Odoo that fails: which class each row gets, and what took effect.

mod answers;
mod division;
mod failing;
mod rights;
