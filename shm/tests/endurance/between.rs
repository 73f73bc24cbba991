//! A relay between a client and a server, which sees every frame of their socket, can lose and add doorbells, and watches
//! the words of both.
//!
//! # Lost wake-ups
//!
//! Somebody is owed a reply, and for many looks in a row no word of either side has changed: both sleep. The watchdog then
//! rings for both. That is a *rescue*, and it is counted. Where no doorbell is lost there must be none: somebody sleeps who
//! should have been woken.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use linkpoll::sync::{Arc, AtomicBool, AtomicUsize, Ordering};
use linkpoll_shm::layout;
use linkpoll_shm::region::PeerRegion;
use linkpoll_shm::storage::{self, Word};
use linkpoll_shm::wire::{Arrival, Control, Frame};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::bed::Random;

/// What the relay does to a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    /// Of so many doorbells one is lost; 0 for none.
    pub(crate) lose_one_in: usize,
    /// How many looks without any change make a rescue. A look takes 5 ms.
    pub(crate) looks: usize,
    /// Doorbells without reason at each look, which then take no time.
    pub(crate) flood: usize,
}

/// How many calls wait for a reply.
#[derive(Clone, Debug)]
pub(crate) struct Busy(Arc<AtomicUsize>);

impl Busy {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    pub(crate) fn begin(&self) {
        // ORDERING: Relaxed: a number, and nothing is read by way of it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        // ORDERING: Relaxed: as above.
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_any(&self) -> bool {
        // ORDERING: Relaxed: as above.
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// What a relay has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) sessions: usize,
    pub(crate) doorbells: usize,
    pub(crate) lost: usize,
    pub(crate) added: usize,
    pub(crate) rescues: usize,
}

/// A relay that runs until it is [stopped](Self::stop).
pub(crate) struct Between {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Done>,
}

impl Between {
    /// Clients of `path` are led to the server at `server`.
    pub(crate) fn start(path: &Path, server: &Path, plan: Plan, busy: &Busy) -> Self {
        let listener = UnixListener::bind(path).expect("a path");
        listener.set_nonblocking(true).expect("a flag");
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (stop, server, busy) = (Arc::clone(&stop), server.to_owned(), busy.clone());
            move || relay_all(&listener, &server, plan, &busy, &stop)
        });
        Self { stop, thread }
    }

    /// Ends its sessions.
    pub(crate) fn stop(self) -> Done {
        // ORDERING: Relaxed: joining orders everything else.
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the relay does not panic")
    }
}

