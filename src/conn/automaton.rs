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
//! Receiving is on while nothing holds it. Four things can:
//!
//! | hold | begins | ends | the handler meanwhile |
//! |---|---|---|---|
//! | congestion | unsent bytes exceed the high-water mark | they are at the low one, or below | gets no bytes and no end; one that *reads on* is called as ever, and holds nothing |
//! | pause | the application asks for it | it asks for the opposite | gets no bytes and no end |
//! | memory | the loop is over its budget, and this connection holds much of it | the loop is well below it | is called as ever |
//! | unread | a call leaves more bytes unread than the high-water mark, and does not want more | one leaves as many as the low mark or fewer, or wants more | is called as ever |
//!
//! Lingering exists because of what the kernel does when a socket is closed with bytes unread: it resets the
//! connection, and the peer may lose replies that were already sent (RFC 2525, 2.17). So the connection is first
//! ended in our direction, and closed when the peer has ended its own.
//!
//! **Congestion.** When it is over, the handler is told that it may write again, and then is given the bytes that came
//! meanwhile. So a peer that never reads costs the marks' worth of memory. A handler whose output does not come from its
//! input (a caller's, a stream's) reads on: two of them before each other, each of which reads only while it can write,
//! would wait for each other for ever.
//!
//! **Unread bytes.** A handler that leaves bytes where they are, for whatever reason, costs the marks' worth of memory
//! too. A large message is not kept from becoming whole: whoever waits for the rest of it wants more, and how large a
//! message may be is for the codec to say.
//!
//! **The end of the stream** is told to the handler after all bytes before it, which may be later than it is seen:
//! a congested or paused handler gets both when that is over (X-7, X-27). Calls come in one order, and `closed` once
//! and last, because one automaton decides on one thread (X-6, X-8, X-28).
//!
//! A handler that takes the place of another is owed everything as if the connection were new: the bytes that the
//! first one has left, and the end of the stream if it was seen, told or not. What holds receiving goes on to hold it.

/// The marks of flow control, in bytes not yet sent, or not yet read by the handler.
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

/// What holds receiving; see the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Too much is unsent.
    Congestion = 1,
    /// The application wants no more for now.
    Pause = 2,
    /// The loop is over its budget.
    Memory = 4,
    /// The handler has left too much unread.
    Unread = 8,
}

/// Holds during which the handler gets no bytes and no end.
const SILENT: u8 = Hold::Congestion as u8 | Hold::Pause as u8;

