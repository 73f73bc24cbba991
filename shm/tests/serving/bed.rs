//! A server over shared memory, and clients of it.

use std::path::PathBuf;

use linkpoll::net::{Address, Loops, Server};
use linkpoll::reactor::Spin;
use linkpoll::service::MakeHandler;
use linkpoll_shm::{ShmDriver, ShmOptions};

/// A path in a place of its own, removed with the value.
#[derive(Debug)]
pub(crate) struct Path(PathBuf);

impl Path {
    /// `name` is the test's.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linkpoll-shm-{}-{name}", std::process::id()));
        Self(path)
    }

    pub(crate) fn as_path(&self) -> &std::path::Path {
        &self.0
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.0.clone())
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A server with one loop.
pub(crate) fn server(path: &Path, options: &ShmOptions, spin: Spin, maker: impl MakeHandler) -> Server {
    let options = options.clone();
    Server::builder()
        .loops(1)
        .spin(spin)
        .bind_with(&path.address(), maker, move |_| ShmDriver::new(options.clone()))
        .expect("a server over shared memory")
}

/// Loops for clients.
pub(crate) fn loops(options: &ShmOptions, spin: Spin) -> Loops {
    let options = options.clone();
    Loops::builder()
        .loops(1)
        .spin(spin)
        .start_with(move |_| ShmDriver::new(options.clone()))
        .expect("loops over shared memory")
}
