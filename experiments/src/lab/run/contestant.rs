//! Who is measured: the floor and the transports, each a child process.

use std::sync::atomic::{AtomicUsize, Ordering};

use clap::ValueEnum;

use super::plan::Stage;
#[cfg(feature = "shm")]
use crate::cli::Doorbell;
use crate::cli::{LoadSpin, Selected, ServerSpin, Side, Variant};

/// One server under one way of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contestant {
    /// As it stands in the table.
    pub(crate) name: String,
    /// How both ends wait.
    pub(crate) spin: &'static str,
    pub(crate) load_spin: LoadSpin,
    /// Connections are sessions in shared memory, and not sockets.
    pub(crate) shared: bool,
    #[cfg(feature = "shm")]
    pub(crate) doorbell: Option<Doorbell>,
    /// Arguments that make this program that server.
    pub(crate) arguments: Vec<String>,
    /// A signal to end is answered by draining and exit code 0.
    pub(crate) drains: bool,
}

impl Contestant {
    /// The hand-written loop.
    pub(crate) fn floor(variant: Variant) -> Self {
        let variant = name_of(&variant);
        Self {
            name: format!("floor ({variant})"),
            spin: "never",
            load_spin: LoadSpin::Never,
            shared: false,
            #[cfg(feature = "shm")]
            doorbell: None,
            arguments: words(&["floor", "--listen", "127.0.0.1:0", "--variant", &variant]),
            drains: false,
        }
    }

    /// A transport or a service on one loop, sleeping or polling on both ends.
    pub(crate) fn side(side: Side, adaptive: bool) -> Self {
        let (server, load) = if adaptive {
            (ServerSpin::Adaptive, LoadSpin::Adaptive)
        } else {
            (ServerSpin::Never, LoadSpin::Never)
        };
        let (name, spin) = (side.name(), name_of(&server));
        let listen = if side.is_on_one_host() { fresh_path() } else { "127.0.0.1:0".into() };
        let mut arguments = words(&["serve", "--control", "--listen", &listen, "--protocol", "frame"]);
        arguments.extend(words(&["--loops", "1", "--spin", &spin]));
        arguments.extend(match side {
            Side::Transport(transport) => words(&["--transport", &name_of(&transport)]),
            Side::Service(dispatch) => words(&["--dispatch", &name_of(&dispatch)]),
            Side::Unix => Vec::new(),
            #[cfg(feature = "shm")]
            Side::Shm(doorbell) => words(&["--transport", "shm", "--doorbell", &name_of(&doorbell)]),
        });
        let spin = if adaptive { "adaptive" } else { "never" };
        #[cfg(feature = "shm")]
        let doorbell = if let Side::Shm(doorbell) = side { Some(doorbell) } else { None };
        Self {
            name,
            spin,
            load_spin: load,
            #[cfg(feature = "shm")]
            shared: doorbell.is_some(),
            #[cfg(not(feature = "shm"))]
            shared: false,
            #[cfg(feature = "shm")]
            doorbell,
            arguments,
            drains: true,
        }
    }

    /// The sides that take part in a stage, each in all its ways of waiting.
    pub(crate) fn of(stage: &Stage, sides: &[Side]) -> Vec<Self> {
        let waits = |side: Side| stage.waits(side).iter().map(move |wait| Self::side(side, *wait));
        stage.takes(sides).into_iter().flat_map(waits).collect()
    }
}

/// A path for a socket that nobody else of this process has been given.
fn fresh_path() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // ORDERING: Relaxed: only the value is of interest.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let file = format!("lab-run-{}-{number}.sock", std::process::id());
    std::env::temp_dir().join(file).to_string_lossy().into_owned()
}

/// The sides named by `--transports`, or all of them.
pub(crate) fn select(selected: Option<&[Selected]>) -> Vec<Side> {
    match selected {
        None => Side::all(),
        Some(selected) => selected.iter().filter_map(|selected| selected.0).collect(),
    }
}

fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Dispatch, Transport};

    #[test]
    fn transports_are_chosen_by_name() {
        let select = |names: &str| {
            let names = names.split(',').map(str::parse).collect::<Result<Vec<Selected>, String>>();
            names.map(|names| select(Some(&names)))
        };
        assert_eq!(super::select(None), Side::all());
        assert_eq!(select("none"), Ok(Vec::new()));
        assert_eq!(select("epoll"), Ok(vec![Side::Transport(Transport::Epoll)]));
        assert_eq!(select("pool"), Ok(vec![Side::Service(Dispatch::Pool)]));
        let refusal = select("pigeon").unwrap_err();
        assert!(
            refusal.starts_with("the transports are epoll, ") && refusal.ends_with(", none"),
            "{refusal}"
        );
        for side in Side::all() {
            assert!(refusal.contains(&format!("{}, ", side.name())), "{refusal}");
        }
    }

    #[test]
    fn the_arguments_are_ones_this_program_takes() {
        let both = |side: &Side| [false, true].map(|adaptive| Contestant::side(*side, adaptive));
        let mut all: Vec<_> = Side::all().iter().flat_map(both).collect();
        all.push(Contestant::floor(Variant::Own));
        for contestant in all {
            let line = std::iter::once("lab".to_string()).chain(contestant.arguments.clone());
            let parsed = crate::cli::parse(line.map(Into::into));
            assert!(matches!(parsed, crate::cli::Invocation::Run(_)), "{contestant:?}: {parsed:?}");
        }
    }
}
