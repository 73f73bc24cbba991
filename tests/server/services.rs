//! Services: calls answered at once, later, never and too late.
#![expect(clippy::disallowed_types, reason = "what a test counts and keeps is no part of the library")]

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use linkpoll::buffer::{Chain, Segment, SegmentWriter};
use linkpoll::conn::CloseReason;
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{
    Codec, Cut, Deferred, Frame, FrameOptions, HandlerError, Reply, Serve, ServeOptions, Service,
    TaggedFrame, Unanswered,
};
use nix::sys::socket::{setsockopt, sockopt};

use crate::client::{Client, PATIENCE, any_port, until};
use crate::drivers::Server;

/// A message that is counted while it lives.
pub(crate) struct Counted {
    pub(crate) text: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl Counted {
    pub(crate) fn new(text: Vec<u8>, alive: &Arc<AtomicUsize>) -> Self {
        // ORDERING: SeqCst, here and below: a count that tests read on another thread, where nothing need be cheap.
        alive.fetch_add(1, Ordering::SeqCst);
        Self { text, alive: Arc::clone(alive) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Frames whose payloads are counted; a call that has no reply is answered by a word.
pub(crate) struct Lines {
    frame: Frame,
    alive: Arc<AtomicUsize>,
}

impl Lines {
    pub(crate) fn maker(alive: &Arc<AtomicUsize>) -> impl Fn() -> Self + Send + Sync + 'static {
        let alive = Arc::clone(alive);
        move || Self { frame: Frame::new(FrameOptions { max_payload: 1000 }), alive: Arc::clone(&alive) }
    }
}

impl Codec for Lines {
    type In = Counted;
    type Out = Counted;
    type Tag = Arc<AtomicUsize>;
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<(Self::Tag, Counted)>, HandlerError> {
        Ok(match self.frame.cut(input)? {
            Cut::Message(mut payload) => {
                let counted = Counted::new(payload.contiguous()?.to_vec(), &self.alive);
                Cut::Message((Arc::clone(&self.alive), counted))
            }
            Cut::Missing(bytes) => Cut::Missing(bytes),
        })
    }

    fn put(_: Self::Tag, out: Counted, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        Ok(Frame::put(&out.text, to)?)
    }

    fn unanswered(tag: &Self::Tag, why: Unanswered) -> Option<Counted> {
        match why {
            Unanswered::Dropped => Some(Counted::new(b"dropped".to_vec(), tag)),
            Unanswered::Panicked => Some(Counted::new(b"panicked".to_vec(), tag)),
            _ => None,
        }
    }
}

pub(crate) fn chain(bytes: &[u8]) -> Chain {
    Chain::from(Segment::copy_of(bytes))
}

pub(crate) fn bytes(mut chain: Chain) -> Vec<u8> {
    let n = chain.len();
    chain.peek(n).expect("memory").to_vec()
}

pub(crate) fn serve<C: Codec>(
    serve: Serve<C, impl Fn() -> C + Send + Sync + 'static, impl Service<C>>,
) -> Server {
    Server::builder().loops(1).bind(&any_port(), serve).expect("a server")
}

pub(crate) fn reason(server: &Server) -> String {
    let closed = &server.usage()[0].metrics.closed_by;
    let reasons = [
        CloseReason::PeerEnded,
        CloseReason::Finished,
        CloseReason::Aborted("".into()),
        CloseReason::Panicked,
        CloseReason::Stopped,
        CloseReason::DrainExpired,
        CloseReason::IdleExpired,
    ];
    let named = reasons.iter().filter(|reason| closed.counter(reason).get() > 0);
    named.map(|reason| format!("{reason:?}")).collect::<Vec<_>>().join(" ")
}

/// A call that a test answers by itself.
pub(crate) type Kept<C> = (<C as Codec>::In, Deferred<C>);

/// Gives calls to a test, which answers them whenever it likes.
pub(crate) type Deferring<C> = Box<dyn Fn(<C as Codec>::In, Reply<'_, C>) + Send + Sync>;

pub(crate) fn deferring<C: Codec>() -> (Deferring<C>, Receiver<Kept<C>>) {
    let (tell, calls) = channel();
    let tell = Mutex::new(tell);
    let service = move |message: C::In, reply: Reply<'_, C>| {
        let tell: &Sender<_> = &tell.lock().expect("no call panics");
        drop(tell.send((message, reply.later())));
    };
    (Box::new(service), calls)
}

/// What is sent in one piece, or byte by byte, is answered all the same, in order, and counted.
#[test]
fn calls_are_answered_in_order_whatever_the_pieces() {
    let server = serve(Serve::function(Frame::default, |message, reply| reply.send(message)));
    let mut client = Client::connect(server.address());
    let payloads: Vec<Vec<u8>> = [0, 1, 4, 0, 1000, 70_000, 3, 2048, 0]
        .iter()
        .map(|n| vec![u8::try_from(n % 251).unwrap_or(7); *n])
        .collect();
    let mut stream = Vec::new();
    for payload in &payloads {
        stream.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
        stream.extend(payload);
    }
    client.write(&stream);
    payloads.iter().for_each(|payload| assert_eq!(&client.reply(), payload));
    stream[..100].iter().for_each(|byte| client.write(&[*byte]));
    client.write(&stream[100..]);
    payloads.iter().for_each(|payload| assert_eq!(&client.reply(), payload));
    until("they are counted", || server.usage()[0].metrics.messages.get() == 2 * payloads.len() as u64);
}

/// Whoever answers late, and in whichever order, replies of an ordered protocol leave in the order of the requests.
#[test]
fn late_answers_leave_in_order() {
    let (service, calls) = deferring::<Frame>();
    let server = serve(Serve::new(Frame::default, service));
    let mut client = Client::connect(server.address());
    (0..10_u8).for_each(|n| client.request(&[n]));
    let mut calls: VecDeque<_> = (0..10).map(|_| calls.recv_timeout(PATIENCE).expect("a call")).collect();
    // Back and front in turn, from several threads.
    while let Some((message, deferred)) = calls.pop_back() {
        calls.rotate_left(calls.len() / 2);
        thread::spawn(move || deferred.send(message));
    }
    (0..10_u8).for_each(|n| assert_eq!(client.reply(), [n]));
}

/// An answer at once waits behind one that comes later.
#[test]
fn an_answer_at_once_waits_for_a_late_one() {
    let (service, calls) = deferring::<Frame>();
    let server = serve(Serve::function(Frame::default, move |message, reply| {
        if message.len() == 1 { service(message, reply) } else { reply.send(message) }
    }));
    let mut client = Client::connect(server.address());
    for text in [&b"at once"[..], b"!", b"behind", b"?", b"last"] {
        client.request(text);
    }
    assert_eq!(client.reply(), b"at once");
    let first = calls.recv_timeout(PATIENCE).expect("a call");
    let second = calls.recv_timeout(PATIENCE).expect("a call");
    second.1.send(second.0);
    first.1.send(chain(b"late"));
    for text in [&b"late"[..], b"behind", b"?", b"last"] {
        assert_eq!(client.reply(), text);
    }
}

pub(crate) fn tagged(client: &mut Client, tag: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    client.write(&[&length[..], &tag.to_be_bytes(), payload].concat());
}

pub(crate) fn tagged_reply(client: &mut Client) -> (u64, Vec<u8>) {
    let mut header = [0; 12];
    client.stream.read_exact(&mut header).expect("a reply");
    let (length, tag) = header.split_at(4);
    let mut payload = vec![0; u32::from_be_bytes(length.try_into().expect("four bytes")) as usize];
    client.stream.read_exact(&mut payload).expect("a whole reply");
    (u64::from_be_bytes(tag.try_into().expect("eight bytes")), payload)
}

/// Where requests have identifiers, replies leave as they come, each with its request's.
#[test]
fn replies_with_identifiers_leave_as_they_come() {
    let (service, calls) = deferring::<TaggedFrame>();
    let server = serve(Serve::function(TaggedFrame::default, move |message, reply| {
        if message.is_empty() { reply.send(chain(b"at once")) } else { service(message, reply) }
    }));
    let mut client = Client::connect(server.address());
    tagged(&mut client, 70, b"slow");
    tagged(&mut client, 7, b"");
    tagged(&mut client, u64::MAX, b"fast");
    assert_eq!(tagged_reply(&mut client), (7, b"at once".to_vec()));
    let slow = calls.recv_timeout(PATIENCE).expect("a call");
    let fast = calls.recv_timeout(PATIENCE).expect("a call");
    fast.1.send(fast.0);
    assert_eq!(tagged_reply(&mut client), (u64::MAX, b"fast".to_vec()));
    slow.1.send(slow.0);
    assert_eq!(tagged_reply(&mut client), (70, b"slow".to_vec()));
}

/// A call that is let go of has an outcome, at its place in the order: the codec's answer.
#[test]
fn a_call_without_an_answer_gets_the_codecs() {
    let alive = Arc::default();
    let (service, calls) = deferring::<Lines>();
    let server = serve(Serve::function(Lines::maker(&alive), move |message, reply| match &*message.text {
        b"drop" => {}
        b"later" => service(message, reply),
        _ => reply.send(message),
    }));
    let mut client = Client::connect(server.address());
    for text in [&b"later"[..], b"later", b"drop", b"fine"] {
        client.request(text);
    }
    let (message, deferred) = calls.recv_timeout(PATIENCE).expect("a call");
    drop(calls.recv_timeout(PATIENCE).expect("a call"));
    drop(message);
    thread::spawn(move || {
        let _deferred = deferred;
        std::panic::resume_unwind(Box::new("on purpose"))
    });
    for text in [&b"panicked"[..], b"dropped", b"dropped", b"fine"] {
        assert_eq!(client.reply(), text);
    }
    drop((client, server));
    assert_eq!(alive.load(Ordering::SeqCst), 0, "messages are left");
}

/// Where the codec has no answer, the replies before the unanswered call leave, and then the connection ends.
#[test]
fn a_call_without_any_answer_ends_its_connection() {
    let server = serve(Serve::function(Frame::default, |message: Chain, reply| {
        if !message.is_empty() {
            reply.send(message);
        }
    }));
    let mut client = Client::connect(server.address());
    client.write(b"\0\0\0\x01a\0\0\0\x01b\0\0\0\0\0\0\0\x01c");
    client.end();
    assert_eq!(client.read_to_end(), b"\0\0\0\x01a\0\0\0\x01b");
    until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
    assert_eq!(reason(&server), "Aborted(\"\")");
    assert_eq!(server.usage()[0].metrics.panics.get(), 0);
}

/// A call that panics on the loop closes its connection; the other one does not notice.
#[test]
fn a_panicking_call_on_the_loop_ends_its_connection() {
    let server = serve(Serve::function(Frame::default, |message: Chain, reply| {
        if message.is_empty() {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        reply.send(message);
    }));
    let mut other = Client::connect(server.address());
    assert!(other.echoes(b"before"));
    let mut client = Client::connect(server.address());
    client.request(b"");
    assert!(client.is_closed());
    assert!(other.echoes(b"after"));
    assert_eq!(server.usage()[0].metrics.closed_by.panicked.get(), 1);
}

/// Calls before bytes that are no message are answered, also late ones; then the connection ends with the error.
#[test]
fn calls_before_bad_bytes_are_answered() {
    let alive = Arc::default();
    let (service, calls) = deferring::<Lines>();
    let server = serve(Serve::new(Lines::maker(&alive), service));
    let mut client = Client::connect(server.address());
    client.write(b"\0\0\0\x01a\0\0\0\x01b\xff\xff\xff\xff");
    let calls: Vec<_> = (0..2).map(|_| calls.recv_timeout(PATIENCE).expect("a call")).collect();
    for (message, deferred) in calls.into_iter().rev() {
        deferred.send(message);
    }
    client.end();
    assert_eq!(client.read_to_end(), b"\0\0\0\x01a\0\0\0\x01b");
    until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
    assert_eq!(reason(&server), "Aborted(\"\")");
    drop(server);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

/// A peer that has ended its direction still gets the answers to calls under way (V-8), and the server does not take
/// it for idle meanwhile.
#[test]
fn a_peer_that_has_ended_gets_its_answers() {
    let (service, calls) = deferring::<Frame>();
    let options =
        LoopOptions { idle_limit: Some(std::time::Duration::from_millis(500)), ..LoopOptions::default() };
    let serve = Serve::new(Frame::default, service);
    let server = Server::builder().loops(1).options(options).bind(&any_port(), serve).expect("a server");
    let mut client = Client::connect(server.address());
    (0..3_u8).for_each(|n| client.request(&[n]));
    client.end();
    let calls: Vec<_> = (0..3).map(|_| calls.recv_timeout(PATIENCE).expect("a call")).collect();
    // Longer than the idle limit; nothing is waited for.
    thread::sleep(std::time::Duration::from_millis(1200));
    calls.into_iter().rev().for_each(|(message, deferred)| deferred.send(message));
    assert_eq!(client.read_to_end(), b"\0\0\0\x01\0\0\0\0\x01\x01\0\0\0\x01\x02");
    until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
    assert_eq!(reason(&server), "PeerEnded");
}

/// A server that stops answers the calls under way, and those whose messages have arrived.
#[test]
fn a_draining_server_answers_what_it_has() {
    let (service, calls) = deferring::<Frame>();
    let limits = ServeOptions { max_in_flight: 2, ..ServeOptions::default() };
    let server = serve(Serve::new(Frame::default, service).options(limits));
    let mut client = Client::connect(server.address());
    (0..5_u8).for_each(|n| client.request(&[n]));
    let first: Vec<_> = (0..2).map(|_| calls.recv_timeout(PATIENCE).expect("a call")).collect();
    until("all has arrived", || server.usage()[0].metrics.received.get() >= 5 * 2);
    server.stopper().stop();
    first.into_iter().rev().for_each(|(message, deferred)| deferred.send(message));
    // How much of the rest had arrived before receiving rested, the client cannot know; the server answers it all.
    let rest = thread::spawn(move || {
        while let Ok((message, deferred)) = calls.recv_timeout(PATIENCE) {
            deferred.send(message);
        }
    });
    let replies = client.read_to_end();
    assert!(
        replies.starts_with(b"\0\0\0\x01\0\0\0\0\x01\x01") && replies.len().is_multiple_of(5),
        "{replies:?}"
    );
    server.join().expect("an orderly end");
    rest.join().expect("it only answers");
}

/// While as many calls as allowed are under way no more are made and little more is received, and when they are
/// answered all the others follow.
#[test]
fn calls_under_way_are_limited() {
    for limits in [
        ServeOptions { max_in_flight: 4, ..ServeOptions::default() },
        ServeOptions { max_held: 4 * 1004, ..ServeOptions::default() },
    ] {
        let (service, calls) = deferring::<Frame>();
        let server = serve(Serve::new(Frame::default, service).options(limits));
        let mut client = Client::connect(server.address());
        let total = 20_000_u32;
        let mut sender = client.stream.try_clone().expect("a descriptor");
        let sending = thread::spawn(move || {
            let mut payload = vec![0; 1000];
            for n in 0..total {
                payload[..4].copy_from_slice(&n.to_be_bytes());
                let frame = [&1000_u32.to_be_bytes()[..], &payload].concat();
                std::io::Write::write_all(&mut sender, &frame).expect("the server receives");
            }
        });
        let answering = thread::spawn(move || {
            let mut most = 0;
            let mut answered = 0;
            while answered < total {
                let mut held = vec![calls.recv_timeout(PATIENCE).expect("a call")];
                while let Ok(call) = calls.try_recv() {
                    held.push(call);
                }
                most = most.max(held.len());
                answered += u32::try_from(held.len()).expect("few");
                held.into_iter().rev().for_each(|(message, deferred)| deferred.send(message));
            }
            most
        });
        for n in 0..total {
            assert_eq!(client.reply()[..4], n.to_be_bytes());
        }
        sending.join().expect("it sends");
        let most = answering.join().expect("it answers");
        // Those answered a moment ago may have made room before the next were counted.
        assert!(most <= 8, "{most} calls at once");
        assert!(server.usage()[0].metrics.pauses.get() > 0);
    }
}

/// A client that is gone leaves nothing behind: neither calls that were under way, nor answers that come too late.
#[test]
fn a_lost_client_leaves_nothing() {
    let alive = Arc::default();
    let (service, calls) = deferring::<Lines>();
    let server = serve(Serve::new(Lines::maker(&alive), service));
    let mut client = Client::connect(server.address());
    (0..10_u8).for_each(|n| client.request(&[n]));
    let calls: Vec<_> = (0..10).map(|_| calls.recv_timeout(PATIENCE).expect("a call")).collect();
    // Answered, but kept in the order's way by the first.
    let mut calls: VecDeque<_> = calls.into();
    let first = calls.pop_front();
    assert!(first.as_ref().is_some_and(|(_, deferred)| !deferred.is_abandoned()));
    calls.drain(4..).for_each(|(message, deferred)| deferred.send(message));
    reset(client);
    until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
    until("they can see it", || calls.iter().all(|(_, deferred)| deferred.is_abandoned()));
    // Into a connection that is gone, and a slot that somebody else uses.
    let mut next = Client::connect(server.address());
    until("the next is there", || server.usage()[0].metrics.opened.get() == 2);
    calls.drain(..).chain(first).for_each(|(message, deferred)| deferred.send(message));
    next.end();
    assert_eq!(next.read_to_end(), b"");
    drop(server);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "messages are left");
}

/// Closes a connection without an orderly end.
pub(crate) fn reset(client: Client) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client.stream, sockopt::Linger, &linger).expect("an option of sockets");
}

/// Answers that come when the loop has ended come to nothing.
#[test]
fn an_answer_after_the_server_comes_to_nothing() {
    let alive = Arc::default();
    let (service, calls) = deferring::<Lines>();
    let options = LoopOptions { drain_limit: std::time::Duration::ZERO, ..LoopOptions::default() };
    let serve = Serve::new(Lines::maker(&alive), service);
    let server = Server::builder().loops(1).options(options).bind(&any_port(), serve).expect("a server");
    let mut client = Client::connect(server.address());
    client.request(b"a");
    client.request(b"b");
    let first = calls.recv_timeout(PATIENCE).expect("a call");
    let second = calls.recv_timeout(PATIENCE).expect("a call");
    server.stopper().stop();
    server.join().expect("an orderly end");
    assert!(client.is_closed());
    first.1.send(first.0);
    drop(second);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "messages are left");
}

/// Chains of any length go through uncopied or copied, and come back as they were.
#[test]
fn a_service_may_keep_its_messages() {
    let kept: Arc<Mutex<Vec<Chain>>> = Arc::default();
    let keeping = Arc::clone(&kept);
    let server = serve(Serve::function(Frame::default, move |message: Chain, reply| {
        keeping.lock().expect("no call panics").push(message);
        reply.send(chain(b"kept"));
    }));
    let mut client = Client::connect(server.address());
    let payloads: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; usize::from(n) * 50]).collect();
    payloads.iter().for_each(|payload| client.request(payload));
    payloads.iter().for_each(|_| assert_eq!(client.reply(), b"kept"));
    drop((client, server));
    let kept = std::mem::take(&mut *kept.lock().expect("no call panics"));
    assert_eq!(kept.into_iter().map(bytes).collect::<Vec<_>>(), payloads);
}

