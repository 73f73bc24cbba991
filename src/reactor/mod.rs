//! The event loop: one thread, one driver, and everything that belongs to the connections between them.
//!
//! # One turn
//!
//! ```text
//!   how long may we sleep?     spin policy, deadlines          spin.rs, deadlines.rs
//!   announce the sleep         mailbox armed, stop word read   <- the race is in `handover`
//!   driver.wait
//!   mail                       sockets from an acceptor        mail.rs
//!                              dials, adopted connections      dial/
//!   answers                    of calls made elsewhere         locals.rs
//!   stop word                  drain begins, or is over        stop.rs
//!   driver.next, until None    events -> automaton -> acts     dispatch.rs
//!   relieved handlers          call.rs
//!   what handlers have put off
//!   limits                     connections whose patience has ended   limits.rs
//!   deadlines                  draining, accepting
//!   budget                     memory of the pool, number of connections
//!   reclaim                    slots of closed connections
//! ```
//!
//! A slot is used again only after the turn in which its connection was closed, and then under a new generation, so
//! nothing that was under way for the old connection can reach the new one.

mod accept;
mod budget;
mod call;
mod deadlines;
mod detach;
mod dial;
mod dispatch;
mod lending;
mod limits;
mod locals;
mod mail;
mod metrics;
#[cfg(test)]
mod models;
mod scarce;
mod slots;
mod spin;
mod stop;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use accept::Placement;
pub(crate) use accept::Placer;
pub(crate) use dial::{Adopt, Answer, Dial, Join, Luggage, Request, Way};
pub use dial::{Attempt, DialError};
pub use mail::LoopHandle;
pub(crate) use mail::Mail;
pub use metrics::{ClosedBy, ListenerMetrics, LoopMetrics, PoolGauges};
pub use spin::Spin;
pub use stop::{StopWord, Stopper};

use crate::buffer::{Port, SegmentWriter};
use crate::conn::{CloseReason, Marks};
use crate::driver::{Caps, Driver, Key, SystemCalls};
use crate::handover::{Mailbox, Wakes};
use crate::service::{Handler, Locals, Peer, TurnEnd};
use crate::sync::Arc;
use crate::timer::Wheel;
use crate::trace::event;
use budget::Budget;
use slots::{Entry, Slots};
use spin::Spinner;
use stop::Level;

/// How a loop behaves.
#[derive(Clone, Copy, Debug)]
pub struct LoopOptions {
    /// Whether to look for work before sleeping. Default: never.
    pub spin: Spin,
    /// The time slice that the loop's thread asks of the kernel (sched_setattr(2), Linux 6.12), where
    /// [`Loops`](crate::net::Loops) or a server start it; `None`: the usual one. Not a larger share of the processor,
    /// but an earlier one: a loop that wakes up takes the processor from threads with longer slices at once, as long as
    /// it has not used up its share. From 0.1 to 100 ms. A kernel that knows no slices, or refuses, changes nothing and
    /// is noted in [`LoopMetrics::slice_refused`]. Inherited by threads that handlers start. Default: 0.1 ms.
    pub slice: Option<Duration>,
    /// The water marks of each connection's unsent bytes. Default: 256 KiB and 64 KiB.
    pub marks: Marks,
    /// The water marks of each connection's unread bytes: when its handler leaves more than the high one and does
    /// not [want](crate::service::Io::want) more, nothing is received until it has read down to the low one.
    /// Default: 1 MiB and 256 KiB.
    pub unread_marks: Marks,
    /// How long a connection may be without a byte going either way. Default: for ever.
    pub idle_limit: Option<Duration>,
    /// How long a message may take to arrive whole, from the time at which its first bytes were left unread by the
    /// handler. Default: 60 s.
    pub read_limit: Option<Duration>,
    /// How long a peer may take nothing of what is owed to it. Default: 60 s.
    pub write_limit: Option<Duration>,
    /// The most connections of the loop; at the most, its listeners rest. Default: 1,000,000.
    pub max_connections: usize,
    /// The bytes of the loop's pool that may be in use before the largest holders of unread bytes are not received
    /// from any more, and then nobody is accepted. Below the pool's own limit. Default: 512 MiB.
    pub memory_limit: usize,
    /// How long a stopping loop lets its connections finish. Default: 5 s.
    pub drain_limit: Duration,
    /// How much of that, and at most half, is left to the peers to end their connections by themselves, where the
    /// transport has a word that asks them to ([`Driver::leave`]). Peers that do not understand it cost a stop so much
    /// time. Default: 1 s.
    pub leave_limit: Duration,
    /// The most bytes that wait to be sent on one connection before [`Handle::send`](crate::conn::Handle::send)
    /// refuses more. Default: 64 MiB.
    pub most_unsent: usize,
    /// The longest sleep on a driver that [must be polled](crate::driver::Caps::must_poll); what arrives is noticed after
    /// so long. Default: 50 us.
    pub poll_interval: Duration,
    /// How long a connection that has sent everything waits for its peer's end. Default: 2 s.
    pub linger_limit: Duration,
}

