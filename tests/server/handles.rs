//! Handles: what other threads do to a connection.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::{CloseReason, Handle, SendFailure};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Handler, Io, Peer};

use crate::client::{Client, PATIENCE, any_port, until};
use crate::drivers::Server;

/// Gives its handle to the test, and tells what it is called with.
struct Holding {
    tell: Sender<Told>,
    /// What the handler does when it is woken.
    woken: fn(&mut Io<'_>) -> Flow,
}

enum Told {
    Open(Handle),
    Data(Vec<u8>),
    Woken,
    Eof,
    Closed(CloseReason),
}

impl Handler for Holding {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        drop(self.tell.send(Told::Open(io.handle())));
        Flow::Continue
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let n = io.input().len();
        let bytes = io.input().next(n).expect("all of it is there").to_vec();
        drop(self.tell.send(Told::Data(bytes)));
        Flow::Continue
    }

    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        drop(self.tell.send(Told::Woken));
        (self.woken)(io)
    }

    fn eof(&mut self, _io: &mut Io<'_>) -> Flow {
        drop(self.tell.send(Told::Eof));
        Flow::Continue
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        drop(self.tell.send(Told::Closed(why)));
    }
}

fn goes_on(_io: &mut Io<'_>) -> Flow {
    Flow::Continue
}

fn serve(woken: fn(&mut Io<'_>) -> Flow, options: LoopOptions) -> (Server, Receiver<Told>) {
    let (tell, told) = channel();
    let maker = move |_: &Peer| Holding { tell: tell.clone(), woken };
    let server = Server::builder().loops(1).options(options).bind(&any_port(), maker).expect("a server");
    (server, told)
}

/// A client and the handle of its connection.
fn connect(server: &Server, told: &Receiver<Told>) -> (Client, Handle) {
    let client = Client::connect(server.address());
    let Told::Open(handle) = next(told) else { panic!("the first call is open") };
    (client, handle)
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("something happens")
}

fn closed(told: &Receiver<Told>) -> CloseReason {
    told.iter()
        .find_map(|it| if let Told::Closed(why) = it { Some(why) } else { None })
        .expect("it is closed")
}

fn chain(bytes: Vec<u8>) -> Chain {
    Chain::from(Segment::from(bytes))
}

/// Chains of several threads arrive whole, those of one thread in order, and each receipt says so.
#[test]
fn chains_of_several_threads_arrive_whole_and_in_order() {
    const CHAINS: u16 = 200;
    let (server, told) = serve(goes_on, LoopOptions::default());
    let (mut client, handle) = connect(&server, &told);
    std::thread::scope(|scope| {
        for sender in 0..4_u8 {
            let handle = &handle;
            scope.spawn(move || {
                let message = |n: u16| [&[sender][..], &n.to_be_bytes(), &[sender; 61]].concat();
                let receipts: Vec<_> = (0..CHAINS).map(|n| handle.send(chain(message(n)))).collect();
                receipts.into_iter().for_each(|receipt| receipt.wait().expect("it is sent"));
            });
        }
        let mut seen = [0_u16; 4];
        for _ in 0..4 * CHAINS {
            let mut message = [0; 64];
            std::io::Read::read_exact(&mut client.stream, &mut message).expect("a whole message");
            let sender = message[0];
            assert!(message[3..].iter().all(|byte| *byte == sender), "mixed with another");
            assert_eq!(u16::from_be_bytes([message[1], message[2]]), seen[usize::from(sender)]);
            seen[usize::from(sender)] += 1;
        }
    });
}

/// What could not be sent is an error that says how much was taken, before a close and after it.
#[test]
fn a_chain_that_cannot_be_sent_says_how_much_was_taken() {
    const LARGE: usize = 16 << 20;
    let (server, told) = serve(goes_on, LoopOptions::default());
    let (client, handle) = connect(&server, &told);
    assert!(handle.is_active());
    let mut large = handle.send(chain(vec![1; LARGE]));
    let behind = handle.send(chain(vec![2; 100]));
    until("some of it is taken", || server.usage()[0].metrics.sent.get() > 0);
    assert!(large.wait_until(Instant::now() + Duration::from_millis(50)).is_none(), "nobody reads");
    handle.abort();
    let error = large.wait().expect_err("it was never taken whole");
    assert!(error.why == SendFailure::Closed && error.taken > 0 && error.taken < LARGE, "{error:?}");
    assert_eq!(behind.wait().expect_err("it was behind").taken, 0);
    assert!(matches!(closed(&told), CloseReason::Aborted(_)));
    until("the handle knows", || !handle.is_active());
    assert_eq!(handle.send(chain(vec![3; 10])).wait().expect_err("it is closed").why, SendFailure::Closed);
    handle.wake();
    drop((client, server));
    assert_eq!(handle.send(chain(vec![3; 10])).wait().expect_err("the loop is gone").taken, 0);
}

/// A connection whose peer reads nothing takes so much and no more.
#[test]
fn a_full_connection_refuses_more() {
    let options = LoopOptions { most_unsent: 1 << 20, ..LoopOptions::default() };
    let (server, told) = serve(goes_on, options);
    let (_client, handle) = connect(&server, &told);
    let receipts: Vec<_> = (0..64).map(|_| handle.send(chain(vec![1; 512 << 10]))).collect();
    handle.wake();
    // Commands are carried out in order: by now each was taken or refused.
    assert!(matches!(next(&told), Told::Woken));
    let refused = receipts
        .into_iter()
        .filter_map(|mut receipt| receipt.wait_until(Instant::now()))
        .filter(|it| it.is_err_and(|error| error.why == SendFailure::Full && error.taken == 0));
    assert!(refused.count() > 40);
    handle.abort();
}

/// A paused connection gets no bytes and no end; a resumed one gets both, in order.
#[test]
fn a_paused_connection_gets_nothing_until_it_is_resumed() {
    let (server, told) = serve(goes_on, LoopOptions::default());
    let (mut client, handle) = connect(&server, &told);
    handle.pause();
    handle.wake();
    assert!(matches!(next(&told), Told::Woken), "commands are carried out in order");
    client.write(b"behind the pause");
    client.end();
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "nothing is told");
    handle.resume();
    let mut bytes = Vec::new();
    loop {
        match next(&told) {
            Told::Data(more) => bytes.extend(more),
            Told::Eof => break,
            _ => panic!("bytes, then the end"),
        }
    }
    assert_eq!(bytes, b"behind the pause");
    handle.close();
    assert!(matches!(closed(&told), CloseReason::Finished));
}

