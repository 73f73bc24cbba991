//! Two ends, and two processors.

use std::os::unix::net::UnixListener;
use std::sync::OnceLock;
use std::thread;

use linkpoll::reactor::Spin;
use linkpoll_shm::channel::{Channel, Listener, Options};
use linkpoll_shm::handshake::{self, Doorbell};
use linkpoll_shm::session::Session;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Both ends of a channel.
pub(crate) fn pair(spin: Spin, doorbell: Doorbell, ring: u32) -> (Channel, Channel) {
    let path = std::env::temp_dir().join(format!("linkpoll-bench-{}.sock", std::process::id()));
    let session = handshake::Options { doorbell, ring, ..handshake::Options::default() };
    let options = Options { session, spin, ..Options::default() };
    let mut listener = Listener::bind(&path, &options).expect("a listener");
    let client = thread::spawn({
        let (path, options) = (path.clone(), options.clone());
        move || Channel::connect(path, &options).expect("a channel")
    });
    let server = listener.accept().expect("a channel");
    drop(std::fs::remove_file(path));
    (client.join().expect("no panic"), server)
}

/// Both ends of a session of a stream.
pub(crate) fn sessions() -> (Session, Session) {
    let path = std::env::temp_dir().join(format!("linkpoll-bench-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a listener");
    let client = thread::spawn({
        let path = path.clone();
        move || handshake::connect(path, &handshake::Options::default()).expect("a session")
    });
    let (socket, _) = listener.accept().expect("a connection");
    let server = handshake::accept(socket.into(), &handshake::Options::default()).expect("a session");
    drop(std::fs::remove_file(path));
    let session = |established| Session::new(established).expect("a session");
    (session(client.join().expect("no panic")), session(server))
}

/// Pins this thread to the first (0) or the last (1) processor that it may use.
pub(crate) fn pin(which: usize) {
    /// Those of the process, before any thread was pinned.
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    let me = Pid::from_raw(0);
    let allowed = ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(me).expect("the processors of this thread");
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()
    });
    let cpu = if which == 0 { allowed.first() } else { allowed.last() };
    let mut set = CpuSet::new();
    if cpu.is_some_and(|cpu| set.set(*cpu).is_ok()) {
        let _ = sched_setaffinity(me, &set);
    }
}

/// Writes every byte.
pub(crate) fn fill(bytes: &mut [u8], number: usize) {
    bytes.fill(number.to_le_bytes()[0]);
}

/// Reads every byte.
///
/// # Panics
/// When one is not what [`fill`] has written.
pub(crate) fn check(bytes: &[u8], number: usize) {
    let byte = number.to_le_bytes()[0];
    let differs = bytes.iter().fold(0, |all, other| all | (byte ^ other));
    assert_eq!(differs, 0, "message {number} is as it was sent");
}
