//! A session without a loop, for a thread that waits.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use linkpoll_shm::handshake::{HandshakeError, Options, accept, connect};
use linkpoll_shm::session::{Parked, Received, Room, Session, SessionError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::bed::{PATIENCE, patient};

/// See the module's documentation.
pub(crate) struct Bare {
    pub(crate) session: Session,
    space: Vec<u8>,
    /// The peer's direction has ended.
    pub(crate) is_ended: bool,
}

impl Bare {
    fn options() -> Options {
        patient().session
    }

    pub(crate) fn connect(path: &Path) -> Result<Self, HandshakeError> {
        Ok(Self::of(Session::new(connect(path, &Self::options())?).expect("rings that fit")))
    }

    pub(crate) fn accept(listener: &UnixListener) -> Result<Self, HandshakeError> {
        let (socket, _) = listener.accept().expect("a listener");
        Ok(Self::of(Session::new(accept(socket.into(), &Self::options())?).expect("rings that fit")))
    }

    pub(crate) fn of(session: Session) -> Self {
        let space = vec![0; session.least_room() + (64 << 10)];
        Self { session, space, is_ended: false }
    }

    /// Sends what there is room for.
    pub(crate) fn send(&mut self, bytes: &mut &[u8]) -> Result<usize, SessionError> {
        self.session.send(bytes)
    }

    /// Receives what is there: nothing if nothing is.
    pub(crate) fn receive(&mut self) -> Result<&[u8], SessionError> {
        let mut room = Room { first: &mut self.space, second: &mut [] };
        match self.session.receive(&mut room, usize::MAX)? {
            Received::Copied(n) => Ok(&self.space[..n]),
            Received::End => {
                self.is_ended = true;
                Ok(&[])
            }
            _ => Ok(&[]),
        }
    }

    /// Sleeps until there may be something to receive, or room for `unsent` bytes.
    pub(crate) fn wait(&mut self, unsent: usize) -> Result<(), SessionError> {
        self.session.listen()?;
        let send = (unsent > 0).then_some(unsent);
        if self.session.park(!self.is_ended, send)? == Parked::NotYet {
            return Ok(());
        }
        let (socket, _) = self.session.watched();
        let mut socket = [PollFd::new(socket, PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE.as_millis()).expect("a minute");
        let begun = Instant::now();
        match poll(&mut socket, patience) {
            Ok(0) => panic!("nothing has happened for {:?}", begun.elapsed()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => panic!("poll: {error}"),
        }
    }
}
