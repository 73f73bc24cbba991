#![doc = include_str!("README.md")]
//!
//! # How the parts fit together
//!
//! [`Zerocopy`] is a [`SendPath`]: large pieces of the pool's memory are lent to the kernel, small ones are copied, in the
//! same flush and in order (`plan.rs`). The kernel says in the socket's error queue when it is done with them
//! (`tracker.rs`), and only then is the memory used again, and the token of the send released. Everything else is the
//! epoll driver.
//!
//! # The memory of a send
//!
//! ```text
//!   pool ---> written ---> lent ------- notification -------> pool
//!                           |
//!                           +-- connection closed: wait, at most `patience`
//!                                  |           |
//!                              notification    +---> quarantine: fresh pages, once nobody else holds the block ---> pool
//! ```
//!
//! # What the kernel may answer, and what follows
//!
//! * `ENOBUFS`: the socket's option memory or the user's locked memory is used up. The error queue is emptied and the call
//!   made once more; then the group is copied. Room is never waited for: epoll reports room all the time.
//! * `COPIED`: lending was pure loss; after some in a row the connection copies, and rarely tries again (`policy.rs`).
//! * `EOPNOTSUPP` from the option: the family cannot (Unix sockets); the connection copies.
//! * `EPOLLERR` means news of lent memory or a real error. The queue is read first; when it had something, a real error
//!   is found by receiving. A report may be older than the last look into the queue, which a send has taken meanwhile:
//!   then it is explained by what that look has found.
//!
//! A socket that somebody has switched to lending before is never lent to: its numbers are not ours. Memory that is
//! shared with other processes must not be lent across fork(2); the pool's is private, where both sides are safe.

mod departed;
mod kernel;
mod line;
mod plan;
mod policy;
mod stats;
mod sys;
mod tracker;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use linkpoll::buffer::Chain;
use linkpoll::driver::epoll::{
    Copying, Epoll, EpollOptions, Interest, Linux, Outcome, Readiness, SendPath, Socket, Tools,
};
use linkpoll::driver::{Event, Key, Lending, Token};
use linkpoll::sync::Arc;

use departed::{Departed, Graveyard};
pub use kernel::{Fetched, LendingKernel, Notification};
pub use line::Line;
pub use plan::{Group, Piece, Plan};
pub use policy::Policy;
pub use stats::LendingStats;
pub use tracker::{Stray, Tracker};

/// Pieces offered in one call.
const MOST_PIECES: usize = 64;

/// How a lending path behaves.
#[derive(Clone, Copy, Debug)]
pub struct ZerocopyOptions {
    /// The least bytes of a piece that is lent. Default: 16 KiB.
    pub least: usize,
    /// The most packets of 17 pages that one call lends. Default: 16, about 1 MiB.
    pub packets: usize,
    /// After so many calls that lent, the error queue is looked into even when nothing reports it: each unread
    /// notification is charged to the socket. Default: 32.
    pub heed_every: u32,
    /// How long a closed connection's memory is waited for. Default: 2 s.
    pub patience: Duration,
}

impl Default for ZerocopyOptions {
    fn default() -> Self {
        Self { least: 16 << 10, packets: 16, heed_every: 32, patience: Duration::from_secs(2) }
    }
}

/// Sends large pieces by reference; see the module's documentation.
#[derive(Debug)]
pub struct Zerocopy {
    options: ZerocopyOptions,
    plan: Plan,
    stats: Arc<LendingStats>,
    graveyard: Graveyard,
    notifications: Vec<Notification>,
}

/// An epoll driver that sends by reference.
pub type ZerocopyEpoll = Epoll<Linux, Zerocopy>;

/// A driver on a fresh epoll instance.
///
/// # Errors
/// As [`Epoll::new`].
pub fn driver(options: EpollOptions, zerocopy: ZerocopyOptions) -> io::Result<ZerocopyEpoll> {
    Epoll::with_path(Linux::new()?, Zerocopy::new(zerocopy), options)
}

