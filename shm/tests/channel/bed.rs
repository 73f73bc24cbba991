//! Two ends of a channel.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use linkpoll::reactor::Spin;
use linkpoll_shm::channel::{Channel, Listener, Options};
use linkpoll_shm::handshake;

/// A path of the test's own, removed at the end.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linkpoll-channel-{name}-{}.sock", std::process::id()));
        drop(std::fs::remove_file(&path));
        Self(path)
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Steps of a handshake that slow machines keep to.
pub(crate) fn options(spin: Spin, ring: u32) -> Options {
    let session = handshake::Options { step: Duration::from_secs(60), ring, ..handshake::Options::default() };
    Options { session, spin, ..Options::default() }
}

/// Two ends: the one that has connected, and the one that has accepted.
pub(crate) fn pair(name: &str, options: &Options) -> (Channel, Channel) {
    let place = Place::new(name);
    let mut listener = Listener::bind(place.path(), options).expect("a listener");
    let client = thread::spawn({
        let (path, options) = (place.path().clone(), options.clone());
        move || Channel::connect(path, &options).expect("a channel")
    });
    let server = listener.accept().expect("a channel");
    (client.join().expect("no panic"), server)
}

/// Bytes that no two messages have in common for long.
pub(crate) fn message(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((number * 131 + at) ^ (at >> 8)).to_le_bytes()[0]).collect()
}
