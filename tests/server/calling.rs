//! Calls of clients, over real sockets.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment, SegmentWriter};
use linkpoll::conn::CloseReason;
use linkpoll::service::{
    Call, CallError, Client, ClientOptions, Codec, Cut, Flow, Frame, Handler, HandlerError, Io, Peer,
    TaggedFrame, UnexpectedReply,
};

use crate::client::{Client as Plain, PATIENCE, addresses, any_port, echo, until, within};
use crate::drivers::{Loops, Server};
use crate::recorder::{Recorder, Told, usual as usual_handler};

fn loops() -> Loops {
    Loops::builder().loops(1).start().expect("loops")
}

fn chain(bytes: &[u8]) -> Chain {
    Chain::from(Segment::copy_of(bytes))
}

fn bytes(chain: &Chain) -> Vec<u8> {
    chain.segments().flat_map(|segment| segment.iter().copied()).collect()
}

/// A client whose peer is the test.
fn pair(loops: &Loops, options: ClientOptions) -> (Client<Frame>, Plain) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let client = Client::adopt(&loops.dialer(), ours, Frame::default(), options).expect("a socket");
    let peer = Plain::new(TcpStream::from(OwnedFd::from(theirs)));
    (client.wait().expect("it is taken in"), peer)
}

fn usual(loops: &Loops) -> (Client<Frame>, Plain) {
    pair(loops, ClientOptions::default())
}

fn fails(call: Call<Chain>) -> CallError {
    call.wait().expect_err("no reply can have come")
}

/// Calls of many threads over one connection each get their own reply, blocking or as futures.
#[test]
fn every_call_gets_its_own_reply() {
    const CALLS: u32 = 300;
    for address in addresses("calls") {
        let server = Server::builder().loops(1).bind(&address, echo).expect("a server");
        let own = loops();
        let client =
            Client::dial(&own.dialer(), [address_of(&server)], Frame::default(), ClientOptions::default());
        let client = client.wait().expect("somebody listens");
        thread::scope(|scope| {
            for number in 0..4_u32 {
                let client = client.clone();
                scope.spawn(move || {
                    let request =
                        |n: u32| [number.to_be_bytes(), n.to_be_bytes()].concat().repeat(1 + n as usize % 50);
                    let calls: Vec<_> = (0..CALLS).map(|n| client.call(chain(&request(n)))).collect();
                    for (n, call) in (0..).zip(calls) {
                        assert!(bytes(&call.wait().expect("a reply")) == request(n));
                    }
                });
            }
        });
        assert_eq!(client.calls(), 0);
        assert!(!format!("{client:?}").is_empty());
    }
}

fn address_of(server: &Server) -> linkpoll::net::Address {
    server.address().clone()
}

/// A caller reads while it cannot write, and goes on to want the rest of a large reply whatever else it is called for: it
/// and a server that reads only while it can write do not wait for each other.
#[test]
fn large_calls_at_once_do_not_wait_for_each_other() {
    for address in addresses("large") {
        let server = Server::builder().loops(1).bind(&address, echo).expect("a server");
        let own = loops();
        let options = ClientOptions::default();
        let client = Client::dial(&own.dialer(), [address_of(&server)], Frame::default(), options);
        let client = client.wait().expect("somebody listens");
        let request = |n: u8| vec![n; (5 << 20) + usize::from(n)];
        let calls: Vec<_> = (0..8).map(|n| client.call(chain(&request(n)))).collect();
        for (n, call) in (0..).zip(calls) {
            let reply = call.wait_for(PATIENCE).expect("a reply");
            assert!(bytes(&reply) == request(n));
        }
    }
}

