//! Handshakes for a thread that waits.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Established, Handshake, HandshakeError, Options, Progress, Step, after};
use crate::sys;
use crate::wire::{Arrival, Control, Frame};

/// Connects to a server that listens at `path`. Blocks for at most four [`step`](Options::step)s: one for a place in the
/// server's queue, and three for the handshake.
///
/// # Errors
/// When nobody listens there, or one of the sides would not have the session.
pub fn connect(path: impl AsRef<Path>, options: &Options) -> Result<Established, HandshakeError> {
    let socket =
        sys::connect(path.as_ref(), after(Instant::now(), options.step)).map_err(HandshakeError::Local)?;
    let handshake = Handshake::client(socket, options, Instant::now()).map_err(HandshakeError::Local)?;
    finish(handshake)
}

/// Makes a session on a connection that was accepted. Blocks for at most three [`step`](Options::step)s. A peer that
/// wants statistics gets none.
///
/// # Errors
/// When one of the sides would not have the session.
pub fn accept(socket: OwnedFd, options: &Options) -> Result<Established, HandshakeError> {
    finish(Handshake::server(socket, options, Instant::now()).map_err(HandshakeError::Local)?)
}

fn finish(mut handshake: Handshake) -> Result<Established, HandshakeError> {
    loop {
        let to_write = match handshake.advance(Instant::now()) {
            Progress::Done(established) => return Ok(*established),
            Progress::Failed(error) => return Err(error),
            Progress::Asked(_) => return Err(HandshakeError::Closed(Step::Hello)),
            Progress::NeedRead => false,
            Progress::NeedWrite => true,
        };
        let deadline = handshake.deadline().unwrap_or_else(Instant::now);
        sys::wait(handshake.as_fd(), to_write, deadline).map_err(HandshakeError::Local)?;
    }
}

/// Asks the server that listens at `path` for its statistics: lines of text, `name value`. Blocks until they are there,
/// for at most `within`.
///
/// # Errors
/// When nobody listens there, or the server refuses, or does not answer in time.
pub fn ask_statistics(path: impl AsRef<Path>, within: Duration) -> Result<String, HandshakeError> {
    let deadline = after(Instant::now(), within);
    let socket = sys::connect(path.as_ref(), deadline).map_err(HandshakeError::Local)?;
    let mut control = Control::new(socket);
    // If the server has refused already, then that is what there is to read.
    drop(control.send(Frame::AskStatistics));
    loop {
        match control.take()? {
            Some(Frame::Statistics(text)) => return Ok(text),
            Some(Frame::Refused(refusal)) => return Err(HandshakeError::Refused(refusal)),
            Some(_) => return Err(HandshakeError::Rejected(crate::wire::Refusal::Order)),
            None => {}
        }
        match control.receive()? {
            Arrival::Bytes => continue,
            Arrival::End => return Err(HandshakeError::Closed(Step::Hello)),
            Arrival::Nothing => {}
        }
        if Instant::now() >= deadline {
            return Err(HandshakeError::Local(io::ErrorKind::TimedOut.into()));
        }
        sys::wait(control.as_fd(), control.wants_to_send(), deadline).map_err(HandshakeError::Local)?;
    }
}
