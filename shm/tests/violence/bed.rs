//! A server over shared memory, clients of it, and what this process holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment, SegmentWriter};
use linkpoll::conn::CloseReason;
use linkpoll::net::{Address, Dialer, Loops, Server};
use linkpoll::reactor::{LoopOptions, Spin};
use linkpoll::service::{
    CallError, Client, ClientOptions, Flow, Frame, Framed, Handler, HandlerError, Io, Payload, Peer,
};
use linkpoll_shm::{ShmDriver, ShmOptions};

/// Longer than anything here takes, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What loops keep of their pools when nothing is under way.
const MOST_IN_USE: u64 = 2 << 20;

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "given up: {what}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Writes what a test has found out to standard error, and to a file of the target directory.
pub(crate) fn report(file: &str, text: &str) {
    eprintln!("{text}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(path, format!("{text}\n")).expect("a file in the target directory");
}

/// A number that a variable sets.
pub(crate) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
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
}

/// Bytes that are different for every `kind`.
pub(crate) fn payload(kind: u64, len: usize) -> Vec<u8> {
    const PERIOD: usize = 8191;
    let mut random = Random(kind);
    let mut period: Vec<u8> = Vec::with_capacity(PERIOD + 8);
    while period.len() < PERIOD.min(len) {
        period.extend(random.next().to_le_bytes());
    }
    period.truncate(PERIOD);
    let mut bytes = period.repeat(len.div_ceil(PERIOD));
    bytes.truncate(len);
    bytes
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

    pub(crate) fn text(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// What a process holds of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    descriptors: usize,
    /// Mappings of files in memory.
    mappings: usize,
    /// Threads that run loops.
    loops: usize,
}

impl Holdings {
    /// What this process holds.
    pub(crate) fn now() -> Self {
        let descriptors =
            std::fs::read_dir("/proc/self/fd").expect("the descriptors of this process").count();
        let threads = std::fs::read_dir("/proc/self/task").expect("the threads of this process").flatten();
        let is_loop = |comm: String| comm.starts_with("linkpoll-");
        let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
        Self {
            descriptors,
            mappings: shared_mappings().len(),
            loops: names.filter(|n| is_loop(n.clone())).count(),
        }
    }

    /// Waits until this process holds just this again.
    pub(crate) fn restored(self, what: &str) {
        let limit = Instant::now() + PATIENCE;
        while Self::now() != self {
            assert!(Instant::now() < limit, "{what}: {:?} where {self:?} was; {:?}", Self::now(), links());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What the descriptors of this process are of.
fn links() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("the descriptors of this process").flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

/// The mappings of files in memory that this process has: where each begins, how long it is, whether it is writable.
pub(crate) fn shared_mappings() -> Vec<(usize, usize, bool)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the mappings of this process");
    let of = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let from = number(from)?;
        Some((from, number(to)? - from, rest.starts_with("rw")))
    };
    maps.lines().filter(|line| line.contains("memfd:linkpoll-shm")).filter_map(of).collect()
}

/// What has a name in the host's shared memory.
pub(crate) fn named() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|n| n.contains("linkpoll"))
        .collect()
}

/// The address space of this process, and what of it is in memory, in bytes.
fn memory() -> [u64; 2] {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this process's memory");
    let mut pages = statm.split(' ').map(|pages| pages.parse().unwrap_or(0));
    [(); 2].map(|()| pages.next().unwrap_or(0) * 4096)
}

pub(crate) fn address_space() -> u64 {
    memory()[0]
}

/// Whether this process is watched by a sanitizer, whose shadow is larger than any memory, and which keeps what is freed.
pub(crate) fn is_sanitized() -> bool {
    address_space() > 1 << 40
}

/// The bytes of this process that are in memory.
pub(crate) fn resident() -> u64 {
    memory()[1]
}

