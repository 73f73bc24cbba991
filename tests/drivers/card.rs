//! Servers on a card that bypasses the kernel: few buffers to receive into, no wake-up for bytes, memory that comes back
//! late.
#![expect(clippy::disallowed_types, reason = "what a test counts is no part of the library")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use linkpoll::buffer::{Chain, SegmentWriter};
use linkpoll::driver::epoll::Trigger;
use linkpoll::net::{Address, Server};
use linkpoll::reactor::{LoopOptions, Spin};
use linkpoll::service::{
    Dispatch, Flow, Frame, FrameOptions, Framed, Handler, HandlerError, Io, MakeHandler, Payload, Peer,
    Serve, WorkPool,
};
use linkpoll_conformance::{BUFFER, BatchedBed, Bed as _, EpollBed, FakeNic};

/// The fewest that a card has. A message that is longer than all of them never becomes whole if they are held.
const BUFFERS: usize = (256 << 10) / BUFFER;
const LARGE: usize = 3 * BUFFERS * BUFFER;
const PATIENCE: Duration = Duration::from_secs(60);

fn card() -> FakeNic {
    let epoll = EpollBed { trigger: Trigger::Level, receive_budget: 256 << 10 };
    FakeNic::new(BatchedBed { epoll, batch: 64 }.driver(64 << 20), BUFFERS)
}

fn serve(make: impl MakeHandler, options: LoopOptions) -> Server {
    let anywhere = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    Server::builder().loops(1).options(options).bind_with(&anywhere, make, |_| Ok(card())).expect("a server")
}

fn connect(server: &Server) -> TcpStream {
    let Address::Tcp(address) = server.address() else { panic!("a port was asked for") };
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option of sockets");
    stream.set_write_timeout(Some(PATIENCE)).expect("an option of sockets");
    stream
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a frame");
    [&len.to_be_bytes(), payload].concat()
}

fn content(seed: usize, n: usize) -> Vec<u8> {
    (0..n).map(|at| u8::try_from((at * 7 + seed) % 251).expect("below 251")).collect()
}

/// Clients that send messages at the same time, each longer than all buffers together, and get them back.
fn exchange_large(server: &Server) {
    thread::scope(|scope| {
        for client in 0..4 {
            scope.spawn(move || {
                let stream = connect(server);
                let message = content(client, LARGE);
                let mut writer = stream.try_clone().expect("a descriptor");
                let sent = frame(&message);
                let writing = thread::spawn(move || writer.write_all(&sent).expect("it is received"));
                let mut reply = vec![0; 4 + LARGE];
                (&stream).read_exact(&mut reply).expect("it is answered");
                assert!(reply[4..] == message, "other bytes");
                writing.join().expect("it is received");
            });
        }
    });
}

fn large() -> Frame {
    Frame::new(FrameOptions { max_payload: u32::try_from(2 * LARGE).expect("a frame") })
}

/// Messages longer than all buffers together become whole, whether a handler reads in place or keeps what it gets, on the
/// loop or on other threads.
#[test]
fn messages_longer_than_all_buffers_become_whole() {
    fn answer(request: Payload<'_>, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        request.pieces().try_for_each(|piece| to.write(piece))?;
        Ok(())
    }
    let options = LoopOptions::default();
    exchange_large(&serve(|_: &Peer| Framed::new(large(), answer).in_place(), options));
    exchange_large(&serve(|_: &Peer| Framed::new(large(), answer), options));
    let echo = || Serve::function(large, |message: Chain, reply| reply.send(message));
    exchange_large(&serve(echo(), options));
    let pool = WorkPool::new(2).expect("threads");
    exchange_large(&serve(echo().dispatch(Dispatch::Pool(pool)), options));
}

/// Keeps everything it gets until the end, and then answers with it.
#[derive(Default)]
struct Hoarder(Vec<Chain>);

impl Handler for Hoarder {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        self.0.push(std::mem::take(io.input()));
        Flow::Continue
    }

    fn eof(&mut self, io: &mut Io<'_>) -> Flow {
        for chain in self.0.drain(..) {
            if let Err(error) = io.output().append_chain(chain) {
                return error.into();
            }
        }
        Flow::CloseWhenSent
    }
}

