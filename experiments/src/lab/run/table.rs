//! The table of `lab run`: for a terminal, and in Markdown.

use std::fmt::Display;

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};

use super::row::{EPOLL, Row};
use super::statistics::Summary;

/// Columns, in two lines for a terminal.
const HEADER: [&str; COLUMNS] = [
    "transport",
    "shape",
    "spin",
    "requests\n/s",
    "p50\nus",
    "p99\nus",
    "p99.9\nus",
    "CPU us\n/request",
    "syscalls\n/request",
    "CPU /\nfloor",
    "p99 /\nfloor",
    "CPU /\nepoll",
    "p99 /\nepoll",
    "copied\nB",
    "lent\nB",
    "lent for us\np50 / p99",
];

const COLUMNS: usize = 16;

/// Columns that hold words and begin at the left; numbers end at the right.
const WORDS: [usize; 3] = [0, 1, 2];

/// A rule beneath the header and nothing else: every column counts where 160 must do.
const PLAIN: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-'));

/// Rows for a terminal, at most 160 columns wide, with an empty line between shapes.
pub(super) fn plain(rows: &[Row]) -> String {
    let mut table = table(PLAIN, &HEADER);
    let mut last = None;
    for row in rows {
        if last.is_some_and(|shape| shape != row.shape) {
            table.add_row([""; COLUMNS]);
        }
        last = Some(row.shape);
        table.add_row(cells(row));
    }
    // With the blank that stands for the missing line, two between columns.
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((u16::from(index > 0), 0));
    }
    table.trim_fmt()
}

/// Rows as a table in Markdown, then the notes and the environment.
pub(super) fn markdown(rows: &[Row], notes: &[String], environment: &impl Display) -> String {
    let header = HEADER.map(|name| name.replace(" /\n", " / ").replace("\n/", "/").replace('\n', " "));
    let mut table = table(presets::ASCII_MARKDOWN, &header);
    table.add_rows(rows.iter().map(cells));
    let text = table.to_string();
    let mut lines: Vec<String> = text.lines().map(Into::into).collect();
    if let Some(rule) = lines.get_mut(1) {
        *rule = with_alignment(rule);
    }
    let notes: String = notes.iter().map(|note| format!("- {note}\n")).collect();
    format!("{}\n\n{notes}\n```text\n{environment}\n```", lines.join("\n"))
}

fn table(style: TableStyle, header: &[impl Display; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for (_, column) in table.column_iter_mut().enumerate().filter(|(index, _)| !WORDS.contains(index)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Markdown's rule with a colon at the right of the columns that hold numbers.
fn with_alignment(rule: &str) -> String {
    let columns = rule.trim_matches('|').split('|').enumerate();
    let aligned =
        columns.map(
            |(index, dashes)| {
                if WORDS.contains(&index) { dashes.to_string() } else { format!("{}:", &dashes[1..]) }
            },
        );
    format!("|{}|", aligned.collect::<Vec<_>>().join("|"))
}

fn cells(row: &Row) -> [String; COLUMNS] {
    // Whoever others are compared with has no ratio to itself.
    let ratio = |ratio: Option<Summary>, is_base: bool| match ratio {
        Some(ratio) => format!("{:.3}", ratio.median),
        None if is_base => "1".into(),
        None => String::new(),
    };
    let (is_floor, is_epoll) = (row.cpu_ratio.is_none(), row.transport == EPOLL);
    let whole = |figure: Option<f64>| figure.map_or_else(String::new, |figure| format!("{figure:.0}"));
    let release = row.release_p50_ns.zip(row.release_p99_ns).map_or_else(String::new, |(half, most)| {
        format!("{} / {}", microseconds(half as f64), microseconds(most as f64))
    });
    [
        row.transport.clone(),
        row.shape.to_string(),
        row.spin.to_string(),
        format!("{:.0}", row.requests_per_second),
        microseconds(row.p50_ns),
        microseconds(row.p99_ns),
        microseconds(row.p99_9_ns),
        format!("{:.3}", row.server_cpu_ns_per_request / 1e3),
        format!("{:.3}", row.syscalls_per_request),
        ratio(row.cpu_ratio, is_floor),
        ratio(row.p99_ratio, is_floor),
        ratio(row.cpu_to_epoll, is_epoll),
        ratio(row.p99_to_epoll, is_epoll),
        whole(row.copied_per_request),
        whole(row.lent_per_request),
        release,
    ]
}

/// A decimal where it means something.
fn microseconds(nanoseconds: f64) -> String {
    let microseconds = nanoseconds / 1e3;
    if microseconds < 1e3 { format!("{microseconds:.1}") } else { format!("{microseconds:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Shape;

    fn row(transport: &str, connections: u32, ratio: Option<f64>) -> Row {
        let summary = |median| Summary { lower: median - 0.1, median, upper: median + 0.1 };
        Row {
            transport: transport.into(),
            spin: "adaptive",
            shape: Shape { connections, depth: 16, size: 1 << 20 },
            windows: 1,
            requests_per_second: 1_234_567.0,
            p50_ns: 999_949.0,
            p99_ns: 12_345_678.0,
            p99_9_ns: 123_456_789.0,
            server_cpu_ns_per_request: 123_456.0,
            syscalls_per_request: 123.4567,
            cpu_ratio: ratio.map(summary),
            p99_ratio: ratio.map(summary),
            cpu_to_epoll: ratio.map(summary),
            p99_to_epoll: ratio.map(summary),
            p99_9_to_epoll: ratio.map(summary),
            copied_per_request: Some(1_048_580.0),
            lent_per_request: Some(1_048_580.0),
            release_p50_ns: Some(999_949),
            release_p99_ns: Some(40_000_000),
            noise_cpu: Some(summary(1.0)),
            noise_p99: Some(summary(1.0)),
        }
    }

    #[test]
    fn wide_figures_fit_a_terminal() {
        let rows = [
            row("floor (shared)", 9999, None),
            row("batch-uring", 9999, Some(1.2)),
            row("epoll", 1, Some(1.2)),
        ];
        let text = plain(&rows);
        assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[3].contains(" 9999x16x1M ") && lines[3].ends_with(" 999.9 / 40000"), "{text}");
        assert!(lines[4].contains(" 1.200 ") && lines[4].contains(" 999.9 "), "{text}");
        assert!(lines[5].is_empty() && lines.len() == 7, "{text}");
    }

    #[test]
    fn markdown_has_one_header_line_and_aligns_numbers() {
        let text = markdown(&[row("epoll", 1, Some(1.2))], &["a note".into()], &"the machine");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("| transport | shape "), "{text}");
        assert!(lines[0].contains(" requests/s |") && lines[0].contains(" CPU / floor |"), "{text}");
        assert!(
            lines[1].starts_with("|-----------|---------")
                && lines[1].contains("-:|")
                && !lines[1].contains("::"),
            "{text}"
        );
        assert!(lines[2].starts_with("| epoll ") && lines[3].is_empty(), "{text}");
        assert_eq!(lines[4..], ["- a note", "", "```text", "the machine", "```"]);
    }
}
