//! Our side: a session, used as a loop would use it.

use linkpoll::buffer::Chain;
use linkpoll_shm::handshake::Established;
use linkpoll_shm::session::{Heard, Parked, Received, Room, Session, SessionError};
use linkpoll_shm::storage::Word;

use super::peer::Peer;
use super::{bytes_of_stream, is_stream, write_stream};

pub(crate) struct Victim {
    session: Session,
    /// Why the session is over.
    over: Option<String>,
    /// Bytes sent, and received.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Those of them that came through the ring.
    through_ring: u64,
    pub(crate) ended: bool,
    /// It sleeps until records come.
    pub(crate) sleeps: bool,
    /// The peer is gone, and everything it had published was received.
    deserted: bool,
}

impl Victim {
    pub(crate) fn new(established: Established) -> Self {
        Self {
            session: Session::new(established).expect("the rings fit"),
            over: None,
            sent: 0,
            received: 0,
            through_ring: 0,
            ended: false,
            sleeps: false,
            deserted: false,
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.over.is_some()
    }

    /// What an operation has answered. The peer's absence is no violation: what it had published is still received.
    fn heed<T>(&mut self, peer: &Peer, answer: Result<T, SessionError>) -> Option<T> {
        match answer {
            Ok(value) => {
                assert!(self.over.is_none(), "what is over stays over: {:?}", self.over);
                Some(value)
            }
            Err(SessionError::PeerGone) => {
                assert!(self.over.is_none() && !peer.is_there(), "it is there");
                assert!(!peer.honest || self.received == peer.published, "something is not received yet");
                self.deserted = true;
                None
            }
            Err(SessionError::NobodyReads) => {
                assert!(self.over.is_none() && (!peer.is_there() || self.ended), "it is there");
                None
            }
            Err(error) => {
                let text = format!("{error:?}");
                assert!(!peer.honest, "of a peer that keeps to the protocol: {text}");
                match &self.over {
                    Some(over) => assert_eq!(*over, text, "an error stays"),
                    None => self.session.refuse(&error),
                }
                self.over.get_or_insert(text);
                None
            }
        }
    }

    /// Sends bytes of the stream: such as lie anywhere, or such as were written into the session's own memory.
    pub(crate) fn send(&mut self, peer: &mut Peer, len: usize, own: bool) {
        peer.note_claim();
        let rung = self.session.counters().doorbells_sent;
        let own = if own && len > 0 {
            let memory = self.session.allocate(len);
            self.heed(peer, memory).flatten()
        } else {
            None
        };
        let answer = match own {
            Some(mut tail) => {
                write_stream(self.sent, &mut tail.spare()[..len]);
                let mut chain = Chain::from(tail.commit(len));
                self.session.send_chain(&mut chain)
            }
            None => {
                let bytes = bytes_of_stream(self.sent, len);
                self.session.send(&mut &bytes[..])
            }
        };
        let Some(n) = self.heed(peer, answer) else { return };
        assert!(n <= len);
        self.sent += n as u64;
        if n > 0 && std::mem::take(&mut peer.asleep) && peer.honest {
            assert!(self.session.counters().doorbells_sent > rung, "who sleeps is rung for");
        }
    }

    pub(crate) fn receive(&mut self, peer: &mut Peer, room: usize, budget: usize) {
        self.sleeps = false;
        peer.note_claim();
        let least = self.session.least_room();
        let (mut first, mut second) = (vec![0; room], vec![0; least]);
        let mut space = Room { first: &mut first, second: &mut second };
        let answer = self.session.receive(&mut space, budget);
        match self.heed(peer, answer) {
            Some(Received::Copied(n)) => {
                assert!(n > 0 && n <= room + least && n < budget + least, "{n} bytes");
                let in_first = n.min(room);
                self.take(peer, &first[..in_first]);
                self.take(peer, &second[..n - in_first]);
                self.through_ring += n as u64;
                assert!(self.through_ring < peer.claimed || peer.shows_memory, "more than was claimed");
            }
            Some(Received::Sealed(segment)) => self.take(peer, &segment),
            Some(Received::End) if peer.honest => {
                assert!(peer.has_ended() && self.received == peer.pushed, "the end comes last");
            }
            Some(Received::End | Received::Nothing) | None => {}
        }
    }

    fn take(&mut self, peer: &Peer, bytes: &[u8]) {
        let is_right = is_stream(self.received, bytes);
        assert!(!peer.honest || is_right, "bytes from {} on are wrong", self.received);
        self.received += bytes.len() as u64;
        assert!(!peer.honest || self.received <= peer.published, "more than was published");
    }

    pub(crate) fn park(&mut self, peer: &mut Peer, receive: bool, send: Option<usize>) {
        peer.note_claim();
        let answer = self.session.park(receive, send);
        if let Some(parked) = self.heed(peer, answer) {
            self.sleeps = receive && parked == Parked::Sleeping && !peer.has_ended();
        }
    }

    pub(crate) fn listen(&mut self, peer: &Peer) {
        // A socket holds no more than so many looks bring out.
        for _ in 0..1000 {
            let answer = self.session.listen();
            if self.heed(peer, answer) != Some(Heard::More) {
                return;
            }
        }
        panic!("there is always more to hear");
    }

    pub(crate) fn end(&mut self, peer: &Peer) {
        self.ended = true;
        let answer = self.session.end();
        self.heed(peer, answer);
    }

    /// What a driver asks in each turn.
    pub(crate) fn look(&mut self, peer: &mut Peer) {
        peer.note_claim();
        let answer = self.session.has_news();
        self.heed(peer, answer);
        let answer = self.session.collect();
        if answer.is_err() {
            self.heed(peer, answer);
        }
        let answer = self.session.park_for_releases();
        self.heed(peer, answer);
        let _ = (self.session.is_pending(), self.session.wants_to_send(), self.session.is_leaving());
    }

    /// What holds after each operation.
    pub(crate) fn check(&self, peer: &Peer) {
        let head = peer.victims_word(Word::Head);
        #[expect(clippy::cast_possible_truncation, reason = "the counter is as wide as the word")]
        let behind = (peer.claimed as u32).wrapping_sub(head);
        assert!(behind <= 1 << 20, "the head {head} is ahead of what was claimed, {}", peer.claimed);
    }

    /// The rest: everything that an honest peer has published is received, and everything that was sent is read.
    pub(crate) fn finish(&mut self, peer: &mut Peer) {
        if !peer.honest {
            return self.ask_again(peer);
        }
        peer.publish(self);
        self.listen(peer);
        // A ring holds no more records than this.
        for _ in 0..2000 {
            self.receive(peer, 6000, 6000);
            if self.received == peer.published {
                break;
            }
        }
        assert_eq!(self.received, peer.published, "everything arrives");
        self.receive(peer, 6000, 6000);
        if !peer.is_there() && !peer.has_ended() {
            self.receive(peer, 6000, 6000);
            assert!(self.deserted, "that the peer is gone is told");
        }
        // What waits in the socket: arenas, and their answers.
        peer.listen();
        peer.read(self, usize::MAX);
        assert_eq!(peer.heard, self.sent, "everything arrives");
        peer.give_back(usize::MAX, false);
        self.look(peer);
        let counters = self.session.counters();
        assert_eq!(counters.loans_given, counters.loans_returned, "everything that was lent comes back");
    }

    fn ask_again(&mut self, peer: &mut Peer) {
        for _ in 0..2 {
            self.send(peer, 100, true);
            self.listen(peer);
            self.receive(peer, 100, 100);
            self.park(peer, true, Some(1));
            self.look(peer);
            self.end(peer);
        }
    }
}
