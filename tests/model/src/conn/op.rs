//! The operations of connection programs, and their form in bytes: a code, then one byte for each operand.

use super::Answer;

/// A number of bytes, by a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u8);

impl Size {
    const SIZES: [usize; 16] =
        [0, 1, 2, 3, 7, 100, 1000, 1024, 4095, 4097, 16_384, 30_000, 65_535, 65_537, 131_072, 300_000];

    /// The number.
    #[must_use]
    pub fn bytes(self) -> usize {
        Self::SIZES[usize::from(self.0) % Self::SIZES.len()]
    }
}

/// A length of time, by a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub u8);

impl Length {
    const MILLISECOND: u64 = 1_000_000;

    /// In nanoseconds.
    #[must_use]
    pub fn nanoseconds(self) -> u64 {
        let lengths = [
            1,
            Self::MILLISECOND / 2,
            Self::MILLISECOND,
            20 * Self::MILLISECOND,
            // Just before, at, and just after the limits of `Setup`.
            100 * Self::MILLISECOND - 1,
            100 * Self::MILLISECOND,
            150 * Self::MILLISECOND,
            200 * Self::MILLISECOND,
            300 * Self::MILLISECOND - 1,
            300 * Self::MILLISECOND,
            1000 * Self::MILLISECOND,
            3600 * 1000 * Self::MILLISECOND,
        ];
        lengths[usize::from(self.0) % lengths.len()]
    }
}

/// How a handler behaves when nothing is decided for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour(pub u8);

impl Behaviour {
    /// It answers as many bytes as it consumes.
    #[must_use]
    pub fn echoes(self) -> bool {
        self.0 & 1 == 0
    }

    /// It goes on after the peer's end.
    #[must_use]
    pub fn outlives_eof(self) -> bool {
        self.0 & 6 == 6
    }

    /// It goes on while the server drains.
    #[must_use]
    pub fn outlives_drain(self) -> bool {
        self.0 & 24 == 24
    }

    /// It asks for contiguous bytes.
    #[must_use]
    pub fn joins(self) -> bool {
        self.0 & 32 != 0
    }

    /// It leaves everything unread.
    #[must_use]
    pub fn waits(self) -> bool {
        self.0 & 192 == 128
    }

    /// It announces what it waits for.
    #[must_use]
    pub fn announces(self) -> bool {
        self.0 & 64 != 0
    }
}

/// What becomes of a dial, by a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub u8);

/// What becomes of one attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is connected at once.
    Connects,
    /// It is under way, and connected when somebody looks next.
    ConnectsLater,
    /// It is refused at once.
    IsRefused,
    /// It is under way, and refused when somebody looks next.
    IsRefusedLater,
    /// It is under way for ever.
    Hangs,
    /// The queue of the listener is full, so many times, and then it is connected at once.
    FindsNoRoom(u8),
}

impl Outcome {
    /// A dial gives up after so many nanoseconds.
    pub const TIMEOUT: u64 = 150_000_000;

    /// Its addresses, in order.
    pub fn attempts(self) -> impl Iterator<Item = Attempt> {
        let attempt = |code: u8| match code % 7 {
            0 => Attempt::Connects,
            1 | 2 => Attempt::ConnectsLater,
            3 => Attempt::IsRefused,
            4 => Attempt::IsRefusedLater,
            5 => Attempt::Hangs,
            _ => Attempt::FindsNoRoom(2),
        };
        let second = (self.0 >= 128).then(|| attempt(self.0 / 7));
        std::iter::once(attempt(self.0)).chain(second)
    }

