//! Copies of Odoo's models: `checkpoint → list → fetch → merge → checkpoint`. What to ask is decided in `pg_etl_core::mirror`, the
//! worker asks (`worker/intake.rs`), and the merge is one statement per page (`sql/schema/pull.sql`).

mod api;
pub mod store;
