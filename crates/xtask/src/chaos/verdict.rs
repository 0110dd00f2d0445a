//! What the checker found.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

/// What was found, by kind; each with examples.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    pub rows: usize,
    pub records: usize,
    pub done: usize,
    pub dead_letters: usize,
    /// Rows that are gone or never ended, and values that Odoo never got.
    pub lost: Findings,
    /// Records, external ids, lines or messages that are there twice, and records that should not be there.
    pub duplicated: Findings,
    /// Older values that came after younger ones.
    pub reordered: Findings,
    /// Attempts that were not counted before the request was sent.
    pub miscounted: Findings,
    /// Dead letters that should have been delivered, and the other way round.
    pub misjudged: Findings,
    /// Records that are not as they must be.
    pub suspects: BTreeSet<String>,
}

/// A number of findings, and the first of them in words.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    pub count: usize,
    pub examples: Vec<String>,
}

impl Findings {
    /// How many are put into words.
    const SHOWN: usize = 5;

    pub(super) fn add(&mut self, what: String) {
        self.count += 1;
        if self.examples.len() < Self::SHOWN {
            self.examples.push(what);
        }
    }
}

impl Verdict {
    fn kinds(&self) -> [(&'static str, &Findings); 5] {
        [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("reordered", &self.reordered),
            ("miscounted", &self.miscounted),
            ("misjudged", &self.misjudged),
        ]
    }

    pub(super) fn findings(&self) -> usize {
        self.kinds().iter().map(|(_, found)| found.count).sum()
    }

    /// The kinds of which there is any.
    pub fn violations(&self) -> Vec<&'static str> {
        self.kinds()
            .into_iter()
            .filter(|(_, findings)| findings.count > 0)
            .map(|(kind, _)| kind)
            .collect()
    }

    /// Nothing moved any more before everything was settled.
    pub fn stuck(&mut self, log: &str) {
        self.lost.add(format!("the queue did not empty {log}"));
    }

    /// The examples, each with its kind.
    pub fn examples(&self) -> Vec<String> {
        self.kinds()
            .into_iter()
            .flat_map(|(kind, found)| {
                found
                    .examples
                    .iter()
                    .map(move |example| format!("{kind}: {example}"))
            })
            .collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows of {} records, {} done, {} dead letters",
            self.rows, self.records, self.done, self.dead_letters
        )?;
        for (kind, findings) in self.kinds() {
            write!(f, ", {} {kind}", findings.count)?;
        }
        Ok(())
    }
}
