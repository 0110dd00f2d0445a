//! What a run found: series of samples, what they are held against, and how it is written down.

use serde::Serialize;

use super::machine::Machine;

/// Samples of one side of a comparison, one per round.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    pub label: String,
    pub unit: &'static str,
    pub samples: Vec<f64>,
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Series {
    pub fn new(label: impl Into<String>, unit: &'static str, samples: Vec<f64>) -> Self {
        let sorted = sorted(&samples);
        Self {
            label: label.into(),
            unit,
            median: percentile(&sorted, 0.5),
            lowest: sorted.first().copied().unwrap_or(f64::NAN),
            highest: sorted.last().copied().unwrap_or(f64::NAN),
            samples,
        }
    }
}

/// Which side of the bar is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    AtLeast,
    AtMost,
}

/// A measured number and the one it is held against.
#[derive(Debug, Clone, Serialize)]
pub struct Bar {
    pub label: String,
    pub value: f64,
    pub unit: &'static str,
    pub wanted: Wanted,
    pub bar: f64,
    pub held: bool,
}

impl Bar {
    pub fn at_least(label: impl Into<String>, value: f64, bar: f64, unit: &'static str) -> Self {
        Self::new(label.into(), value, Wanted::AtLeast, bar, unit)
    }

    pub fn at_most(label: impl Into<String>, value: f64, bar: f64, unit: &'static str) -> Self {
        Self::new(label.into(), value, Wanted::AtMost, bar, unit)
    }

    fn new(label: String, value: f64, wanted: Wanted, bar: f64, unit: &'static str) -> Self {
        let held = match wanted {
            Wanted::AtLeast => value >= bar,
            Wanted::AtMost => value <= bar,
        };
        Self {
            label,
            value,
            unit,
            wanted,
            bar,
            held,
        }
    }
}

/// One part of the benchmark.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    pub name: &'static str,
    pub title: String,
    pub series: Vec<Series>,
    pub bars: Vec<Bar>,
    /// What a reader must know of how it was measured.
    pub notes: Vec<String>,
}

/// Everything of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub command: String,
    pub date: String,
    pub machine: Machine,
    /// Smaller amounts, for trying the benchmark itself.
    pub quick: bool,
    pub sections: Vec<Section>,
    /// What could not be run here, and what is known of it from elsewhere.
    pub not_run: Vec<String>,
}

/// The median of the quotients, round by round: what shook the machine shook both sides of a round.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let quotients: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    percentile(&sorted(&quotients), 0.5)
}

pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Of sorted samples, `at` from 0 to 1, between neighbours by their distance; NaN where there are none.
pub fn percentile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = at.clamp(0.0, 1.0) * last as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    sorted[low] + (sorted[(low + 1).min(last)] - sorted[low]) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        let samples = sorted(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(percentile(&samples, 0.0), 1.0);
        assert_eq!(percentile(&samples, 0.5), 2.5);
        assert_eq!(percentile(&samples, 1.0), 4.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        assert_eq!(ratio(&[10.0, 5.0, 1.0], &[10.0, 10.0, 2.0]), 0.5);
    }

    #[test]
    fn a_number_that_is_none_holds_no_bar() {
        assert!(!Bar::at_least("x", f64::NAN, 1.0, "").held);
        assert!(!Bar::at_most("x", f64::NAN, 1.0, "").held);
        assert!(Bar::at_most("x", 1.0, 1.0, "").held);
    }
}
