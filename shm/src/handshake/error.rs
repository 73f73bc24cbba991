//! Why there is no session.

use std::fmt;
use std::io;

use crate::region::Unfit;
use crate::wire::{ControlError, Credentials, Refusal};

/// What of the peer's is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its greeting.
    Hello,
    /// Its set-up, with its region.
    Setup,
    /// Its word that our region is mapped.
    Ready,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "greeting",
            Self::Setup => "set-up",
            Self::Ready => "readiness",
        })
    }
}

/// Why there is no session.
#[derive(Debug)]
pub enum HandshakeError {
    /// The peer would not have it.
    Refused(Refusal),
    /// The peer does not keep to the protocol, or has nothing in common with us.
    Rejected(Refusal),
    /// The peer's region cannot be used.
    Unfit(Unfit),
    /// The peer's user is not welcome.
    NotWelcome(Credentials),
    /// The peer took too long over this step.
    TimedOut(Step),
    /// The peer closed the connection, or died, before this step.
    Closed(Step),
    /// The socket, or what came over it, is of no use.
    Control(ControlError),
    /// This process has no descriptors or no memory left, cannot connect, or was given options that are impossible.
    Local(io::Error),
    /// The handshake was over before.
    Over,
}

impl HandshakeError {
    /// What the peer is told; nothing, if there is nobody to be told.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Rejected(refusal) => Some(*refusal),
            Self::Unfit(unfit) => Some(unfit.refusal()),
            Self::NotWelcome(_) => Some(Refusal::Policy),
            Self::TimedOut(_) => Some(Refusal::Time),
            Self::Control(error) => error.refusal(),
            Self::Local(_) => Some(Refusal::Resources),
            Self::Refused(_) | Self::Closed(_) | Self::Over => None,
        }
    }
}

impl Unfit {
    /// What the peer is told.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::NotMemory => Refusal::Kind,
            Self::Seals => Refusal::Seals,
            Self::Length { .. } | Self::Sparse { .. } => Refusal::Length,
            Self::Io(_) => Refusal::Resources,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "the peer refuses: {refusal}"),
            Self::Rejected(refusal) => write!(f, "the peer was refused: {refusal}"),
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::NotWelcome(who) => write!(f, "user {}, group {} is not welcome", who.user, who.group),
            Self::TimedOut(step) => write!(f, "the peer's {step} took too long"),
            Self::Closed(step) => write!(f, "the peer has closed the connection before its {step}"),
            Self::Control(error) => error.fmt(f),
            Self::Local(error) => error.fmt(f),
            Self::Over => f.write_str("the handshake is over"),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unfit(unfit) => Some(unfit),
            Self::Control(error) => Some(error),
            Self::Local(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Unfit> for HandshakeError {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl From<ControlError> for HandshakeError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        let kind = match &error {
            HandshakeError::Local(error) | HandshakeError::Control(ControlError::Io(error)) => error.kind(),
            HandshakeError::TimedOut(_) => io::ErrorKind::TimedOut,
            HandshakeError::Closed(_) | HandshakeError::Over => io::ErrorKind::ConnectionAborted,
            HandshakeError::Refused(Refusal::Policy) | HandshakeError::NotWelcome(_) => {
                io::ErrorKind::PermissionDenied
            }
            HandshakeError::Refused(_) => io::ErrorKind::ConnectionRefused,
            HandshakeError::Rejected(_) | HandshakeError::Unfit(_) | HandshakeError::Control(_) => {
                io::ErrorKind::InvalidData
            }
        };
        Self::new(kind, error)
    }
}
