//! Metrics as OpenMetrics text: what was measured comes in, what a Prometheus reads comes out.

use std::collections::BTreeMap;
use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use serde::Deserialize;

use crate::health::{Finding, Status};

/// Upper bounds of the histogram, in powers of two of a millisecond: 4 ms, 16 ms, … 4.7 h.
const POWERS: [i32; 12] = [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24];

/// What was measured; the columns of `sql/queries/metrics.sql`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Measures {
    pub version: String,
    /// Rows of the outbox.
    pub rows: Vec<Rows>,
    pub queues: Vec<Queue>,
    /// What became of rows that were sent, ever.
    pub deliveries: Vec<Delivered>,
    pub mirrors: Vec<Mirror>,
    pub connections: Vec<Connection>,
    pub workers: u64,
}

/// Rows of one state.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Rows {
    pub connection: String,
    pub model: String,
    pub operation: String,
    pub status: String,
    pub rows: f64,
}

/// What waits for a connection.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Queue {
    pub connection: String,
    pub due: f64,
    pub oldest_due_seconds: f64,
}

/// Rows of one outcome.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Delivered {
    pub connection: String,
    pub model: String,
    /// done, failed or retried.
    pub outcome: String,
    pub class: String,
    /// Of what was delivered: 4 × log2 of the milliseconds, rounded up.
    pub bucket: i32,
    pub rows: u64,
}

/// How far a mirror is behind.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Mirror {
    pub connection: String,
    pub model: String,
    /// `None`: it was never pulled to the end.
    pub lag_seconds: Option<f64>,
}

/// Whether a connection can be used.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Connection {
    pub connection: String,
    pub kind: String,
    pub is_open: bool,
}

/// The text, as `application/openmetrics-text` has it.
#[must_use]
pub fn render(measures: &Measures, findings: &[Finding]) -> String {
    let mut registry = Registry::with_prefix("pg_etl");
    registry.register_collector(Box::new(Scrape {
        measures: measures.clone(),
        findings: findings
            .iter()
            .map(|finding| (finding.component.clone(), finding.status))
            .collect(),
    }));
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = text::encode(&mut text, &registry);
    text
}

type Labels<'a> = Vec<(&'a str, String)>;

#[derive(Debug)]
struct Scrape {
    measures: Measures,
    findings: Vec<(String, Status)>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let Measures {
            version,
            rows,
            queues,
            deliveries,
            mirrors,
            connections,
            workers,
        } = &self.measures;
        let encoder = &mut encoder;
        let info: Labels = vec![("version", version.clone())];
        encoder
            .encode_descriptor(
                "build",
                "The version of the library.",
                None,
                MetricType::Info,
            )?
            .encode_info(&info)?;
        gauges(
            encoder,
            "health_status",
            "Each component of etl.health(): 0 passes, 1 warns, 2 fails.",
            None,
            self.findings.iter().map(|(component, status)| {
                let value = match status {
                    Status::Pass => 0.0,
                    Status::Warn => 1.0,
                    Status::Fail => 2.0,
                };
                (vec![("component", clean(component))], value)
            }),
        )?;
        gauges(
            encoder,
            "workers",
            "Background workers of this database.",
            None,
            [(Labels::new(), count(*workers))].into_iter(),
        )?;
        gauges(
            encoder,
            "outbox_rows",
            "Rows of the outbox.",
            None,
            rows.iter().map(|of| {
                let mut labels = place(&of.connection, &of.model);
                labels.push(("operation", clean(&of.operation)));
                labels.push(("status", clean(&of.status)));
                (labels, of.rows)
            }),
        )?;
        gauges(
            encoder,
            "queue_due_rows",
            "Rows that wait and could go.",
            None,
            queues
                .iter()
                .map(|of| (vec![("connection", clean(&of.connection))], of.due)),
        )?;
        gauges(
            encoder,
            "queue_oldest_due",
            "How late the first row is that could go.",
            Some(&Unit::Seconds),
            queues.iter().map(|of| {
                (
                    vec![("connection", clean(&of.connection))],
                    of.oldest_due_seconds,
                )
            }),
        )?;
        gauges(
            encoder,
            "sync_lag",
            "How far a mirror is behind Odoo.",
            Some(&Unit::Seconds),
            mirrors.iter().filter_map(|of| {
                let lag = of.lag_seconds?;
                Some((place(&of.connection, &of.model), lag))
            }),
        )?;
        gauges(
            encoder,
            "connection_open",
            "1 where the connection may be used; 0 where it is paused, throttled or its circuit is open.",
            None,
            connections.iter().map(|of| {
                let labels = vec![
                    ("connection", clean(&of.connection)),
                    ("kind", clean(&of.kind)),
                ];
                (labels, f64::from(u8::from(of.is_open)))
            }),
        )?;
        let mut family = encoder.encode_descriptor(
            "deliveries",
            "Rows that were sent: done, failed or retried, with the class of the error.",
            None,
            MetricType::Counter,
        )?;
        for (labels, rows) in sums(deliveries, |of| {
            let mut labels = place(&of.connection, &of.model);
            labels.push(("outcome", clean(&of.outcome)));
            labels.push(("class", clean(&of.class)));
            Some(labels)
        }) {
            let mut total = family.encode_family(&labels)?;
            let rows: u64 = rows.iter().map(|(_, rows)| rows).sum();
            total.encode_counter::<NoLabelSet, u64, f64>(&rows, None)?;
        }
        let mut family = encoder.encode_descriptor(
            "delivery",
            "From a row's insertion to its delivery. The sum is reckoned from the buckets.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (labels, rows) in sums(deliveries, |of| {
            (of.outcome == "done").then(|| place(&of.connection, &of.model))
        }) {
            histogram(&mut family.encode_family(&labels)?, &rows)?;
        }
        Ok(())
    }
}

