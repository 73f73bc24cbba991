//! The handshake over a socket, for a loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::{
    Act, Agreed, Automaton, EventFd, HandshakeError, Offered, Options, Outcome, Saying, after, features,
    is_ring, region_len,
};
use crate::region::{OwnRegion, PeerRegion, Unfit};
use crate::sys;
use crate::wire::{Arrival, Control, ControlError, Credentials, Frame, MAGIC, Refusal, Role, Setup};

/// How many frames and receives it takes at most to find out why a peer has closed its end.
const LAST_LOOKS: usize = 16;

/// The doorbells of a session that has agreed on eventfds.
#[derive(Debug)]
pub struct Bells {
    /// The one that the peer rings.
    pub own: EventFd,
    /// The one that we ring.
    pub peer: EventFd,
}

/// A session's beginning: its socket, and the memory of both sides.
#[derive(Debug)]
pub struct Established {
    /// The session's socket. Frames may be in its inbox already: they are taken before anything is received.
    pub control: Control,
    /// Our role.
    pub role: Role,
    /// Our region: [`layout`](crate::layout), with a ring of `agreed.own.ring` bytes. All words are zero.
    pub own: OwnRegion,
    /// The peer's region, with a ring of `agreed.peer.ring` bytes.
    pub peer: PeerRegion,
    /// Doorbells, unless they ring in the socket.
    pub bells: Option<Bells>,
    /// What was agreed.
    pub agreed: Agreed,
    /// The most bytes of our arenas, which is our own affair ([`Options::lend`]).
    pub lend: u32,
    /// Who the peer is.
    pub credentials: Credentials,
}

/// How far a handshake is.
#[derive(Debug)]
pub enum Progress {
    /// It goes on when the socket can be read.
    NeedRead,
    /// It goes on when the socket can be written, or read.
    NeedWrite,
    /// There is a session.
    Done(Box<Established>),
    /// The peer wants to know how we are: send [`Frame::Statistics`], and close.
    Asked(Box<Control>),
    /// There is none. The peer has been told why, as far as that was possible without waiting.
    Failed(HandshakeError),
}

/// A handshake that is under way. Nothing in it blocks; dropping it ends it.
#[derive(Debug)]
pub struct Handshake(Option<Box<UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    control: Control,
    role: Role,
    automaton: Automaton,
    options: Options,
    credentials: Credentials,
    own: Option<(OwnRegion, Option<EventFd>)>,
    peer: Option<(PeerRegion, Option<EventFd>)>,
    opened: bool,
    outcome: Option<Outcome>,
    deadline: Instant,
}

impl Handshake {
    /// Begins on a connected Unix stream socket, as the side that has connected. `now` is the time, with which the first
    /// step begins.
    ///
    /// # Errors
    /// When it is no Unix socket, or the options are impossible.
    pub fn client(socket: OwnedFd, options: &Options, now: Instant) -> io::Result<Self> {
        Self::begin(Role::Client, socket, options, now)
    }

    /// As [`client`](Self::client), as the side that has accepted.
    ///
    /// # Errors
    /// As there.
    pub fn server(socket: OwnedFd, options: &Options, now: Instant) -> io::Result<Self> {
        Self::begin(Role::Server, socket, options, now)
    }

    fn begin(role: Role, socket: OwnedFd, options: &Options, now: Instant) -> io::Result<Self> {
        if !is_ring(options.ring) {
            let text = "a ring is a power of two from 4 KiB to 1 MiB";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let control = Control::new(socket);
        Ok(Self(Some(Box::new(UnderWay {
            credentials: control.credentials()?,
            control,
            role,
            automaton: Automaton::new(role, options, sys::random()?),
            options: options.clone(),
            own: None,
            peer: None,
            opened: false,
            outcome: None,
            deadline: after(now, options.step),
        }))))
    }

    /// When the current step must be over; `None` after the end. [`advance`](Self::advance) is to be called then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.as_ref().map(|under_way| under_way.deadline)
    }

    /// Ends it, and tells the peer why.
    pub fn refuse(mut self, refusal: Refusal) -> HandshakeError {
        match self.0.take() {
            Some(under_way) => under_way.fail(HandshakeError::Rejected(refusal)),
            None => HandshakeError::Over,
        }
    }

    /// Does what can be done now. To be called at once, when the socket is ready, and at the deadline; `now` is the time.
    pub fn advance(&mut self, now: Instant) -> Progress {
        let Some(mut under_way) = self.0.take() else { return Progress::Failed(HandshakeError::Over) };
        match under_way.advance(now) {
            Ok(None) => {
                let writing = under_way.control.wants_to_send();
                self.0 = Some(under_way);
                if writing { Progress::NeedWrite } else { Progress::NeedRead }
            }
            Ok(Some(Outcome::Asked)) => Progress::Asked(Box::new(under_way.control)),
            Ok(Some(Outcome::Established)) => under_way.establish(),
            Err(error) => Progress::Failed(under_way.fail(error)),
        }
    }
}

