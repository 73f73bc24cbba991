//! Services whose calls are made on a pool.
#![expect(clippy::disallowed_types, reason = "what a test counts is no part of the library")]

use std::collections::HashSet;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use linkpoll::buffer::{Chain, SegmentWriter};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{
    Codec, Cut, Dispatch, Frame, HandlerError, MakeHandler as _, Peer, Reply, Serve, ServeOptions, Tagged,
    TaggedFrame, WorkOptions, WorkPool,
};

use crate::client::{Client, PATIENCE, any_port, until};
use crate::drivers::{Loops, Server};
use crate::services::{Counted, Lines, bytes, chain, deferring, reason, reset, serve, tagged, tagged_reply};

fn pool(threads: usize) -> WorkPool {
    WorkPool::new(threads).expect("threads")
}

/// Burns a little time that depends on `seed`, so that calls overtake each other.
fn dawdle(seed: u8) {
    for _ in 0..u32::from(seed % 7) * 300 {
        std::hint::spin_loop();
    }
    if seed.is_multiple_of(5) {
        thread::yield_now();
    }
}

/// Replies of an ordered protocol leave in order, whichever worker is done first, on any number of connections, loops
/// and threads.
#[test]
fn a_pool_keeps_the_order() {
    let pool = pool(4);
    let service = Serve::function(Frame::default, |message: Chain, reply| {
        let copy = bytes(message);
        dawdle(copy[0]);
        reply.send(chain(&copy));
    });
    let server = Server::builder()
        .loops(2)
        .bind(&any_port(), service.dispatch(Dispatch::Pool(pool.clone())))
        .expect("a server");
    let clients: Vec<_> = (0..8_u8)
        .map(|number| {
            let mut client = Client::connect(server.address());
            thread::spawn(move || {
                for round in 0..20_u8 {
                    // More at once than may be in flight.
                    let payloads: Vec<[u8; 3]> = (0..200).map(|n| [n, number, round]).collect();
                    let frames: Vec<u8> =
                        payloads.iter().flat_map(|payload| [&[0, 0, 0, 3], &payload[..]].concat()).collect();
                    client.write(&frames);
                    payloads.iter().for_each(|payload| assert_eq!(client.reply(), payload));
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("its replies came in order"));
    let metrics = pool.metrics();
    assert_eq!((metrics.calls, metrics.panics), (8 * 20 * 200, 0));
}

/// Calls that block hold back none of those that came with them, while a worker is left: not in their batch, and not
/// in later ones. Nothing else happens meanwhile that could wake a worker.
#[test]
fn a_blocked_call_holds_back_no_other() {
    let (enter, entered) = channel();
    let (leave, left) = channel::<()>();
    let left = Arc::new(std::sync::Mutex::new(left));
    let pool = pool(3);
    let service =
        Serve::function(TaggedFrame::default, move |message: Chain, reply: Reply<'_, TaggedFrame>| {
            if message.is_empty() {
                enter.send(()).expect("the test listens");
                left.lock().expect("no call panics").recv_timeout(PATIENCE).expect("it is let go");
            }
            reply.send(message);
        });
    let server = serve(service.dispatch(Dispatch::Pool(pool)));
    let mut client = Client::connect(server.address());
    // Two block, each in front of one that does not. They come in one batch, if the kernel has not split them.
    let batch: Vec<u8> = [(0_u64, &b""[..]), (1, b"a"), (2, b""), (3, b"b")]
        .iter()
        .flat_map(|(tag, payload)| {
            [&[0, 0, 0, u8::from(!payload.is_empty())][..], &tag.to_be_bytes(), payload].concat()
        })
        .collect();
    client.write(&batch);
    let tags: HashSet<u64> = (0..2).map(|_| tagged_reply(&mut client).0).collect();
    assert_eq!(tags, HashSet::from([1, 3]));
    (0..2).for_each(|_| entered.recv_timeout(PATIENCE).expect("both are in their calls"));
    tagged(&mut client, 4, b"c");
    assert_eq!(tagged_reply(&mut client).0, 4);
    (0..2).for_each(|_| leave.send(()).expect("a call waits"));
    let tags: HashSet<u64> = (0..2).map(|_| tagged_reply(&mut client).0).collect();
    assert_eq!(tags, HashSet::from([0, 2]));
}

/// A call that panics in a pool is answered as the codec says; its worker, the connection and the others live on.
#[test]
fn a_panic_in_a_pool_is_contained() {
    let alive = Arc::default();
    let pool = pool(1);
    let service = Serve::function(Lines::maker(&alive), |message: Counted, reply: Reply<'_, Lines>| {
        match &*message.text {
            b"panic" => std::panic::resume_unwind(Box::new("on purpose")),
            b"panic later" => {
                let _deferred = reply.later();
                std::panic::resume_unwind(Box::new("on purpose"))
            }
            b"drop" => {}
            _ => reply.send(message),
        }
    });
    let server = serve(service.dispatch(Dispatch::Pool(pool.clone())));
    let mut client = Client::connect(server.address());
    for text in [&b"fine"[..], b"panic", b"drop", b"panic later", b"good"] {
        client.request(text);
    }
    for text in [&b"fine"[..], b"panicked", b"dropped", b"panicked", b"good"] {
        assert_eq!(client.reply(), text);
    }
    assert_eq!((pool.metrics().panics, server.usage()[0].metrics.panics.get()), (2, 0));
    drop((client, server));
    // ORDERING: SeqCst, here and below: counts that a test reads, no protocol; nothing is gained by arguing for less.
    assert_eq!(alive.load(Ordering::SeqCst), 0, "messages are left");
}

/// Where the codec has no answer for it, a panic ends the connection behind the replies before it.
#[test]
fn a_panic_without_an_answer_ends_its_connection() {
    let service = Serve::function(Frame::default, |message: Chain, reply: Reply<'_, Frame>| {
        if message.is_empty() {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        reply.send(message);
    });
    let server = serve(service.dispatch(Dispatch::Pool(pool(2))));
    let mut other = Client::connect(server.address());
    let mut client = Client::connect(server.address());
    client.write(b"\0\0\0\x01a\0\0\0\x01b\0\0\0\0\0\0\0\x01c");
    client.end();
    assert_eq!(client.read_to_end(), b"\0\0\0\x01a\0\0\0\x01b");
    until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
    assert_eq!(reason(&server), "Aborted(\"\")");
    assert!(other.echoes(b"after"));
}

/// A call in a pool may be answered later too.
#[test]
fn a_call_in_a_pool_may_be_answered_later() {
    let (service, calls) = deferring::<Frame>();
    let server = serve(Serve::new(Frame::default, service).dispatch(Dispatch::Pool(pool(2))));
    let mut client = Client::connect(server.address());
    (0..50_u8).for_each(|n| client.request(&[n]));
    let mut calls: Vec<_> = (0..50).map(|_| calls.recv_timeout(PATIENCE).expect("a call")).collect();
    while let Some((message, deferred)) = calls.pop() {
        thread::spawn(move || deferred.send(message));
    }
    (0..50_u8).for_each(|n| assert_eq!(client.reply(), [n]));
}

/// The end of the peer's direction, and a stop, wait for the calls in the pool.
#[test]
fn calls_in_a_pool_are_answered_before_the_end() {
    for stops in [false, true] {
        let (enter, entered) = channel();
        let (leave, left) = channel::<()>();
        let left = std::sync::Mutex::new(left);
        let service = Serve::function(Frame::default, move |message: Chain, reply: Reply<'_, Frame>| {
            enter.send(()).expect("the test listens");
            left.lock().expect("no call panics").recv_timeout(PATIENCE).expect("it is let go");
            reply.send(message);
        });
        let server = serve(service.dispatch(Dispatch::Pool(pool(2))));
        let mut client = Client::connect(server.address());
        (0..5_u8).for_each(|n| client.request(&[n]));
        until("all has arrived", || server.usage()[0].metrics.messages.get() == 5);
        (0..2).for_each(|_| entered.recv_timeout(PATIENCE).expect("a call"));
        if stops {
            server.stopper().stop();
        } else {
            client.end();
        }
        (0..5).for_each(|_| leave.send(()).expect("the service is there"));
        assert_eq!(
            client.read_to_end(),
            b"\0\0\0\x01\0\0\0\0\x01\x01\0\0\0\x01\x02\0\0\0\x01\x03\0\0\0\x01\x04"
        );
        until("it is closed", || server.usage()[0].metrics.closed.get() == 1);
        assert_eq!(reason(&server), if stops { "Stopped" } else { "PeerEnded" });
    }
}

/// Clients that are lost at any time, with calls in the queue, in workers' hands and on their way back, leave nothing.
#[test]
fn clients_lost_at_any_time_leave_nothing() {
    let alive = Arc::default();
    let service = Serve::function(Lines::maker(&alive), |message: Counted, reply: Reply<'_, Lines>| {
        dawdle(message.text[0]);
        if message.text[0] == 3 {
            let deferred = reply.later();
            thread::spawn(move || deferred.send(message));
        } else {
            reply.send(message);
        }
    });
    let limits = ServeOptions { max_in_flight: 16, ..ServeOptions::default() };
    let pool = pool(3);
    let server = serve(service.options(limits).dispatch(Dispatch::Pool(pool.clone())));
    for round in 0..60_u8 {
        let mut client = Client::connect(server.address());
        let requests = (0..100).flat_map(|n: u8| [0, 0, 0, 1, n]).collect::<Vec<u8>>();
        client.write(&requests);
        (0..round / 2).for_each(|n| assert_eq!(client.reply(), [n]));
        reset(client);
    }
    // Whoever came before has been accepted, unless he was gone by then.
    let mut last = Client::connect(server.address());
    last.write(&[0, 0, 0, 1, 0]);
    assert_eq!(last.reply(), [0]);
    until("the others are closed", || server.usage()[0].metrics.connections() == 1);
    drop((last, server, pool));
    until("nothing is left", || alive.load(Ordering::SeqCst) == 0);
}

