//! The file that a Unix socket is bound to.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::Address;
use crate::sys;

/// A socket file that a server has made, and removes when it ends. While it drained another server may have put its
/// own in the place; that one is left alone.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: [i64; 4],
}

impl SocketFile {
    /// The file at an address that was just bound; none for an address without a file.
    pub(super) fn at(address: &Address) -> Option<Self> {
        let Address::Unix(path) = address else { return None };
        let metadata = sys::status(path).ok()?;
        Some(Self { path: path.clone(), identity: identity(&metadata) })
    }
}

impl Drop for SocketFile {
    /// Removes the file, if it is still the same.
    fn drop(&mut self) {
        if sys::status(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity) {
            // Whoever was quicker has done what there was to do.
            drop(sys::remove_file(&self.path));
        }
    }
}

/// Numbers of files are used again: only with the time of its making a file is that one. Where a file system does not keep
/// that, the time of its last change stands in for it, and a file whose permissions were changed is left behind.
fn identity(metadata: &Metadata) -> [i64; 4] {
    let whole = |n: u64| n.cast_signed();
    let made = metadata.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let [seconds, nanoseconds] = match made {
        Some(made) => [whole(made.as_secs()), i64::from(made.subsec_nanos())],
        None => [metadata.ctime(), metadata.ctime_nsec()],
    };
    [whole(metadata.dev()), whole(metadata.ino()), seconds, nanoseconds]
}
