//! Who is measured: the floor and the transports, each a child process.

use clap::ValueEnum;

use crate::cli::{LoadSpin, Selected, ServerSpin, Side, Variant};

/// One server under one way of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contestant {
    /// As it stands in the table.
    pub(crate) name: String,
    /// How both ends wait.
    pub(crate) spin: &'static str,
    pub(crate) load_spin: LoadSpin,
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
        let arguments =
            ["serve", "--control", "--listen", "127.0.0.1:0", "--protocol", "frame", "--loops", "1"];
        let mut arguments = words(&arguments);
        arguments.extend(words(&["--spin", &spin]));
        arguments.extend(match side {
            Side::Transport(transport) => words(&["--transport", &name_of(&transport)]),
            Side::Service(dispatch) => words(&["--dispatch", &name_of(&dispatch)]),
        });
        let spin = if adaptive { "adaptive" } else { "never" };
        Self { name, spin, load_spin: load, arguments, drains: true }
    }

    /// The sides that take part, each sleeping, and polling too where `adaptive`.
    pub(crate) fn sides(sides: &[Side], adaptive: bool) -> Vec<Self> {
        let waits: &[bool] = if adaptive { &[false, true] } else { &[false] };
        let each = |side: &Side| waits.iter().map(|wait| Self::side(*side, *wait)).collect::<Vec<_>>();
        sides.iter().flat_map(each).collect()
    }
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
        let known = Side::all().into_iter().map(|side| format!("{}, ", side.name()));
        let refusal = format!("the transports are {}none", known.collect::<String>());
        assert_eq!(select("pigeon"), Err(refusal));
    }

    #[test]
    fn the_arguments_are_ones_this_program_takes() {
        let mut all = Contestant::sides(&Side::all(), true);
        all.push(Contestant::floor(Variant::Own));
        for contestant in all {
            let line = std::iter::once("lab".to_string()).chain(contestant.arguments.clone());
            let parsed = crate::cli::parse(line.map(Into::into));
            assert!(matches!(parsed, crate::cli::Invocation::Run(_)), "{contestant:?}: {parsed:?}");
        }
    }
}
