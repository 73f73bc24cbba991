//! Why a connection is gone, as the holder of its stream learns it.

use std::fmt;
use std::io;

use crate::conn::CloseReason;

/// Why a stream's connection is gone. It is the source of the [`io::Error`]s of the stream:
/// `error.get_ref().and_then(|it| it.downcast_ref::<Ended>())`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Both directions have ended in good order, or somebody has closed the connection through a handle.
    Finished,
    /// Somebody has aborted the connection through a handle.
    Aborted,
    /// Code on the loop panicked.
    Panicked,
    /// The connection broke, with this error of the system, if it was one.
    Broken(Option<i32>),
    /// The server stopped, and everything was sent.
    Stopped,
    /// The server stopped, and the time to drain was over.
    DrainExpired,
    /// No byte went either way for the idle limit.
    IdleExpired,
    /// A message that had begun was not whole within the read limit.
    ReadExpired,
    /// The peer took no byte of what is owed to it for the write limit.
    WriteExpired,
    /// Somebody has taken the connection off its loop through a handle; it goes on elsewhere.
    Detached,
    /// The loop is gone.
    LoopGone,
}

impl Ended {
    /// The number that says the same; never 0.
    pub(super) fn code(self) -> u64 {
        match self {
            Self::Finished => 1,
            Self::Aborted => 2,
            Self::Panicked => 3,
            Self::Stopped => 4,
            Self::DrainExpired => 5,
            Self::IdleExpired => 6,
            Self::ReadExpired => 7,
            Self::WriteExpired => 8,
            Self::LoopGone => 9,
            Self::Broken(None) => 10,
            Self::Detached => 12,
            Self::Broken(Some(errno)) => 11 | u64::from(errno.cast_unsigned()) << 8,
        }
    }

    /// What a [`code`](Self::code) says.
    pub(super) fn from_code(code: u64) -> Option<Self> {
        Some(match code & 0xff {
            0 => return None,
            1 => Self::Finished,
            2 => Self::Aborted,
            3 => Self::Panicked,
            4 => Self::Stopped,
            5 => Self::DrainExpired,
            6 => Self::IdleExpired,
            7 => Self::ReadExpired,
            8 => Self::WriteExpired,
            9 => Self::LoopGone,
            10 => Self::Broken(None),
            12 => Self::Detached,
            _ => Self::Broken(i32::try_from(code >> 8).ok()),
        })
    }

    /// Whether everything given to the transport was sent before the connection was closed.
    pub(super) fn is_orderly(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped)
    }

    /// The kind of error that a reader gets.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Self::Broken(Some(errno)) => io::Error::from_raw_os_error(errno).kind(),
            Self::IdleExpired | Self::ReadExpired | Self::WriteExpired => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::ConnectionAborted,
        }
    }

    /// The error of a read.
    pub(super) fn read_error(self) -> io::Error {
        io::Error::new(self.kind(), self)
    }

    /// The error of a write. After a close in good order there is nobody to write to.
    pub(super) fn write_error(self) -> io::Error {
        let kind = if self.is_orderly() { io::ErrorKind::BrokenPipe } else { self.kind() };
        io::Error::new(kind, self)
    }
}

impl From<&CloseReason> for Ended {
    fn from(reason: &CloseReason) -> Self {
        match reason {
            CloseReason::PeerEnded | CloseReason::Finished => Self::Finished,
            CloseReason::Aborted(_) => Self::Aborted,
            CloseReason::Panicked => Self::Panicked,
            CloseReason::Broken(error) => Self::Broken(error.raw_os_error()),
            CloseReason::Stopped => Self::Stopped,
            CloseReason::DrainExpired => Self::DrainExpired,
            CloseReason::IdleExpired => Self::IdleExpired,
            CloseReason::ReadExpired => Self::ReadExpired,
            CloseReason::WriteExpired => Self::WriteExpired,
            CloseReason::Detached => Self::Detached,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("the connection is closed"),
            Self::Aborted => f.write_str("the connection was aborted"),
            Self::Panicked => f.write_str("a handler of the connection panicked"),
            Self::Broken(Some(errno)) => {
                write!(f, "the connection broke: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Broken(None) => f.write_str("the connection broke"),
            Self::Stopped => f.write_str("the server stopped"),
            Self::DrainExpired => f.write_str("the server stopped and could not wait any longer"),
            Self::IdleExpired => f.write_str("the connection was idle for too long"),
            Self::ReadExpired => f.write_str("a message did not arrive whole in time"),
            Self::WriteExpired => f.write_str("the peer did not take what was sent to it in time"),
            Self::Detached => f.write_str("the connection was taken elsewhere"),
            Self::LoopGone => f.write_str("the loop of the connection is gone"),
        }
    }
}

impl std::error::Error for Ended {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_the_same() {
        let all = [
            Ended::Finished,
            Ended::Aborted,
            Ended::Panicked,
            Ended::Broken(None),
            Ended::Broken(Some(libc::ECONNRESET)),
            Ended::Stopped,
            Ended::DrainExpired,
            Ended::IdleExpired,
            Ended::ReadExpired,
            Ended::WriteExpired,
            Ended::Detached,
            Ended::LoopGone,
        ];
        for ended in all {
            assert_eq!(Ended::from_code(ended.code()), Some(ended));
        }
        assert_eq!(Ended::from_code(0), None);
        assert_eq!(Ended::Broken(Some(libc::ECONNRESET)).kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(Ended::Finished.write_error().kind(), io::ErrorKind::BrokenPipe);
    }
}
