//! Frames: their kinds, their bodies, and which descriptors they have.

use std::fmt;

use super::Refusal;

/// The first bytes of a greeting.
pub const MAGIC: [u8; 8] = *b"LINKPOLL";
/// The versions of the protocol that this package speaks: the first and the last.
pub const VERSIONS: (u16, u16) = (1, 1);

/// The bytes before a body.
pub(super) const HEADER: usize = 4;
/// The longest body. Only the answer to a question about statistics comes near.
pub const MOST_BODY: usize = 4096;
/// A greeting may be longer than this version's: a later one may say more.
const MOST_HELLO: usize = 256;

pub(super) const DOORBELL: u8 = 1;
const HELLO: u8 = 2;
const SETUP: u8 = 3;
const READY: u8 = 4;
const REFUSED: u8 = 5;
const ADD_ARENA: u8 = 6;
const ARENA_READY: u8 = 7;
const BULK: u8 = 8;
const GO_AWAY: u8 = 9;
const ASK_STATISTICS: u8 = 10;
const STATISTICS: u8 = 11;

/// Who has connected, and who has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has connected.
    Client,
    /// Has accepted.
    Server,
}

/// The greeting: what a side could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The first and the last version that it speaks.
    pub versions: (u16, u16),
    /// Bits of what it can do; see `features` in the module `handshake`.
    pub features: u32,
    /// Which side it is.
    pub role: Role,
    /// A number that nobody could have guessed; the other side's set-up repeats it.
    pub nonce: u64,
}

/// The set-up: what a side brings, and how much it would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The version agreed upon: the last one that both speak.
    pub version: u16,
    /// The features agreed upon: those that both have.
    pub features: u32,
    /// The receiver's nonce.
    pub echo: u64,
    /// The bytes of the sender's ring.
    pub ring: u32,
    /// The entries of the sender's ring of releases.
    pub releases: u32,
    /// The most bytes of the receiver's arenas that the sender is going to map.
    pub arena: u32,
    /// The most bytes that the sender takes as one piece of sealed memory.
    pub bulk: u32,
}

/// More memory of the sender's, for what it lends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddArena {
    /// Which of the sender's arenas it is: they count from zero.
    pub number: u32,
    /// Its bytes.
    pub len: u32,
}

/// Sealed memory that a record in the ring refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Which record: they count from zero, and wrap.
    pub sequence: u32,
    /// Its bytes.
    pub len: u32,
}

/// One message. `F` is what a descriptor is: `OwnedFd`, or anything where there is no kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<F> {
    /// Look at the ring. A single byte, so that it never waits for the rest of itself.
    Doorbell,
    /// The first frame of either side.
    Hello(Hello),
    /// The second: a region, and an eventfd where that was agreed.
    Setup(Setup, F, Option<F>),
    /// The third: the other's region is mapped.
    Ready,
    /// The last, where a session ends before it has begun, or because of a violation.
    Refused(Refusal),
    /// An arena is to be mapped.
    AddArena(AddArena, F),
    /// It is mapped; what lies in it may be lent. The arena of this number.
    ArenaReady(u32),
    /// Sealed memory, sent before the record that refers to it.
    Bulk(Bulk, F),
    /// The server is leaving: end what is under way, and connect again.
    GoAway,
    /// Instead of a greeting: tell me how you are.
    AskStatistics,
    /// The answer: lines of text, `name value`.
    Statistics(String),
}

/// What a kind of frame may look like.
struct Shape {
    descriptors: (usize, usize),
    body: (usize, usize),
}

fn shape(kind: u8) -> Option<Shape> {
    let (descriptors, body) = match kind {
        HELLO => ((0, 0), (32, MOST_HELLO)),
        SETUP => ((1, 2), (32, 32)),
        READY | GO_AWAY => ((0, 0), (0, 0)),
        REFUSED => ((0, 0), (2, 2)),
        ADD_ARENA | BULK => ((1, 1), (8, 8)),
        ARENA_READY => ((0, 0), (4, 4)),
        ASK_STATISTICS => ((0, 0), (8, 8)),
        STATISTICS => ((0, 0), (0, MOST_BODY)),
        _ => return None,
    };
    Some(Shape { descriptors, body })
}