    /// Whether it gives up at all.
    #[must_use]
    pub fn is_limited(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// What one call of a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The part of the input that is consumed, in 255ths.
    pub consume: u8,
    /// The bytes that are written.
    pub write: Size,
    how: u8,
}

impl Decision {
    /// How the call ends; none for the handler's usual way.
    #[must_use]
    pub fn answer(self) -> Option<Answer> {
        match self.how % 24 {
            0 | 1 => Some(Answer::Finish),
            2 => Some(Answer::Abort),
            3 => Some(Answer::Panic),
            4 => Some(Answer::OpenHole),
            5..=12 => Some(Answer::Continue),
            13 => Some(Answer::Pause),
            14 | 15 => Some(Answer::Resume),
            16 => Some(Answer::Shut),
            17 | 18 => Some(Answer::Become),
            19 => Some(Answer::Detach),
            _ => None,
        }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $weight:literal: $name:ident { $($field:ident),* };)+) => {
        /// One operation. A connection is named by any byte: it is taken modulo the number there is.
        #[expect(missing_docs, reason = "what an operation does with its operands is said of the operation")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $($(#[$doc])* $name { $($field: u8),* },)+
        }

        impl Op {
            /// How often each operation is generated, by its code.
            pub(super) const WEIGHTS: &[u32] = &[$($weight),+];

            /// Reads one operation; none at the end of the input. Operands that are missing are zero.
            pub fn decode(input: &mut &[u8]) -> Option<Self> {
                type Decoder = fn(&mut &[u8]) -> Op;
                const DECODERS: &[Decoder] =
                    &[$(|_input| Op::$name { $($field: byte(_input).unwrap_or(0)),* }),+];
                let code = byte(input)?;
                Some(DECODERS[usize::from(code) % DECODERS.len()](input))
            }

            /// Appends the bytes that [`decode`](Self::decode) reads as this operation.
            pub fn encode(self, into: &mut Vec<u8>) {
                let mut code = 0_u8;
                $(
                    if let Self::$name { $($field),* } = self {
                        into.extend_from_slice(&[code $(, $field)*]);
                    }
                    code += 1;
                )+
                let _ = code;
            }
        }
    };
}

/// Takes the first byte of the input.
fn byte(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

operations! {
    /// A peer connects; its handler behaves so.
    5: Connect { behaviour };
    /// A connection goes before it is accepted.
    1: Vanish {};
    /// Bytes arrive.
    12: Arrive { conn, size };
    /// Bytes arrive just after the next receive.
    3: ArriveLate { conn, size };
    /// The peer ends its direction.
    3: End { conn };
    /// The peer resets the connection.
    1: Reset { conn };
    /// The peer reads: there is room for so many bytes more.
    10: Room { conn, size };
    /// From now on a send takes at most so many bytes at a time.
    2: ShortSends { conn, size };
    /// The next send fails.
    1: FailSend { conn, how };
    /// The next receive fails.
    1: FailReceive { conn, how };
    /// Readiness is reported that is not there.
    2: Spurious { conn, bits };
    /// The next call of the handler does so.
    10: Decide { conn, consume, write, how };
    /// The loop turns.
    16: Turn {};
    /// The loop is stopped.
    1: Stop {};
    /// Time passes, while the loop sleeps.
    6: Pass { length };
    /// Somebody wakes the connection's handler.
    4: Wake { conn };
    /// Somebody pauses the connection.
    1: Pause { conn };
    /// Somebody lets it go on.
    3: Resume { conn };
    /// Somebody sends bytes on it.
    4: Send { conn, size };
    /// Somebody closes it when everything is sent.
    1: CloseByHandle { conn };
    /// Somebody closes it at once.
    1: AbortByHandle { conn };
    /// Somebody dials: the connection, if it comes about, is numbered among those of peers, and its handler behaves so.
    3: Dial { behaviour, outcome };
}

impl Op {
    /// What is decided, if this is a decision, and for which connection.
    #[must_use]
    pub fn decision(self) -> Option<(u8, Decision)> {
        match self {
            Self::Decide { conn, consume, write, how } => {
                Some((conn, Decision { consume, write: Size(write), how }))
            }
            _ => None,
        }
    }
}
