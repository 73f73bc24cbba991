//! A peer that means harm: a process of its own, which does a correct handshake, speaks the protocol, and at the same time
//! rewrites everything that it may write, as fast as it can. Without its variables the test does nothing.

use std::env;
use std::hint;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use linkpoll_shm::layout;

use crate::bare::Bare;
use crate::bed::{Random, payload, shared_mappings};
use crate::kills::victims::{path, say};

/// `tail near 7`: what is rewritten, and a seed.
pub(crate) const STRATEGY: &str = "LINKPOLL_ATTACK";

/// What an attacker rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One word of its region.
    Word(&'static str, usize),
    /// All six words.
    Words,
    /// Heads of records, where one may be.
    Heads,
    /// Bytes of its ring, and of all other memory that it shares.
    Payload,
    /// Its release ring.
    Releases,
    /// Anything anywhere.
    Everything,
    /// What its socket carries.
    Socket,
}

/// How an attacker chooses what to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taste {
    /// A little more or less than what is there.
    Near,
    /// Anything.
    Random,
}

const WORDS: [(&str, usize); 6] = [
    ("tail", layout::TAIL),
    ("head", layout::HEAD),
    ("released", layout::RELEASED),
    ("wake_at", layout::WAKE_AT),
    ("space_at", layout::SPACE_AT),
    ("release_at", layout::RELEASE_AT),
];

/// Everything that an attacker may do.
pub(crate) fn strategies() -> Vec<(Target, Taste)> {
    let words = WORDS.map(|(name, at)| Target::Word(name, at));
    let others =
        [Target::Words, Target::Heads, Target::Payload, Target::Releases, Target::Everything, Target::Socket];
    let targets = words.into_iter().chain(others);
    targets.flat_map(|target| [(target, Taste::Near), (target, Taste::Random)]).collect()
}

/// Rewrites memory that this process shares.
struct Vandal {
    /// Where each mapping begins, and how long it is. The first is the region.
    memory: Vec<(usize, usize)>,
    target: Target,
    taste: Taste,
    random: Random,
}

impl Vandal {
    /// One act.
    fn strike(&mut self) {
        let word = |vandal: &mut Self| WORDS[vandal.random.below(WORDS.len())].1;
        let ring = self.memory[0].1 - layout::RING;
        match self.target {
            Target::Word(_, at) => self.rewrite(0, at),
            Target::Words => {
                let at = word(self);
                self.rewrite(0, at);
            }
            Target::Heads => {
                let at = layout::RING + self.random.below(ring / 8) * 8;
                self.rewrite_head(at);
            }
            Target::Payload => {
                let which = self.random.below(self.memory.len());
                let from = if which == 0 { layout::RING } else { 0 };
                let at = from + self.random.below((self.memory[which].1 - from) / 4) * 4;
                self.rewrite(which, at);
            }
            Target::Releases => {
                let at = layout::RELEASE_RING + self.random.below(layout::RELEASES) * 4;
                self.rewrite(0, at);
                self.rewrite(0, layout::RELEASED);
            }
            Target::Everything => {
                let which = self.random.below(self.memory.len());
                let at = match self.random.below(3) {
                    0 => word(self),
                    _ => self.random.below(self.memory[which].1 / 4) * 4,
                };
                self.rewrite(which, at);
            }
            Target::Socket => {}
        }
    }

    /// Writes a head that looks like one.
    fn rewrite_head(&mut self, at: usize) {
        let kind = match self.taste {
            Taste::Near => [1, 1, 2, 3, 4, 0x5041_4421][self.random.below(6)],
            Taste::Random => self.random.next() & 0xffff_ffff,
        };
        let len = match self.random.below(4) {
            0 => 0,
            1 => 16,
            2 => self.random.next() % (16 << 10),
            _ => self.random.next() & 0xffff_ffff,
        };
        self.store(0, at, u32::try_from(len).expect("32 bits"));
        self.store(0, at + 4, u32::try_from(kind).expect("32 bits"));
    }

    fn rewrite(&mut self, which: usize, at: usize) {
        let random = self.random.next();
        let value = match self.taste {
            Taste::Random => u32::try_from(random & 0xffff_ffff).expect("32 bits"),
            Taste::Near => {
                let there = self.load(which, at);
                let step = [1, 8, 8, 16, 64, 4096, 1 << 16, 0x8000_0000][self.random.below(8)];
                if random & 1 == 0 { there.wrapping_add(step) } else { there.wrapping_sub(step) }
            }
        };
        self.store(which, at, value);
    }

    #[expect(unsafe_code, reason = "the memory is another owner's, on purpose")]
    fn load(&self, which: usize, at: usize) -> u32 {
        let from = std::ptr::with_exposed_provenance::<u32>(self.memory[which].0 + at);
        // SAFETY: inside of a mapping of this process, aligned, and mapped until the vandal is stopped. The session writes
        // there, too: that is the point, and concerns this process alone, which is meant to be broken.
        unsafe { from.read_volatile() }
    }

