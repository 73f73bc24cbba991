//! Calls of clients: the shipped handler, on the loop's own turn.

use super::driver::nowhere;
use super::{Loop, Manner};
use crate::buffer::{Chain, Segment, SegmentWriter};
use crate::reactor::Turn;
use crate::service::{CallError, Client, ClientOptions, Codec, Cut, HandlerError};
use crate::sync::model::{Bound, model};
use crate::sync::thread;

/// A protocol of numbers, which come back as they are.
///
/// MODEL: a message is large enough to be linked, so that no block of the pool comes into it.
struct Numbers;

impl Codec for Numbers {
    type In = u8;
    type Out = u8;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<((), u8)>, HandlerError> {
        let number = input.front()[0];
        input.skip(2)?;
        Ok(Cut::Message(((), number)))
    }

    fn put(_: (), out: u8, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        Ok(to.append(Segment::from(vec![out; 2]))?)
    }
}

/// A loop, and a client whose connection is established; its peer sends every request back.
fn connected() -> (Loop, Client<Numbers>) {
    let mut it = Loop::new(Manner::Polite);
    it.reactor.driver.echoes = true;
    let connecting = Client::dial(&it.dialer(), [nowhere()], Numbers, ClientOptions::default());
    it.serve(1);
    (it, connecting.wait().unwrap())
}

/// C-1: every call gets its own reply, however its wake coalesces with another's.
///
/// One thread makes two calls, the second while the first is in the queue, found, or answered, and its wake under way
/// or not; then it sleeps until each is answered. A request that nobody finds is a deadlock. Requests lie in tracked
/// loom cells. Absent: callers on several threads (H-12); the connection's end (C-2).
/// Kills: Release of the push -> Relaxed; Acquire of `take_all` -> Relaxed; a caller that wakes before it has put its
/// request in.
#[test]
fn every_call_gets_its_own_reply_when_wakes_coalesce() {
    model("client-calls", Bound::Preemptions(2), || {
        let (mut it, client) = connected();
        let metrics = it.handle().metrics;
        let caller = {
            let client = client.clone();
            thread::spawn(move || {
                let calls = [3, 4].map(|number| client.call(number));
                assert_eq!(calls.map(|call| call.wait().unwrap()), [3, 4]);
            })
        };
        while metrics.messages.get() < 2 {
            assert_eq!(it.turn(), Turn::Continue);
        }
        caller.join().unwrap();
        assert_eq!(client.calls(), 0);
    });
}

/// C-2: a call that meets the end of its loop at any moment ends once: with its reply, or with an error that says
/// whether it was sent.
///
/// The loop was stopped; it drains, closes the connection, ends and is dropped while the caller counts, puts its request
/// in and wakes; or all of it is over when the caller comes. A call that is neither found nor given back is a deadlock.
/// Absent: when the stop is noticed (L-4); a second call (C-1).
/// Kills: Acquire of the queue's `close` -> Relaxed; a handler that leaves its queue open when it drains.
#[test]
fn a_call_that_meets_the_end_ends_once() {
    model("client-call-and-stop", Bound::Preemptions(4), || {
        let (mut it, client) = connected();
        it.stopper().stop();
        let caller = {
            let client = client.clone();
            thread::spawn(move || client.call(5))
        };
        while it.turn() == Turn::Continue {}
        assert!(it.reactor.driver.slots.is_empty());
        drop(it);
        match caller.join().unwrap().wait() {
            Ok(number) => assert_eq!(number, 5),
            Err(CallError::Closed(_) | CallError::NotSent) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(client.calls(), 0);
    });
}

/// C-8: a call that meets the loss of its connection at any moment ends once, while the loop goes on.
///
/// The connection was aborted; the loop closes it and turns no more, while the caller counts, puts its request in, wakes
/// and sleeps. Nothing but the handler's own end closes the queue here. A call that stays in it is a deadlock. Absent: the
/// loop's end (C-2).
/// Kills: no ordering that C-2 does not, but a handler that takes what is in its queue at the end, and leaves it open.
#[test]
fn a_call_that_meets_the_loss_of_its_connection_ends_once() {
    model("client-call-and-loss", Bound::Preemptions(3), || {
        let (mut it, client) = connected();
        client.handle().abort();
        let caller = {
            let client = client.clone();
            thread::spawn(move || client.call(5).wait())
        };
        while !it.reactor.slots.is_empty() {
            assert_eq!(it.turn(), Turn::Continue);
        }
        match caller.join().unwrap() {
            Ok(number) => assert_eq!(number, 5),
            Err(CallError::Closed(_) | CallError::NotSent) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(client.calls(), 0);
    });
}

/// C-3: with its last client a connection is closed, after the calls before; whoever forgets a call disturbs nobody.
///
/// One thread calls, forgets the call, and drops its clone; another drops the other clone. Whichever is the last sends
/// word, which may coalesce with the call's. A word that is lost leaves the loop asleep. Absent: a stop (C-2).
/// Kills: Release of the push -> Relaxed; a client that wakes before it has put its word in.
#[test]
fn the_last_client_closes_its_connection() {
    model("client-last-one", Bound::Preemptions(2), || {
        let (mut it, client) = connected();
        let clone = client.clone();
        let first = thread::spawn(move || drop(client.call(6)));
        let second = thread::spawn(move || drop(clone));
        while !it.reactor.slots.is_empty() {
            assert_eq!(it.turn(), Turn::Continue);
        }
        first.join().unwrap();
        second.join().unwrap();
        assert!(it.reactor.driver.slots.is_empty());
    });
}
