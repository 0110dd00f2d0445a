//! `cargo xtask`: the project's commands.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use xtask::progress::{self, RED};

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::say(format_args!("{RED}error:{RED:#} {error:#}"));
            ExitCode::FAILURE
        }
    }
}