impl Default for LoopOptions {
    fn default() -> Self {
        Self {
            spin: Spin::Never,
            slice: Some(Duration::from_micros(100)),
            marks: Marks::default(),
            unread_marks: Marks { high: 1 << 20, low: 256 << 10 },
            drain_limit: Duration::from_secs(5),
            leave_limit: Duration::from_secs(1),
            most_unsent: 64 << 20,
            idle_limit: None,
            read_limit: Some(Duration::from_secs(60)),
            write_limit: Some(Duration::from_secs(60)),
            max_connections: 1_000_000,
            memory_limit: 512 << 20,
            linger_limit: Duration::from_secs(2),
            poll_interval: Duration::from_micros(50),
        }
    }
}

/// Makes the handler of a new connection.
pub type Maker = Box<dyn Fn(&Peer) -> Box<dyn Handler> + Send>;

/// Whether a loop has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has.
    Continue,
    /// It was stopped, and its last connection is gone.
    Finished,
}

/// An event loop; see the module's documentation.
pub struct Reactor<D: Driver> {
    driver: D,
    options: LoopOptions,
    maker: Maker,
    slots: Slots,
    caps: Caps,
    /// Handlers write into it, one after another; what each wrote is taken after its call.
    writer: SegmentWriter,
    /// Lends the writer memory of the driver's for a call, where the driver has a preference.
    port: Option<Rc<Port>>,
    mailbox: Mailbox<Mail<D::Socket>>,
    inbox: Vec<Mail<D::Socket>>,
    placer: Placer<D::Socket>,
    spinner: Spinner,
    metrics: Arc<LoopMetrics>,
    stop: Arc<StopWord>,
    /// The level of the stop word that this loop has acted on.
    stopping: Level,
    /// When a drain is over.
    drain_until: Option<Instant>,
    /// How long peers that were asked to end their connections are waited for.
    leave_until: Option<Instant>,
    /// One timer for each connection that has a deadline, by slot.
    wheel: Wheel,
    /// The time, once somebody has asked for it in this part of the turn.
    now: Option<Instant>,
    budget: Budget,
    /// A listener broke: the loop cannot do what it is for.
    broken: Option<io::Error>,
    /// The slots of dials that are under way; and whether some of them may have been given up.
    dials: BTreeSet<Key>,
    sweep: bool,
    /// Listeners that rest after a failure, by the time they go on.
    resting: VecDeque<(Instant, Key)>,
    /// Connections whose congestion was over as soon as it had begun; their handlers are to be called again.
    relieved: Vec<Key>,
    /// A handler hands over, and the next one if that does so as soon as it is opened.
    succeeding: bool,
    successor: Option<Box<dyn Handler>>,
    /// What handlers want to have done when the turn is over.
    turn_ends: Vec<TurnEnd>,
    /// Tasks and threads that are woken then.
    wakes: Wakes,
    /// What handlers of one kind share.
    locals: Locals,
    /// Connections for which something has come to a local.
    visited: Vec<Key>,
    worked: bool,
}

impl<D: Driver> Reactor<D> {
    /// A loop around a driver, with no listener and no connection. It can be stopped through `stop`, and makes
    /// handlers with `maker`.
    #[must_use]
    pub fn new(driver: D, options: LoopOptions, stop: Arc<StopWord>, maker: Maker) -> Self {
        let mailbox = Mailbox::new(driver.bell());
        let caps = driver.caps();
        let pool = driver.pool().clone();
        let writer = match caps.send_memory_from {
            Some(many) => SegmentWriter::with_port(pool, many),
            None => SegmentWriter::new(pool),
        };
        let wheel = Wheel::new(driver.now());
        Self {
            driver,
            options,
            maker,
            slots: Slots::default(),
            caps,
            port: writer.port(),
            writer,
            mailbox,
            inbox: Vec::new(),
            placer: Placer::here(),
            spinner: Spinner::new(options.spin),
            metrics: Arc::default(),
            stop,
            stopping: Level::Run,
            drain_until: None,
            leave_until: None,
            wheel,
            now: None,
            budget: Budget::default(),
            broken: None,
            dials: BTreeSet::new(),
            sweep: false,
            resting: VecDeque::new(),
            relieved: Vec::new(),
            succeeding: false,
            successor: None,
            turn_ends: Vec::new(),
            wakes: Wakes::default(),
            locals: Locals::default(),
            visited: Vec::new(),
            worked: false,
        }
    }

