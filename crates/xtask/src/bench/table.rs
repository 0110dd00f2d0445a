//! The report for people: a table on the terminal, the same in Markdown.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::report::{Bar, Report, Section, Series, Wanted};

/// Aligned, for a terminal; without colours, which a pipe could not show.
pub fn terminal(section: &Section) -> String {
    let mut text = format!("({}) {}\n", section.name, section.title);
    for table in [
        series(section, UTF8_FULL_CONDENSED),
        bars(section, UTF8_FULL_CONDENSED),
    ] {
        if !table.is_empty() {
            text.push_str(&format!("{table}\n"));
        }
    }
    text
}

/// The whole report as Markdown.
pub fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{} · {} cores · {} GB · Linux {} · {} · fsync {:.1} ms (p50), {:.1} ms (p99) · {:.0} % busy before · {}\n\n`{}`\n",
        machine.cpu,
        machine.cores,
        machine.memory_gb,
        machine.kernel,
        machine.postgres,
        machine.fsync_p50_ms,
        machine.fsync_p99_ms,
        machine.busy_before,
        report.date,
        report.command,
    );
    for (caution, words) in [
        (
            report.quick,
            "A quick run: its amounts are too small to be quoted.",
        ),
        (
            machine.is_busy(),
            "The machine was busy with something else: its figures are too low, and their spread too wide.",
        ),
    ] {
        if caution {
            text.push_str(&format!("\n**{words}**\n"));
        }
    }
    for section in &report.sections {
        text.push_str(&format!("\n### ({}) {}\n\n", section.name, section.title));
        for table in [
            series(section, ASCII_MARKDOWN),
            bars(section, ASCII_MARKDOWN),
        ] {
            if !table.is_empty() {
                text.push_str(&format!("{table}\n\n"));
            }
        }
        for note in &section.notes {
            text.push_str(&format!("* {note}\n"));
        }
    }
    if !report.not_run.is_empty() {
        text.push_str("\n### Not run here\n\n");
        for peer in &report.not_run {
            text.push_str(&format!("* {peer}\n"));
        }
    }
    text
}

fn series(section: &Section, preset: &str) -> Table {
    let mut table = empty(preset, &["measured", "median", "lowest", "highest", "unit"]);
    for Series {
        label,
        unit,
        median,
        lowest,
        highest,
        ..
    } in &section.series
    {
        table.add_row([
            label.clone(),
            number(*median),
            number(*lowest),
            number(*highest),
            (*unit).to_owned(),
        ]);
    }
    align(&mut table, 1..=3);
    table
}

fn bars(section: &Section, preset: &str) -> Table {
    let mut table = empty(preset, &["held against", "value", "bar", ""]);
    for bar in &section.bars {
        let sign = match bar.wanted {
            Wanted::AtLeast => "≥",
            Wanted::AtMost => "≤",
        };
        table.add_row([
            bar.label.clone(),
            with_unit(bar.value, bar),
            format!("{sign} {}", with_unit(bar.bar, bar)),
            if bar.held { "held" } else { "MISSED" }.to_owned(),
        ]);
    }
    align(&mut table, 1..=2);
    table
}

fn empty(preset: &str, head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(preset)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    table
}

fn align(table: &mut Table, columns: std::ops::RangeInclusive<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn with_unit(value: f64, bar: &Bar) -> String {
    format!("{} {}", number(value), bar.unit).trim().to_owned()
}

/// Three significant digits at least, thousands apart.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0
            && (whole.len() - place) % 3 == 0
            && digit.is_ascii_digit()
            && !grouped.ends_with('-')
        {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(999.6), "1000".replace("1000", "1,000"));
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(0.456), "0.46");
        assert_eq!(number(-123.4), "-123");
        assert_eq!(number(f64::NAN), "NaN");
    }
}
