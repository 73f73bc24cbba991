//! Round trips.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use linkpoll::reactor::Spin;
use linkpoll_shm::channel::Channel;
use linkpoll_shm::handshake::Doorbell;
use linkpoll_shm::layout;
use linkpoll_shm::region::{OwnRegion, PeerRegion};
use linkpoll_shm::ring::{Consumer, Kind, Producer, ends};
use linkpoll_shm::storage::Mapped;

use crate::report::{Row, latencies};
use crate::sides::{check, fill, pair, pin};

const SLICES: usize = 300;
/// Of each slice, so many round trips are not counted: the caches are still the other subject's.
const WARM: usize = 16;

/// What the client does between a reply and its next request.
#[derive(Clone, Copy)]
pub(crate) enum Think {
    No,
    Micros(u64),
}

/// One way to send a message there and back. Each side is used by a thread of its own.
pub(crate) trait Subject {
    fn name(&self) -> String;
    /// The two sides, once.
    fn sides(&mut self) -> (Box<dyn Side>, Box<dyn Side>);
}

/// One end.
pub(crate) trait Side: Send {
    fn send(&mut self, message: &[u8]);
    /// Receives a message of just this length.
    fn recv(&mut self, message: &mut Vec<u8>);
}

/// Lets the subjects take turns, and prints what came of it.
pub(crate) fn compare(len: usize, trips: usize, think: Think, subjects: &mut [&mut dyn Subject]) {
    let mut rows: Vec<Row> = subjects.iter().map(|subject| Row::new(subject.name())).collect();
    let (mut clients, mut servers): (Vec<_>, Vec<_>) =
        subjects.iter_mut().map(|subject| subject.sides()).unzip();
    let server = thread::spawn(move || {
        pin(1);
        let (mut bytes, mut reply) = (vec![0; len], vec![0; len]);
        for _ in 0..SLICES {
            for side in &mut servers {
                for number in 0..trips + WARM {
                    side.recv(&mut bytes);
                    check(&bytes, number);
                    fill(&mut reply, number + 1);
                    side.send(&reply);
                }
            }
        }
    });
    pin(0);
    let (mut bytes, mut request) = (vec![0; len], vec![0; len]);
    for _ in 0..SLICES {
        for (side, row) in clients.iter_mut().zip(&mut rows) {
            let mut slice = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3).expect("possible bounds");
            for number in 0..trips + WARM {
                if let Think::Micros(time) = think {
                    let end = Instant::now() + Duration::from_micros(time);
                    while Instant::now() < end {}
                }
                fill(&mut request, number);
                let begin = Instant::now();
                side.send(&request);
                side.recv(&mut bytes);
                let time = begin.elapsed();
                check(&bytes, number + 1);
                if number >= WARM {
                    slice.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
                }
            }
            row.slices.push(slice.value_at_quantile(0.5) as f64);
            row.all.add(&slice).expect("the same bounds");
        }
    }
    server.join().expect("no panic");
    latencies(&rows);
}

/// Ours.
pub(crate) struct Shm {
    spin: Spin,
    doorbell: Doorbell,
    ring: u32,
}

impl Shm {
    pub(crate) fn new(spin: Spin, doorbell: Doorbell) -> Self {
        Self::with_ring(spin, doorbell, 64 << 10)
    }

    pub(crate) fn with_ring(spin: Spin, doorbell: Doorbell, ring: u32) -> Self {
        Self { spin, doorbell, ring }
    }
}

impl Subject for Shm {
    fn name(&self) -> String {
        format!("channel, {:?}, {:?}, {} KiB", self.spin, self.doorbell, self.ring >> 10)
    }

    fn sides(&mut self) -> (Box<dyn Side>, Box<dyn Side>) {
        let (a, b) = pair(self.spin, self.doorbell, self.ring);
        (Box::new(a), Box::new(b))
    }
}

impl Side for Channel {
    fn send(&mut self, message: &[u8]) {
        self.send(message).expect("somebody reads");
    }

    fn recv(&mut self, message: &mut Vec<u8>) {
        self.recv(message).expect("an honest peer");
    }
}

/// A Unix stream socket, with calls that block.
pub(crate) struct Unix;

impl Unix {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Subject for Unix {
    fn name(&self) -> String {
        "Unix socket, blocking".to_string()
    }

    fn sides(&mut self) -> (Box<dyn Side>, Box<dyn Side>) {
        let (a, b) = UnixStream::pair().expect("sockets");
        (Box::new(a), Box::new(b))
    }
}

impl Side for UnixStream {
    fn send(&mut self, message: &[u8]) {
        self.write_all(message).expect("somebody reads");
    }

    fn recv(&mut self, message: &mut Vec<u8>) {
        self.read_exact(message).expect("an honest peer");
    }
}

/// The ring's two ends, and nothing around them.
pub(crate) struct Ring;

type Memory = Mapped<(OwnRegion, PeerRegion)>;

struct RingSide(Producer<Memory>, Consumer<Memory>);

impl Subject for Ring {
    fn name(&self) -> String {
        "ring, looking".to_string()
    }

    fn sides(&mut self) -> (Box<dyn Side>, Box<dyn Side>) {
        const CAPACITY: usize = 64 << 10;
        let len = layout::RING + CAPACITY;
        let create = || OwnRegion::create(len).expect("there is memory");
        let ((a, a_fd), (b, b_fd)) = (create(), create());
        let accept = |fd| PeerRegion::accept(fd, len).expect("it is sealed");
        let (from_a, from_b) = (accept(a_fd), accept(b_fd));
        let side = |regions| {
            let (producer, consumer) =
                ends(Mapped::new(regions, CAPACITY, CAPACITY).expect("a ring of possible size"));
            Box::new(RingSide(producer, consumer))
        };
        (side((a, from_b)), side((b, from_a)))
    }
}

impl Side for RingSide {
    fn send(&mut self, message: &[u8]) {
        self.0.push(Kind::Inline, message).expect("there is room");
        let _ = self.0.publish();
    }

    fn recv(&mut self, message: &mut Vec<u8>) {
        loop {
            if let Some(record) = self.1.pop().expect("the producer is honest") {
                record.copy_to(0, message);
                break;
            }
            std::hint::spin_loop();
        }
        let _ = self.1.settle();
    }
}
