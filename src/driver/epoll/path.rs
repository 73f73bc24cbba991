//! The way that bytes take out of the epoll driver: copied by the kernel, or lent to it.
//!
//! The driver decides when to send, keeps what the socket has no room for, and says what was sent. A [`SendPath`]
//! makes the calls. [`Copying`] is the usual one. A path that lends memory to the kernel gets more to do:
//!
//! ```text
//!   send ---------> bytes are sent; their memory may be lent from now on
//!   finished -----> the last byte of a send with a token is sent: is its memory free, or does the token wait?
//!   heed_errors --> the kernel reports an error, which may be news of lent memory     `Released`
//!   close --------> the connection is given up while memory is lent: the path keeps what it needs
//!   reported -----> news of such a connection
//!   tend ---------> before each wait: whose patience has ended?
//! ```
//!
//! `heed_errors` is called for every path: a socket may come from an owner that has lent its memory, and still get news
//! of that. What comes after it is called only for paths that [lend](SendPath::LENDS).

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::{Kernel, Readiness, Socket};
use crate::buffer::Chain;
use crate::driver::{Event, Key, Lending, SystemCalls, Token};

/// Pieces offered in one call: the first count where it suffices, for it takes less stack to set up.
const FEW_PIECES: usize = 16;
const MOST_PIECES: usize = 1024;

/// How a run of sends ended.
#[derive(Debug)]
pub enum Outcome {
    /// Everything is sent.
    Done,
    /// The socket has no room. The driver waits for some, and calls again.
    Full,
    /// The connection is broken.
    Failed(io::Error),
}

/// What a path works with, on one call.
#[derive(Debug)]
pub struct Tools<'a, K> {
    /// The system calls.
    pub kernel: &'a mut K,
    /// Their counters.
    pub calls: &'a SystemCalls,
    /// Where [`Event::Released`] goes.
    pub events: &'a mut VecDeque<Event<Socket>>,
}

/// Sends bytes; see the module's documentation.
pub trait SendPath<K: Kernel> {
    /// What the path knows of one connection.
    type Line: Default + fmt::Debug;

    /// Memory may be lent to the kernel beyond a call.
    const LENDS: bool;

    /// Sends until everything is sent, the socket is full, or it fails. What is sent leaves the chain.
    fn send(
        &mut self,
        tools: Tools<'_, K>,
        line: &mut Self::Line,
        fd: BorrowedFd<'_>,
        chain: &mut Chain,
    ) -> Outcome;

    /// Sends bytes from where they are, once, and answers how many the socket took; none where memory may be lent beyond
    /// the call.
    ///
    /// # Errors
    /// As send(2); `WouldBlock` when there is no room.
    fn send_bytes(&mut self, _tools: Tools<'_, K>, _fd: BorrowedFd<'_>, _bytes: &[u8]) -> io::Result<usize> {
        Ok(0)
    }

    /// Nothing of the send with this token is left to be sent. Answers what has become of its memory if that is free;
    /// else the path releases the token later.
    fn finished(&mut self, line: &mut Self::Line, token: Token) -> Option<Lending>;

    /// Whether the kernel has memory of this connection.
    fn is_lent(&self, _line: &Self::Line) -> bool {
        false
    }

    /// Looks for news of lent memory where the kernel reports errors. Answers whether they explain the report. Where
    /// nobody reads them, the kernel reports them for ever.
    fn heed_errors(&mut self, _tools: Tools<'_, K>, _line: &mut Self::Line, _fd: BorrowedFd<'_>) -> bool {
        false
    }

    /// The connection is closed, and the kernel still has memory of it. The descriptor is the path's, and still
    /// watched with this key as its token, unless the connection is broken.
    fn close(&mut self, _tools: Tools<'_, K>, _line: Self::Line, _key: Key, fd: OwnedFd) {
        drop(fd);
    }

    /// The connection goes to another owner, and the kernel still has memory of it.
    fn detach(&mut self, _tools: Tools<'_, K>, _line: Self::Line, _fd: BorrowedFd<'_>) {}

    /// The kernel reports a connection that was closed.
    fn reported(&mut self, _tools: Tools<'_, K>, _key: Key, _readiness: Readiness) {}

    /// Called before each wait. Answers how long it may take at most.
    fn tend(&mut self, _tools: Tools<'_, K>) -> Option<Duration> {
        None
    }
}

/// The kernel copies: memory is free when a call returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copying;

impl<K: Kernel> SendPath<K> for Copying {
    type Line = ();
    const LENDS: bool = false;

    #[inline]
    fn send(
        &mut self,
        tools: Tools<'_, K>,
        _line: &mut (),
        fd: BorrowedFd<'_>,
        chain: &mut Chain,
    ) -> Outcome {
        while !chain.is_empty() {
            tools.calls.send.add(1);
            let result = match chain.single() {
                Some(piece) => tools.kernel.send(fd, &[IoSlice::new(piece)]),
                None => send_pieces(tools.kernel, fd, chain),
            };
            match result {
                Ok(n) => {
                    let skipped = chain.skip(n);
                    debug_assert_eq!(skipped, Ok(()), "the kernel takes no more than it is offered");
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Full,
                Err(error) => return Outcome::Failed(error),
            }
        }
        Outcome::Done
    }

    #[inline]
    fn send_bytes(&mut self, tools: Tools<'_, K>, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        tools.calls.send.add(1);
        tools.kernel.send(fd, &[IoSlice::new(bytes)])
    }

    #[inline]
    fn finished(&mut self, _line: &mut (), _token: Token) -> Option<Lending> {
        Some(Lending::Copied)
    }

    /// Whoever has lent memory from this socket before is not there any more, so the news are dropped.
    #[cold]
    fn heed_errors(&mut self, tools: Tools<'_, K>, _line: &mut (), fd: BorrowedFd<'_>) -> bool {
        let mut any = false;
        loop {
            tools.calls.other.add(1);
            match tools.kernel.drop_error(fd) {
                Ok(true) => any = true,
                // What is wrong with the connection is no message: receiving finds it.
                Ok(false) => return any,
                // Not known: it is reported again.
                Err(_) => return true,
            }
        }
    }
}

fn send_pieces<K: Kernel>(kernel: &mut K, fd: BorrowedFd<'_>, chain: &Chain) -> io::Result<usize> {
    if chain.pieces() <= FEW_PIECES {
        let mut slices = [IoSlice::new(&[]); FEW_PIECES];
        let n = chain.io_slices(&mut slices);
        return kernel.send(fd, &slices[..n]);
    }
    let mut slices = [IoSlice::new(&[]); MOST_PIECES];
    let n = chain.io_slices(&mut slices);
    kernel.send(fd, &slices[..n])
}
