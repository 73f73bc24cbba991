//! The handshake as a pure automaton: frames in, acts out. It knows no socket and no memory.
//!
//! ```text
//!   client:  Greeting --HELLO/offer--> Waiting --SETUP/map, READY--> Mapped --READY--> Over (established)
//!   server:  Greeting --HELLO/HELLO--> Waiting --SETUP/map, offer--> Mapped --READY/READY--> Over (established)
//!                 \--question--> Over (asked)
//! ```
//!
//! An error ends it: whatever comes after is an error, too.

use super::{HandshakeError, Options, Step, features, is_ring};
use crate::layout;
use crate::wire::{Frame, Hello, Refusal, Role, Setup, VERSIONS};

/// How much a side brings, and takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of its ring.
    pub ring: u32,
    /// The most bytes of the other's arenas that it maps.
    pub arena: u32,
    /// The most bytes that it takes as one piece of sealed memory.
    pub bulk: u32,
}

/// What both sides have agreed upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The version of the protocol.
    pub version: u16,
    /// Bits of what is done; see [`features`](mod@super::features).
    pub features: u32,
    /// What we bring and take.
    pub own: Limits,
    /// What the peer brings and takes.
    pub peer: Limits,
    /// A number for the session, the same on both sides; for people who compare logs.
    pub id: u64,
}

impl Agreed {
    /// Whether all of these features are in use.
    #[must_use]
    pub fn has(&self, features: u32) -> bool {
        self.features & features == features
    }
}

/// What the peer offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered<F> {
    /// The bytes of its ring; they have been checked.
    pub ring: u32,
    /// Its region.
    pub memory: F,
    /// Its doorbell, if that was agreed.
    pub bell: Option<F>,
}

/// A frame to send, without descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// Our greeting.
    Hello(Hello),
    /// The peer's region is mapped.
    Ready,
}

/// How a handshake ends well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a session.
    Established,
    /// The peer wants to know how we are, and no session.
    Asked,
}

/// What is to be done now, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act<F> {
    /// Check and map what the peer offers.
    pub map: Option<Offered<F>>,
    /// Make a region, and send it with this set-up.
    pub offer: Option<Setup>,
    /// Send this.
    pub say: Option<Saying>,
    /// It is over.
    pub outcome: Option<Outcome>,
}

impl<F> Default for Act<F> {
    fn default() -> Self {
        Self { map: None, offer: None, say: None, outcome: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Waiting,
    Mapped,
    Over,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Automaton {
    role: Role,
    hello: Hello,
    state: State,
    agreed: Agreed,
    /// The peer's nonce.
    echo: u64,
}

impl Automaton {
    /// A handshake that has not begun. `nonce` is a number that nobody can guess.
    #[must_use]
    pub fn new(role: Role, options: &Options, nonce: u64) -> Self {
        let hello = Hello { versions: VERSIONS, features: options.features(), role, nonce };
        let agreed = Agreed { own: options.limits(), ..Agreed::default() };
        Self { role, hello, state: State::Greeting, agreed, echo: 0 }
    }

    /// What a side says before it has heard anything.
    #[must_use]
    pub fn opening(&self) -> Option<Saying> {
        (self.role == Role::Client).then_some(Saying::Hello(self.hello))
    }

    /// What of the peer's is waited for.
    #[must_use]
    pub fn step(&self) -> Step {
        match self.state {
            State::Greeting => Step::Hello,
            State::Waiting => Step::Setup,
            State::Mapped | State::Over => Step::Ready,
        }
    }

    /// What was agreed; complete once the peer's region has been offered.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// A frame has come.
    ///
    /// # Errors
    /// When it ends the handshake.
    pub fn take<F>(&mut self, frame: Frame<F>) -> Result<Act<F>, HandshakeError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let is_server = self.role == Role::Server;
        let mut act = Act::default();
        self.state = match (state, frame) {
            (State::Over, _) => return Err(HandshakeError::Over),
            (_, Frame::Refused(refusal)) => return Err(HandshakeError::Refused(refusal)),
            (State::Greeting, Frame::AskStatistics) if is_server => {
                act.outcome = Some(Outcome::Asked);
                State::Over
            }
            (State::Greeting, Frame::Hello(hello)) => {
                self.greeted(&hello).map_err(HandshakeError::Rejected)?;
                if is_server {
                    act.say = Some(Saying::Hello(self.hello));
                } else {
                    act.offer = Some(self.setup());
                }
                State::Waiting
            }
            (State::Waiting, Frame::Setup(setup, memory, bell)) => {
                self.offered(&setup, bell.is_some()).map_err(HandshakeError::Rejected)?;
                act.map = Some(Offered { ring: setup.ring, memory, bell });
                if is_server {
                    act.offer = Some(self.setup());
                } else {
                    act.say = Some(Saying::Ready);
                }
                State::Mapped
            }
            (State::Mapped, Frame::Ready) => {
                act.say = is_server.then_some(Saying::Ready);
                act.outcome = Some(Outcome::Established);
                State::Over
            }
            _ => return Err(HandshakeError::Rejected(Refusal::Order)),
        };
        Ok(act)
    }

    /// Settles on the last version and the features that both have.
    fn greeted(&mut self, peer: &Hello) -> Result<(), Refusal> {
        if peer.role == self.role {
            return Err(Refusal::Role);
        }
        let (first, last) = self.hello.versions;
        let version = last.min(peer.versions.1);
        if peer.versions.0 > peer.versions.1 || version < first.max(peer.versions.0) {
            return Err(Refusal::Version);
        }
        if self.hello.features & !peer.features & features::MESSAGES != 0 {
            return Err(Refusal::Content);
        }
        self.agreed.version = version;
        self.agreed.features = self.hello.features & peer.features;
        self.agreed.id = self.hello.nonce ^ peer.nonce;
        self.echo = peer.nonce;
        Ok(())
    }

    fn setup(&self) -> Setup {
        let Limits { ring, arena, bulk } = self.agreed.own;
        Setup {
            version: self.agreed.version,
            features: self.agreed.features,
            echo: self.echo,
            ring,
            releases: RELEASES,
            arena,
            bulk,
        }
    }

    fn offered(&mut self, setup: &Setup, has_bell: bool) -> Result<(), Refusal> {
        if setup.echo != self.hello.nonce {
            return Err(Refusal::Nonce);
        }
        if setup.version != self.agreed.version || setup.features != self.agreed.features {
            return Err(Refusal::Version);
        }
        if has_bell != self.agreed.has(features::EVENT_FD) {
            return Err(Refusal::Descriptors);
        }
        if !is_ring(setup.ring) || setup.releases != RELEASES {
            return Err(Refusal::Geometry);
        }
        self.agreed.peer = Limits { ring: setup.ring, arena: setup.arena, bulk: setup.bulk };
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a constant of a few thousand")]
const RELEASES: u32 = layout::RELEASES as u32;
