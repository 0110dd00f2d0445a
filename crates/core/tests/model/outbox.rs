//! What the worker's `claim.rs` takes from the extension's own store, in the same form.

pub mod store {
    pub struct RawRow {
        pub id: i64,
        pub model: String,
        pub operation: String,
        pub payload: Option<String>,
        pub record_key: Option<String>,
        pub attempts: u32,
        pub odoo_id: Option<i64>,
        pub key: Option<i64>,
        pub own: bool,
        pub priority: i16,
    }

    pub struct ClaimedRows {
        pub claim: i64,
        pub rows: Vec<RawRow>,
        pub suspect: bool,
    }

    pub struct OutboundConfig {
        pub namespace: String,
        pub max_batch: usize,
    }

    #[derive(Default)]
    pub struct Remaining {
        pub claim: i64,
        pub ids: Vec<i64>,
        pub keys: Vec<i64>,
    }

    pub fn record_name(model: &str, key: &str) -> String {
        format!("{model}/{key}")
    }

    pub const BETWEEN_RECORDS: &str = "\u{1e}";
}