const fn heeded(reads_on: bool) -> u8 {
    if reads_on { !(Hold::Congestion as u8) } else { u8::MAX }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Automaton {
    marks: Marks,
    phase: Phase,
    unsent: usize,
    /// What holds receiving: bits of [`Hold`].
    holds: u8,
    /// The holds that matter to the handler: all, or all but congestion.
    heeded: u8,
    /// The handler is to be told that it may write again.
    relieved: bool,
    /// The handler is to be given bytes that wait.
    owed: bool,
    /// The peer has ended its direction; and the handler knows.
    eof: bool,
    eof_told: bool,
    /// Our direction ends behind what is queued.
    shut: bool,
}

impl Automaton {
    /// A connection that has just been established, with a handler that reads on while it is congested, or does not.
    #[must_use]
    pub fn new(marks: Marks, reads_on: bool) -> Self {
        Self {
            marks,
            phase: Phase::Open,
            unsent: 0,
            holds: 0,
            heeded: heeded(reads_on),
            relieved: false,
            owed: false,
            eof: false,
            eof_told: false,
            shut: false,
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
        self.phase == Phase::Open && self.holds & self.heeded & SILENT == 0
    }

    /// Whether nothing holds receiving.
    #[inline]
    fn is_free(&self) -> bool {
        self.holds & self.heeded == 0
    }

    /// Whether something holds receiving, or would if the handler did not read on.
    #[inline]
    #[must_use]
    pub fn is_held(&self, by: Hold) -> bool {
        self.holds & by as u8 != 0
    }

    /// Whether the peer has ended its direction, told or not.
    #[must_use]
    pub fn has_peer_ended(&self) -> bool {
        self.eof
    }

    /// Whether our direction ends, or has ended, behind what is queued. Nothing more may be queued then.
    #[inline]
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.shut
    }

    /// Answers once, after a congestion, that the handler is to be told that it may write again.
    #[inline]
    pub fn take_relief(&mut self) -> bool {
        self.phase == Phase::Open && !self.is_held(Hold::Congestion) && std::mem::take(&mut self.relieved)
    }

    /// Answers once, when the handler was kept from bytes and is so no more, that it is to be given what waits. Not
    /// before it was told that a congestion is over: it may count on the bytes to come after that.
    #[inline]
    pub fn take_owed(&mut self) -> bool {
        self.may_call() && !self.relieved && std::mem::take(&mut self.owed)
    }

    /// Answers once, when nothing stands between the handler and the end of the stream, that it is to be told.
    /// To be asked when all bytes that arrived have been handed to the handler.
    #[inline]
    pub fn take_eof(&mut self) -> bool {
        let tell = self.may_call() && !(self.relieved | self.owed) && self.eof && !self.eof_told;
        self.eof_told |= tell;
        tell
    }

    /// Whether the handler was told of the end of the stream.
    #[must_use]
    pub fn knows_end(&self) -> bool {
        self.eof_told
    }

    /// Bytes have arrived.
    #[inline]
    #[must_use]
    pub fn received(&mut self) -> Arrival {
        match self.phase {
            Phase::Open if self.holds & self.heeded & SILENT == 0 && !self.relieved => Arrival::Handle,
            Phase::Open => {
                self.owed = true;
                Arrival::Keep
            }
            _ => Arrival::Discard,
        }
    }

    /// Something begins to hold receiving.
    #[must_use]
    pub fn hold(&mut self, by: Hold) -> Act {
        let free = self.is_free();
        self.holds |= by as u8;
        let begins = free && !self.is_free() && self.phase == Phase::Open;
        Act { receive: begins.then_some(false), ..Act::default() }
    }

    /// Something holds receiving no longer.
    #[must_use]
    pub fn release(&mut self, by: Hold) -> Act {
        if !self.is_held(by) {
            return Act::default();
        }
        let free = self.is_free();
        self.holds &= !(by as u8);
        if self.phase != Phase::Open {
            return Act::default();
        }
        self.owed |= by as u8 & self.heeded & SILENT != 0;
        self.relieved |= by == Hold::Congestion;
        let ends = !free && self.is_free();
        Act { receive: ends.then_some(true), call: self.may_call(), ..Act::default() }
    }

    /// A call of the handler has left bytes unread, and wants more, or does not.
    #[must_use]
    pub fn left(&mut self, unread: usize, wants_more: bool, marks: Marks) -> Act {
        if unread <= marks.low || wants_more {
            self.release(Hold::Unread)
        } else if unread > marks.high && !self.is_held(Hold::Unread) {
            self.hold(Hold::Unread)
        } else {
            Act::default()
        }
    }

    /// Another handler takes the place of the present one, and reads on while it is congested, or does not.
    #[must_use]
    pub fn renew(&mut self, reads_on: bool) -> Act {
        let free = self.is_free();
        self.heeded = heeded(reads_on);
        self.relieved = false;
        self.eof_told = false;
        self.owed = true;
        let changes = free != self.is_free() && self.phase == Phase::Open;
        Act { receive: changes.then_some(!free), ..Act::default() }
    }

    /// Our direction is to end behind what is queued; receiving goes on.
    #[must_use]
    pub fn shut_down(&mut self) -> Act {
        let first = self.phase == Phase::Open && !std::mem::replace(&mut self.shut, true);
        Act { shutdown: first, ..Act::default() }
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
        if self.unsent > self.marks.high && !self.is_held(Hold::Congestion) {
            return self.hold(Hold::Congestion);
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
        if self.is_held(Hold::Congestion) && self.unsent <= self.marks.low {
            // The handler is told even when it is paused: it may write.
            let act = self.release(Hold::Congestion);
            return Act { call: self.phase == Phase::Open, ..act };
        }
        Act::default()
    }

    /// Whether nothing changes and nothing is to be done if so many bytes are given to the driver and it takes all of
    /// them at once.
    #[inline]
    #[must_use]
    pub fn is_through(&self, bytes: usize) -> bool {
        self.phase == Phase::Open && self.unsent == 0 && !self.shut && bytes <= self.marks.high
    }

    /// As [`queued`](Self::queued), then [`sent`](Self::sent), for bytes of which the driver has taken some at once.
    #[must_use]
    pub fn passed(&mut self, bytes: usize, taken: usize) -> Act {
        let queued = self.queued(bytes);
        let sent = self.sent(taken);
        Act { receive: sent.receive.or(queued.receive), ..sent }
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
        let shutdown = !std::mem::replace(&mut self.shut, true);
        Act { receive: Some(true), shutdown, linger: true, ..Act::default() }
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
