//! The operations of buffer programs, and their form in bytes: a code, then one byte for each operand.

use super::{Amount, Count, Letter, Operand, Pick, Size, Source, Via};

macro_rules! operations {
    ($($(#[$doc:meta])* $weight:literal: $name:ident { $($field:ident: $type:ident),* };)+) => {
        /// One operation.
        #[expect(missing_docs, reason = "what an operation does with its operands is said of the operation")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $($(#[$doc])* $name { $($field: $type),* },)+
        }

        impl Op {
            /// How often each operation is generated, by its code.
            pub(super) const WEIGHTS: &[u32] = &[$($weight),+];
            const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Reads one operation; none at the end of the input. Operands that are missing are zero.
            pub fn decode(input: &mut &[u8]) -> Option<Self> {
                type Decoder = fn(&mut &[u8]) -> Op;
                const DECODERS: &[Decoder] = &[$(|_input| Op::$name { $($field: $type::from_byte(byte(_input).unwrap_or(0))),* }),+];
                let code = byte(input)?;
                Some(DECODERS[usize::from(code) % DECODERS.len()](input))
            }

            /// Appends the bytes that [`decode`](Self::decode) reads as this operation.
            pub fn encode(self, into: &mut Vec<u8>) {
                let code = Self::NAMES.iter().position(|name| *name == self.name());
                into.push(code.and_then(|code| u8::try_from(code).ok()).unwrap_or_default());
                match self {
                    $(Self::$name { $($field),* } => into.extend_from_slice(&[$($field.byte()),*]),)+
                }
            }

            /// The operation's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)+
                }
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
    /// Copies bytes into the writer.
    9: Write { size: Size, via: Via };
    /// Reserves room, writes into it in two steps, lets a lease go in between, and commits a part.
    5: Reserve { room: Size, written: Amount, committed: Amount, lease: Pick };
    /// Leaves out bytes.
    3: Hole { len: Size };
    /// Fills a hole.
    4: Fill { hole: Pick };
    /// Fills a hole with one byte too many, which uses it up.
    1: FillWrongly { hole: Pick };
    /// Appends a segment.
    4: Append { size: Size, source: Source };
    /// Takes a part off the chain and appends it to the writer.
    3: AppendChain { amount: Amount };
    /// Moves what was written to the chain.
    9: Take {};
    /// Throws away what was written.
    1: Discard {};

    /// Allocates a tail.
    2: Tail { size: Size };
    /// Writes into the tail and adds it to the chain.
    3: TailPush { amount: Amount };
    /// Writes into the tail and keeps it.
    2: TailCommit { amount: Amount };
    /// Starts the tail over, if nobody holds a part of its block.
    2: TailReset {};

    /// Looks at the first bytes.
    5: Peek { amount: Amount };
    /// Reads the first bytes.
    5: Next { amount: Amount };
    /// Drops the first bytes.
    3: Skip { amount: Amount };
    /// Keeps the first bytes.
    5: Slice { amount: Amount };
    /// Takes the first bytes and appends them at the end.
    3: Rotate { amount: Amount };
    /// Reads up to a delimiter.
    3: Until { delimiter: Letter };
    /// Looks for a delimiter.
    3: Find { delimiter: Letter };
    /// Keeps the first piece.
    3: Pop {};
    /// Gathers pieces.
    2: IoSlices { entries: Count };
    /// Reads as `std::io::Read`.
    2: Read { amount: Amount };
    /// Reads as `std::io::BufRead`.
    2: ReadBuffered { amount: Amount };
    /// Reads as `bytes::Buf`.
    2: Advance { amount: Amount };
    /// Gives back what an idle chain does not need.
    3: Compact {};
    /// Adds pieces of one byte each, no two of them neighbours.
    2: PushPieces { count: Count };

    /// Keeps a lease twice.
    2: Clone { lease: Pick };
    /// Keeps a part of a lease, too.
    2: Cut { lease: Pick, from: Amount, len: Amount };
    /// Splits a lease in two.
    1: Split { lease: Pick, at: Amount };
    /// Lets a lease go.
    5: Drop { lease: Pick };
    /// Lets a lease go on another thread.
    1: DropElsewhere { lease: Pick };
    /// Lets all leases go.
    1: DropAll {};
    /// Copies a lease out of its block.
    1: Detach { lease: Pick };
    /// Changes the bytes of a lease, if nobody else holds its block.
    2: Unique { lease: Pick };
    /// Turns a lease into `bytes::Bytes` and back.
    1: ThroughBytes { lease: Pick };
    /// Adds a lease to the chain.
    2: Push { lease: Pick };

    /// Sends a part of the chain into the stream.
    4: StreamPush { amount: Amount };
    /// Sends a part of the chain, byte by byte.
    4: StreamPushSingly { count: Count };
    /// The reader takes over what is in flight.
    4: StreamRefill {};
    /// The reader reads.
    4: StreamRead { amount: Amount };
    /// The reader keeps bytes.
    2: StreamSlice { amount: Amount };
    /// The reader reports what it has consumed.
    2: StreamRelease {};
    /// The reader takes over, consumes and reports everything.
    4: StreamDrain {};
    /// Somebody else's bytes are put among the reader's unread ones.
    1: StreamIntrude { size: Size };
    /// The writer completes the stream.
    1: StreamFinish {};
    /// The writer goes away without completing the stream.
    1: StreamSever {};
    /// The reader goes away.
    1: StreamLeave {};
    /// A new stream takes the old one's place.
    2: StreamRenew {};
}
