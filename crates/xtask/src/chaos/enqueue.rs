//! Putting rows into the outbox, by several sessions at once and over every crash: a row whose commit nobody confirmed is offered
//! again under its idempotency key.

use anyhow::Result;
use postgres::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::arena::Arena;
use super::workload::{Row, SESSIONS, Workload};

/// Rows of one bulk statement.
const BULK: usize = 500;

/// Enqueues the rows of one session, in their order. `stop` ends it early.
pub fn session(
    arena: &Arena,
    workload: &Workload,
    session: usize,
    seed: u64,
    stop: impl Fn() -> bool,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(session as u64 + 1));
    let rows: Vec<&Row> = workload
        .rows
        .iter()
        .filter(|row| row.session % SESSIONS == session)
        .collect();
    let mut at = 0;
    let mut client = arena.client()?;
    while at < rows.len() && !stop() {
        let most = if session == 0 {
            BULK
        } else {
            random.random_range(1..=20)
        };
        let part = &rows[at..rows.len().min(at + most)];
        let by_function = session > 0 && random.random_bool(0.3);
        loop {
            let outcome = if by_function {
                by_enqueue(&mut client, part)
            } else {
                by_insert(&mut client, part)
            };
            match outcome {
                Ok(()) => break,
                Err(error) if stop() => return Err(error.into()),
                // The server died; what was committed is found again by its key.
                Err(_) => client = arena.client()?,
            }
        }
        at += part.len();
    }
    Ok(())
}

/// Everything at once, for scenarios.
pub fn all(arena: &Arena, rows: &[Row]) -> Result<()> {
    let mut client = arena.client()?;
    by_insert(&mut client, &rows.iter().collect::<Vec<_>>())?;
    Ok(())
}

fn by_insert(client: &mut Client, rows: &[&Row]) -> Result<(), postgres::Error> {
    let models: Vec<&str> = rows.iter().map(|row| row.model).collect();
    let operations: Vec<&str> = rows.iter().map(|row| row.operation).collect();
    let payloads: Vec<&Value> = rows.iter().map(|row| &row.payload).collect();
    let keys: Vec<Option<&str>> = rows.iter().map(|row| row.record_key.as_deref()).collect();
    let once: Vec<String> = rows.iter().map(|row| row.idempotency_key()).collect();
    client
        .execute(
            "INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
             SELECT u.model, u.operation, u.payload, u.record_key, u.once
             FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::text[], $5::text[])
               WITH ORDINALITY AS u (model, operation, payload, record_key, once, n)
             ORDER BY u.n
             ON CONFLICT (idempotency_key) DO NOTHING",
            &[&models, &operations, &payloads, &keys, &once],
        )
        .map(drop)
}

fn by_enqueue(client: &mut Client, rows: &[&Row]) -> Result<(), postgres::Error> {
    let mut transaction = client.transaction()?;
    for row in rows {
        transaction.execute(
            "SELECT etl.enqueue($1, $2, $3, record_key => $4, idempotency_key => $5)",
            &[
                &row.model,
                &row.operation,
                &row.payload,
                &row.record_key,
                &row.idempotency_key(),
            ],
        )?;
    }
    transaction.commit()
}
