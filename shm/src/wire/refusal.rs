//! Why a session was refused, in one number.

use std::fmt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why one side would not have the session. It is told to the other once, for people who look for the reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
            /// A code of a later version.
            Unknown(u16),
        }

        impl Refusal {
            /// All that this version knows.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* Self::Unknown(code) => code }
            }

            /// The reason with that number.
            #[must_use]
            pub const fn from_code(code: u16) -> Self {
                match code { $($code => Self::$name,)* code => Self::Unknown(code) }
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Unknown(code) => write!(f, "reason {code}"),
                }
            }
        }
    };
}

refusals! {
    /// A frame has an unknown kind, or an impossible length.
    Frame = 1, "a frame could not be read";
    /// The greeting is not one of this protocol.
    Magic = 2, "the greeting is not one of this protocol";
    /// The two sides have no version in common.
    Version = 3, "there is no version in common";
    /// Both sides are clients, or both are servers.
    Role = 4, "both sides have the same role";
    /// The peer's user or group is not welcome.
    Policy = 5, "the user is not welcome";
    /// The ring or another size is none that the protocol allows, or not the one agreed upon.
    Geometry = 6, "a size is impossible";
    /// A frame came with too few or too many descriptors.
    Descriptors = 7, "descriptors are missing, or there are too many";
    /// Memory is not sealed.
    Seals = 8, "memory is not sealed";
    /// Memory is not as long as declared, or not all there.
    Length = 9, "memory is not as long as declared";
    /// A descriptor is not of the right kind.
    Kind = 10, "a descriptor is of the wrong kind";
    /// The set-up does not answer the greeting.
    Nonce = 11, "the set-up does not answer the greeting";
    /// A frame came when it was not expected.
    Order = 12, "a frame came out of order";
    /// There are no descriptors, or there is no memory, for another session.
    Resources = 13, "there is no room for another session";
    /// A step took too long.
    Time = 14, "a step took too long";
    /// The server is about to end.
    Leaving = 15, "the server is leaving";
    /// The protocol was broken within a session: in the ring, or over the socket.
    Violation = 16, "the protocol was broken";
    /// One side sends messages, and the other a stream.
    Content = 17, "one side sends messages, and the other a stream";
}
