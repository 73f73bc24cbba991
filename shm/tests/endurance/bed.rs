//! Servers, loops, chance, and messages that tell when a byte of them is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::net::{Address, Dialer, Loops, Server};
use linkpoll::reactor::Spin;
use linkpoll::service::{Client, ClientOptions, Frame, Reply, Serve};
use linkpoll_shm::handshake::ask_statistics;
use linkpoll_shm::{ShmDriver, ShmOptions};

/// Longer than anything here takes, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The longest message.
pub(crate) const LONGEST: usize = 8 << 20;

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "given up: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long a soak takes.
pub(crate) fn duration() -> Duration {
    let seconds = std::env::var("LINKPOLL_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// The seed of a test's first round, which is printed.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("LINKPOLL_SOAK_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| u64::from(now.subsec_nanos()))
    });
    eprintln!("{test}: LINKPOLL_SOAK_SEED={seed}");
    seed
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("below a length")
    }

    /// A length up to `most`: of each order of magnitude as often as of any other.
    pub(crate) fn len(&mut self, most: usize) -> usize {
        let limit = 1 << self.below(most.ilog2() as usize + 2);
        self.below(limit.min(most + 1))
    }

    pub(crate) fn spin(&mut self) -> Spin {
        [Spin::Never, Spin::Once, Spin::Adaptive, Spin::Always][self.below(4)]
    }
}

/// A message: a number, and bytes that depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) number: u64,
    pub(crate) len: usize,
}

impl Message {
    /// The bytes of the number.
    pub(crate) const HEAD: usize = 8;
    /// What stands in front of a message in a stream.
    pub(crate) const LENGTH: usize = 4;

    /// A part of one large piece of noise: to compare with it is quick, and any shift, swap or old byte shows.
    fn body(self) -> &'static [u8] {
        static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
        const SPREAD: usize = 1 << 16;
        let noise = NOISE.get_or_init(|| {
            let mut random = Random(1);
            (0..(LONGEST + SPREAD) / 8 + 1).flat_map(|_| random.next().to_le_bytes()).collect()
        });
        let at = Random(self.number).below(SPREAD);
        &noise[at..at + self.len]
    }

    pub(crate) fn write(self) -> Vec<u8> {
        [&self.number.to_le_bytes()[..], self.body()].concat()
    }

    pub(crate) fn chain(self) -> Chain {
        Chain::from(Segment::copy_of(&self.write()))
    }

    /// Looks at every byte of it.
    pub(crate) fn check(self, found: &Chain) {
        assert_eq!(found.len(), Self::HEAD + self.len, "the length of message {}", self.number);
        let head = self.number.to_le_bytes();
        let mut expected = &head[..];
        let mut behind = self.body();
        for segment in found.segments() {
            let mut bytes = &segment[..];
            while !bytes.is_empty() {
                if expected.is_empty() {
                    expected = std::mem::take(&mut behind);
                }
                let n = bytes.len().min(expected.len());
                assert!(n > 0 && bytes[..n] == expected[..n], "message {} is not as it was", self.number);
                (bytes, expected) = (&bytes[n..], &expected[n..]);
            }
        }
    }
}

/// A path in a place of its own, removed with the value.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// `name` is the test's.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linkpoll-shm-{}-{name}", std::process::id()));
        drop(std::fs::remove_file(&path));
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.0.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// What every driver here is made with: time enough for the slowest machine.
pub(crate) fn patient() -> ShmOptions {
    let mut options = ShmOptions::default();
    options.session.step = PATIENCE;
    options
}

/// A server with one loop that sends messages back without a copy of its own.
pub(crate) fn server(address: &Address, spin: Spin) -> Server {
    let echo = Serve::function(Frame::default, |message: Chain, reply: Reply<'_, Frame>| reply.send(message));
    Server::builder()
        .loops(1)
        .spin(spin)
        .bind_with(address, echo, |_| ShmDriver::new(patient()))
        .expect("a server over shared memory")
}

/// A loop for clients.
pub(crate) fn loops(spin: Spin) -> Loops {
    let start = Loops::builder().loops(1).spin(spin).start_with(|_| ShmDriver::new(patient()));
    start.expect("a loop over shared memory")
}

pub(crate) fn dial(dialer: &Dialer, address: &Address) -> Client<Frame> {
    let client = Client::dial(dialer, [address.clone()], Frame::default(), ClientOptions::default());
    client.wait().expect("a session")
}

/// Calls, and waits for the reply, which must be the request.
pub(crate) fn echo(client: &Client<Frame>, message: Message) {
    let reply = client.call(message.chain()).wait_for(PATIENCE);
    message.check(&reply.expect("a reply"));
}

/// What a server tells of itself: numbers by name.
pub(crate) fn statistics(server: &Path) -> BTreeMap<String, u64> {
    let text = ask_statistics(server, PATIENCE).expect("statistics");
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Requires that no handshake and no session has failed.
pub(crate) fn nothing_has_failed(statistics: &BTreeMap<String, u64>) {
    const FAILURES: [&str; 11] = [
        "refused_",
        "handshake_",
        "violation_",
        "ended_by_peer",
        "peer_gone",
        "nobody_reads",
        "socket_broken",
        "socket_not_read",
        "no_descriptors",
        "forked",
        "panics",
    ];
    let is_failure = |name: &str| FAILURES.iter().any(|failure| name.starts_with(failure));
    let failures: Vec<_> = statistics.iter().filter(|(name, n)| is_failure(name) && **n > 0).collect();
    assert!(failures.is_empty(), "{failures:?}");
    assert!(
        statistics.keys().any(|name| is_failure(name)),
        "it tells of failures by other names: {statistics:?}"
    );
}

/// Ends in an orderly way.
pub(crate) fn finish(server: Server) {
    server.stopper().stop_now();
    server.join().expect("an orderly end");
}

/// Likewise.
pub(crate) fn finish_loops(loops: Loops) {
    loops.stopper().stop_now();
    loops.join().expect("an orderly end");
}
