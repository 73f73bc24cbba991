//! The loop of the load.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::errno::Errno;

use super::Phase;
use super::config::{Config, PATIENCE};
use super::connection::Connection;
use super::error::LoadError;
use super::pattern::Pattern;
use super::poller::{Poller, Ready};
use super::report::Report;
use super::schedule::Schedule;
use super::shape::LARGEST;
use super::slow;
use super::stalled::Stalled;
use crate::cli::LoadSpin;

/// Bytes sent or received with one call.
const BUFFER: usize = 256 << 10;
/// An adaptive load polls for so long after the last reply before it sleeps: several round trips of a server that
/// polls too, and no more than a wake-up costs one that sleeps.
const ADAPTIVE: Duration = Duration::from_micros(100);
/// A load that polls shared memory asks the kernel once in so many looks.
#[cfg(feature = "shm")]
const LOOKS: u32 = 1024;
/// Latencies above this count as this.
const LONGEST: Duration = Duration::from_secs(600);

/// When requests are started.
enum Pace {
    /// As soon as there is room, until this time.
    Closed { until: u64 },
    /// By the timetable.
    Open(Schedule),
}

/// Open connections to one server, ready to be driven any number of times.
pub(crate) struct Load {
    poller: Poller,
    connections: Vec<Connection>,
    stalled: Stalled,
    pattern: Pattern,
    buffer: Vec<u8>,
    depth: usize,
    rate: Option<f64>,
    think: Duration,
    slow_every: Option<u64>,
    /// Slow requests of the current window, whose latencies are left out.
    slow: u64,
    spin: LoadSpin,
    /// Connections are sessions in shared memory; those with news.
    shared: bool,
    news: Vec<Ready>,
    #[cfg_attr(not(feature = "shm"), expect(dead_code, reason = "only shared memory is polled"))]
    looks: u32,
    clock: Instant,
    /// Connections with room for a request, in the order of their turns (open loop).
    turns: VecDeque<usize>,
    /// Connections with requests issued and not yet sent (open loop; empty between dispatches).
    unsent: Vec<usize>,
    outstanding: usize,
    /// Last reply, or the first request after a time with none in flight.
    last_progress: u64,
    latencies: Histogram<u64>,
    bytes: u64,
}

impl Load {
    /// Opens the connections, one after the other, and lets those that never read offer what is taken of them.
    ///
    /// # Errors
    /// The first one that fails.
    pub(crate) fn connect(config: &Config) -> Result<Self, LoadError> {
        let mut poller = Poller::new().map_err(LoadError::system("epoll_create1"))?;
        let depth = config.shape.depth as usize;
        let mut connections = Vec::with_capacity(config.shape.connections as usize);
        for number in 0..config.shape.connections as usize {
            let socket = config.open(number)?;
            poller.add(&socket, number).map_err(LoadError::system("epoll_ctl"))?;
            #[cfg(feature = "shm")]
            if let Some(bell) = socket.bell() {
                poller.add_bell(&bell, number).map_err(LoadError::system("epoll_ctl"))?;
            }
            connections.push(Connection::new(number, socket, depth));
        }
        let pattern = Pattern::new(config.shape.size);
        let mut buffer = vec![0; BUFFER];
        let mut stalled = Stalled::connect(config, connections.len(), &pattern, &poller)?;
        stalled.settle(&pattern, &mut poller, &mut buffer)?;
        Ok(Self {
            poller,
            connections,
            stalled,
            pattern,
            buffer,
            depth,
            rate: config.rate,
            think: config.think,
            slow_every: config.slow_every,
            slow: 0,
            spin: config.spin,
            shared: config.shared,
            news: Vec::new(),
            looks: 0,
            clock: Instant::now(),
            turns: VecDeque::new(),
            unsent: Vec::new(),
            outstanding: 0,
            last_progress: 0,
            latencies: Histogram::new_with_bounds(1, nanoseconds(LONGEST), 3)
                .map_err(|_| LoadError::System { what: "latency histogram", errno: Errno::EINVAL })?,
            bytes: 0,
        })
    }