/// Calls whose connection is gone before a worker comes for them are not made; one that is being made can see it.
#[test]
fn calls_of_a_connection_that_is_gone_are_not_made() {
    let (enter, entered) = channel();
    let alive: Arc<AtomicUsize> = Arc::default();
    let service = Serve::function(Lines::maker(&alive), move |message: Counted, reply: Reply<'_, Lines>| {
        if message.text == b"waits" {
            enter.send(reply.is_abandoned()).expect("the test listens");
            until("its client is gone", || reply.is_abandoned());
        }
        reply.send(message);
    });
    let pool = pool(1);
    let server = serve(service.dispatch(Dispatch::Pool(pool.clone())));
    let mut client = Client::connect(server.address());
    client.request(b"waits");
    assert!(!entered.recv_timeout(PATIENCE).expect("a call"), "somebody waits for it");
    (0..50_u8).for_each(|n| client.request(&[n]));
    let mut other = Client::connect(server.address());
    other.request(b"of somebody else");
    until("all has arrived", || server.usage()[0].metrics.messages.get() == 52);
    reset(client);
    assert_eq!(other.reply(), b"of somebody else");
    assert_eq!((pool.metrics().calls, pool.metrics().skipped), (2, 50));
    drop((server, pool));
    assert_eq!(alive.load(Ordering::SeqCst), 0, "messages are left");
}

