//! Listeners, and which loop a new connection goes to.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::time::Duration;

use super::slots::{Closing, Entry};
use super::{ListenerMetrics, LoopHandle, Luggage, Mail, Reactor};
use crate::conn::{Connection, Handle};
use crate::driver::{Driver, Key};
use crate::net::Address;
use crate::service::{Handler, Peer};
use crate::sync::Arc;
use crate::trace::event;

/// How long a listener rests when the system is out of descriptors.
const REST: Duration = Duration::from_millis(100);

/// How a single acceptor spreads connections over loops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Each loop in turn.
    #[default]
    RoundRobin,
    /// The loop with the fewest connections.
    LeastConnections,
    /// By the peer's IP address, so that one host's connections share a loop. Peers without one go in turn.
    ByAddress,
}

/// Chooses loops for new connections. All listeners that spread theirs share one, which knows how much each loop was given.
#[derive(Debug)]
pub(crate) struct Placer<S> {
    placement: Placement,
    /// All loops; empty when connections stay where they are accepted.
    loops: Vec<LoopHandle<S>>,
    /// Which of them is the acceptor's own.
    own: usize,
    /// Connections given to each loop so far.
    given: Vec<u64>,
    next: usize,
    /// Listeners whose connections stay where they are accepted.
    keepers: Vec<Key>,
}

impl<S> Placer<S> {
    /// Every connection stays on the loop that accepts it.
    pub(crate) fn here() -> Self {
        Self {
            placement: Placement::default(),
            loops: Vec::new(),
            own: 0,
            given: Vec::new(),
            next: 0,
            keepers: Vec::new(),
        }
    }

    /// Connections are spread over `loops`, of which `own` is the acceptor's.
    pub(crate) fn over(loops: Vec<LoopHandle<S>>, own: usize, placement: Placement) -> Self {
        Self { placement, given: vec![0; loops.len()], loops, own, next: 0, keepers: Vec::new() }
    }

    /// The loop for a connection of a listener; `None` for the acceptor's own.
    fn choose(&mut self, listener: Key, peer: &Address) -> Option<&LoopHandle<S>> {
        if self.loops.is_empty() || self.keepers.contains(&listener) {
            return None;
        }
        let chosen = match (self.placement, peer) {
            (Placement::LeastConnections, _) => self.least(),
            (Placement::ByAddress, Address::Tcp(address)) => {
                let mut hasher = DefaultHasher::new();
                address.ip().hash(&mut hasher);
                usize::try_from(hasher.finish() % self.loops.len() as u64).unwrap_or(0)
            }
            _ => {
                self.next = (self.next + 1) % self.loops.len();
                self.next
            }
        };
        self.given[chosen] += 1;
        (chosen != self.own).then(|| &self.loops[chosen])
    }

    /// The loop with the fewest connections, whether accepted or dialled; what was given counts before its loop has
    /// looked at it. A loop that has ended looks at nothing any more, and so gets less and less.
    fn least(&self) -> usize {
        let load = |index: &usize| {
            let metrics = &self.loops[*index].metrics;
            // Read in this order, what its loop just looks at counts twice, not never.
            let under_way = self.given[*index].saturating_sub(metrics.placed.get());
            under_way + metrics.connections()
        };
        (0..self.loops.len()).min_by_key(load).unwrap_or(self.own)
    }
}

impl<D: Driver> Reactor<D> {
    /// Listens at `address` and serves connections here. See [`Driver::listen`] for `share` and the answer.
    ///
    /// # Errors
    /// As [`Driver::listen`].
    pub fn listen(&mut self, address: &Address, share: bool) -> io::Result<Address> {
        self.listen_as(address, share, false).map(|(bound, _)| bound)
    }

    /// As [`listen`](Self::listen), with what the listener counts. Those that `keep` do not give connections to other loops.
    pub(crate) fn listen_as(
        &mut self,
        address: &Address,
        share: bool,
        keep: bool,
    ) -> io::Result<(Address, Arc<ListenerMetrics>)> {
        let key = self.slots.reserve();
        match self.driver.listen(key, address, share) {
            Ok(bound) => {
                let metrics: Arc<ListenerMetrics> = Arc::default();
                self.slots.insert(key, Entry::Listener(Arc::clone(&metrics)));
                if keep {
                    self.placer.keepers.push(key);
                }
                Ok((bound, metrics))
            }
            Err(error) => {
                self.slots.retire(key);
                Err(error)
            }
        }
    }