impl Zerocopy {
    /// A path that has lent nothing.
    #[must_use]
    pub fn new(options: ZerocopyOptions) -> Self {
        let plan = Plan { least: options.least, packets: options.packets, pieces: MOST_PIECES };
        Self {
            options,
            plan,
            stats: Arc::default(),
            graveyard: Graveyard::default(),
            notifications: Vec::new(),
        }
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> Arc<LendingStats> {
        Arc::clone(&self.stats)
    }

    /// Whether this large send may go by reference.
    fn may_lend<K: LendingKernel>(
        &mut self,
        tools: &mut Tools<'_, K>,
        line: &mut Line,
        fd: BorrowedFd<'_>,
    ) -> bool {
        if line.policy == Policy::Fresh {
            tools.calls.other.add(2);
            line.policy = match tools.kernel.is_lending(fd) {
                Ok(false) if tools.kernel.set_lending(fd, true).is_ok() => {
                    line.begin(tools.kernel.first_number());
                    Policy::Lending(0)
                }
                Ok(true) => Policy::Foreign,
                _ => Policy::Never,
            };
        }
        line.policy.may_lend() && self.has_room(tools, line, fd)
    }

    /// Whether one more call may lend. Looks for news when there is no room, and now and then.
    fn has_room<K: LendingKernel>(
        &mut self,
        tools: &mut Tools<'_, K>,
        line: &mut Line,
        fd: BorrowedFd<'_>,
    ) -> bool {
        if !line.has_room() || line.unheeded() >= self.options.heed_every {
            self.heed(tools, line, fd);
        }
        line.has_room()
    }

    /// Reads the error queue until it is empty.
    fn heed<K: LendingKernel>(&mut self, tools: &mut Tools<'_, K>, line: &mut Line, fd: BorrowedFd<'_>) {
        let mut any = false;
        loop {
            tools.calls.other.add(1);
            let fetched = tools.kernel.notifications(fd, &mut self.notifications);
            for notification in self.notifications.drain(..) {
                line.take_back(notification, &self.stats, |token, lending| {
                    tools.events.push_back(Event::Released(token, lending));
                });
            }
            any |= fetched.is_ok();
            // An error is an empty queue, or a socket whose error receiving will find.
            if !matches!(fetched, Ok(Fetched::Some)) {
                return line.heeded(any);
            }
        }
    }

    /// Sends a group by reference. Answers how many bytes were taken; none when it has to be copied.
    fn lend<K: LendingKernel>(
        &mut self,
        tools: &mut Tools<'_, K>,
        line: &mut Line,
        fd: BorrowedFd<'_>,
        chain: &mut Chain,
        group: Group,
    ) -> io::Result<Option<usize>> {
        for again in [true, false] {
            tools.calls.send.add(1);
            match send_group(tools.kernel, fd, chain, group) {
                Ok(n) => {
                    if let Ok(lent) = chain.split_to(n)
                        && n > 0
                    {
                        line.lend(lent, &self.stats);
                    }
                    return Ok(Some(n));
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOBUFS) if again => self.heed(tools, line, fd),
                    Some(libc::ENOBUFS) => self.stats.refusals.add(1),
                    // KERNEL: tcp(7) sockets with an upper protocol of their own (kTLS) take the option, and not the flag.
                    Some(libc::EOPNOTSUPP) => {
                        line.policy = Policy::Never;
                        return Ok(None);
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(None)
    }

    /// Gives up waiting for the memory of a closed connection.
    fn bury(&mut self, mut departed: Departed) {
        let (segments, tokens) = departed.line.give_up(&self.stats);
        self.graveyard.quarantine(segments, tokens, &self.stats);
    }

    fn release_quarantined(&mut self, events: &mut VecDeque<Event<Socket>>) {
        let release = |token| events.push_back(Event::Released(token, Lending::Lent));
        self.graveyard.look(&self.stats, release);
    }
}

impl<K: LendingKernel> SendPath<K> for Zerocopy {
    type Line = Line;
    const LENDS: bool = true;

    #[inline]
    fn send(
        &mut self,
        mut tools: Tools<'_, K>,
        line: &mut Line,
        fd: BorrowedFd<'_>,
        chain: &mut Chain,
    ) -> Outcome {
        // Most sends are small, and as cheap as without this path.
        if chain.len() < self.plan.least || matches!(line.policy, Policy::Never | Policy::Foreign) {
            return Copying.send(tools, &mut (), fd, chain);
        }
        let large: usize = pieces(chain).filter(|piece| self.plan.lends(*piece)).map(|piece| piece.len).sum();
        if large == 0 {
            return Copying.send(tools, &mut (), fd, chain);
        }
        let mut lends = self.may_lend(&mut tools, line, fd);
        let mut lent = 0;
        while lends && let Some(group) = self.plan.first(pieces(chain)) {
            let sent = if group.lent {
                match self.lend(&mut tools, line, fd, chain, group) {
                    Ok(Some(n)) => {
                        lent += n;
                        // One that is tried by reference goes alone.
                        lends =
                            matches!(line.policy, Policy::Lending(_)) && self.has_room(&mut tools, line, fd);
                        Ok(0)
                    }
                    Ok(None) => {
                        lends = false;
                        Ok(0)
                    }
                    Err(error) => Err(error),
                }
            } else {
                tools.calls.send.add(1);
                send_group(tools.kernel, fd, chain, group)
            };
            match sent {
                Ok(n) => {
                    let skipped = chain.skip(n);
                    debug_assert_eq!(skipped, Ok(()), "the kernel takes no more than it is offered");
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Full,
                Err(error) => return Outcome::Failed(error),
            }
        }
        if chain.is_empty() {
            return Outcome::Done;
        }
        // Once nothing more of it is lent it need not be cut.
        let before = chain.len();
        let outcome = Copying.send(tools, &mut (), fd, chain);
        let copied = before - chain.len();
        self.stats.copied_bytes.add((large.saturating_sub(lent)).min(copied) as u64);
        outcome
    }

    #[inline]
    fn finished(&mut self, line: &mut Line, token: Token) -> Option<Lending> {
        line.finished(token)
    }

    #[inline]
    fn is_lent(&self, line: &Line) -> bool {
        line.is_lent()
    }

    fn heed_errors(&mut self, mut tools: Tools<'_, K>, line: &mut Line, fd: BorrowedFd<'_>) -> bool {
        if !line.is_lent() && matches!(line.policy, Policy::Fresh | Policy::Never) {
            // Nothing was lent from here. It may have been before it came, and still get news of that.
            return Copying.heed_errors(tools, &mut (), fd);
        }
        self.heed(&mut tools, line, fd);
        line.explains_report()
    }

    fn close(&mut self, mut tools: Tools<'_, K>, mut line: Line, key: Key, fd: OwnedFd) {
        self.heed(&mut tools, &mut line, fd.as_fd());
        if !line.is_lent() {
            return drop(fd);
        }
        tools.calls.other.add(1);
        tools.calls.control.add(1);
        let shut = tools.kernel.shutdown_both(fd.as_fd());
        // Edge-triggered: a dead socket is reported for ever, its notifications only once each.
        let news = Interest { receive: false, send: false, edge: true };
        let token = key.to_word();
        let watched = shut.and_then(|()| {
            let rewatched = tools.kernel.rewatch(fd.as_fd(), token, news);
            rewatched.or_else(|_| tools.kernel.watch(fd.as_fd(), token, news))
        });
        let patience = if watched.is_ok() { self.options.patience } else { Duration::ZERO };
        let until = tools.kernel.now() + patience;
        if let Some(earlier) = self.graveyard.insert(key, Departed { fd, line }, until) {
            self.bury(earlier);
        }
    }

    fn detach(&mut self, mut tools: Tools<'_, K>, mut line: Line, fd: BorrowedFd<'_>) {
        self.heed(&mut tools, &mut line, fd);
        // The option stays on: it tells the next owner that the socket may still get news of what was lent here.
        let (segments, tokens) = line.give_up(&self.stats);
        self.graveyard.quarantine(segments, tokens, &self.stats);
        self.release_quarantined(tools.events);
    }

    fn reported(&mut self, mut tools: Tools<'_, K>, key: Key, _readiness: Readiness) {
        let Some(mut departed) = self.graveyard.remove(key) else { return };
        self.heed(&mut tools, &mut departed.line, departed.fd.as_fd());
        if departed.line.is_lent() {
            self.graveyard.put_back(key, departed);
        } else {
            tools.calls.other.add(1);
        }
    }

    fn tend(&mut self, mut tools: Tools<'_, K>) -> Option<Duration> {
        if self.graveyard.is_empty() {
            return None;
        }
        let now = tools.kernel.now();
        while let Some(mut departed) = self.graveyard.expired(now) {
            self.heed(&mut tools, &mut departed.line, departed.fd.as_fd());
            tools.calls.other.add(1);
            self.bury(departed);
        }
        self.release_quarantined(tools.events);
        self.graveyard.rest(now)
    }
}

/// The pieces of a chain, as the plan sees them.
fn pieces(chain: &Chain) -> impl Iterator<Item = Piece> {
    chain.segments().map(|segment| Piece {
        len: segment.len(),
        offset: segment.as_ptr().addr() % 4096,
        lendable: segment.has_private_pages(),
    })
}

/// One call for a group.
fn send_group<K: LendingKernel>(
    kernel: &mut K,
    fd: BorrowedFd<'_>,
    chain: &Chain,
    group: Group,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MOST_PIECES];
    let mut left = group.bytes;
    for (slice, segment) in slices.iter_mut().zip(chain.segments()).take(group.pieces) {
        let part = segment.len().min(left);
        *slice = IoSlice::new(&segment[..part]);
        left -= part;
    }
    kernel.send_group(fd, &slices[..group.pieces], group.lent, group.bytes < chain.len())
}