/// Where the protocol has tags, replies in any order find their calls; the same tag twice is a reply to no call.
#[test]
fn replies_out_of_order_find_their_calls() {
    let own = loops();
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let client = Client::adopt(&own.dialer(), ours, TaggedFrame::default(), ClientOptions::default());
    let client = client.expect("a socket").wait().expect("it is taken in");
    let mut peer = Plain::new(TcpStream::from(OwnedFd::from(theirs)));
    let calls: Vec<_> = (0..20_u8).map(|n| client.call(chain(&[n; 5]))).collect();
    let mut requests: Vec<[u8; 17]> = (0..20)
        .map(|_| {
            let mut request = [0; 17];
            peer.stream.read_exact(&mut request).expect("a whole request");
            request
        })
        .collect();
    requests.reverse();
    requests.iter().for_each(|request| peer.write(request));
    for (n, call) in (0..).zip(calls) {
        assert_eq!(bytes(&call.wait().expect("a reply")), [n; 5]);
    }
    let call = client.call(chain(b"another"));
    peer.write(&requests[3]);
    let error = fails(call);
    let CallError::Closed(why) = &error else { panic!("{error}") };
    assert!(matches!(&**why, CloseReason::Aborted(inner) if inner.is::<UnexpectedReply>()), "{error}");
}

/// A call that is forgotten, and a wait that is over, change nothing for the others: the late reply is thrown away.
#[test]
fn a_late_reply_is_thrown_away() {
    let own = loops();
    let (client, mut peer) = usual(&own);
    let slow = client.call(chain(b"slow"));
    assert_eq!(peer.reply(), b"slow");
    assert!(matches!(slow.wait_for(Duration::from_millis(20)), Err(CallError::TimedOut)));
    let forgotten = client.call(chain(b"forgotten"));
    assert_eq!(peer.reply(), b"forgotten");
    drop(forgotten);
    let mut patient = client.call(chain(b"patient"));
    assert!(patient.wait_until(Instant::now() + Duration::from_millis(20)).is_none());
    assert_eq!(client.calls(), 3);
    assert_eq!(peer.reply(), b"patient");
    for reply in ["to slow", "to forgotten", "to patient"] {
        peer.request(reply.as_bytes());
    }
    assert_eq!(bytes(&patient.wait().expect("a reply")), b"to patient");
    assert_eq!(client.calls(), 0);
}

/// A burst of calls costs its loop one message, however many there are, and a request that nobody waits for any more
/// is not sent.
#[test]
fn a_burst_of_calls_is_one_message() {
    struct Blocking(std::sync::mpsc::Receiver<()>);
    impl Handler for Blocking {
        fn data(&mut self, _io: &mut Io<'_>) -> Flow {
            Flow::Continue
        }
        fn woken(&mut self, _io: &mut Io<'_>) -> Flow {
            self.0.recv().expect("the test goes on");
            Flow::Continue
        }
    }
    let own = loops();
    let (client, mut peer) = usual(&own);
    let ((go, wait), (ours, _theirs)) = (channel(), UnixStream::pair().expect("a pair"));
    let blocking = own.dialer().adopt(ours, move |_: &Peer| Blocking(wait)).expect("a socket");
    let blocking = blocking.wait().expect("it is taken in");
    let metrics = &own.usage()[0].metrics;
    let before = metrics.mail.get();
    blocking.wake();
    until("the loop is busy", || metrics.mail.get() == before + 1);
    let mut calls: Vec<_> = (0..100_u32).map(|n| client.call(chain(&n.to_be_bytes()))).collect();
    // Every other caller goes before its request is written.
    for at in (0..50).rev() {
        drop(calls.remove(2 * at));
    }
    go.send(()).expect("it waits");
    for n in 0..50_u32 {
        let request = peer.reply();
        assert_eq!(request, (2 * n + 1).to_be_bytes());
        peer.request(&request);
    }
    for (n, call) in (0..).zip(calls) {
        assert_eq!(bytes(&call.wait().expect("a reply")), (2_u32 * n + 1).to_be_bytes());
    }
    assert_eq!(metrics.mail.get(), before + 2);
    assert_eq!(client.calls(), 0);
}

