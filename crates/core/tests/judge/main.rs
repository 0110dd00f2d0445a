//! The verdict table, row by row, from bodies that a real Odoo 19 gave (`fixtures/`; only tracebacks were shortened).

mod fixture;
mod odoo;
mod others;
