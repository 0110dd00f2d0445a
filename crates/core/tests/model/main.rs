//! The model test of the engine's pure half: whatever rows are committed, however they are cut into claims, whatever fails and
//! whenever the worker dies, Odoo ends up as if the rows had been applied one after another.
//!
//! | part | file |
//! |---|---|
//! | what is tried: rows, faults, steps of the worker | [`case`] |
//! | what must come of it: the rows one after another, on a map | [`expected`] |
//! | what stands in for Postgres: claim, settle and recover | [`queue`] |
//! | the worker's turn, step by step, around the real `Claim`, `deliver` and `decide` | [`worker`] |
//! | what is in Odoo, and what must never be seen there | [`world`] |
//! | cases that once failed | [`regressions`] |
//!
//! `PROPTEST_CASES` asks for more than the default. What is left out of the cases, because no order between records is promised: a record
//! that others refer to is never deleted, and has a row that can make it. A bad value stands in a field that no good row writes, because
//! of joined rows only the last value of a field is ever sent.

mod case;
mod expected;
mod queue;
mod regressions;
mod worker;
mod world;

use case::{Case, case};
use proptest::prelude::*;
use proptest::test_runner::Config;

/// Delivers a case and compares. The error tells what happened, step by step.
fn run(case: &Case) -> Result<(), String> {
    let mut worker = worker::Worker::start(case);
    let result = worker.run(case);
    result.map_err(|why| format!("{why}\n{}", worker.story()))
}

fn config() -> Config {
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default().cases,
        None => 256,
    };
    Config {
        cases,
        max_shrink_iters: 20_000,
        max_shrink_time: 60_000,
        // A case that failed goes into `regressions`, where it can be read.
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn odoo_ends_up_as_if_rows_were_applied_one_after_another(case in case()) {
        run(&case).map_err(TestCaseError::fail)?;
    }
}
