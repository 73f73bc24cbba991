//! The command line.

mod choice;
mod number;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::address::Address;
use crate::affinity::CpuList;
use crate::load::Shape;
#[cfg(feature = "shm")]
pub(crate) use choice::Doorbell;
pub(crate) use choice::{
    Accept, Dispatch, LoadSpin, Medium, Protocol, Selected, ServerSpin, Side, Transport, Trigger, Variant,
};
pub(crate) use number::{bytes, in_units};
use number::{bytes_up_to, duration, rate, whole};

/// Bytes in 1 GiB: no request of a load is larger.
const LARGEST_SIZE: u64 = 1 << 30;

/// How peers that never read are measured.
const STALLED_HELP: &str = "\
Peers that never read: what they cost the others is the ratio of p99 with and without them, in alternation:
  lab load --connect ADDR --connections 100
  lab load --connect ADDR --connections 100 --stalled 20 --stalled-bytes 64M";

/// What the arguments ask for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Run this.
    Run(Command),
    /// Print this (help or version) and be done.
    Print(String),
    /// The arguments are wrong; one line says why.
    Refuse(String),
}

#[derive(Debug, Parser)]
#[command(
    name = "lab",
    version,
    about = "Measures ways of moving bytes on this machine",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

/// The commands of `lab`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare every transport with a hand-written epoll loop (the default)
    Run(RunArguments),
    /// Serve one transport until SIGINT or SIGTERM
    Serve(ServeArguments),
    /// Drive a server and verify every reply
    #[command(after_help = STALLED_HELP)]
    Load(LoadArguments),
    /// Find out what this kernel and user may do
    Doctor(DoctorArguments),
    /// Ask a server over shared memory how it is
    #[cfg(feature = "shm")]
    Shmstat(ShmstatArguments),
    /// The hand-written loop everything is compared with
    #[command(hide = true)]
    Floor(FloorArguments),
}

/// Arguments of `lab run`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunArguments {
    /// Under 20 seconds: shorter windows, fewer pairs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the raw numbers go [default: target/lab/run-TIME.json, in seconds of Unix time]
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Only these transports; `none` measures the floor alone
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) transports: Option<Vec<Selected>>,
    /// Only these shapes of traffic: CONNECTIONSxDEPTHxSIZE, for instance 100x1x1K
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "quick")]
    pub(crate) shapes: Option<Vec<Shape>>,
    /// Print the table in Markdown, the environment beneath it, and nothing else
    #[arg(long)]
    pub(crate) markdown: bool,
}

