//! Whose sessions are welcome.

use crate::wire::Credentials;

/// Decides by the user and group who opened the other end of the socket. File permissions of the socket's path come before
/// that: connecting takes the right to write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Those of the effective user of this process.
    #[default]
    SameUser,
    /// Those of any of these effective users, or with any of these effective groups.
    Only {
        /// Numbers of users.
        users: Vec<u32>,
        /// Numbers of groups.
        groups: Vec<u32>,
    },
    /// Everybody's.
    Anyone,
}

impl Policy {
    /// Whether a peer is welcome to a process of user `own`.
    #[must_use]
    pub fn welcomes(&self, peer: Credentials, own: u32) -> bool {
        match self {
            Self::SameUser => peer.user == own,
            Self::Only { users, groups } => users.contains(&peer.user) || groups.contains(&peer.group),
            Self::Anyone => true,
        }
    }
}
