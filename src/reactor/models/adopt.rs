//! Sockets that other threads bring to a loop.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::driver::{Fate, nowhere};
use super::{Loop, Manner};
use crate::buffer::Segment;
use crate::conn::{CloseReason, Detached};
use crate::net::DialError;
use crate::service::{Flow, Handler, Io};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, AtomicUsize, Ordering, thread};

/// A handler that reads what its connection has brought along. It keeps a socket of the model, to be dropped with it.
struct Reading {
    ended: Arc<AtomicUsize>,
    _kept: super::Socket,
}

impl Handler for Reading {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let n = io.input().len();
        io.input().skip(n).expect("as many are there");
        Flow::Continue
    }

    fn closed(self: Box<Self>, _why: CloseReason) {
        // ORDERING: Relaxed: only the loop's thread counts and reads.
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// D-12: a socket that is brought to a loop that stops is served, or refused; it is closed once in any case, with
/// whatever it has brought along.
///
/// One thread brings the socket and stops the loop, or the other way round, at any moment of the loop's turns: the socket
/// is in the mailbox, or a connection, when the loop drains, ends and is dropped, or it comes to a loop that has ended.
/// It is a real one, whose other end sees whether it was closed; what makes its handler is tracked, and so are the bytes
/// that come along from the loop where it was before. The thread that brings it sleeps until it is answered: an answer
/// that is lost is a deadlock. A loop that has a connection takes some turns to drain, and may be brought the socket
/// meanwhile. Absent: a stop by a third thread (D-1), an answer that nobody takes (D-2), a socket of an acceptor (L-9, L-10).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; Release of the push, Acquire of the mailbox's `close` -> Relaxed. By hand: a
/// draining loop that serves what it is brought, that never answers it, or that forgets the socket.
#[test]
fn a_socket_that_is_brought_to_a_stopping_loop_is_closed_once() {
    let models = [
        ("loop-adopt-and-stop", false, false, false),
        ("loop-take-over-and-stop", true, false, false),
        ("loop-stop-and-take-over", true, true, false),
        ("loop-drain-and-adopt", false, true, true),
    ];
    for (name, luggage, stopped_first, has_another) in models {
        let bound = if has_another { 2 } else { 3 };
        model(name, Bound::Preemptions(bound), move || {
            let fate = Fate::new();
            let mut it = if has_another {
                Loop::serving(Manner::Polite, Fate::new().socket())
            } else {
                Loop::new(Manner::Polite)
            };
            let others = usize::from(has_another);
            let (dialer, stopper) = (it.dialer(), it.stopper());
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let (ended, kept) = (Arc::clone(&it.ended), fate.socket());
            let bringing = thread::spawn(move || {
                let bytes = || if luggage { Segment::copy_of(b"luggage").into() } else { Default::default() };
                let detached = Detached {
                    fd: OwnedFd::from(theirs),
                    peer: nowhere(),
                    received: bytes(),
                    unsent: bytes(),
                    peer_ended: false,
                    shut: false,
                };
                if stopped_first {
                    stopper.stop();
                }
                let joining = dialer.take_over(detached, move |_| Reading { ended, _kept: kept });
                if !stopped_first {
                    stopper.stop();
                }
                joining.wait()
            });
            let served = it.run();
            drop(it);
            match bringing.join().unwrap() {
                Ok(handle) => assert!(served == 1 + others && !handle.is_active()),
                Err(DialError::Stopped) => assert_eq!(served, others),
                Err(other) => panic!("{other}"),
            }
            assert_eq!(fate.attached_and_dropped(), (0, 1));
            ours.set_nonblocking(true).unwrap();
            assert_eq!(ours.read(&mut [0; 16]).unwrap(), 0, "it is closed");
        });
    }
}
