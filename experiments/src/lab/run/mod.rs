//! `lab run`: every transport against the floor, in alternating windows on this machine.

mod contestant;
mod cpu;
mod measure;
mod plan;
mod record;
mod row;
mod server;
mod statistics;
mod table;

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};

use crate::affinity;
use crate::cli::{RunArguments, Side};
use crate::environment::Environment;
use crate::error::{LabError, STANDARD_OUTPUT};
use crate::load::DESCRIPTORS_OF_A_SESSION;
use crate::rlimit;
use measure::Window;
use plan::Plan;
use record::{Destination, Record};
use row::Row;
use statistics::Summary;

/// Measures, prints the table, and stores the raw numbers.
///
/// # Errors
/// A server that does not start or dies, a wrong reply, too few file descriptors, a file that cannot be written.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), LabError> {
    let sides = contestant::select(arguments.transports.as_deref());
    let plan = match &arguments.shapes {
        Some(shapes) => Plan::of(shapes, &sides),
        None if arguments.quick => Plan::quick(&sides),
        None => Plan::full(&sides),
    };
    make_room(&plan, &sides)?;
    let unix_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let destination = Destination::prepare(arguments.json.as_ref(), unix_time)?;
    let environment = Environment::here();
    if !arguments.markdown {
        print(&format!("{environment}\n"))?;
    }
    let windows = measure_all(&plan, &sides, environment.server_and_load_cpu)?;
    let stage =
        |shape| windows.iter().filter(move |window| window.shape == shape).cloned().collect::<Vec<_>>();
    let rows: Vec<Row> = plan.stages.iter().flat_map(|each| row::rows(&stage(each.shape))).collect();
    // Stored first: a closed pipe at the other end of the table must not cost the numbers.
    let stored = destination.write(&Record {
        unix_time,
        quick: arguments.quick,
        environment: &environment,
        cpu_time: cpu::source(),
        warmup_seconds: plan.warmup.as_secs_f64(),
        window_seconds: plan.window.as_secs_f64(),
        rows: &rows,
        windows: &windows,
    });
    let notes = notes(&plan, &environment, &windows, &rows);
    if arguments.markdown {
        print(&table::markdown(&rows, &notes, &environment))?;
        stored.map(drop)
    } else {
        print(&format!("{}\n\n{}\n", table::plain(&rows), notes.join("\n")))?;
        print(&format!("raw numbers: {}", stored?.display()))
    }
}

/// The widest stage keeps a socket open for every connection of every server that takes part.
fn make_room(plan: &Plan, sides: &[Side]) -> Result<(), LabError> {
    let sockets = |stage: &plan::Stage| {
        let (takes, width) = (stage.takes(sides), stage.width(sides) as u64 + 1);
        let shared = takes.iter().filter(|side| side.is_on_one_host()).count() as u64 * 2;
        u64::from(stage.shape.connections) * (width + shared * (DESCRIPTORS_OF_A_SESSION - 1))
    };
    rlimit::ensure(plan.stages.iter().map(sockets).max().unwrap_or(0))
}

fn measure_all(plan: &Plan, sides: &[Side], cpus: Option<(usize, usize)>) -> Result<Vec<Window>, LabError> {
    if let Some((_, load)) = cpus {
        // This thread is the load, and draws the bar between windows.
        affinity::pin(&[load]).map_err(LabError::system("pin the load"))?;
    }
    let bar = ProgressBar::new(plan.windows(sides) as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} windows, {eta} left  {msg}") {
        bar.set_style(style);
    }
    let mut windows = Vec::new();
    for stage in &plan.stages {
        let shape = stage.shape;
        let mut told = |next: &contestant::Contestant| {
            bar.set_message(format!("{shape}: {}, spin {}", next.name, next.spin));
            bar.inc(1);
        };
        let measured = measure::stage(plan, stage, sides, cpus.map(|(server, _)| server), &mut told);
        // A line about a failure must not share its line with the bar.
        windows.extend(measured.inspect_err(|_| bar.finish_and_clear())?);
    }
    bar.finish_and_clear();
    Ok(windows)
}

/// What a reader of the table must know.
fn notes(plan: &Plan, environment: &Environment, windows: &[Window], rows: &[Row]) -> Vec<String> {
    let gains = row::adaptive_gains(windows).into_iter().map(|(name, shape, gain)| {
        let (connections, depth, gain) = (shape.connections, shape.depth, gain.median);
        let shape =
            format!("{connections} connection{}, depth {depth}", if connections == 1 { "" } else { "s" });
        format!("{name}, {shape}: polling on both ends has {gain:.2} of the median latency of sleeping")
    });
    let mut notes: Vec<String> = gains.collect();
    notes.extend(row::against_unix(windows).into_iter().map(|(name, spin, shape, latency, cpu)| {
        format!(
            "{name}, {shape}, spin {spin}: {:.2} of the Unix socket's median latency, {:.2} of its server CPU per request",
            latency.median, cpu.median
        )
    }));
    notes.extend(rows.iter().filter_map(noise));
    notes.push(format!(
        "medians of windows of {:.2} s; ratios are medians of ratios within rounds, to the floor or to epoll",
        plan.window.as_secs_f64()
    ));
    notes.push("shapes are connections x depth x bytes; copied and lent are bytes sent per request".into());
    if environment.server_and_load_cpu.is_none() {
        let shared = "server and load shared one processor: nothing was pinned, and polling takes time from the other end";
        notes.push(shared.into());
    }
    if environment.build == "debug" {
        notes.push("a debug build: these numbers say nothing, use --release".into());
    }
    notes
}

/// How far two processes of the same floor are apart.
fn noise(row: &Row) -> Option<String> {
    if row.cpu_ratio.is_some() {
        return None;
    }
    let spread = |Summary { lower, median, upper }: Summary| format!("{median:.3} ({lower:.3}-{upper:.3})");
    let (cpu, p99) = (row.noise_cpu.map(spread)?, row.noise_p99.map(spread)?);
    Some(format!(
        "noise, {}: a second process of the floor has {cpu} of its CPU and {p99} of its p99",
        row.shape
    ))
}

fn print(text: &str) -> Result<(), LabError> {
    writeln!(io::stdout(), "{text}").map_err(LabError::system(STANDARD_OUTPUT))
}
