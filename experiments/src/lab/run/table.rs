//! The table of `lab run`.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::ASCII_MARKDOWN};

use super::row::Row;
use super::statistics::Summary;

const HEADER: [&str; 15] = [
    "transport",
    "connections",
    "depth",
    "size",
    "spin",
    "requests/s",
    "p50 us",
    "p99 us",
    "p99.9 us",
    "server CPU us/request",
    "syscalls/request",
    "CPU / floor",
    "p99 / floor",
    "A/A CPU",
    "A/A p99",
];

/// Columns from the left that hold words.
const WORDS: [usize; 2] = [0, 4];

/// Rows as a table in Markdown, as wide as it needs to be.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled).set_header(HEADER);
    for row in rows {
        table.add_row(cells(row));
    }
    for (index, column) in table.column_iter_mut().enumerate().filter(|(index, _)| !WORDS.contains(index)) {
        let _ = index;
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn cells(row: &Row) -> [String; 15] {
    let us = |nanoseconds: f64| format!("{:.1}", nanoseconds / 1e3);
    [
        row.transport.clone(),
        row.shape.connections.to_string(),
        row.shape.depth.to_string(),
        row.shape.size.to_string(),
        row.spin.to_string(),
        format!("{:.0}", row.requests_per_second),
        us(row.p50_ns),
        us(row.p99_ns),
        us(row.p99_9_ns),
        format!("{:.3}", row.server_cpu_ns_per_request / 1e3),
        format!("{:.3}", row.syscalls_per_request),
        row.cpu_ratio.map_or_else(|| "1".into(), |ratio| format!("{:.3}", ratio.median)),
        row.p99_ratio.map_or_else(|| "1".into(), |ratio| format!("{:.3}", ratio.median)),
        row.noise_cpu.map_or_else(String::new, spread),
        row.noise_p99.map_or_else(String::new, spread),
    ]
}

fn spread(noise: Summary) -> String {
    format!("{:.3} ({:.3}-{:.3})", noise.median, noise.lower, noise.upper)
}
