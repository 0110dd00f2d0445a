//! Is everything in step? Signals by SQL, the verdict by `pg_etl_core::health`. Never calls the network.

use pg_etl_core::health::{Finding, Signals, THRESHOLDS, overall, report};
use pg_etl_core::metrics::Measures;
use pgrx::prelude::*;
use serde_json::json;

use crate::error::complain;
use crate::reading::one;

fn signals() -> Signals {
    let (preloaded, enabled) = (crate::worker::is_preloaded(), crate::gucs::enabled());
    let query = "SELECT extversion::text FROM pg_catalog.pg_extension WHERE extname = 'pg_etl'";
    let extension_version = one::<String>(query, &[]).unwrap_or_default();
    let set_up = crate::setup::is_set_up();
    if !set_up || extension_version != env!("CARGO_PKG_VERSION") {
        let workers = one::<pgrx::JsonB>(
            "SELECT jsonb_agg(jsonb_build_object('state', w.state, 'detail', w.detail)) FROM etl._workers() w",
            &[],
        );
        let workers = workers.and_then(|json| serde_json::from_value(json.0).ok());
        return Signals {
            set_up,
            preloaded,
            enabled,
            workers: workers.unwrap_or_default(),
            loaded_version: env!("CARGO_PKG_VERSION").to_owned(),
            extension_version,
            ..Signals::default()
        };
    }
    let counted = one::<pgrx::JsonB>(
        include_str!("../../sql/queries/health_signals.sql"),
        &[preloaded.into(), enabled.into()],
    );
    let counted = counted.map(|json| json.0).unwrap_or_default();
    serde_json::from_value(counted).unwrap_or_else(|error| {
        complain(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("the health signals could not be read: {error}"),
        )
        .raise()
    })
}

/// How every component is, worst first.
pub fn findings() -> Vec<Finding> {
    report(&signals())
}

/// For programs.
#[pg_extern(sql = false)]
fn health() -> pgrx::JsonB {
    let findings = findings();
    let checks: serde_json::Map<_, _> = findings
        .iter()
        .map(|finding| {
            let check = json!({
                "status": finding.status, "value": finding.value, "threshold": finding.threshold, "detail": finding.detail, "remedy": finding.remedy,
            });
            (finding.component.replace(' ', "_"), check)
        })
        .collect();
    let checked_at = pgrx::datum::TimestampWithTimeZone::to_iso_string(now());
    pgrx::JsonB(json!({"status": overall(&findings), "checks": checks, "checked_at": checked_at}))
}

/// For people.
#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "the columns, as pgrx wants them: in place"
)]
fn health_report() -> TableIterator<
    'static,
    (
        name!(component, String),
        name!(status, String),
        name!(value, String),
        name!(threshold, String),
        name!(detail, String),
        name!(remedy, Option<String>),
        name!(checked_at, TimestampWithTimeZone),
    ),
> {
    let at = now();
    TableIterator::new(findings().into_iter().map(move |finding| {
        let Finding {
            component,
            status,
            value,
            threshold,
            detail,
            remedy,
        } = finding;
        (
            component,
            status.name().to_owned(),
            value,
            threshold,
            detail,
            Some(remedy).filter(|remedy| !remedy.is_empty()),
            at,
        )
    }))
}

/// For a Prometheus.
#[pg_extern(sql = false)]
fn metrics() -> String {
    crate::setup::must_be_set_up();
    let measured = one::<pgrx::JsonB>(include_str!("../../sql/queries/metrics.sql"), &[]);
    let measured = serde_json::from_value(measured.map(|json| json.0).unwrap_or_default());
    let measures: Measures = measured.unwrap_or_else(|error| {
        complain(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("the measures could not be read: {error}"),
        )
        .raise()
    });
    pg_etl_core::metrics::render(&measures, &findings())
}

/// The thresholds as they are delivered.
#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "the columns, as pgrx wants them: in place"
)]
fn default_thresholds() -> TableIterator<
    'static,
    (
        name!(component, String),
        name!(warn, Option<f64>),
        name!(fail, Option<f64>),
        name!(unit, String),
        name!(is_floor, bool),
    ),
> {
    TableIterator::new(THRESHOLDS.iter().map(|known| {
        (
            known.component.to_owned(),
            known.limits.warn,
            known.limits.fail,
            known.unit.name().to_owned(),
            known.is_floor,
        )
    }))
}

fn now() -> TimestampWithTimeZone {
    pgrx::datum::clock_timestamp()
}