/// A message that panics when it is dropped, if it says so.
struct Bomb(Vec<u8>);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == b"bad" {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
}

#[derive(Default)]
struct Bombs(Frame);

impl Codec for Bombs {
    type In = Bomb;
    type Out = Bomb;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<Tagged<Self>>, HandlerError> {
        Ok(match self.0.cut(input)? {
            Cut::Message(mut payload) => Cut::Message(((), Bomb(payload.contiguous()?.to_vec()))),
            Cut::Missing(bytes) => Cut::Missing(bytes),
        })
    }

    fn put((): (), out: Bomb, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        Ok(Frame::put(&out.0, to)?)
    }
}

/// What waits in a pool's queue panics when it is dropped, because its client is gone, or because the pool ends: the
/// worker lives on, what others have queued is done, and whoever waits for an answer learns that there is none (V-6).
#[test]
fn messages_that_panic_when_dropped_do_not_wedge_a_pool() {
    let (enter, entered) = channel();
    let service = Serve::function(Bombs::default, move |message: Bomb, reply: Reply<'_, Bombs>| {
        if message.0 == b"waits" {
            enter.send(()).expect("the test listens");
            until("its client is gone", || reply.is_abandoned());
        }
        reply.send(message);
    });
    let pool = pool(1);
    let server = serve(service.dispatch(Dispatch::Pool(pool.clone())));
    let mut client = Client::connect(server.address());
    client.request(b"waits");
    entered.recv_timeout(PATIENCE).expect("a call");
    (0..10).for_each(|_| client.request(b"bad"));
    let mut other = Client::connect(server.address());
    (0..10_u8).for_each(|n| other.request(&[n]));
    until("all has arrived", || server.usage()[0].metrics.messages.get() == 21);
    reset(client);
    (0..10_u8).for_each(|n| assert_eq!(other.reply(), [n]));
    let metrics = pool.metrics();
    assert_eq!((metrics.calls, metrics.skipped, metrics.panics), (11, 10, 10));
    // The same at the pool's end.
    let mut last = Client::connect(server.address());
    last.request(b"waits");
    entered.recv_timeout(PATIENCE).expect("a call");
    (0..10).for_each(|_| other.request(b"bad"));
    until("all has arrived", || server.usage()[0].metrics.messages.get() == 32);
    server.stopper().stop_now();
    server.join().expect("an orderly end");
    drop(pool);
    assert!(last.is_closed() && other.is_closed());
}