    #[expect(unsafe_code, reason = "the memory is another owner's, on purpose")]
    fn store(&self, which: usize, at: usize, value: u32) {
        let to = std::ptr::with_exposed_provenance_mut::<u32>(self.memory[which].0 + at);
        // SAFETY: as above.
        unsafe { to.write_volatile(value) }
    }
}

/// Writes what nobody expects into the session's socket.
fn soil(socket: &mut UnixStream, taste: Taste, random: &mut Random) {
    let bytes: Vec<u8> = match taste {
        // Frames that would be right at another time, doorbells, and a part of a frame.
        Taste::Near => match random.below(6) {
            0..4 => vec![1; 1 + random.below(64)],
            4 => [[9, 0, 0, 0], [7, 0, 4, 0], [4, 0, 0, 0]][random.below(3)].to_vec(),
            _ => vec![8, 1],
        },
        Taste::Random => {
            (0..1 + random.below(64)).map(|_| u8::try_from(random.next() & 0xff).expect("a byte")).collect()
        }
    };
    // A socket that is full, or closed, is no news.
    let _ = socket.write(&bytes);
}

/// One session: calls, as an honest peer makes them, while a second thread rewrites what this process shares. It ends when the
/// server has had enough, or after a while. Answers how many acts there were.
fn attack(path: &Path, target: Target, taste: Taste, random: &mut Random, most: Duration) -> u64 {
    let Ok(mut bare) = Bare::connect(path) else { return 0 };
    let memory = shared_mappings().into_iter().filter(|it| it.2).map(|it| (it.0, it.1)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let acts = Arc::new(AtomicU64::new(0));
    let mut vandal = Vandal { memory, target, taste, random: Random(random.next()) };
    let (told, counted) = (Arc::clone(&stop), Arc::clone(&acts));
    let pause = random.below(2000);
    let thread = thread::spawn(move || {
        // ORDERING: Relaxed, no partner: it stops a little later otherwise.
        while !told.load(Ordering::Relaxed) {
            vandal.strike();
            // ORDERING: Relaxed: a count.
            counted.fetch_add(1, Ordering::Relaxed);
            (0..pause).for_each(|_| hint::spin_loop());
        }
    });
    let copy: OwnedFd = bare.session.watched().0.as_fd().try_clone_to_owned().expect("a descriptor");
    let mut socket = UnixStream::from(copy);
    let request = {
        let message = payload(random.next(), [10, 1000, 5000, 60_000][random.below(4)]);
        let mut request = u32::try_from(message.len()).expect("a short message").to_be_bytes().to_vec();
        request.extend(&message);
        request
    };
    let end = Instant::now() + most;
    let mut unsent = &request[..];
    while Instant::now() < end {
        if target == Target::Socket && random.below(8) == 0 {
            soil(&mut socket, taste, random);
        }
        if unsent.is_empty() {
            unsent = &request;
        }
        let sent = bare.send(&mut unsent);
        let over = match (sent, bare.receive().map(<[u8]>::len)) {
            (Ok(sent), Ok(received)) => (sent == 0 && received == 0)
                .then(|| bare.session.listen().is_err() || bare.session.peer_is_gone()),
            _ => Some(true),
        };
        if over == Some(true) {
            break;
        }
    }
    // ORDERING: see above.
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("it only writes");
    // ORDERING: see above.
    acts.load(Ordering::Relaxed)
}

/// Attacks until it is killed, session after session.
#[test]
fn an_attacker() {
    let (Some(path), Ok(which)) = (path(), env::var(STRATEGY)) else { return };
    let (place, seed) = which.split_once(' ').expect("a strategy and a seed");
    let place: usize = place.parse().expect("a number");
    let mut random = Random(seed.parse().expect("a number"));
    say("at work");
    let all = strategies();
    let mut sessions = 0_usize;
    loop {
        let (target, taste) = all[(place + sessions) % all.len()];
        attack(&path, target, taste, &mut random, Duration::from_millis(12));
        sessions += 1;
        say(&format!("{sessions} sessions"));
    }
}

/// Has a session without any traffic, and rewrites its thresholds, its releases and the unused part of its ring until it is killed.
#[test]
fn an_idle_attacker() {
    let Some(path) = path() else { return };
    if env::var(STRATEGY).is_ok() {
        return;
    }
    let mut bare = Bare::connect(&path).expect("a session");
    // Nothing waits: the server sleeps on this session from now on.
    bare.session.listen().expect("a session");
    let memory = shared_mappings().into_iter().filter(|it| it.2).map(|it| (it.0, it.1)).collect();
    let mut vandal = Vandal { memory, target: Target::Words, taste: Taste::Random, random: Random(3) };
    say("at work");
    loop {
        for at in [layout::WAKE_AT, layout::SPACE_AT, layout::RELEASE_AT, layout::RELEASED] {
            vandal.rewrite(0, at);
        }
        let at = layout::RING + vandal.random.below(4096) * 4;
        vandal.rewrite(0, at);
        let at = layout::RELEASE_RING + vandal.random.below(layout::RELEASES) * 4;
        vandal.rewrite(0, at);
    }
}