    /// What each listener has counted.
    #[must_use]
    pub fn listeners(&self) -> Vec<Arc<ListenerMetrics>> {
        let entries = self.slots.keys().filter_map(|key| self.slots.get(key));
        entries
            .filter_map(|entry| if let Entry::Listener(it) = entry { Some(Arc::clone(it)) } else { None })
            .collect()
    }

    /// Spreads the connections accepted here with `placer`. To be called before listening.
    pub(crate) fn place_with(&mut self, placer: Placer<D::Socket>) {
        self.placer = placer;
    }

    pub(super) fn incoming(&mut self, listener: Key, socket: D::Socket) {
        if let Some(Entry::Listener(metrics)) = self.slots.get(listener) {
            metrics.accepted.add(1);
        }
        match self.placer.choose(listener, &D::peer(&socket)) {
            // A loop that has ended returns the socket, and dropping it closes it.
            Some(other) => drop(other.post.send(Mail::Connection(socket))),
            None => self.attach(socket),
        }
    }

    /// Makes a connection of a socket, with a handler of its own. A loop that is stopping closes it instead.
    pub fn attach(&mut self, socket: D::Socket) {
        if self.stopping != super::Level::Run {
            return;
        }
        if self.has_most_connections() {
            self.metrics.refused.add(1);
            return self.metrics.placed.add(1);
        }
        let peer = Peer { address: D::peer(&socket) };
        let key = self.slots.reserve();
        // Counted from here on, also where nothing comes of it.
        self.metrics.opened.add(1);
        self.metrics.placed.add(1);
        if self.driver.attach(key, socket).is_err() {
            // The socket is closed; nobody knows the connection yet, so nobody is told.
            self.gone();
            self.slots.retire(key);
            return;
        }
        match self.guard(|reactor| (reactor.maker)(&peer)) {
            Some(handler) => self.open(key, peer, handler, None, Luggage::default()),
            None => self.close_unopened(key),
        }
    }

    /// Closes a connection that has no handler, and was counted.
    pub(super) fn close_unopened(&mut self, key: Key) {
        self.slots.insert(key, Entry::Closing(Closing::Connection));
        self.driver.close(key);
    }

    /// Makes a connection of what the driver has under a reserved key.
    pub(super) fn open(
        &mut self,
        key: Key,
        peer: Peer,
        handler: Box<dyn Handler>,
        handle: Option<Handle>,
        luggage: Luggage,
    ) {
        event!(DEBUG, ?key, peer = %peer.address, "opened");
        let mut connection = Connection::new(handler, peer.address, self.options.marks);
        connection.handle = handle;
        self.slots.insert(key, Entry::Connection(connection));
        self.mind_connections();
        self.mind_idle(key);
        self.unpack(key, luggage);
        self.call_open(key);
    }

    /// Gives a connection what it has brought along. The handler gets the bytes later in the turn.
    fn unpack(&mut self, key: Key, Luggage { received, unsent, shut }: Luggage) {
        let Some(connection) = self.slots.connection(key) else { return };
        if !received.is_empty() {
            connection.input = received;
            let reads_on = connection.handler.as_ref().is_some_and(|handler| handler.reads_on());
            let act = connection.automaton.renew(reads_on);
            debug_assert!(act.is_nothing(), "the handler is the one that the connection began with");
            self.relieved.push(key);
        }
        let bytes = unsent.len();
        if bytes > 0 {
            let taken = self.driver.send(key, unsent, None);
            self.metrics.sent.add(taken as u64);
            let act = connection.passed(bytes, taken);
            self.passed(key, taken, act);
        }
        if shut && let Some(connection) = self.slots.connection(key) {
            let act = connection.automaton.shut_down();
            self.carry_out(key, act);
        }
    }

    pub(super) fn rest_listener(&mut self, key: Key, _error: &io::Error) {
        self.driver.receive(key, false);
        if self.resting.iter().any(|(_, resting)| *resting == key) {
            return;
        }
        event!(WARN, error = %_error, "a listener rests");
        self.metrics.accept_rests.add(1);
        if let Some(Entry::Listener(metrics)) = self.slots.get(key) {
            metrics.rests.add(1);
        }
        let until = self.driver.now() + REST;
        self.resting.push_back((until, key));
    }

    pub(super) fn close_listeners(&mut self) {
        let listeners: Vec<Key> = self
            .slots
            .keys()
            .filter(|key| matches!(self.slots.get(*key), Some(Entry::Listener(_))))
            .collect();
        for key in listeners {
            self.driver.close(key);
        }
    }
}