    /// Drives the server for `warmup`, waits until nothing is in flight, then measures for `duration` and waits for
    /// the last reply.
    ///
    /// # Errors
    /// As [`super::run`]. The connections are of no use afterwards.
    pub(crate) fn window(
        &mut self,
        warmup: Duration,
        duration: Duration,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Report, LoadError> {
        // A sleep must end when the next request is due, not up to 50 us later.
        nix::sys::prctl::set_timerslack(1).map_err(LoadError::system("prctl"))?;
        if !warmup.is_zero() {
            self.drive(warmup)?;
        }
        self.latencies.reset();
        self.slow = 0;
        self.bytes = 0;
        progress(Phase::Begin);
        let start = self.now();
        self.drive(duration)?;
        let elapsed = Duration::from_nanos(self.last_progress.saturating_sub(start));
        progress(Phase::End);
        Ok(Report::new(&self.latencies, self.slow, elapsed, self.bytes, self.stalled.report(&self.pattern)))
    }

    fn now(&self) -> u64 {
        nanoseconds(self.clock.elapsed())
    }

    /// Starts requests for `duration` and returns when all are answered.
    fn drive(&mut self, duration: Duration) -> Result<(), LoadError> {
        let start = self.now();
        let mut pace = match self.rate {
            None => Pace::Closed { until: start.saturating_add(nanoseconds(duration)) },
            Some(rate) => Pace::Open(Schedule::new(start, rate, duration)),
        };
        self.drive_at(&mut pace, start).map_err(|error| self.count_outstanding(error))
    }

    fn drive_at(&mut self, pace: &mut Pace, start: u64) -> Result<(), LoadError> {
        self.last_progress = start;
        for index in 0..self.connections.len() {
            match pace {
                Pace::Closed { .. } => self.refill(index, self.depth, self.now())?,
                Pace::Open(_) => self.queue(index),
            }
        }
        loop {
            let due = match pace {
                Pace::Closed { .. } => None,
                Pace::Open(schedule) => {
                    self.dispatch(schedule)?;
                    // With every connection full, only a reply makes room.
                    if self.turns.is_empty() { None } else { schedule.next() }
                }
            };
            if self.outstanding == 0 && due.is_none() {
                return Ok(());
            }
            let ready = self.wait(due)?;
            for index in 0..ready {
                self.serve(self.ready(index), pace)?;
            }
        }
    }

    /// Waits for replies, at the longest until `due`.
    fn wait(&mut self, due: Option<u64>) -> Result<usize, LoadError> {
        let patience = nanoseconds(PATIENCE);
        let until = due.unwrap_or(u64::MAX).min(self.last_progress.saturating_add(patience));
        let spin_until = match self.spin {
            LoadSpin::Never => 0,
            LoadSpin::Adaptive => self.last_progress.saturating_add(nanoseconds(ADAPTIVE)),
            LoadSpin::Always => u64::MAX,
        };
        loop {
            let now = self.now();
            let spinning = now < spin_until && now < until;
            let limit = if spinning { 0 } else { until.saturating_sub(now) };
            let ready = self.look(Duration::from_nanos(limit)).map_err(LoadError::system("epoll_pwait2"))?;
            if ready > 0 || !spinning {
                if ready == 0 && self.outstanding > 0 && self.now() >= self.last_progress + patience {
                    return Err(LoadError::Stalled { seconds: PATIENCE.as_secs(), outstanding: 0 });
                }
                if self.outstanding == 0 {
                    self.last_progress = self.now();
                }
                return Ok(ready);
            }
            std::hint::spin_loop();
        }
    }

    /// Looks once for connections with news, and sleeps for at most `limit` when there is none.
    fn look(&mut self, limit: Duration) -> Result<usize, Errno> {
        #[cfg(feature = "shm")]
        if self.shared {
            return self.look_at_sessions(limit);
        }
        self.poller.wait(limit)
    }

    #[cfg(feature = "shm")]
    fn look_at_sessions(&mut self, limit: Duration) -> Result<usize, Errno> {
        self.news.clear();
        let connections = self.connections.iter_mut().enumerate();
        for (token, connection) in connections {
            // Whoever sleeps is told of room; whoever does not has to try.
            if connection.wire.has_news() || (connection.blocked && limit.is_zero()) {
                self.news.push(Ready::news(token, connection.blocked));
            }
        }
        self.looks += 1;
        // Now and then the sockets are asked too: a server that has died says nothing in its memory.
        if !self.news.is_empty() || (limit.is_zero() && !self.looks.is_multiple_of(LOOKS)) {
            return Ok(self.news.len());
        }
        if !limit.is_zero() {
            for (token, connection) in self.connections.iter_mut().enumerate() {
                if !connection.wire.park(connection.blocked) {
                    self.news.push(Ready::news(token, connection.blocked));
                }
            }
        }
        let limit = if self.news.is_empty() { limit } else { Duration::ZERO };
        for index in 0..self.poller.wait(limit)? {
            let ready = self.poller.ready(index);
            let token = ready.token;
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if !ready.bell {
                connection.wire.listen();
            }
            self.news.push(Ready::news(token, connection.blocked));
        }
        Ok(self.news.len())
    }

    fn ready(&self, index: usize) -> Ready {
        if self.shared { self.news[index] } else { self.poller.ready(index) }
    }

    fn serve(&mut self, ready: Ready, pace: &Pace) -> Result<(), LoadError> {
        if self.stalled.has(ready.token) {
            return self.stalled.offer(ready.token, &self.pattern, &self.poller, &mut self.buffer);
        }
        if ready.send {
            self.flush(ready.token)?;
        }
        if !ready.receive {
            return Ok(());
        }
        let connection = &mut self.connections[ready.token];
        let (length, replies) = connection.receive(&self.pattern, &mut self.buffer)?;
        if replies == 0 {
            // Part of a long reply is progress too.
            self.last_progress = if length > 0 { self.now() } else { self.last_progress };
            self.bytes += length as u64;
            return self.connections[ready.token].is_leaving().map(drop);
        }
        let now = nanoseconds(self.clock.elapsed());
        for _ in 0..replies {
            let Some((number, started)) = connection.answer() else { break };
            self.outstanding -= 1;
            if self.slow_every.is_some_and(|every| slow::is_slow(number, connection.number as u64, every)) {
                self.slow += 1;
                continue;
            }
            self.latencies.saturating_record(now.saturating_sub(started).max(1));
        }
        let leaving = connection.is_leaving()?;
        self.last_progress = now;
        self.bytes += length as u64;
        match pace {
            _ if leaving => Ok(()),
            Pace::Closed { until } if now < *until => {
                let now = self.think(now);
                self.refill(ready.token, replies, now)
            }
            Pace::Closed { .. } => Ok(()),
            Pace::Open(_) => {
                self.queue(ready.token);
                Ok(())
            }
        }
    }

    /// Computes for as long as was asked for. Answers the time after it.
    fn think(&mut self, now: u64) -> u64 {
        if self.think.is_zero() {
            return now;
        }
        let until = now.saturating_add(nanoseconds(self.think));
        while self.now() < until {
            std::hint::spin_loop();
        }
        self.last_progress = self.now();
        self.last_progress
    }

    /// Starts `count` requests on a connection now.
    fn refill(&mut self, index: usize, count: usize, now: u64) -> Result<(), LoadError> {
        for _ in 0..count {
            self.connections[index].issue(now);
        }
        self.outstanding += count;
        self.flush(index)
    }

    /// Gives a connection with room a turn.
    fn queue(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.queued && connection.outstanding() < self.depth {
            connection.queued = true;
            self.turns.push_back(index);
        }
    }

    /// Starts every request whose time has come, as far as there is room. A turn takes one request, and a
    /// connection with room left goes to the end of the queue.
    fn dispatch(&mut self, schedule: &mut Schedule) -> Result<(), LoadError> {
        while let Some(index) = self.turns.front().copied() {
            let Some(intended) = schedule.take(self.now()) else { break };
            self.turns.pop_front();
            self.connections[index].queued = false;
            self.connections[index].issue(intended);
            if self.outstanding == 0 {
                self.last_progress = self.now();
            }
            self.outstanding += 1;
            self.queue(index);
            if self.unsent.last() != Some(&index) {
                self.unsent.push(index);
            }
        }
        while let Some(index) = self.unsent.pop() {
            self.flush(index)?;
        }
        Ok(())
    }

    /// Sends what a connection may send, and watches for room exactly while something is left.
    fn flush(&mut self, index: usize) -> Result<(), LoadError> {
        let connection = &mut self.connections[index];
        let blocked = !connection.flush(&self.pattern, &mut self.buffer)?;
        if blocked != connection.blocked {
            connection.blocked = blocked;
            if self.shared {
                return Ok(());
            }
            let watched = self.poller.watch_send(&connection.wire, index, blocked);
            watched.map_err(LoadError::system("epoll_ctl"))?;
        }
        Ok(())
    }

    /// Only the loop knows how many calls were in flight when a connection failed.
    fn count_outstanding(&self, mut error: LoadError) -> LoadError {
        if let LoadError::Closed { large, .. } = &mut error {
            *large = Some(self.pattern.size()).filter(|size| *size as u64 > LARGEST);
        }
        match &mut error {
            LoadError::Closed { outstanding, .. }
            | LoadError::Differs { outstanding, .. }
            | LoadError::Unasked { outstanding, .. }
            | LoadError::Stalled { outstanding, .. } => *outstanding = self.outstanding,
            LoadError::Connect { .. } | LoadError::System { .. } => {}
        }
        error
    }
}

#[cfg(feature = "shm")]
impl Drop for Load {
    /// Ends sessions in order: without that, the server has to take the load for dead.
    fn drop(&mut self) {
        self.connections.iter_mut().for_each(|connection| connection.wire.end());
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
