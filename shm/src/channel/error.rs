//! Why a message was not sent, or not received.

use std::fmt;
use std::io;

use linkpoll::sync::Arc;

use crate::session::SessionError;

/// Why a message was not sent, or not received. Only [`Session`](Self::Session) is for good.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChannelError {
    /// The session is over, or the peer gone.
    Session(Arc<SessionError>),
    /// The deadline has passed. Of a message that was to be sent, the peer sees nothing.
    TimedOut,
    /// It would have had to wait.
    WouldBlock,
    /// The message is longer than it may be.
    TooLong {
        /// Its bytes.
        len: usize,
        /// The most that there may be.
        longest: usize,
    },
    /// This side has ended its direction.
    Ended,
}

impl ChannelError {
    /// The kind of error for those who count them.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Session(error) => error.kind(),
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::WouldBlock => io::ErrorKind::WouldBlock,
            Self::TooLong { .. } => io::ErrorKind::InvalidInput,
            Self::Ended => io::ErrorKind::BrokenPipe,
        }
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::TimedOut => f.write_str("the deadline has passed"),
            Self::WouldBlock => f.write_str("it would have to wait"),
            Self::TooLong { len, longest } => {
                write!(f, "a message of {len} bytes, where {longest} is the most")
            }
            Self::Ended => f.write_str("this side has ended its direction"),
        }
    }
}

impl std::error::Error for ChannelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Session(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<ChannelError> for io::Error {
    fn from(error: ChannelError) -> Self {
        Self::new(error.kind(), error)
    }
}