/// The header of a frame that is not a doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    kind: u8,
    pub(super) descriptors: usize,
    pub(super) body: usize,
}

impl Header {
    pub(super) const fn is_doorbell(kind: u8) -> bool {
        kind == DOORBELL
    }

    /// Reads a header, and checks all of it before a byte of the body has come.
    pub(super) fn read(bytes: [u8; HEADER]) -> Result<Self, FrameError> {
        let [kind, descriptors, low, high] = bytes;
        let shape = shape(kind).ok_or(FrameError::Kind(kind))?;
        let (descriptors, body) = (usize::from(descriptors), usize::from(u16::from_le_bytes([low, high])));
        if descriptors < shape.descriptors.0 || descriptors > shape.descriptors.1 {
            return Err(FrameError::Descriptors);
        }
        if body < shape.body.0 || body > shape.body.1 {
            return Err(FrameError::Length { kind, body });
        }
        Ok(Self { kind, descriptors, body })
    }
}

/// The bytes of a body, front to back. Its length has been checked.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (front, rest) = self.0.split_first_chunk::<N>().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *front
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

impl<F> Frame<F> {
    /// Reads a body, whose length has been checked, and takes as many descriptors as the header says.
    pub(super) fn read(
        header: Header,
        body: &[u8],
        descriptors: &mut impl Iterator<Item = F>,
    ) -> Result<Self, FrameError> {
        let mut body = Body(body);
        let mut descriptor = || descriptors.next().ok_or(FrameError::Descriptors);
        Ok(match header.kind {
            HELLO => Self::Hello(read_hello(&mut body)?),
            SETUP => {
                let (version, _) = (body.u16(), body.u16());
                let setup = Setup {
                    version,
                    features: body.u32(),
                    echo: body.u64(),
                    ring: body.u32(),
                    releases: body.u32(),
                    arena: body.u32(),
                    bulk: body.u32(),
                };
                let memory = descriptor()?;
                let bell = if header.descriptors > 1 { Some(descriptor()?) } else { None };
                Self::Setup(setup, memory, bell)
            }
            READY => Self::Ready,
            REFUSED => Self::Refused(Refusal::from_code(body.u16())),
            ADD_ARENA => Self::AddArena(AddArena { number: body.u32(), len: body.u32() }, descriptor()?),
            ARENA_READY => Self::ArenaReady(body.u32()),
            BULK => Self::Bulk(Bulk { sequence: body.u32(), len: body.u32() }, descriptor()?),
            GO_AWAY => Self::GoAway,
            ASK_STATISTICS if body.take() == MAGIC => Self::AskStatistics,
            ASK_STATISTICS => return Err(FrameError::Magic),
            STATISTICS => match std::str::from_utf8(body.0) {
                Ok(text) => Self::Statistics(text.to_owned()),
                Err(_) => return Err(FrameError::Text),
            },
            kind => return Err(FrameError::Kind(kind)),
        })
    }

    /// Adds the frame's bytes to `into`, and answers its descriptors. Statistics are cut at [`MOST_BODY`].
    pub(super) fn write(self, into: &mut Vec<u8>) -> Vec<F> {
        if matches!(self, Self::Doorbell) {
            into.push(DOORBELL);
            return Vec::new();
        }
        let start = into.len();
        into.extend([0; HEADER]);
        let (kind, descriptors) = self.write_body(into);
        let body = into.len() - start - HEADER;
        let len = u16::try_from(body).unwrap_or_else(|_| unreachable!("a body of {body} bytes"));
        let [low, high] = len.to_le_bytes();
        let count = u8::try_from(descriptors.len()).unwrap_or(u8::MAX);
        into[start..start + HEADER].copy_from_slice(&[kind, count, low, high]);
        descriptors
    }

