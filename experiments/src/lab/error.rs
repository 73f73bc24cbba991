//! What can go wrong in `lab`, each printed as one line.

use std::fmt;
use std::io;

use crate::load::LoadError;

/// What fails when nobody reads what is printed.
pub(crate) const STANDARD_OUTPUT: &str = "write to standard output";

/// Why a command of `lab` failed.
#[derive(Debug)]
pub(crate) enum LabError {
    /// An operation of the system failed; `what` names it and its object.
    System { what: String, source: io::Error },
    /// More file descriptors are needed than the hard limit grants.
    Descriptors { needed: u64, limit: u64 },
    /// A server started by `lab run` did not do its part.
    Server { name: String, detail: String },
    /// The load saw a wrong or missing reply.
    Load(LoadError),
    /// The same, in a run that knows which server was driven.
    Driven { name: String, source: LoadError, fate: Option<String> },
    /// What was asked for is not there.
    Unavailable(String),
}

impl LabError {
    /// Names what was attempted, for use with `map_err`.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::System { what, source: source.into() }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { what, source } => write!(f, "{what}: {}", reason(source)),
            Self::Descriptors { needed, limit } => write!(
                f,
                "{needed} file descriptors are needed but the hard limit is {limit} (root may raise it: `ulimit -Hn {needed}`)"
            ),
            Self::Server { name, detail } => write!(f, "server {name}: {detail}"),
            Self::Load(source) => write!(f, "{source}"),
            Self::Driven { name, source, fate: None } => write!(f, "server {name}: {source}"),
            Self::Driven { name, source, fate: Some(fate) } => write!(f, "server {name} {fate}: {source}"),
            Self::Unavailable(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for LabError {}

impl From<LoadError> for LabError {
    fn from(source: LoadError) -> Self {
        Self::Load(source)
    }
}

/// The text of a system error without the `(os error 98)` that says nothing more.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text).to_string();
    let mut letters = text.chars();
    // Lower case after a colon; an acronym keeps its form.
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_is_one_plain_line() {
        let error = LabError::System {
            what: "listen on 127.0.0.1:1".into(),
            source: io::Error::from_raw_os_error(libc::EADDRINUSE),
        };
        assert_eq!(error.to_string(), "listen on 127.0.0.1:1: address already in use");
    }
}
