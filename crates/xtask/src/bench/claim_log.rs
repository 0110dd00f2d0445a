//! Durations of the worker's statements, as auto_explain writes them into the server's log.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};

/// The statements that the benchmark looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    Claim,
    Settle,
}

impl Statement {
    /// By the comment that the file in `sql/queries` begins with.
    fn of(text: &str) -> Option<Self> {
        [(Self::Claim, CLAIM), (Self::Settle, SETTLE)]
            .into_iter()
            .find_map(|(statement, query)| {
                text.starts_with(query.lines().next()?).then_some(statement)
            })
    }
}

const CLAIM: &str = include_str!("../../../../sql/queries/claim.sql");
const SETTLE: &str = include_str!("../../../../sql/queries/settle.sql");

/// Statement and milliseconds, in the order of the log from the byte `from` on.
pub fn statements(log: &Path, from: u64) -> Result<Vec<(Statement, f64)>> {
    let mut file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    file.seek(SeekFrom::Start(from))?;
    parse(BufReader::new(file))
}

fn parse(log: impl BufRead) -> Result<Vec<(Statement, f64)>> {
    let mut found = Vec::new();
    let mut duration = None;
    for line in log.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some((_, rest)) = line.split_once("LOG:  duration: ") {
            duration = rest
                .split(' ')
                .next()
                .and_then(|text| text.parse::<f64>().ok());
        } else if let Some((_, text)) = line.split_once("\tQuery Text: ")
            && let (Some(milliseconds), Some(statement)) = (duration.take(), Statement::of(text))
        {
            found.push((statement, milliseconds));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_s_statements_are_found_in_a_log() {
        let log = format!(
            "2026-01-01 [1] pg_etl worker bench LOG:  duration: 12.500 ms  plan:\n\tQuery Text: {}\n\tSort  (cost=1)\n\
             2026-01-01 [1] client backend bench LOG:  duration: 0.1 ms  plan:\n\tQuery Text: SELECT 1\n\
             2026-01-01 [1] pg_etl worker bench LOG:  duration: 3 ms  plan:\n\tQuery Text: {}\n\
             \tQuery Text: {} (of no duration)\n",
            CLAIM.lines().next().unwrap(),
            SETTLE.lines().next().unwrap(),
            CLAIM.lines().next().unwrap(),
        );
        let found = parse(log.as_bytes()).unwrap();
        assert_eq!(found, [(Statement::Claim, 12.5), (Statement::Settle, 3.0)]);
    }
}