/// When the peer ends, calls under way learn why; later ones are not sent.
#[test]
fn calls_end_with_their_connection() {
    let own = loops();
    let (client, mut peer) = usual(&own);
    let calls = [client.call(chain(b"one")), client.call(chain(b"two"))];
    assert_eq!((peer.reply(), peer.reply()), (b"one".to_vec(), b"two".to_vec()));
    peer.request(b"to one");
    peer.end();
    let [one, two] = calls;
    assert_eq!(bytes(&one.wait().expect("a reply")), b"to one");
    let error = fails(two);
    assert!(matches!(&error, CallError::Closed(why) if matches!(**why, CloseReason::PeerEnded)), "{error}");
    assert!(!error.is_unsent());
    let error = fails(client.call(chain(b"three")));
    assert!(matches!(error, CallError::NotSent) && error.is_unsent());
    until("the connection is closed", || !client.handle().is_active());

    let (client, mut peer) = usual(&own);
    let call = client.call(chain(b"in vain"));
    assert_eq!(peer.reply(), b"in vain");
    client.handle().abort();
    let error = fails(call);
    assert!(matches!(&error, CallError::Closed(why) if matches!(**why, CloseReason::Aborted(_))), "{error}");
}

/// A reply to no call, and bytes that are no reply, end the connection; calls under way are told.
#[test]
fn a_peer_that_breaks_the_protocol_is_left() {
    let own = loops();
    let (client, mut peer) = usual(&own);
    let call = client.call(chain(b"one"));
    assert_eq!(peer.reply(), b"one");
    peer.request(b"to one");
    peer.request(b"to none");
    assert_eq!(bytes(&call.wait().expect("a reply")), b"to one");
    assert!(peer.is_closed());
    until("it is known", || own.usage()[0].metrics.closed_by.aborted.get() == 1);

    let (client, mut peer) = usual(&own);
    let call = client.call(chain(b"two"));
    assert_eq!(peer.reply(), b"two");
    peer.write(&[0xff; 8]);
    let error = fails(call);
    let CallError::Closed(why) = &error else { panic!("{error}") };
    assert!(matches!(&**why, CloseReason::Aborted(inner) if !inner.is::<UnexpectedReply>()), "{error}");
}

/// Too many calls, and too many bytes that wait, are refused, and the calls before are not affected.
#[test]
fn a_client_refuses_what_is_too_much() {
    let own = loops();
    let (client, mut peer) = pair(&own, ClientOptions { most_calls: 2, ..ClientOptions::default() });
    let calls = [client.call(chain(b"one")), client.call(chain(b"two"))];
    assert!(matches!(fails(client.call(chain(b"three"))), CallError::Full));
    for _ in 0..2 {
        let request = peer.reply();
        peer.request(&request);
    }
    calls.into_iter().for_each(|call| drop(call.wait().expect("a reply")));
    let again = client.call(chain(b"four"));
    assert_eq!(peer.reply(), b"four");
    peer.request(b"to four");
    assert!(again.wait().is_ok());

    let (client, _never_reads) =
        pair(&own, ClientOptions { most_unsent: 1 << 20, ..ClientOptions::default() });
    let large = vec![3; 600_000];
    let calls: Vec<_> = (0..20).map(|_| client.call(chain(&large))).collect();
    client.handle().abort();
    let refused = calls.into_iter().map(fails).filter(|it| matches!(it, CallError::Full)).count();
    assert!((10..20).contains(&refused), "{refused}");
}

/// A protocol of single bytes in which some cannot be written.
struct Picky;

impl Codec for Picky {
    type In = u8;
    type Out = u8;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<((), u8)>, HandlerError> {
        let byte = input.next(1)?[0];
        Ok(Cut::Message(((), byte)))
    }

    fn put(_: (), out: u8, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        match out {
            0 => Err("nothing is written".into()),
            1 => {
                to.write(&[9, 9, 9])?;
                Err("half of it is written".into())
            }
            _ => Ok(to.write(&[out])?),
        }
    }
}

