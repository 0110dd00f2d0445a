//! Everything that is known of one record: for whoever has to find out what went wrong with it.

use anyhow::Result;
use serde_json::{Value, json};

use super::arena::Arena;
use super::workload::{MARK, Workload};
use super::world::World;

/// Its rows, what the outbox says of them, and what became of it in Odoo, in time.
pub fn tell(arena: &Arena, workload: &Workload, record: &str) -> Result<Value> {
    let mut rows = Vec::new();
    for row in workload.rows.iter().filter(|row| row.record == record) {
        let key = row.idempotency_key();
        let ended: Option<Value> = arena.ask(|client| {
            let sql = "SELECT to_jsonb(o) - 'payload' - 'idempotency_key' FROM ops.odoo_outbox o WHERE o.idempotency_key = $1";
            Ok(client.query_opt(sql, &[&key])?.map(|row| row.get(0)))
        })?;
        rows.push(json!({"seq": row.seq, "operation": row.operation, "payload": row.payload, "outbox": ended}));
    }
    let (mut history, mut requests) = (Vec::new(), Vec::new());
    let (mut now, mut ids) = (Vec::new(), Vec::new());
    if let World::Sim(sim) = &arena.world {
        let own = format!("{record}:");
        for change in sim.history() {
            let signed = change
                .value
                .as_deref()
                .is_some_and(|value| value.starts_with(&own));
            if signed && !ids.contains(&change.id) {
                ids.push(change.id);
            }
            if ids.contains(&change.id) && (signed || change.value.is_none()) {
                history
                    .push(json!({"commit": change.commit, "id": change.id, "value": change.value}));
            }
        }
        let names: Vec<String> = sim
            .external_ids()
            .into_iter()
            .filter(|(name, _, id)| name.starts_with("pg_etl") && ids.contains(id))
            .map(|(name, _, _)| name)
            .chain(ids.iter().map(i64::to_string))
            .collect();
        let about = |call: &&odoo_sim::Logged| call.keys.iter().any(|key| names.contains(key));
        for call in sim.requests().iter().filter(about) {
            requests.push(json!({
                "number": call.number, "at": call.at, "method": call.method, "model": call.model, "records": call.records,
                "faults": call.faults, "outcome": call.outcome,
            }));
        }
        for model in ["res.partner", "sale.order"] {
            let named = |found: &serde_json::Map<String, Value>| {
                ["name", "origin"]
                    .iter()
                    .any(|field| found.get(*field) == Some(&json!(format!("{MARK}{record}"))))
            };
            now.extend(sim.records(model).into_iter().filter(named));
        }
    }
    Ok(
        json!({"record": record, "rows": rows, "history": history, "requests": requests, "now": now}),
    )
}
