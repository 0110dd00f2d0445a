//! The report as a picture: one row of bars per series, a scale per group. Readable on a light and on a dark page.

use std::fmt::Write as _;

use super::report::{Report, Section, Series};
use super::table::number;

const WIDTH: u32 = 900;
const LABELS: u32 = 430;
const BARS: u32 = 320;
const ROW: u32 = 22;

const STYLE: &str = "text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}\
.small{font-size:11px;fill:#59636e}.ours{fill:#8250df}.other{fill:#afb8c1}.spread{stroke:#1f2328;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.ours{fill:#ab7df8}.other{fill:#57606a}.spread{stroke:#e6edf3}}";

/// The whole report.
pub fn svg(report: &Report) -> String {
    let mut body = String::new();
    let machine = &report.machine;
    let mut y = 26;
    text(&mut body, 10, y, "title", "pg_etl, measured");
    y += 18;
    let about = format!(
        "{} · {} cores · {} · fsync {:.1} ms · {} · medians, lines from lowest to highest",
        machine.cpu, machine.cores, machine.postgres, machine.fsync_p50_ms, report.date
    );
    text(&mut body, 10, y, "small", &about);
    for section in &report.sections {
        y += 34;
        text(
            &mut body,
            10,
            y,
            "title",
            &format!("({}) {}", section.name, section.title),
        );
        y += 8;
        for group in groups(section) {
            y += 6;
            let longest = group
                .iter()
                .map(|series| series.highest)
                .fold(0.0, f64::max);
            for series in group {
                bar(&mut body, y, series, longest);
                y += ROW;
            }
        }
    }
    let height = y + 16;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Benchmark of pg_etl\">\
<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// Series that share a scale: neighbours of one unit, about one thing (what is before the colon), and not too far apart to be seen.
fn groups(section: &Section) -> Vec<Vec<&Series>> {
    let mut groups: Vec<Vec<&Series>> = Vec::new();
    for series in section
        .series
        .iter()
        .filter(|series| series.median.is_finite())
    {
        let fits = groups
            .last()
            .and_then(|group| group.first())
            .is_some_and(|first| {
                let (larger, smaller) = (
                    first.median.max(series.median),
                    first.median.min(series.median),
                );
                first.unit == series.unit
                    && about(first) == about(series)
                    && larger < smaller * 200.0
            });
        match groups.last_mut() {
            Some(group) if fits => group.push(series),
            _ => groups.push(vec![series]),
        }
    }
    groups
}

fn about(series: &Series) -> Option<&str> {
    series.label.split_once(": ").map(|(about, _)| about)
}

fn bar(body: &mut String, y: u32, series: &Series, longest: f64) {
    let length = |value: f64| {
        if longest > 0.0 {
            value.max(0.0) / longest * f64::from(BARS)
        } else {
            0.0
        }
    };
    let class = if series.label.contains("pg_etl") {
        "ours"
    } else {
        "other"
    };
    text(body, 10, y + 15, "", &series.label);
    let width = length(series.median).max(1.0);
    // Writing to a String does not fail.
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"/>",
        y + 4
    );
    let (from, to) = (
        f64::from(LABELS) + length(series.lowest),
        f64::from(LABELS) + length(series.highest),
    );
    if to - from > 1.0 {
        let middle = y + 11;
        let _ = writeln!(
            body,
            "<line class=\"spread\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
        );
    }
    let at = (f64::from(LABELS) + length(series.highest).max(width) + 6.0) as u32;
    text(
        body,
        at,
        y + 15,
        "",
        &format!("{} {}", number(series.median), series.unit),
    );
}

fn text(body: &mut String, x: u32, y: u32, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_something_else_has_a_scale_of_its_own() {
        let series =
            |label: &str, unit: &'static str, value: f64| Series::new(label, unit, vec![value]);
        let section = Section {
            name: "x",
            title: "X".into(),
            series: vec![
                series("a: one", "ms", 1.0),
                series("a: two", "ms", 2.0),
                series("b: one", "ms", 2.0),
                series("b: two", "rows/s", 2.0),
                series("b: three", "rows/s", f64::NAN),
                series("b: four", "rows/s", 2_000.0),
            ],
            bars: vec![],
            notes: vec![],
        };
        let sizes: Vec<usize> = groups(&section).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
    }

    #[test]
    fn words_cannot_break_the_picture() {
        let mut body = String::new();
        text(&mut body, 1, 2, "", "a < b & c");
        assert!(body.contains("a &lt; b &amp; c"));
    }
}