    /// What other threads need to reach this loop.
    #[must_use]
    pub fn handle(&self) -> LoopHandle<D::Socket> {
        LoopHandle { post: self.mailbox.sender(), metrics: Arc::clone(&self.metrics) }
    }

    /// The system calls of this loop's driver.
    #[must_use]
    pub fn system_calls(&self) -> Arc<SystemCalls> {
        self.driver.system_calls()
    }

    /// Runs until the loop is stopped and its last connection is gone. Blocks.
    ///
    /// # Errors
    /// When the driver can no longer wait, or a listener breaks. The handlers are told, and all connections are closed with the loop.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            match self.turn() {
                Ok(Turn::Continue) => {}
                Ok(Turn::Finished) => {
                    event!(INFO, "a loop has ended");
                    return Ok(());
                }
                Err(error) => {
                    event!(ERROR, %error, "a loop broke");
                    self.abandon(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Tells every handler that its connection is gone with the driver.
    fn abandon(&mut self, error: &io::Error) {
        for key in self.connection_keys() {
            self.blame(key, CloseReason::Broken(error.kind().into()));
            self.closed(key);
        }
    }

    /// One turn; see the module's documentation. Blocks for as long as there is nothing to do.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn turn(&mut self) -> io::Result<Turn> {
        let mut rest = self.until_deadline();
        if self.caps.must_poll {
            let interval = self.options.poll_interval;
            rest = Some(rest.map_or(interval, |rest| rest.min(interval)));
        }
        let mut timeout = self.spinner.timeout(self.worked, rest);
        let busy = !self.relieved.is_empty() || !self.turn_ends.is_empty() || !self.wakes.is_empty();
        if timeout != Some(Duration::ZERO) && (busy || !self.announce_sleep()) {
            timeout = Some(Duration::ZERO);
        }
        let waited = self.driver.wait(timeout);
        if self.mailbox.disarm() {
            self.metrics.wakes.add(1);
        }
        waited?;
        self.now = None;
        self.worked = self.work();
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let finished = self.stopping != Level::Run && self.slots.is_empty();
        Ok(if finished { Turn::Finished } else { Turn::Continue })
    }

    /// Announces a sleep, unless there is news already.
    fn announce_sleep(&mut self) -> bool {
        if !self.mailbox.arm() {
            return false;
        }
        // After the announcement: whoever changes the word, or brings something, from now on wakes us.
        if self.stop.level() != self.stopping || self.locals.has_news() {
            if self.mailbox.disarm() {
                self.metrics.wakes.add(1);
            }
            return false;
        }
        true
    }

    /// Works off everything that is due. Answers whether there was anything.
    fn work(&mut self) -> bool {
        self.metrics.turns.add(1);
        let (spins, paid) = self.spinner.take_counts();
        if spins + paid > 0 {
            self.metrics.spins.add(spins);
            self.metrics.spins_paid.add(paid);
        }
        let mut worked = self.read_mail();
        worked |= self.visit_locals();
        worked |= self.heed_stop();
        while let Some(event) = self.driver.next() {
            worked = true;
            self.dispatch(event);
            if self.wakes.is_many() {
                self.wakes.wake_all();
            }
        }
        self.call_relieved();
        self.end_turn();
        // Handlers may have taken their time.
        self.now = None;
        self.meet_limits();
        self.meet_deadlines();
        self.mind_memory();
        self.slots.reclaim();
        self.metrics.timers.set(self.wheel.len() as u64);
        worked
    }

    fn connection_keys(&self) -> Vec<Key> {
        self.slots.keys().filter(|key| matches!(self.slots.get(*key), Some(Entry::Connection(_)))).collect()
    }
}

impl<D: Driver> Drop for Reactor<D> {
    /// A loop that is lost with connections in it leaves no handle that looks as if something came of it. What it has of
    /// the application is let go of piece by piece: where one panics, the others are dropped all the same, and whoever
    /// waits for them is answered.
    fn drop(&mut self) {
        let mut mail = std::mem::take(&mut self.inbox);
        self.mailbox.close(&mut mail);
        for mail in mail {
            self.guard(|_| drop(mail));
        }
        for key in self.slots.keys().collect::<Vec<_>>() {
            let mut entry = self.slots.remove(key);
            if let Some(Entry::Connection(connection)) = &mut entry {
                if let Some(handle) = &connection.handle {
                    handle.retire();
                }
                let (handler, reason) = (connection.handler.take(), connection.reason.take());
                self.guard(|_| drop(handler));
                self.guard(|_| drop(reason));
            }
            self.guard(|_| drop(entry));
        }
        for run in std::mem::take(&mut self.turn_ends) {
            self.guard(|_| drop(run));
        }
        while let Some(local) = self.locals.pop() {
            self.guard(|_| drop(local));
        }
    }
}

impl<D: Driver> fmt::Debug for Reactor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("options", &self.options)
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}