    fn write_body(self, into: &mut Vec<u8>) -> (u8, Vec<F>) {
        match self {
            Self::Doorbell => (DOORBELL, Vec::new()),
            Self::Hello(hello) => {
                into.extend(MAGIC);
                into.extend(hello.versions.0.to_le_bytes());
                into.extend(hello.versions.1.to_le_bytes());
                into.extend(hello.features.to_le_bytes());
                into.extend([u8::from(hello.role == Role::Server), 0, 0, 0, 0, 0, 0, 0]);
                into.extend(hello.nonce.to_le_bytes());
                (HELLO, Vec::new())
            }
            Self::Setup(setup, memory, bell) => {
                into.extend(setup.version.to_le_bytes());
                into.extend([0; 2]);
                into.extend(setup.features.to_le_bytes());
                into.extend(setup.echo.to_le_bytes());
                for size in [setup.ring, setup.releases, setup.arena, setup.bulk] {
                    into.extend(size.to_le_bytes());
                }
                (SETUP, [Some(memory), bell].into_iter().flatten().collect())
            }
            Self::Ready => (READY, Vec::new()),
            Self::Refused(refusal) => {
                into.extend(refusal.code().to_le_bytes());
                (REFUSED, Vec::new())
            }
            Self::AddArena(AddArena { number, len }, memory) => {
                into.extend(number.to_le_bytes());
                into.extend(len.to_le_bytes());
                (ADD_ARENA, vec![memory])
            }
            Self::ArenaReady(number) => {
                into.extend(number.to_le_bytes());
                (ARENA_READY, Vec::new())
            }
            Self::Bulk(Bulk { sequence, len }, memory) => {
                into.extend(sequence.to_le_bytes());
                into.extend(len.to_le_bytes());
                (BULK, vec![memory])
            }
            Self::GoAway => (GO_AWAY, Vec::new()),
            Self::AskStatistics => {
                into.extend(MAGIC);
                (ASK_STATISTICS, Vec::new())
            }
            Self::Statistics(text) => {
                into.extend(&text.as_bytes()[..text.floor_char_boundary(MOST_BODY)]);
                (STATISTICS, Vec::new())
            }
        }
    }
}

fn read_hello(body: &mut Body<'_>) -> Result<Hello, FrameError> {
    if body.take() != MAGIC {
        return Err(FrameError::Magic);
    }
    let versions = (body.u16(), body.u16());
    let features = body.u32();
    let [role, ..] = body.take::<8>();
    let role = match role {
        0 => Role::Client,
        1 => Role::Server,
        _ => return Err(FrameError::Role),
    };
    Ok(Hello { versions, features, role, nonce: body.u64() })
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// There is no such kind.
    Kind(u8),
    /// No frame of this kind has a body of this length.
    Length {
        /// The kind.
        kind: u8,
        /// The bytes of the body.
        body: usize,
    },
    /// The greeting is not one of this protocol.
    Magic,
    /// The sender is neither client nor server.
    Role,
    /// Descriptors are missing, or there are more than the frames say.
    Descriptors,
    /// The statistics are not text.
    Text,
}

impl FrameError {
    /// What the peer is told.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Kind(_) | Self::Length { .. } | Self::Text => Refusal::Frame,
            Self::Magic => Refusal::Magic,
            Self::Role => Refusal::Role,
            Self::Descriptors => Refusal::Descriptors,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "there are no frames of kind {kind}"),
            Self::Length { kind, body } => write!(f, "a frame of kind {kind} with a body of {body} bytes"),
            Self::Magic => f.write_str("the greeting is not one of this protocol"),
            Self::Role => f.write_str("the sender is neither client nor server"),
            Self::Descriptors => {
                f.write_str("descriptors are missing, or there are more than the frames say")
            }
            Self::Text => f.write_str("the statistics are not text"),
        }
    }
}

impl std::error::Error for FrameError {}