type Answer = fn(Payload<'_>, &mut SegmentWriter) -> Result<(), HandlerError>;

/// The sum of a message's bytes, in order.
fn sum(message: &Payload<'_>) -> u64 {
    message.pieces().flatten().fold(0, |sum: u64, byte| sum.rotate_left(5) ^ u64::from(*byte))
}

/// Sends a message back. What a handler reads twice must be the same bytes twice, whoever writes into the peer's memory.
fn answer(request: Payload<'_>, reply: &mut SegmentWriter) -> Result<(), HandlerError> {
    let before = sum(&request);
    thread::yield_now();
    assert_eq!(sum(&request), before, "a message has changed under its reader");
    let written = request.pieces().try_for_each(|piece| reply.write(piece)).map_err(Into::into);
    assert_eq!(sum(&request), before, "a message has changed under its reader");
    written
}

/// Echoes messages, and tells how its connection has ended.
pub(crate) struct Echo {
    framed: Framed<Answer>,
    ends: Sender<CloseReason>,
}

impl Handler for Echo {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        self.framed.data(io)
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        // A test that is over does not listen any more.
        drop(self.ends.send(why));
    }
}

fn options(spin: Spin) -> LoopOptions {
    LoopOptions { spin, linger_limit: Duration::from_millis(20), ..LoopOptions::default() }
}

/// What every driver here is made with: time enough for the slowest machine.
pub(crate) fn patient() -> ShmOptions {
    let mut options = ShmOptions::default();
    options.session.step = PATIENCE;
    options
}

/// A server with one loop that echoes messages.
pub(crate) fn server(address: &Address, spin: Spin) -> (Server, Receiver<CloseReason>) {
    server_with(address, spin, patient())
}

/// Likewise, with a driver of one's own choice.
pub(crate) fn server_with(
    address: &Address,
    spin: Spin,
    driver: ShmOptions,
) -> (Server, Receiver<CloseReason>) {
    let (tell, ends) = channel();
    let make =
        move |_: &Peer| Echo { framed: Framed::new(Frame::default(), answer as Answer), ends: tell.clone() };
    let server = Server::builder()
        .loops(1)
        .options(options(spin))
        .bind_with(address, make, move |_| ShmDriver::new(driver.clone()))
        .expect("a server over shared memory");
    (server, ends)
}

/// A loop for clients.
pub(crate) fn loops(spin: Spin) -> Loops {
    loops_with(spin, patient())
}

/// Likewise, with a driver of one's own choice.
pub(crate) fn loops_with(spin: Spin, driver: ShmOptions) -> Loops {
    Loops::builder()
        .loops(1)
        .options(options(spin))
        .start_with(move |_| ShmDriver::new(driver.clone()))
        .expect("a loop over shared memory")
}

/// A connection, if somebody listens.
pub(crate) fn dial(dialer: &Dialer, address: &Address) -> Option<Client<Frame>> {
    Client::dial(dialer, [address.clone()], Frame::default(), ClientOptions::default()).wait().ok()
}

/// Calls, and waits for the reply, which must be the request.
pub(crate) fn echo(client: &Client<Frame>, request: &[u8]) -> Result<(), CallError> {
    let call = client.call(Chain::from(Segment::copy_of(request)));
    let mut reply = call.wait_for(PATIENCE)?;
    assert_eq!(reply.len(), request.len(), "the length of a reply");
    assert!(reply.next(request.len()).expect("as many are there") == request, "a reply as it should be");
    Ok(())
}

/// All connections of a server are gone, and nothing of them is left.
pub(crate) fn settled(server: &Server, but: u64) {
    let metrics = &server.usage()[0].metrics;
    until("connections are gone", || metrics.connections() == but);
    until("timers are disarmed", || metrics.timers.get() <= but);
    until("blocks are given back", || metrics.pool.in_use.get() <= MOST_IN_USE);
    assert_eq!(metrics.panics.get(), 0, "handlers that panicked");
}

/// Ends in an orderly way.
pub(crate) fn finish(server: Server) {
    server.stopper().stop_now();
    server.join().expect("an orderly end");
}

/// Likewise.
pub(crate) fn finish_loops(loops: Loops) {
    let metrics = &loops.usage()[0].metrics;
    until("connections are gone", || metrics.connections() == 0);
    until("timers are disarmed", || metrics.timers.get() == 0);
    until("blocks are given back", || metrics.pool.in_use.get() <= MOST_IN_USE);
    loops.stopper().stop_now();
    loops.join().expect("an orderly end");
}