/// Handlers that keep what they get, on more connections than there are buffers, do not keep others from receiving.
#[test]
fn who_keeps_bytes_keeps_no_buffers() {
    let server = serve(|_: &Peer| Hoarder::default(), LoopOptions::default());
    let mut streams: Vec<_> = (0..2 * BUFFERS).map(|_| connect(&server)).collect();
    for round in 0..3 {
        for (client, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&content(client + round, 1000)).expect("there is room");
        }
    }
    for (client, stream) in streams.iter_mut().enumerate() {
        stream.shutdown(Shutdown::Write).expect("it is connected");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it is answered");
        let expected: Vec<u8> = (0..3).flat_map(|round| content(client + round, 1000)).collect();
        assert!(bytes == expected, "other bytes");
    }
}

/// Leaves everything unread until a whole line is there.
#[derive(Debug)]
struct Patient;

impl Handler for Patient {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let (input, output) = io.split();
        loop {
            match input.until(b'\n') {
                Ok(Some(line)) => {
                    if let Err(error) = output.write(line) {
                        return error.into();
                    }
                }
                Ok(None) => return Flow::Continue,
                Err(error) => return Flow::Abort(Box::new(error)),
            }
        }
    }

    fn reads_in_place(&self) -> bool {
        true
    }
}

/// What a handler leaves unread costs no buffer either, nor does it lose its place.
#[test]
fn what_is_left_unread_holds_no_buffer() {
    let server = serve(|_: &Peer| Patient, LoopOptions::default());
    let mut streams: Vec<_> = (0..2 * BUFFERS).map(|_| connect(&server)).collect();
    // More than the loop would copy anyway.
    let text = |client| content(client, 3 * 1500).into_iter().map(|byte| byte.max(b' '));
    let lines: Vec<Vec<u8>> = (0..streams.len()).map(|client| text(client).chain(*b"\n").collect()).collect();
    for part in 0..3 {
        for (stream, line) in streams.iter_mut().zip(&lines) {
            stream.write_all(&line[part * 1500..][..1500]).expect("there is room");
        }
    }
    for (stream, line) in streams.iter_mut().zip(&lines) {
        stream.write_all(b"\nthe next ").expect("there is room");
        let mut answer = vec![0; line.len()];
        stream.read_exact(&mut answer).expect("it is answered");
        assert!(answer == *line, "other bytes");
        stream.write_all(b"line\n").expect("there is room");
        let mut answer = [0; 14];
        stream.read_exact(&mut answer).expect("it is answered");
        assert_eq!(&answer, b"the next line\n");
    }
}

/// A loop without deadlines, which would sleep without end, notices bytes all the same, whatever its spin policy.
#[test]
fn a_loop_that_must_poll_never_sleeps_for_long() {
    for spin in [Spin::Never, Spin::Once, Spin::Adaptive] {
        let none =
            LoopOptions { idle_limit: None, read_limit: None, write_limit: None, ..Default::default() };
        let server = serve(|_: &Peer| Patient, LoopOptions { spin, ..none });
        let mut stream = connect(&server);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(2));
            stream.write_all(b"ping\n").expect("there is room");
            let mut line = [0; 5];
            stream.read_exact(&mut line).expect("it is noticed");
        }
    }
}

/// A connection that leaves its loop takes no buffer with it.
#[test]
fn a_detached_connection_takes_no_buffer_along() {
    struct Leaving(Sender<linkpoll::conn::Detached>);

    impl Handler for Leaving {
        fn data(&mut self, _io: &mut Io<'_>) -> Flow {
            let tell = self.0.clone();
            Flow::detach(move |detached| tell.send(detached).expect("the test listens"))
        }
    }

    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let make = move |_: &Peer| Leaving(tell.lock().expect("nobody panics").clone());
    let server = serve(make, LoopOptions::default());
    let mut streams: Vec<_> = (0..2 * BUFFERS).map(|_| connect(&server)).collect();
    let mut detached = Vec::new();
    for (client, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&content(client, 3 * BUFFER)).expect("there is room");
        // All of them are kept: with their buffers, the card would have none left soon.
        detached.push(told.recv_timeout(PATIENCE).expect("it leaves"));
    }
    assert!(detached.iter().all(|it| !it.received.is_empty()));
}