impl AsFd for Handshake {
    /// The socket.
    ///
    /// # Panics
    /// After the end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Some(under_way) => under_way.control.as_fd(),
            None => panic!("the handshake is over, and its socket has been given away"),
        }
    }
}

impl UnderWay {
    fn advance(&mut self, now: Instant) -> Result<Option<Outcome>, HandshakeError> {
        if !std::mem::replace(&mut self.opened, true) {
            let own = sys::user();
            if !self.options.policy.welcomes(self.credentials, own) {
                return Err(HandshakeError::NotWelcome(self.credentials));
            }
            if let Some(saying) = self.automaton.opening() {
                self.say(saying)?;
            }
        }
        loop {
            let flushed = self.control.flush()?;
            if self.outcome.is_some() {
                if flushed {
                    return Ok(self.outcome);
                }
                break;
            }
            if let Some(frame) = self.control.take()? {
                let act = self.automaton.take(frame)?;
                self.perform(act)?;
                self.deadline = after(now, self.options.step);
                continue;
            }
            match self.control.receive()? {
                Arrival::Bytes => {}
                Arrival::Nothing => break,
                Arrival::End => return Err(HandshakeError::Closed(self.automaton.step())),
            }
        }
        if now >= self.deadline { Err(HandshakeError::TimedOut(self.automaton.step())) } else { Ok(None) }
    }

    fn perform(&mut self, act: Act<OwnedFd>) -> Result<(), HandshakeError> {
        if let Some(offered) = act.map {
            self.peer = Some(map(offered)?);
        }
        if let Some(setup) = act.offer {
            self.offer(setup)?;
        }
        if let Some(saying) = act.say {
            self.say(saying)?;
        }
        self.outcome = act.outcome;
        Ok(())
    }

    fn offer(&mut self, setup: Setup) -> Result<(), HandshakeError> {
        let (mut region, memory) =
            OwnRegion::create(region_len(setup.ring)).map_err(HandshakeError::Local)?;
        region.write(0, &MAGIC);
        region.write(MAGIC.len(), &u32::from(setup.version).to_le_bytes());
        let bell = if self.automaton.agreed().has(features::EVENT_FD) {
            Some(EventFd::new().map_err(HandshakeError::Local)?)
        } else {
            None
        };
        let share = bell.as_ref().map(EventFd::share).transpose().map_err(HandshakeError::Local)?;
        self.own = Some((region, bell));
        self.control.send(Frame::Setup(setup, memory, share))?;
        Ok(())
    }

    fn say(&mut self, saying: Saying) -> Result<(), HandshakeError> {
        self.control.send(match saying {
            Saying::Hello(hello) => Frame::Hello(hello),
            Saying::Ready => Frame::Ready,
        })?;
        Ok(())
    }

    fn establish(self) -> Progress {
        let (Some((own, own_bell)), Some((peer, peer_bell))) = (self.own, self.peer) else {
            unreachable!("the automaton establishes what was offered and mapped")
        };
        let bells = own_bell.zip(peer_bell).map(|(own, peer)| Bells { own, peer });
        Progress::Done(Box::new(Established {
            control: self.control,
            role: self.role,
            own,
            peer,
            bells,
            agreed: *self.automaton.agreed(),
            lend: self.options.lend,
            credentials: self.credentials,
        }))
    }

    /// Tells the peer of an error, and finds out whether the peer was first.
    fn fail(mut self, error: HandshakeError) -> HandshakeError {
        if let Some(refusal) = error.refusal() {
            self.control.refuse(refusal);
        }
        let broken = match &error {
            HandshakeError::Control(ControlError::Io(error)) => is_broken(error),
            _ => false,
        };
        if !broken {
            return error;
        }
        // A peer that refuses closes its end, and what we send then fails before we have read why.
        match self.last_word() {
            Some(refusal) => HandshakeError::Refused(refusal),
            None => HandshakeError::Closed(self.automaton.step()),
        }
    }

    /// The reason that the peer has given before it closed its end. It is among the first frames, if it is anywhere: a
    /// peer that only reads no more (shutdown(2)) could go on writing for ever.
    fn last_word(&mut self) -> Option<Refusal> {
        for _ in 0..LAST_LOOKS {
            match self.control.take() {
                Ok(Some(Frame::Refused(refusal))) => return Some(refusal),
                Ok(Some(_)) => {}
                Ok(None) if matches!(self.control.receive(), Ok(Arrival::Bytes)) => {}
                _ => return None,
            }
        }
        None
    }
}

/// Whether the other end is closed.
fn is_broken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn map(offered: Offered<OwnedFd>) -> Result<(PeerRegion, Option<EventFd>), HandshakeError> {
    let region = PeerRegion::accept(offered.memory, region_len(offered.ring))?;
    let bell = offered.bell.map(EventFd::adopt).transpose().map_err(|_| Unfit::NotMemory)?;
    Ok((region, bell))
}
