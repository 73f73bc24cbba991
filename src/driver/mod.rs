//! The seam between a connection and the way its bytes move.
//!
//! A [`Driver`] moves bytes for the connections of one loop. The seam is shaped by completions, so that it can also
//! say what readiness cannot: that the transport chose the memory, that bytes were sent but their memory is not
//! free yet, that one operation answers many times.
//!
//! * **Pulled.** [`wait`](Driver::wait) sleeps; [`next`](Driver::next) never blocks and answers one [`Event`] at a
//!   time, doing the work for it only then (the epoll driver receives inside of `next`). There is no callback, and
//!   no vector of events to own.
//! * **Owned.** [`send`](Driver::send) moves a chain into the driver, which drops its segments when the transport
//!   lets go of them. `send` answers how many bytes were taken at once, [`Event::Sent`] reports the others; flow
//!   control follows the two. Memory follows [`Event::Released`], which comes only for sends that ask for it.
//! * **Named by keys.** The caller allocates [`Key`]s; a driver never invents one, and never takes a descriptor or
//!   an address for an identity. An operation on a key that the driver no longer knows does nothing.
//! * **Of one thread.** A driver is built, used and dropped on its loop's thread. Only its [`Bell`] leaves it.
//!
//! # The life of a connection, as the driver tells it
//!
//! ```text
//!   connect --> Connected --+
//!                           +--> (Received | Sent | Released)* --> Eof? --> (Sent | Released)* --> Error? --> Closed
//!   attach -----------------+                                                                     Released*
//! ```
//!
//! * All bytes before the end of the stream are `Received` before `Eof`; nothing is received after it.
//! * `Eof` ends receiving only. Sending goes on until the caller ends it.
//! * After `Error` nothing but `Closed` and `Released` follows, and the caller must still [`close`](Driver::close).
//! * `Leaving` comes at most once, anywhere between `Connected` and `Error`, and changes nothing of all this.
//! * `Closed` answers `close`, once, within the same or the next batch. The key may be used again after that batch.
//! * The answers of `send` and the bytes of `Sent` events add up to at most the bytes given to `send`, and to exactly
//!   that many unless the connection fails or is closed first.

mod both;
pub mod epoll;
mod event;
mod key;
pub mod system;
mod system_calls;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

pub use both::{Both, BothSocket, Side};
pub use event::{Event, Lending, Token};
pub use key::{Key, KeyTable};
pub use system_calls::SystemCalls;

use crate::buffer::{AllocError, BlockPool, Chain, PoolUsage, Spent, Tail};
use crate::net::Address;
use crate::sync::{Arc, Bell};

/// What a driver can and cannot do, for those who plan around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Receive buffers are few: segments must not be held for long. The loop copies what a call of a handler leaves
    /// unread, and what arrives for handlers that do not [read in place](crate::service::Handler::reads_in_place).
    pub receive_is_scarce: bool,
    /// Memory of sent bytes may be in use long after they count as sent.
    pub releases_late: bool,
    /// The most connections served by one system call; 1 where each needs its own.
    pub largest_batch: usize,
    /// Nothing wakes a sleeper when bytes arrive: the loop must poll, and never sleeps for long
    /// ([`poll_interval`](crate::reactor::LoopOptions::poll_interval)).
    pub must_poll: bool,
    /// A connection can end its sending direction and still receive.
    pub half_close: bool,
    /// So many bytes to be sent are best written into memory from [`alloc_send`](Driver::alloc_send): what handlers
    /// reserve at once goes there, and what they write where the writer's present block has no room for it. `None`: the transport has no preference.
    pub send_memory_from: Option<usize>,
}

/// A connection that a driver has given up.
#[derive(Debug)]
pub struct Detached<S> {
    /// The connection itself.
    pub socket: S,
    /// Bytes that were received and had not been told.
    pub received: Chain,
    /// Bytes given to `send` that the transport has not taken.
    pub unsent: Chain,
}

impl<S> Detached<S> {
    /// With another socket in the place of this one.
    pub(crate) fn map_socket<T>(self, map: impl FnOnce(S) -> T) -> Detached<T> {
        let Self { socket, received, unsent } = self;
        Detached { socket: map(socket), received, unsent }
    }
}

/// Moves bytes for the connections of one loop; see the [module's documentation](self).
pub trait Driver: AsFd {
    /// A connection that is attached to no loop. Dropping it closes it.
    type Socket: Send + 'static;

    /// What this driver can do.
    fn caps(&self) -> Caps;

    /// The pool that received bytes lie in, for the writers of the same loop.
    fn pool(&self) -> &BlockPool;

    /// How much memory of this driver is in use, in all pools that it has.
    fn usage(&self) -> PoolUsage {
        self.pool().usage()
    }

    /// Takes in memory that other threads have given back, and has a [`wait`](Self::wait) end when they give back more:
    /// [`BlockPool::collect_and_watch`] of all its pools.
    fn watch_memory(&self) {
        self.pool().collect_and_watch();
    }

    /// A bell that ends [`wait`](Self::wait), for other threads.
    fn bell(&self) -> Box<dyn Bell>;

    /// The system calls made so far, by kind.
    fn system_calls(&self) -> Arc<SystemCalls>;

