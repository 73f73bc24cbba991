//! The files of Unix sockets.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use super::site::{Site, at};

/// lstat(2).
pub(crate) fn status(path: &Path) -> io::Result<Metadata> {
    at(Site::FileStatus, || fs::symlink_metadata(path))
}

/// unlink(2).
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    at(Site::FileRemove, || fs::remove_file(path))
}
