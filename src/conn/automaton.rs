//! The life of one connection as a pure automaton: events in, acts out.
//!
//! ```text
//!            finish()                 nothing unsent, peer has not ended
//!   Open ---------------> Flushing ------------------------------------> Lingering
//!    |  abort(), fail()      |  nothing unsent, peer has ended              |  peer ends, or time is over
//!    |                       v                                              v
//!    +------------------> Closing <-----------------------------------------+
//!                            |  closed()
//!                            v
//!                          Closed
//! ```
//!
//! | phase | callbacks | receiving | sending |
//! |---|---|---|---|
//! | Open | all | on, unless congested | on |
//! | Flushing | none more | off | what is left |
//! | Lingering | none more | on, and thrown away | ended (FIN sent) |
//! | Closing | none more | off | off |
//! | Closed | `closed`, just before | | |
//!
//! Lingering exists because of what the kernel does when a socket is closed with bytes unread: it resets the
//! connection, and the peer may lose replies that were already sent (RFC 2525, 2.17). So the connection is first
//! ended in our direction, and closed when the peer has ended its own.
//!
//! **Congestion.** Above the high-water mark of unsent bytes the connection is congested: receiving is off, and the
//! handler is not called with new bytes. At the low-water mark or below it is told that it may write again, and then
//! is given the bytes that came meanwhile. So a peer that never reads costs the marks' worth of memory.
//!
//! **The end of the stream** is told to the handler after all bytes before it, which may be later than it is seen:
//! a congested handler gets both when the congestion is over (X-7, X-27). Calls come in one order, and `closed` once
//! and last, because one automaton decides on one thread (X-6, X-8, X-28).

/// The marks of flow control, in bytes not yet sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Above this many, nothing more is received. Default: 256 KiB.
    pub high: usize,
    /// At this many or fewer, receiving goes on. Default: 64 KiB.
    pub low: usize,
}

impl Default for Marks {
    fn default() -> Self {
        Self { high: 256 << 10, low: 64 << 10 }
    }
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Bytes go both ways.
    Open,
    /// The last bytes are being sent.
    Flushing,
    /// Everything is sent, and the peer is to end its direction.
    Lingering,
    /// The driver has been told to close.
    Closing,
    /// The driver has closed.
    Closed,
}

/// What the reactor has to do now, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Act {
    /// Switch receiving on or off.
    pub receive: Option<bool>,
    /// Call the handler, see [`Automaton::may_call`].
    pub call: bool,
    /// End the sending direction.
    pub shutdown: bool,
    /// Lingering begins: the time it may take starts now.
    pub linger: bool,
    /// Close the connection.
    pub close: bool,
}

impl Act {
    /// Whether there is nothing to do.
    #[inline]
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.receive.is_none() & !(self.call | self.shutdown | self.linger | self.close)
    }
}

/// What to do with bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Hand them to the handler now.
    Handle,
    /// Keep them for later.
    Keep,
    /// Throw them away.
    Discard,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Automaton {
    marks: Marks,
    phase: Phase,
    unsent: usize,
    congested: bool,
    /// The handler is to be told that it may write again.
    relieved: bool,
    /// The peer has ended its direction; and the handler knows.
    eof: bool,
    eof_told: bool,
}

impl Automaton {
    /// A connection that has just been established.
    #[must_use]
    pub fn new(marks: Marks) -> Self {
        Self {
            marks,
            phase: Phase::Open,
            unsent: 0,
            congested: false,
            relieved: false,
            eof: false,
            eof_told: false,
        }
    }

    /// Where the connection is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The bytes given to the driver and not yet sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// The marks of flow control.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Whether the handler may be called with bytes or with the end of the stream.
    #[inline]
    #[must_use]
    pub fn may_call(&self) -> bool {
        self.phase == Phase::Open && !self.congested
    }

    /// Answers once, after a congestion, that the handler is to be told that it may write again.
    #[inline]
    pub fn take_relief(&mut self) -> bool {
        self.phase == Phase::Open && !self.congested && std::mem::take(&mut self.relieved)
    }

    /// Answers once, when nothing stands between the handler and the end of the stream, that it is to be told.
    /// To be asked when all bytes that arrived have been handed to the handler.
    #[inline]
    pub fn take_eof(&mut self) -> bool {
        let tell = self.may_call() && self.eof && !self.eof_told;
        self.eof_told |= tell;
        tell
    }

    /// Bytes have arrived.
    #[inline]
    #[must_use]
    pub fn received(&self) -> Arrival {
        match self.phase {
            Phase::Open if self.congested => Arrival::Keep,
            Phase::Open => Arrival::Handle,
            _ => Arrival::Discard,
        }
    }

    /// The peer has ended its direction.
    #[must_use]
    pub fn ended(&mut self) -> Act {
        self.eof = true;
        match self.phase {
            Phase::Open => Act { call: self.may_call(), ..Act::default() },
            Phase::Lingering => self.close(),
            _ => Act::default(),
        }
    }

    /// Bytes have been given to the driver.
    #[inline]
    #[must_use]
    pub fn queued(&mut self, bytes: usize) -> Act {
        self.unsent += bytes;
        if self.unsent > self.marks.high && !self.congested {
            self.congested = true;
            return Act { receive: (self.phase == Phase::Open).then_some(false), ..Act::default() };
        }
        Act::default()
    }

    /// The driver has sent bytes.
    #[inline]
    #[must_use]
    pub fn sent(&mut self, bytes: usize) -> Act {
        debug_assert!(bytes <= self.unsent, "a driver sends no more than it is given");
        self.unsent = self.unsent.saturating_sub(bytes);
        if self.unsent == 0 && self.phase == Phase::Flushing {
            return self.flushed();
        }
        if self.congested && self.unsent <= self.marks.low {
            self.congested = false;
            if self.phase == Phase::Open {
                self.relieved = true;
                return Act { receive: Some(true), call: true, ..Act::default() };
            }
        }
        Act::default()
    }

    /// Nothing more is to be handled: close when everything is sent.
    #[must_use]
    pub fn finish(&mut self) -> Act {
        if self.phase != Phase::Open {
            return Act::default();
        }
        self.phase = Phase::Flushing;
        if self.unsent == 0 { self.flushed() } else { Act { receive: Some(false), ..Act::default() } }
    }

    fn flushed(&mut self) -> Act {
        if self.eof {
            return self.close();
        }
        self.phase = Phase::Lingering;
        Act { receive: Some(true), shutdown: true, linger: true, ..Act::default() }
    }

    /// The connection broke, or nothing that is left to send matters: close now.
    #[must_use]
    pub fn close(&mut self) -> Act {
        if matches!(self.phase, Phase::Closing | Phase::Closed) {
            return Act::default();
        }
        self.phase = Phase::Closing;
        Act { close: true, ..Act::default() }
    }

    /// The driver has closed.
    pub fn closed(&mut self) {
        self.phase = Phase::Closed;
    }
}
