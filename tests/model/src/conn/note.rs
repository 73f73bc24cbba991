//! What is noted down while a program runs. Connections are numbered in the order in which their peers connect.

/// A call of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the calls")]
pub enum Callback {
    Open,
    Data,
    Writable,
    Eof,
    Woken,
    Drain,
}

/// How a call of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Goes on.
    Continue,
    /// Closes when everything is sent.
    Finish,
    /// Gives up.
    Abort,
    /// Panics.
    Panic,
    /// Goes on, but has left a hole open.
    OpenHole,
    /// Goes on, paused.
    Pause,
    /// Goes on, not paused.
    Resume,
    /// Goes on, and ends its direction.
    Shut,
    /// Another handler takes over.
    Become,
    /// The connection leaves its loop.
    Detach,
}

/// What is asked for through a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the methods")]
pub enum Asked {
    Wake,
    Pause,
    Resume,
    Close,
    Abort,
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// All of it was sent.
    Sent,
    /// The connection was closed when so many bytes of it were.
    Closed(usize),
    /// Nothing yet.
    Silent,
}

/// What a dial has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A connection.
    Connected,
    /// No address could be connected to.
    Failed,
    /// Its time was over.
    TimedOut,
    /// The loop has stopped.
    Stopped,
    /// Nothing, though the loop is gone.
    Silent,
}

/// Why a connection was closed, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Everything owed was sent.
    Done,
    /// The handler gave up or panicked.
    GivenUp,
    /// It broke.
    Broken,
    /// The time to drain was over.
    Expired,
    /// Its patience was over: no byte went either way; a message did not become whole; nothing was taken.
    Idle,
    /// See `Idle`.
    Read,
    /// See `Idle`.
    Write,
    /// It has left its loop.
    Detached,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The loop has accepted a connection.
    Accepted(usize),
    /// Somebody dials so many addresses, and gives up after so many nanoseconds, if ever.
    Dials(usize, usize, Option<u64>),
    /// An address was tried. One where there was no room will be tried again.
    Tried(usize),
    /// The kernel has a descriptor for an attempt to connect.
    Attempted(usize),
    /// An attempt has led to a connection, as far as the kernel is concerned.
    Connected(usize),
    /// Whoever dialled is told what has come of it.
    DialEnded(usize, Ended),
    /// The peer has sent bytes.
    Arrived(usize, usize),
    /// The peer has ended its direction.
    PeerEnded(usize),
    /// The connection cannot be used any more: it was reset, or a call was made to fail.
    Broke(usize),
    /// The driver was given bytes.
    Received(usize, usize),
    /// The driver was told of the end.
    EndSeen(usize),
    /// The driver's bytes were taken.
    Took(usize, usize),
    /// The driver has ended its direction.
    Shut(usize),
    /// The driver has closed the descriptor.
    Gone(usize),
    /// A handler is called, with so many bytes that it has not seen before.
    Called(usize, Callback, usize),
    /// A handler has written bytes, and answers.
    Answered(usize, usize, Answer),
    /// A call of a handler has read bytes or not, has left so many unread, and wants more or not.
    Left {
        /// The connection.
        id: usize,
        /// Whether bytes were read.
        consumed: bool,
        /// How many were not.
        unread: usize,
        /// Whether more are wanted.
        wants_more: bool,
    },
    /// The loop is about to sleep for at most so many milliseconds; none for as long as it takes.
    Sleeps(Option<u64>),
    /// Time has passed, in nanoseconds.
    Passed(u64),
    /// A turn of the loop is over.
    Turned,
    /// The loop is told to stop: from now on connections may be closed before their peers have ended.
    Stopped,
    /// The handler that takes over is given so many bytes again.
    Again(usize, usize),
    /// Somebody asks for something, to be done when the loop next turns, before anything else.
    Asked(usize, Asked),
    /// In the same way, that so many bytes are sent. The connection takes them.
    Given(usize, usize),
    /// What has become of so many bytes, behind so many others, when everything is over.
    Receipt(usize, usize, usize, Receipt),
    /// A handler is told the last.
    Closed(usize, Why),
    /// A connection has left its loop.
    Detached {
        /// The connection.
        id: usize,
        /// The bytes that its handler had consumed, and those that came along.
        consumed: usize,
        /// See `consumed`.
        received: usize,
        /// The bytes that are still to be sent.
        unsent: usize,
        /// Its peer has ended its direction, or was not seen to.
        peer_ended: bool,
        /// Its own direction is to end behind the bytes that are to be sent.
        shut: bool,
    },
    /// Every peer has ended and reads everything, and the loop has turned often enough to notice.
    Settled,
    /// Something that must never be.
    Fault(String),
}

impl Note {
    /// The connection that this is about, if it is about one.
    #[must_use]
    pub fn connection(&self) -> Option<usize> {
        match self {
            Self::Accepted(id)
            | Self::Dials(id, ..)
            | Self::Tried(id)
            | Self::Attempted(id)
            | Self::Connected(id)
            | Self::DialEnded(id, _)
            | Self::Arrived(id, _)
            | Self::PeerEnded(id)
            | Self::Broke(id)
            | Self::Received(id, _)
            | Self::EndSeen(id)
            | Self::Took(id, _)
            | Self::Shut(id)
            | Self::Gone(id)
            | Self::Called(id, ..)
            | Self::Answered(id, ..)
            | Self::Again(id, _)
            | Self::Asked(id, _)
            | Self::Given(id, _)
            | Self::Receipt(id, ..)
            | Self::Left { id, .. }
            | Self::Detached { id, .. }
            | Self::Closed(id, _) => Some(*id),
            Self::Sleeps(_)
            | Self::Passed(_)
            | Self::Turned
            | Self::Stopped
            | Self::Settled
            | Self::Fault(_) => None,
        }
    }
}
