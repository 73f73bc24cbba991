//! Medians.

use hdrhistogram::Histogram;

/// What one subject has done in all of its slices.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) all: Histogram<u64>,
    /// The median of each slice.
    pub(crate) slices: Vec<f64>,
}

impl Row {
    pub(crate) fn new(name: String) -> Self {
        let all = Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("possible bounds");
        Self { name, all, slices: Vec::new() }
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The lowest and the highest tenth.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |tenths: usize| values.get(values.len() * tenths / 10).copied().unwrap_or(f64::NAN);
    (at(1), at(9))
}

/// Latencies; the ratios are to the first row, slice by slice.
pub(crate) fn latencies(rows: &[Row]) {
    println!("{:<34} {:>9} {:>9} {:>9}   ratio of p50 (tenths 1 to 9)", "", "p50 us", "p90 us", "p99 us");
    for row in rows {
        let us = |quantile| row.all.value_at_quantile(quantile) as f64 / 1000.0;
        let ratios: Vec<f64> =
            row.slices.iter().zip(&rows[0].slices).map(|(own, first)| own / first).collect();
        let (low, high) = spread(ratios.clone());
        println!(
            "{:<34} {:>9.3} {:>9.3} {:>9.3}   {:.2} ({low:.2} to {high:.2})",
            row.name,
            us(0.5),
            us(0.9),
            us(0.99),
            median(ratios)
        );
    }
}
