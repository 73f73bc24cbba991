//! Why a load gives up.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::shape::LARGEST;
use crate::address::Address;
use crate::cli;
use crate::error::reason;

/// Why a load gives up. `outstanding` counts the calls, over all connections, that will never be answered.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// A connection could not be opened; `number` counts from 1.
    Connect { address: Address, number: u32, of: u32, source: io::Error },
    /// The server closed or reset a connection. `cause` is absent where it closed in order. `large` is the size of the
    /// requests where servers take so much only if they are told to.
    Closed { connection: usize, outstanding: usize, cause: Option<Errno>, large: Option<usize> },
    /// A reply is not the echo of its request: first wrong byte at `offset` of the frame, length prefix included.
    Differs { connection: usize, request: u64, offset: usize, outstanding: usize },
    /// The server sent bytes nobody asked for.
    Unasked { connection: usize, outstanding: usize },
    /// Requests are in flight and no reply came for `seconds`.
    Stalled { seconds: u64, outstanding: usize },
    /// A call of the load's own failed.
    System { what: &'static str, errno: Errno },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { address, number, of, source } => {
                write!(f, "connect to {address} (connection {number} of {of}): {}", reason(source))
            }
            Self::Closed { connection, outstanding, cause, large } => {
                write!(f, "connection {connection} was ")?;
                match cause {
                    None => f.write_str("closed by the server")?,
                    Some(errno) => write!(f, "lost ({})", reason(&(*errno).into()))?,
                }
                if let Some(size) = large {
                    let (size, most) = (cli::in_units(*size as u64), cli::in_units(LARGEST));
                    write!(
                        f,
                        " (requests of {size}: a server takes {most} unless its --max-message is larger)"
                    )?;
                }
                write!(f, ", {}", calls(*outstanding))
            }
            Self::Differs { connection, request, offset, outstanding } => write!(
                f,
                "the reply to request {request} on connection {connection} differs at byte {offset}, {}",
                calls(*outstanding)
            ),
            Self::Unasked { connection, outstanding } => {
                write!(f, "connection {connection} received bytes nobody asked for, {}", calls(*outstanding))
            }
            Self::Stalled { seconds, outstanding } => {
                write!(f, "no reply for {seconds} s, {}", calls(*outstanding))
            }
            Self::System { what, errno } => write!(f, "{what}: {}", reason(&(*errno).into())),
        }
    }
}

fn calls(outstanding: usize) -> String {
    format!("{outstanding} {} outstanding", if outstanding == 1 { "call" } else { "calls" })
}

impl std::error::Error for LoadError {}

impl LoadError {
    /// Names the failed call, for use with `map_err`.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { what, errno }
    }
}