/// A call that contains its own panic, in which the right to answer went, has an outcome all the same, at its place in
/// the order.
#[test]
fn a_call_that_contains_its_panic_is_answered() {
    let alive = Arc::default();
    let server = serve(Serve::function(Lines::maker(&alive), |message: Counted, reply: Reply<'_, Lines>| {
        let call = || {
            if message.text == b"panic" {
                let _reply = reply;
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            reply.send(message);
        };
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)));
    }));
    let mut client = Client::connect(server.address());
    for text in [&b"first"[..], b"panic", b"last"] {
        client.request(text);
    }
    for text in [&b"first"[..], b"panicked", b"last"] {
        assert_eq!(client.reply(), text);
    }
}

/// A right to answer that is forgotten is never given back: no later reply is taken for that one, and the connection ends.
#[test]
fn a_forgotten_right_to_answer_ends_its_connection() {
    let server = serve(Serve::function(Frame::default, |message: Chain, reply| {
        if message.is_empty() { std::mem::forget(reply) } else { reply.send(message) }
    }));
    let mut client = Client::connect(server.address());
    client.write(b"\0\0\0\x01a\0\0\0\0\0\0\0\x01b");
    client.end();
    assert_eq!(client.read_to_end(), b"\0\0\0\x01a");
    until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
    assert_eq!(reason(&server), "Aborted(\"\")");
}