/// Arguments of `lab serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArguments {
    /// How bytes move
    #[arg(long, value_enum, default_value_t = Transport::Epoll)]
    pub(crate) transport: Transport,
    /// HOST:PORT (port 0: any free one), or the path of a Unix socket if it contains `/`
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Address,
    /// How messages are told apart
    #[arg(long, value_enum, default_value_t = Protocol::Frame)]
    pub(crate) protocol: Protocol,
    /// Event loops [default: one per processor]
    #[arg(long, value_name = "N", value_parser = |text: &str| whole::<u16>(text, 1, 1024), allow_negative_numbers = true)]
    pub(crate) loops: Option<u16>,
    /// How connections come to loops
    #[arg(long, value_enum, default_value_t = Accept::Each)]
    pub(crate) accept: Accept,
    /// Time slice of loops' threads; `0s`: the kernel's usual one [default: 100us]
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) loop_slice: Option<Duration>,
    /// Whether an idle loop polls before it sleeps
    #[arg(long, value_enum, default_value_t = ServerSpin::Never)]
    pub(crate) spin: ServerSpin,
    /// Level- or edge-triggered readiness
    #[arg(long, value_enum, default_value_t = Trigger::Lt)]
    pub(crate) trigger: Trigger,
    /// Largest message accepted, in bytes, or with K, M or G
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = |text: &str| bytes_up_to::<u32>(text, u32::MAX.into()), allow_negative_numbers = true)]
    pub(crate) max_message: u32,
    /// How sessions in shared memory are woken [default: socket]
    #[cfg(feature = "shm")]
    #[arg(long, value_enum)]
    pub(crate) doorbell: Option<Doorbell>,
    /// Processors to run on, for instance 0,2-3
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<CpuList>,
    /// Serve by a service, its calls made there [default: by a handler of bytes]
    #[arg(long, value_enum)]
    pub(crate) dispatch: Option<Dispatch>,
    /// Threads of the pool [default: four for each processor]
    #[arg(long, value_name = "N", requires = "dispatch", value_parser = |text: &str| whole::<u16>(text, 1, 1024), allow_negative_numbers = true)]
    pub(crate) threads: Option<u16>,
    /// Time slice of the pool's threads; `0s`: the kernel's usual one [default: 100us]
    #[arg(long, requires = "dispatch", value_parser = humantime::parse_duration)]
    pub(crate) pool_slice: Option<Duration>,
    /// How much nicer the pool's threads are than loops [default: 3]
    #[arg(long, value_name = "N", requires = "dispatch", value_parser = |text: &str| whole::<u8>(text, 0, 39), allow_negative_numbers = true)]
    pub(crate) pool_nice: Option<u8>,
    /// Processor time of each call
    #[arg(long, default_value = "0s", requires = "dispatch", value_parser = humantime::parse_duration)]
    pub(crate) work: Duration,
    /// Processor time of a slow call
    #[arg(long, default_value = "500us", requires = "slow_every", value_parser = humantime::parse_duration)]
    pub(crate) slow: Duration,
    /// One call in so many is slow: those that `lab load` with the same number knows to be
    #[arg(long, value_name = "N", requires = "dispatch", value_parser = |text: &str| whole::<u64>(text, 1, 1 << 32), allow_negative_numbers = true)]
    pub(crate) slow_every: Option<u64>,
    /// Print what loops, listeners and the pool have counted, as often as this
    #[arg(long, value_name = "INTERVAL", value_parser = duration)]
    pub(crate) stats: Option<Duration>,
    /// Answer `stats` lines on standard input
    #[arg(long, hide = true)]
    pub(crate) control: bool,
}

/// Arguments of `lab load`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArguments {
    /// What connections are
    #[arg(long, value_enum, default_value_t = Medium::Socket)]
    pub(crate) transport: Medium,
    /// HOST:PORT, or the path of a Unix socket if it contains `/`
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: Address,
    /// How messages are told apart
    #[arg(long, value_enum, default_value_t = Protocol::Frame)]
    pub(crate) protocol: Protocol,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = |text: &str| whole::<u32>(text, 1, u32::MAX.into()), allow_negative_numbers = true)]
    pub(crate) connections: u32,
    /// Requests in flight on each connection
    #[arg(long, value_name = "D", default_value_t = 1, value_parser = |text: &str| whole::<u32>(text, 1, 65536), allow_negative_numbers = true)]
    pub(crate) depth: u32,
    /// Payload of a request, in bytes, or with K, M or G
    #[arg(long, value_name = "S", default_value = "1K", value_parser = |text: &str| bytes_up_to::<u64>(text, LARGEST_SIZE), allow_negative_numbers = true)]
    pub(crate) size: u64,
    /// How long to measure
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to run before measuring
    #[arg(long, default_value = "200ms", value_parser = humantime::parse_duration)]
    pub(crate) warmup: Duration,
    /// Connections beside these that send requests and never read a reply; they have sent what the server takes before
    /// it is measured
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = |text: &str| whole::<u32>(text, 0, u32::MAX.into()), allow_negative_numbers = true)]
    pub(crate) stalled: u32,
    /// What each of them offers, in bytes, or with K, M or G
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = bytes, allow_negative_numbers = true)]
    pub(crate) stalled_bytes: u64,
    /// Requests per second over all connections; without it, as fast as replies come
    #[arg(long, value_name = "R", value_parser = rate, allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// Processor time between a reply and the next request of its connection, for which the load looks at nothing else
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration, conflicts_with = "rate")]
    pub(crate) think: Duration,
    /// How sessions in shared memory are woken [default: socket]
    #[cfg(feature = "shm")]
    #[arg(long, value_enum)]
    pub(crate) doorbell: Option<Doorbell>,
    /// Leave the latency of slow calls out of the report, one in so many (see `lab serve --slow-every`)
    #[arg(long, value_name = "N", value_parser = |text: &str| whole::<u64>(text, 1, 1 << 32), allow_negative_numbers = true)]
    pub(crate) slow_every: Option<u64>,
    /// Whether the load polls before it sleeps
    #[arg(long, value_enum, default_value_t = LoadSpin::Never)]
    pub(crate) spin: LoadSpin,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Processors to run on, for instance 0,2-3
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<CpuList>,
}