    /// The address of a socket's peer.
    fn peer(socket: &Self::Socket) -> Address;

    /// Listens at `address`; connections come as [`Event::Incoming`]. Answers the address in use, with the real
    /// port where 0 was asked for. With `share`, other listeners may share the port, and the kernel spreads
    /// connections over them.
    ///
    /// # Errors
    /// As socket(2), bind(2) and listen(2).
    fn listen(&mut self, key: Key, address: &Address, share: bool) -> io::Result<Address>;

    /// Makes a socket of a connected, non-blocking descriptor; `None`, which closes it, where connections are something
    /// else. No duplicate of the descriptor may outlive the connection.
    fn from_fd(fd: OwnedFd, peer: Address) -> Option<Self::Socket>;

    /// The descriptor of a socket; `None`, which closes the socket, where it has none.
    fn into_fd(socket: Self::Socket) -> Option<OwnedFd>;

    /// Starts to connect to `address`, from `local` if one is given (its port may be 0); [`Event::Connected`] or
    /// [`Event::Error`] follows.
    ///
    /// # Errors
    /// When it fails at once; then the driver has forgotten the key. `WouldBlock` says that the listener has no room
    /// in its queue and that nobody will tell when it has (Unix sockets, connect(2)): to be tried again.
    fn connect(&mut self, key: Key, address: &Address, local: Option<SocketAddr>) -> io::Result<()>;

    /// Takes in a connected socket. Receiving is on.
    ///
    /// # Errors
    /// When the socket cannot be watched; then it is closed.
    fn attach(&mut self, key: Key, socket: Self::Socket) -> io::Result<()>;

    /// Gives a connection up without closing it, with all its bytes. No event with its key follows (only `Released`),
    /// and the driver does not touch the socket again. The key may be used again after this batch. `None` when the key
    /// is not known, or when the connection has failed, or cannot be given up and fails for that: an event tells.
    fn detach(&mut self, key: Key) -> Option<Detached<Self::Socket>>;

    /// Switches receiving (or accepting) on or off. Events already under way may still come.
    fn receive(&mut self, key: Key, on: bool);

    /// Says that a connection expects `bytes` more for one message, to be received into one block if it can be.
    fn want(&mut self, key: Key, bytes: usize);

    /// Memory of at least `bytes` for bytes to be sent on this connection, where the transport has a preference. Only to
    /// be sent on this one: its peer may see all of it.
    ///
    /// # Errors
    /// When there is none.
    fn alloc_send(&mut self, key: Key, bytes: usize) -> Result<Tail, AllocError>;

    /// Sends a chain behind whatever was given before. Answers how many of its bytes the transport has taken at
    /// once; [`Event::Sent`] reports the others. With a token, [`Event::Released`] tells when the memory of all its
    /// bytes is free. A closed connection drops the chain, and still releases the token.
    fn send(&mut self, key: Key, chain: Chain, released: Option<Token>) -> usize;

    /// Sends bytes at once, from where they are, on a connection for which nothing waits to be sent. Answers how many the
    /// transport has taken, possibly none; the others are to be given to [`send`](Self::send), before anything else
    /// happens to the connection. A driver that does not send so takes none.
    fn send_bytes(&mut self, _key: Key, _bytes: &[u8]) -> usize {
        0
    }

    /// Takes back what nobody needs any more of the bytes that were received on a connection: a driver that receives into
    /// the same memory again learns of it sooner, and with less effort, than by the count of references.
    fn reuse(&mut self, _key: Key, spent: Spent) {
        drop(spent);
    }

    /// Ends the sending direction once everything given to `send` is sent.
    fn shutdown(&mut self, key: Key);

    /// Tells the peer that this side wants the connection to end soon, where the transport has a word for that and it is
    /// this side's to say. Answers whether the peer is told: it may finish what is under way then, and is expected to end
    /// its direction. Its side of the seam is [`Event::Leaving`].
    fn leave(&mut self, _key: Key) -> bool {
        false
    }

    /// Closes a connection or listener at once, with whatever it had to send. [`Event::Closed`] follows.
    fn close(&mut self, key: Key);

    /// Sleeps until something happens, the bell rings, or the time is over; `None` sleeps without limit, zero only
    /// looks. May return early for no reason. To be called when [`next`](Self::next) has answered `None`, or
    /// [`arm`](Self::arm) that there is nothing to tell.
    ///
    /// # Errors
    /// When waiting itself is broken; the driver is of no use then.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Gets ready for a sleep that somebody else makes, on this driver's descriptor. To be called right after a
    /// [`wait`](Self::wait) of no time. Answers zero when there is something to tell, or to do, already. Else whatever
    /// would end a wait makes the descriptor readable from now on, until the next wait; and the sleep may take as long
    /// as is answered, or without limit for `None`. When it is over, a wait of no time must follow if the descriptor
    /// is readable or a limit was answered.
    fn arm(&mut self) -> Option<Duration>;

    /// The time, on the clock that [`wait`](Self::wait) sleeps by.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// The next event, without blocking. `None` ends the batch.
    fn next(&mut self) -> Option<Event<Self::Socket>>;
}
