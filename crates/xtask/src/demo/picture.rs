//! The README's picture: what the demo prints, as an SVG.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::command;

/// Runs the demo once more as a process of its own and draws its output.
pub fn draw(file: &Path, arguments: &[String]) -> Result<()> {
    let output = command::this_program()?
        .arg("demo")
        .args(arguments)
        .env("CLICOLOR_FORCE", "1")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the demo")?;
    ensure!(output.status.success(), "the demo failed");
    let text = String::from_utf8(output.stdout).context("the demo printed no text")?;
    // Addresses and ports differ from run to run: the picture ends before them.
    let text = text
        .split("\u{1b}[1mLook around")
        .next()
        .unwrap_or(&text)
        .trim();
    let svg = anstyle_svg::Term::new()
        .render_svg(&format!("\u{1b}[1m$ cargo xtask demo\u{1b}[0m\n\n{text}"));
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))
}