/// A connection that ends its own direction still receives.
#[test]
fn a_connection_that_ends_its_direction_still_receives() {
    let woken = |io: &mut Io<'_>| {
        io.output().write(b"the last word").expect("memory");
        io.shutdown();
        Flow::Continue
    };
    let (server, told) = serve(woken, LoopOptions::default());
    let (mut client, handle) = connect(&server, &told);
    handle.wake();
    assert_eq!(client.read_to_end(), b"the last word");
    assert_eq!(
        handle.send(chain(vec![1])).wait().expect_err("our direction is ended").why,
        SendFailure::Closed
    );
    client.write(b"and yet");
    let heard = told.iter().find_map(|it| if let Told::Data(bytes) = it { Some(bytes) } else { None });
    assert_eq!(heard.expect("bytes"), b"and yet");
    client.end();
    assert!(told.iter().any(|it| matches!(it, Told::Eof)));
    handle.close();
    assert!(matches!(closed(&told), CloseReason::Finished));
}

/// What a handler leaves unread, and the end of the stream, are given to the handler that takes over.
#[test]
fn a_handler_that_takes_over_is_given_what_was_left() {
    struct First(Sender<Told>);
    impl Handler for First {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            if io.input().len() < 8 {
                return Flow::Continue;
            }
            io.input().skip(5).expect("as many are there");
            io.output().write(b"over to you").expect("memory");
            Flow::Become(Box::new(Holding { tell: self.0.clone(), woken: goes_on }))
        }

        fn closed(self: Box<Self>, _why: CloseReason) {
            panic!("it is not told of the end");
        }
    }
    let (tell, told) = channel();
    let server =
        Server::builder().loops(1).bind(&any_port(), move |_: &Peer| First(tell.clone())).expect("a server");
    let mut client = Client::connect(server.address());
    client.write(b"helloyou");
    client.end();
    assert!(matches!(next(&told), Told::Open(_)));
    let Told::Data(left) = next(&told) else { panic!("what was left comes next") };
    assert_eq!(left, b"you");
    assert!(matches!(next(&told), Told::Eof));
    server.stopper().stop();
    assert_eq!(client.read_to_end(), b"over to you");
    server.join().expect("the server ends");
    assert!(matches!(closed(&told), CloseReason::Stopped));
}

/// A waker that panics.
struct Bomb;

impl std::task::Wake for Bomb {
    fn wake(self: std::sync::Arc<Self>) {
        std::panic::resume_unwind(Box::new("a waker"));
    }
}

/// A waker belongs to whoever waits. That it panics, on the loop's thread, costs neither the connection nor the loop.
#[test]
fn a_waker_that_panics_costs_no_connection() {
    const LARGE: usize = 16 << 20;
    let (server, told) = serve(goes_on, LoopOptions::default());
    let (mut client, handle) = connect(&server, &told);
    let mut receipts = [LARGE, 1].map(|bytes| handle.send(chain(vec![0; bytes])));
    let waker = std::sync::Arc::new(Bomb).into();
    for receipt in &mut receipts {
        let mut context = std::task::Context::from_waker(&waker);
        assert!(std::pin::Pin::new(receipt).poll(&mut context).is_pending());
    }
    let mut received = vec![0; LARGE + 1];
    std::io::Read::read_exact(&mut client.stream, &mut received).expect("all of it");
    receipts.into_iter().for_each(|receipt| receipt.wait().expect("it is sent"));
    assert!(handle.is_active());
    let (_client, handle) = connect(&server, &told);
    handle.close();
    assert!(matches!(closed(&told), CloseReason::Finished), "the loop goes on");
}
