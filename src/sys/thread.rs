//! Threads.

use std::io;
use std::thread::{Builder, JoinHandle};

use super::site::{Site, at};

/// pthread_create(3), with a name.
pub(crate) fn spawn<R: Send + 'static>(
    name: String,
    run: impl FnOnce() -> R + Send + 'static,
) -> io::Result<JoinHandle<R>> {
    at(Site::Spawn, || Builder::new().name(name).spawn(run))
}