/// Arguments of `lab doctor`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `lab shmstat`.
#[cfg(feature = "shm")]
#[derive(Clone, Debug, Args)]
pub(crate) struct ShmstatArguments {
    /// Where the server listens
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Print the counts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of the hidden `lab floor`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FloorArguments {
    /// HOST:PORT, or the path of a Unix socket if it contains `/`
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Address,
    /// Whose receive buffer
    #[arg(long, value_enum, default_value_t = Variant::Shared)]
    pub(crate) variant: Variant,
}

/// Reads the arguments, the program's name first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = arguments.get(1).and_then(|word| word.to_str());
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let chosen = cli.command.unwrap_or(Command::Run(cli.run));
            match contradiction(&chosen) {
                Some(text) => Invocation::Refuse(one_line(text, command)),
                None => Invocation::Run(chosen),
            }
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Invocation::Print(error.to_string())
        }
        Err(error) => Invocation::Refuse(one_line(&error.to_string(), command)),
    }
}

/// Arguments that cannot be meant together.
#[cfg(feature = "shm")]
fn contradiction(command: &Command) -> Option<&'static str> {
    const PATH: &str = "shared memory connects through the path of a Unix socket, and a path contains `/`";
    const DOORBELL: &str =
        "only sessions in shared memory have a `--doorbell`: not without `--transport shm`";
    match command {
        Command::Serve(serve) if serve.transport != Transport::Shm && serve.doorbell.is_some() => {
            Some(DOORBELL)
        }
        Command::Load(load) if load.transport != Medium::Shm && load.doorbell.is_some() => Some(DOORBELL),
        Command::Serve(serve) if serve.transport == Transport::Shm => {
            matches!(serve.listen, Address::Tcp(_)).then_some(PATH)
        }
        Command::Load(load) if load.transport == Medium::Shm => match load.connect {
            Address::Tcp(_) => Some(PATH),
            Address::Unix(_) => {
                (load.stalled > 0).then_some("peers that never read are sockets: not with `--transport shm`")
            }
        },
        _ => None,
    }
}

#[cfg(not(feature = "shm"))]
fn contradiction(_: &Command) -> Option<&'static str> {
    None
}