/// A pool outlives its server's loops for as long as its calls take, and ends with its last owner.
#[test]
fn a_pool_ends_with_its_last_owner() {
    let (enter, entered) = channel();
    let (leave, left) = channel::<()>();
    let left = std::sync::Mutex::new(left);
    let ran = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&ran);
    let alive: Arc<AtomicUsize> = Arc::default();
    let service = Serve::function(Lines::maker(&alive), move |message: Counted, reply: Reply<'_, Lines>| {
        enter.send(()).expect("the test listens");
        left.lock().expect("no call panics").recv_timeout(PATIENCE).expect("it is let go");
        counting.fetch_add(1, Ordering::SeqCst);
        reply.send(message);
    });
    let options = LoopOptions { drain_limit: Duration::ZERO, ..LoopOptions::default() };
    let work = pool(1);
    let serve = service.dispatch(Dispatch::Pool(work.clone()));
    let server = Server::builder().loops(1).options(options).bind(&any_port(), serve).expect("a server");
    let mut client = Client::connect(server.address());
    (0..3_u8).for_each(|n| client.request(&[n]));
    until("all has arrived", || server.usage()[0].metrics.messages.get() == 3);
    entered.recv_timeout(PATIENCE).expect("a call");
    server.stopper().stop();
    server.join().expect("an orderly end");
    assert!(client.is_closed());
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    leave.send(()).expect("a call waits");
    // One that is begun after that ends too.
    drop(leave);
    drop(work);
    // The worker has ended, so whatever it has done is done. It may have begun another call before it saw the end.
    assert!(ran.load(Ordering::SeqCst) >= 1);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "messages are left");
}

/// The nice value of the calling thread, and its time slice in nanoseconds where the kernel tells it.
fn scheduling() -> (i64, Option<u128>) {
    let read = |name| std::fs::read_to_string(format!("/proc/thread-self/{name}"));
    let stat = read("stat").expect("a thread's own");
    // Behind the name, which may have anything in it: proc_pid_stat(5), field 19.
    let nice = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)).expect("19 fields");
    let sched = read("sched").unwrap_or_default();
    let slice =
        sched.lines().find_map(|line| line.strip_prefix("se.slice")?.rsplit(' ').next()?.parse().ok());
    (nice.parse().expect("a number"), slice)
}

/// Loops and workers are scheduled as they are to be: with a short slice, where the kernel has that, and workers behind
/// loops; or as usual, if that is asked for.
#[test]
fn loops_and_workers_are_scheduled_as_asked() {
    let plain = WorkOptions { threads: 2, slice: None, nice: 0 };
    let asked = WorkOptions { threads: 2, slice: Some(Duration::from_micros(700)), nice: 5 };
    let usual = scheduling();
    for (options, loop_slice) in [(plain, None), (asked, Some(Duration::from_micros(300)))] {
        let pool = WorkPool::with_options(options).expect("threads");
        let tell =
            |_: Chain, reply: Reply<'_, Frame>| reply.send(chain(format!("{:?}", scheduling()).as_bytes()));
        let loops = LoopOptions { slice: loop_slice, ..LoopOptions::default() };
        let builder = Server::builder().loops(1).options(loops);
        let places =
            [(Dispatch::Inline, loop_slice, 0), (Dispatch::Pool(pool.clone()), options.slice, options.nice)];
        for (dispatch, slice, nice) in places {
            let service = Serve::function(Frame::default, tell).dispatch(dispatch);
            let server = builder.clone().bind(&any_port(), service).expect("a server");
            let mut client = Client::connect(server.address());
            client.request(b"how?");
            let refused = server.usage()[0].metrics.slice_refused.get() + pool.metrics().scheduling_refused;
            let slice = slice.filter(|_| refused == 0).map(|slice| slice.as_nanos());
            let expected = ((usual.0 + i64::from(nice)).min(19), usual.1.map(|usual| slice.unwrap_or(usual)));
            assert_eq!(String::from_utf8_lossy(&client.reply()), format!("{expected:?}"), "{options:?}");
        }
    }
}

/// Services that come and go on one loop, each with a connection of its own, are not taken for one another.
#[test]
fn services_that_come_and_go_are_not_mixed_up() {
    let (pool, loops) = (pool(1), Loops::builder().loops(1).start().expect("a loop"));
    for number in 0..50_u8 {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let dispatch = Dispatch::Pool(pool.clone());
        let make = move |peer: &Peer| {
            let answer = move |_: Chain, reply: Reply<'_, Frame>| reply.send(chain(&[number]));
            Serve::function(Frame::default, answer).dispatch(dispatch).make(peer)
        };
        drop(loops.dialer().adopt(theirs, make).expect("a socket").wait().expect("a connection"));
        let mut client = Client { stream: TcpStream::from(OwnedFd::from(ours)) };
        client.request(b"who is there?");
        assert_eq!(client.reply(), [number]);
        drop(client);
        until("it is gone", || loops.usage()[0].metrics.closed.get() == u64::from(number) + 1);
    }
}