/// What is alike, added up by bucket, in the order of the labels.
fn sums<'a>(
    deliveries: &[Delivered],
    labels: impl Fn(&Delivered) -> Option<Labels<'a>>,
) -> BTreeMap<Labels<'a>, Vec<(i32, u64)>> {
    let mut found = BTreeMap::<Labels, Vec<_>>::new();
    for of in deliveries {
        if let Some(labels) = labels(of) {
            found.entry(labels).or_default().push((of.bucket, of.rows));
        }
    }
    found
}

fn histogram(encoder: &mut MetricEncoder, rows: &[(i32, u64)]) -> Result<(), Error> {
    let mut buckets: Vec<(f64, u64)> = POWERS
        .iter()
        .map(|power| (2_f64.powi(*power) / 1_000.0, 0))
        .collect();
    buckets.push((f64::INFINITY, 0));
    let (mut sum, mut total) = (0.0, 0);
    for (bucket, rows) in rows {
        // The middle of its bounds.
        sum += count(*rows) * 2_f64.powf((f64::from(*bucket) - 0.5) / 4.0) / 1_000.0;
        total += rows;
        let place = POWERS.iter().position(|power| *bucket <= 4 * power);
        let place = place.unwrap_or(POWERS.len());
        if let Some((_, counted)) = buckets.get_mut(place) {
            *counted += rows;
        }
    }
    encoder.encode_histogram::<NoLabelSet>(sum, total, &buckets, None)
}

fn gauges<'a>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = (Labels<'a>, f64)>,
) -> Result<(), Error> {
    // Whose labels are alike when they are cut is one: a series that comes twice makes the text worthless.
    let mut sums = BTreeMap::<Labels, f64>::new();
    for (labels, value) in values {
        *sums.entry(labels).or_default() += value;
    }
    if sums.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in sums {
        if labels.is_empty() {
            family.encode_gauge(&value)?;
        } else {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn place<'a>(connection: &str, model: &str) -> Labels<'a> {
    vec![("connection", clean(connection)), ("model", clean(model))]
}

/// Most characters of a label's value.
const LONGEST: usize = 200;

/// A label's value of a bearable length: a row may call its model what it likes.
fn clean(value: &str) -> String {
    let printable = |character: char| {
        if character.is_control() {
            '?'
        } else {
            character
        }
    };
    value.chars().take(LONGEST).map(printable).collect()
}

#[allow(clippy::cast_precision_loss, reason = "as floats are what is written")]
fn count(rows: u64) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Status;

    fn finding(component: &str, status: Status) -> Finding {
        Finding {
            component: component.to_owned(),
            status,
            value: String::new(),
            threshold: String::new(),
            detail: String::new(),
            remedy: String::new(),
        }
    }

    #[test]
    fn it_is_what_a_prometheus_reads() {
        let measures = Measures {
            version: "1.2.3".to_owned(),
            workers: 1,
            rows: vec![Rows {
                connection: "odoo".to_owned(),
                model: "res.partner".to_owned(),
                operation: "upsert".to_owned(),
                status: "queued".to_owned(),
                rows: 7.0,
            }],
            mirrors: vec![
                Mirror {
                    connection: "odoo".to_owned(),
                    model: "res.partner".to_owned(),
                    lag_seconds: Some(1.5),
                },
                Mirror::default(),
            ],
            deliveries: [(0, 1), (9, 2), (8, 3), (100, 4)]
                .map(|(bucket, rows)| Delivered {
                    connection: "odoo".to_owned(),
                    model: "res.partner".to_owned(),
                    outcome: "done".to_owned(),
                    class: String::new(),
                    bucket,
                    rows,
                })
                .to_vec(),
            ..Measures::default()
        };
        let text = render(&measures, &[finding("outbox", Status::Warn)]);
        for line in [
            "pg_etl_build_info{version=\"1.2.3\"} 1",
            "pg_etl_health_status{component=\"outbox\"} 1.0",
            "pg_etl_workers 1.0",
            "pg_etl_outbox_rows{connection=\"odoo\",model=\"res.partner\",operation=\"upsert\",status=\"queued\"} 7.0",
            "pg_etl_sync_lag_seconds{connection=\"odoo\",model=\"res.partner\"} 1.5",
            "pg_etl_deliveries_total{connection=\"odoo\",model=\"res.partner\",outcome=\"done\",class=\"\"} 10",
            // 4 ms has what took so long, and what took less.
            "pg_etl_delivery_seconds_bucket{le=\"0.004\",connection=\"odoo\",model=\"res.partner\"} 4",
            "pg_etl_delivery_seconds_bucket{le=\"0.016\",connection=\"odoo\",model=\"res.partner\"} 6",
            "pg_etl_delivery_seconds_bucket{le=\"+Inf\",connection=\"odoo\",model=\"res.partner\"} 10",
            "pg_etl_delivery_seconds_count{connection=\"odoo\",model=\"res.partner\"} 10",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert_eq!(text.matches("sync_lag_seconds{").count(), 1);
    }

    #[test]
    fn what_rows_are_called_breaks_no_line() {
        let measures = Measures {
            rows: vec![Rows {
                model: "a\"} 1\npg_etl_health_status{component=\"x\\".to_owned(),
                ..Rows::default()
            }],
            ..Measures::default()
        };
        let text = render(&measures, &[]);
        let samples: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("pg_etl_outbox_rows"))
            .collect();
        assert_eq!(
            samples,
            [
                "pg_etl_outbox_rows{connection=\"\",model=\"a\\\"} 1?pg_etl_health_status{component=\\\"x\\\\\",operation=\"\",status=\"\"} 0.0"
            ]
        );
        assert!(!text.contains("\npg_etl_health_status{"));
    }
}