fn relay_all(listener: &UnixListener, server: &PathBuf, plan: Plan, busy: &Busy, stop: &AtomicBool) -> Done {
    let mut relays: Vec<Relay> = Vec::new();
    let mut done = Done::default();
    let mut random = Random(7);
    // ORDERING: Relaxed: as in `stop`.
    while !stop.load(Ordering::Relaxed) {
        let mut watched = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        for relay in &relays {
            watched.extend(relay.ends.iter().map(|end| PollFd::new(end.control.as_fd(), end.interest())));
        }
        let wait = if plan.flood > 0 { PollTimeout::ZERO } else { PollTimeout::from(5_u16) };
        let is_quiet = poll(&mut watched, wait).expect("poll(2)") == 0;
        drop(watched);
        match listener.accept() {
            Ok((client, _)) => {
                let server = UnixStream::connect(server).expect("the server listens");
                relays.push(Relay::new(client, server));
                done.sessions += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        relays.retain_mut(|relay| {
            let goes_on = relay.pass_on(plan, &mut random, &mut done);
            relay.flood(plan, &mut done);
            goes_on
        });
        watch(&mut relays, plan, busy, is_quiet, &mut done);
    }
    done
}

/// Looks whether anything moves, and rings for everybody when nothing has moved for long.
fn watch(relays: &mut [Relay], plan: Plan, busy: &Busy, is_quiet: bool, done: &mut Done) {
    let mut moved = !is_quiet || !busy.is_any();
    for relay in relays.iter_mut() {
        moved |= relay.has_moved();
    }
    for relay in relays {
        relay.still = if moved { 0 } else { relay.still + 1 };
        if plan.looks > 0 && relay.still == plan.looks {
            relay.still = 0;
            relay.ring(done);
            done.rescues += 1;
        }
    }
}

/// One session: its client and its server.
struct Relay {
    ends: [End; 2],
    words: Vec<u32>,
    /// Looks since something has moved.
    still: usize,
}

struct End {
    control: Control,
    /// Its region, once it has shown it.
    region: Option<PeerRegion>,
    /// It has said so: doorbells may follow.
    is_ready: bool,
    /// What waits because the socket takes no more.
    unsent: VecDeque<Frame<OwnedFd>>,
}

impl End {
    fn new(socket: UnixStream) -> Self {
        Self { control: Control::new(socket.into()), region: None, is_ready: false, unsent: VecDeque::new() }
    }

    fn interest(&self) -> PollFlags {
        if self.control.wants_to_send() { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN }
    }

    /// Sends what waits, in order. An end that is gone takes nothing, and that shows when it is read.
    fn flush(&mut self) {
        while self.control.flush().is_ok_and(|all| all)
            && let Some(frame) = self.unsent.pop_front()
        {
            drop(self.control.send(frame));
        }
    }
}

impl Relay {
    fn new(client: UnixStream, server: UnixStream) -> Self {
        Self { ends: [End::new(client), End::new(server)], words: Vec::new(), still: 0 }
    }

    /// Passes frames on, in both directions. Answers whether both ends are still there.
    fn pass_on(&mut self, plan: Plan, random: &mut Random, done: &mut Done) -> bool {
        for from in [0, 1] {
            let there = loop {
                while let Some(frame) =
                    self.ends[from].control.take().expect("both sides keep to the protocol")
                {
                    self.pass(from, frame, plan, random, done);
                }
                match self.ends[from].control.receive() {
                    Ok(Arrival::Bytes) => {}
                    Ok(Arrival::Nothing) => break true,
                    Ok(Arrival::End) | Err(_) => break false,
                }
            };
            self.ends[1 - from].flush();
            if !there {
                return false;
            }
        }
        true
    }

    fn pass(&mut self, from: usize, frame: Frame<OwnedFd>, plan: Plan, random: &mut Random, done: &mut Done) {
        match &frame {
            Frame::Doorbell => {
                done.doorbells += 1;
                if plan.lose_one_in > 0 && random.below(plan.lose_one_in) == 0 {
                    done.lost += 1;
                    return;
                }
            }
            Frame::Ready => self.ends[from].is_ready = true,
            Frame::Setup(setup, memory, _) => {
                let memory = memory.try_clone().expect("a descriptor");
                let len = layout::RING + setup.ring as usize;
                self.ends[from].region = Some(PeerRegion::accept(memory, len).expect("a region"));
            }
            _ => {}
        }
        self.ends[1 - from].unsent.push_back(frame);
        self.ends[1 - from].flush();
    }

    fn is_in_session(&self) -> bool {
        self.ends.iter().all(|end| end.is_ready)
    }

    /// Whether any word of either side is another than at the last look.
    fn has_moved(&mut self) -> bool {
        let regions = self.ends.iter().filter_map(|end| end.region.as_ref());
        let words: Vec<u32> = regions.flat_map(|region| Word::ALL.map(|word| read(region, word))).collect();
        let moved = words != self.words;
        self.words = words;
        moved
    }

    fn ring(&mut self, done: &mut Done) {
        for end in self.ends.iter_mut() {
            done.added += 1;
            drop(end.control.ring());
        }
    }

    fn flood(&mut self, plan: Plan, done: &mut Done) {
        if self.is_in_session() {
            (0..plan.flood).for_each(|_| self.ring(done));
        }
    }
}

fn read(region: &PeerRegion, word: Word) -> u32 {
    let mut bytes = [0; 4];
    storage::copy_out(region, word.offset(), &mut bytes);
    u32::from_le_bytes(bytes)
}
