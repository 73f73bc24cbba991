//! Waiting for records, and for room: look, then park, then sleep.
//!
//! Looking leaves the thresholds of this side where they are, so the peer makes no system call meanwhile.

use std::hint::spin_loop;
use std::io;
use std::time::{Duration, Instant};

use linkpoll::driver::epoll::{Interest, Kernel as _, Linux, Ready};

use super::patience::Look;
use super::{Channel, ChannelError, Limit};
use crate::session::{Parked, Session, SessionError};
use crate::wire::ControlError;

/// Looks between two looks at the clock: about a microsecond.
const BURST: u32 = 128;
/// What a look that pays within the first burst has taken, for the estimate.
const AT_ONCE: Duration = Duration::from_nanos(500);
/// While looking, the socket is asked this often.
const LISTEN_EVERY: Duration = Duration::from_micros(100);
/// A call that does not wait asks the socket every so many times.
const LISTEN_EVERY_LOOKS: u32 = 64;

/// How a channel has waited, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waits {
    /// Calls that had to wait.
    pub begun: u64,
    /// Waits that began by looking.
    pub looked: u64,
    /// Of these, how many saw news, and did not have to sleep.
    pub paid: u64,
    /// Sleeps.
    pub slept: u64,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// A record of the peer's.
    Record,
    /// Room for one of ours, of so many bytes.
    Room(usize),
}

/// Where a channel sleeps. The socket is watched level-triggered; an eventfd, which is never read, for edges.
#[derive(Debug)]
pub(super) struct Sleeper {
    kernel: Linux,
    ready: Vec<Ready>,
}

const SOCKET: u64 = 0;
const BELL: u64 = 1;

impl Sleeper {
    pub(super) fn new(session: &Session) -> io::Result<Self> {
        let mut kernel = Linux::new()?;
        let (socket, bell) = session.watched();
        kernel.watch(socket, SOCKET, Interest { receive: true, send: false, edge: false })?;
        if let Some(bell) = bell {
            kernel.watch(bell, BELL, Interest { receive: true, send: false, edge: true })?;
        }
        Ok(Self { kernel, ready: Vec::with_capacity(2) })
    }

    /// Sleeps until a descriptor is ready, or so long; a signal may end it early. Answers whether the socket is.
    fn sleep(&mut self, time: Option<Duration>) -> io::Result<bool> {
        // Rounded up: who wakes before the deadline would look, find nothing, and wait again.
        let round = |time: Duration| i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        self.kernel.wait(&mut self.ready, time.map_or(-1, round))?;
        Ok(self.ready.iter().any(|ready| ready.token() == SOCKET))
    }
}

impl Channel {
    /// Comes back when what is needed may be there. What was staged is shown first: the peer may be waiting for that.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(&mut self, need: Need, limit: Limit) -> Result<(), ChannelError> {
        self.flush()?;
        if limit == Limit::Now {
            return self.look_in_vain(need);
        }
        self.waits.begun += 1;
        let rung = self.session.counters().doorbells_sent;
        let rang = std::mem::replace(&mut self.rung, rung) != rung;
        let began = match self.patience.look(rang) {
            Look::Never => Instant::now(),
            look => match self.look(need, look, limit, rang)? {
                None => return Ok(()),
                Some(began) => began,
            },
        };
        self.sleep(need, limit)?;
        self.patience.learn(began.elapsed(), rang);
        Ok(())
    }

    /// A call that does not wait has found nothing. Those who do not call any other learn of the peer's death here.
    fn look_in_vain(&mut self, need: Need) -> Result<(), ChannelError> {
        self.looks += 1;
        if self.looks >= LISTEN_EVERY_LOOKS {
            self.looks = 0;
            self.listen()?;
        }
        if self.session.peer_is_gone() {
            // Looked at once more after the end was seen, so nothing is overlooked.
            return if self.is_there(need)? { Ok(()) } else { Err(self.fail(SessionError::PeerGone)) };
        }
        Err(ChannelError::WouldBlock)
    }

    /// Looks for as long as that is worthwhile. Answers when it began, if that was in vain.
    fn look(
        &mut self,
        need: Need,
        look: Look,
        limit: Limit,
        rang: bool,
    ) -> Result<Option<Instant>, ChannelError> {
        self.waits.looked += 1;
        let mut clock = None;
        loop {
            for _ in 0..BURST {
                if self.is_there(need)? {
                    self.waits.paid += 1;
                    let gap = clock.map_or(AT_ONCE, |(began, _): (Instant, Instant)| began.elapsed());
                    self.patience.learn(gap, rang);
                    return Ok(None);
                }
                spin_loop();
            }
            let now = Instant::now();
            let (began, listened) = clock.get_or_insert((now, now));
            match look {
                Look::Always => {}
                Look::For(time) if now.duration_since(*began) < time => {}
                _ => return Ok(Some(*began)),
            }
            if matches!(limit, Limit::At(deadline) if deadline <= now) {
                return Err(ChannelError::TimedOut);
            }
            if now.duration_since(*listened) >= LISTEN_EVERY {
                *listened = now;
                let began = *began;
                self.listen()?;
                if self.session.peer_is_gone() {
                    return Ok(Some(began));
                }
            }
        }
    }

    /// Sleeps until there is what is needed.
    fn sleep(&mut self, need: Need, limit: Limit) -> Result<(), ChannelError> {
        loop {
            if self.is_there(need)? {
                return Ok(());
            }
            if self.session.peer_is_gone() {
                // The ring was looked at after the end was seen, so nothing is overlooked.
                return Err(self.fail(SessionError::PeerGone));
            }
            let parked = match need {
                Need::Record => self.session.park(true, None),
                Need::Room(len) => self.session.park_for_room(len),
            };
            match parked {
                Ok(Parked::Sleeping) => {}
                Ok(Parked::NotYet) => continue,
                Err(error) => return Err(self.fail(error)),
            }
            let time = match limit {
                Limit::At(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
                Limit::Now | Limit::Never => None,
            };
            if time.is_some_and(|time| time.is_zero()) {
                return Err(ChannelError::TimedOut);
            }
            self.waits.slept += 1;
            match self.sleeper.sleep(time) {
                Ok(false) => {}
                Ok(true) => self.listen()?,
                Err(error) => return Err(self.fail(SessionError::Control(ControlError::Io(error)))),
            }
        }
    }

    #[inline]
    fn is_there(&mut self, need: Need) -> Result<bool, ChannelError> {
        let there = match need {
            Need::Record => self.session.is_ready(),
            Need::Room(len) => self.session.room(len).map(|room| room.is_some()),
        };
        there.map_err(|error| self.fail(error))
    }

    fn listen(&mut self) -> Result<(), ChannelError> {
        self.session.listen().map(drop).map_err(|error| self.fail(error))
    }
}