/// The first paragraph of clap's message as one line: the error itself, without tips and usage; then whose help to ask for.
fn one_line(message: &str, command: Option<&str>) -> String {
    use clap::CommandFactory as _;
    let paragraph = message.lines().map(str::trim).take_while(|line| !line.is_empty());
    let line = paragraph.collect::<Vec<_>>().join(" ");
    let known = command.filter(|name| Cli::command().find_subcommand(name).is_some());
    let help = known.map_or("lab --help".into(), |name| format!("lab {name} --help"));
    format!("{} (try `{help}`)", line.strip_prefix("error: ").unwrap_or(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Invocation {
        parse(std::iter::once("lab").chain(line.split_whitespace()).map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        match parsed(line) {
            Invocation::Refuse(text) => text,
            other => panic!("{line:?} gave {other:?}"),
        }
    }

    #[test]
    fn no_command_is_run() {
        assert!(matches!(parsed(""), Invocation::Run(Command::Run(RunArguments { quick: false, .. }))));
        assert!(matches!(parsed("--quick"), Invocation::Run(Command::Run(RunArguments { quick: true, .. }))));
        assert!(matches!(
            parsed("run --quick"),
            Invocation::Run(Command::Run(RunArguments { quick: true, .. }))
        ));
    }

    #[test]
    fn the_documented_commands_parse() {
        let serve = "serve --transport epoll --listen 127.0.0.1:9000 --protocol frame --loops 2 --spin once --trigger et";
        let Invocation::Run(Command::Serve(serve)) = parsed(serve) else { panic!() };
        assert_eq!((serve.max_message, serve.trigger, serve.loops), (16 << 20, Trigger::Et, Some(2)));
        let load = "load --connect ./s --protocol frame --connections 3 --depth 2 --size 64K --duration 3s --rate 10 --json";
        let Invocation::Run(Command::Load(load)) = parsed(load) else { panic!() };
        assert_eq!((load.duration, load.warmup), (Duration::from_secs(3), Duration::from_millis(200)));
        assert_eq!((load.rate, load.size), (Some(10.0), 64 << 10));
    }

    #[test]
    fn every_refusal_is_one_line_that_names_the_culprit() {
        let cases = [
            ("--wrong", "--wrong"),
            ("dance", "dance"),
            ("load", "--connect"),
            ("serve", "--listen"),
            ("load --connect nowhere", "nowhere"),
            ("load --connect 127.0.0.1:65536", "`65536` is no port"),
            ("load --connect .:80", "no address is known for the host `.`"),
            ("load --connect 127.0.0.1:1 --connections 0", "connections"),
            ("load --connect 127.0.0.1:1 --depth 0", "depth"),
            ("load --connect 127.0.0.1:1 --rate -5", "-5"),
            ("load --connect 127.0.0.1:1 --stalled -1", "stalled"),
            ("load --connect 127.0.0.1:1 --stalled-bytes 5T", "5T"),
            ("load --connect 127.0.0.1:1 --rate nan", "rate"),
            ("load --connect 127.0.0.1:1 --duration 0s", "no time"),
            ("load --connect 127.0.0.1:1 --duration soon", "soon"),
            ("load --connect 127.0.0.1:1 --size 9999999999", "size"),
            ("serve --listen 127.0.0.1:1 --loops 0", "loops"),
            ("serve --listen 127.0.0.1:1 --trigger sometimes", "sometimes"),
            ("serve --listen 127.0.0.1:1 --loops -1", "loops"),
            ("serve --listen 127.0.0.1:1 --max-message 5G", "`5G` is more than 4294967295"),
            ("serve --listen 127.0.0.1:1 --max-message much", "`much` is no number of bytes"),
            ("load --connect 127.0.0.1:1 --size 2G", "`2G` is more than 1G"),
            ("load --connect 127.0.0.1:1 --think 1us --rate 1", "--think"),
            #[cfg(feature = "shm")]
            ("load --connect ./s --doorbell eventfd", "--transport shm"),
            #[cfg(feature = "shm")]
            ("serve --listen ./s --doorbell socket", "--transport shm"),
            ("serve --listen 127.0.0.1:1 --accept sometimes", "round-robin"),
            ("serve --listen 127.0.0.1:1 --cpus 3-1", "cpus"),
            ("run --transports epoll,pigeon", "'pigeon'"),
            ("run --shapes 100x1x1K,7", "`7` is no shape"),
            ("run --quick --shapes 1x1x1", "--shapes"),
            ("serve --listen 127.0.0.1:1 --dispatch sideways", "inline"),
            ("serve --listen 127.0.0.1:1 --work 1us", "--dispatch"),
            ("serve --listen 127.0.0.1:1 --dispatch pool --slow 1us", "--slow-every"),
            ("serve --listen 127.0.0.1:1 --dispatch pool --threads 0", "threads"),
            ("serve --listen 127.0.0.1:1 --dispatch pool --pool-nice 40", "from 0 to 39"),
            ("serve --listen 127.0.0.1:1 --pool-slice 1ms", "--dispatch"),
            ("serve --listen 127.0.0.1:1 --stats 0s", "no time"),
            ("load --connect 127.0.0.1:1 --slow-every 0", "slow-every"),
            #[cfg(feature = "shm")]
            ("load --connect 127.0.0.1:1 --transport shm", "a path contains `/`"),
            #[cfg(feature = "shm")]
            ("serve --listen 127.0.0.1:1 --transport shm", "a path contains `/`"),
            #[cfg(feature = "shm")]
            ("load --connect ./s --transport shm --stalled 1", "never read"),
        ];
        for (line, culprit) in cases {
            let text = refusal(line);
            assert!(!text.contains('\n') && text.contains(culprit), "{line:?}: {text}");
            let command = line.split(' ').next().filter(|word| ["run", "serve", "load"].contains(word));
            let help =
                command.map_or("(try `lab --help`)".into(), |name| format!("(try `lab {name} --help`)"));
            assert!(text.ends_with(&help), "{line:?}: {text}");
        }
    }

    #[test]
    fn help_hides_the_floor() {
        let Invocation::Print(help) = parsed("--help") else { panic!() };
        assert!(help.contains("\n  doctor ") && !help.contains("\n  floor "), "{help}");
    }
}