/// A request that cannot be written is its caller's error, and nothing of it is sent. Where half of it was written
/// already, requests that would leave together with it go with it.
#[test]
fn a_request_that_cannot_be_written_is_an_error() {
    let own = loops();
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let client = Client::adopt(&own.dialer(), ours, Picky, ClientOptions::default()).expect("a socket");
    let client = client.wait().expect("it is taken in");
    let mut peer = Plain::new(TcpStream::from(OwnedFd::from(theirs)));
    for bad in [0, 1] {
        let (mut good, failing) = (client.call(5), client.call(bad));
        let error = failing.wait().expect_err("it cannot be written");
        assert!(matches!(&error, CallError::Unwritable(_)) && error.is_unsent(), "{error}");
        let mut byte = [0];
        // It was sent, or it has gone with the other one.
        peer.stream.set_read_timeout(Some(Duration::from_millis(1))).expect("an option of sockets");
        while peer.stream.peek(&mut byte).is_err() {
            match good.wait_until(Instant::now()) {
                None => {}
                Some(Err(CallError::Unwritable(_))) if bad == 1 => break,
                Some(other) => panic!("{other:?}"),
            }
        }
        peer.stream.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
        if byte == [5] {
            peer.stream.read_exact(&mut byte).expect("it is there");
            peer.write(&byte);
        }
        let next = client.call(7);
        peer.stream.read_exact(&mut byte).expect("it was sent");
        assert_eq!(byte, [7]);
        peer.write(&[8]);
        assert_eq!(next.wait().expect("a reply"), 8);
    }
}

/// A client that is closed, or whose last clone is dropped, still gets the replies to its calls, and then the
/// connection is closed.
#[test]
fn a_closed_client_gets_its_last_replies() {
    for close in [false, true] {
        let own = loops();
        let (client, mut peer) = usual(&own);
        let call = client.call(chain(b"last"));
        let clone = client.clone();
        drop(client);
        assert_eq!(peer.reply(), b"last");
        if close {
            clone.close();
            until("it is known", || matches!(clone.call(chain(b"later")).wait(), Err(CallError::NotSent)));
        }
        drop(clone);
        peer.request(b"to last");
        assert_eq!(bytes(&call.wait().expect("a reply")), b"to last");
        assert!(peer.is_closed());
    }
}

/// Loops that stop await the replies to calls under way, and send no more.
#[test]
fn a_drain_awaits_replies() {
    let own = loops();
    let (client, mut peer) = usual(&own);
    let call = client.call(chain(b"before"));
    assert_eq!(peer.reply(), b"before");
    // Connections are told in the order of their slots: the client knows before this one does.
    let ((tell, told), (ours, _theirs)) = (channel(), UnixStream::pair().expect("a pair"));
    let make = move |peer: &Peer| Recorder::maker(tell, usual_handler)(peer);
    let _later = own.dialer().adopt(ours, make).expect("a socket").wait().expect("it is taken in");
    own.stopper().stop();
    while !matches!(told.recv_timeout(PATIENCE).expect("it drains"), Told::Drain) {}
    assert!(matches!(fails(client.call(chain(b"after"))), CallError::NotSent));
    peer.request(b"to before");
    assert_eq!(bytes(&call.wait().expect("a reply")), b"to before");
    assert!(peer.is_closed());
    drop(peer);
    within(PATIENCE, "the loops end", || own.join()).expect("an orderly end");
    assert!(matches!(fails(client.call(chain(b"never"))), CallError::NotSent));
}

/// Whatever ends connections at whatever moment, each call ends once, in its own reply or in an error.
#[test]
fn calls_end_once_whatever_ends_the_connection() {
    for round in 0..24_u64 {
        let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
        let own = loops();
        let client =
            Client::dial(&own.dialer(), [address_of(&server)], Frame::default(), ClientOptions::default());
        let client = client.wait().expect("somebody listens");
        let callers: Vec<_> = (0..3_u64)
            .map(|number| {
                let client = client.clone();
                thread::spawn(move || {
                    for n in 0.. {
                        let request = [number, n].map(u64::to_be_bytes).concat();
                        match client.call(chain(&request)).wait() {
                            Ok(reply) => assert_eq!(bytes(&reply), request),
                            Err(CallError::Closed(_)) => return n,
                            Err(CallError::NotSent) => return n,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    unreachable!("it is endless")
                })
            })
            .collect();
        thread::sleep(Duration::from_micros(round * 300));
        match round % 5 {
            0 => server.stopper().stop_now(),
            1 => server.stopper().stop(),
            2 => own.stopper().stop_now(),
            3 => own.stopper().stop(),
            _ => client.handle().abort(),
        }
        for caller in callers {
            within(PATIENCE, "a caller ends", move || caller.join()).expect("every reply was its call's");
        }
        assert_eq!(client.calls(), 0);
    }
}
