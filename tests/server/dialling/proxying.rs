//! Many dialers at once, and dials from within handlers.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use linkpoll::conn::{CloseReason, Handle};
use linkpoll::net::{Address, Dialling};
use linkpoll::service::{Flow, Handler, Io, Peer};

use super::{caller, echoes, loops};
use crate::client::{any_port, echo, until};
use crate::drivers::Server;

/// Two servers and many dialers at once: nobody gets another's bytes.
#[test]
fn many_dialers_do_not_mix_their_data() {
    const ROUNDS: u8 = 25;
    let servers = [0, 1].map(|_| Server::builder().loops(2).bind(&any_port(), echo).expect("a server"));
    let own = loops(2);
    thread::scope(|scope| {
        for number in 0..20_u8 {
            let (dialer, server) = (own.dialer(), &servers[usize::from(number % 2)]);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let (make, heard) = caller();
                    let handle = dialer.dial([server.address().clone()], make).wait().expect("it listens");
                    assert!(echoes(&handle, &heard, &[number, round].repeat(50)));
                    handle.close();
                }
            });
        }
    });
    until("all are closed", || own.usage().iter().all(|it| it.metrics.connections() == 0));
}

/// A handler dials from its own loop: a proxy whose two connections share one.
#[test]
fn a_handler_dials_from_its_own_loop() {
    /// Passes on what it receives.
    struct Pipe(Handle);
    impl Handler for Pipe {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            drop(self.0.send(std::mem::take(io.input())));
            Flow::Continue
        }
        fn closed(self: Box<Self>, _why: CloseReason) {
            self.0.close();
        }
    }
    /// Waits for the other side.
    struct Front {
        target: Address,
        dial: Option<Dialling>,
        other: Receiver<Handle>,
    }
    impl Handler for Front {
        fn open(&mut self, io: &mut Io<'_>) -> Flow {
            let (tell, other) = channel();
            self.other = other;
            let front = io.handle();
            let own = thread::current().id();
            self.dial = Some(io.dialer().dial([self.target.clone()], move |_: &Peer| {
                assert_eq!(thread::current().id(), own);
                Back { front, tell }
            }));
            Flow::Continue
        }
        fn data(&mut self, _io: &mut Io<'_>) -> Flow {
            Flow::Continue
        }
        fn woken(&mut self, _io: &mut Io<'_>) -> Flow {
            match self.other.try_recv() {
                Ok(back) => Flow::Become(Box::new(Established { _dial: self.dial.take(), pipe: Pipe(back) })),
                Err(_) => Flow::Continue,
            }
        }
    }
    struct Established {
        _dial: Option<Dialling>,
        pipe: Pipe,
    }
    impl Handler for Established {
        fn data(&mut self, io: &mut Io<'_>) -> Flow {
            self.pipe.data(io)
        }
        fn closed(self: Box<Self>, why: CloseReason) {
            Box::new(self.pipe).closed(why);
        }
    }
    struct Back {
        front: Handle,
        tell: Sender<Handle>,
    }
    impl Handler for Back {
        fn open(&mut self, io: &mut Io<'_>) -> Flow {
            drop(self.tell.send(io.handle()));
            self.front.wake();
            Flow::Become(Box::new(Pipe(self.front.clone())))
        }
        fn data(&mut self, _io: &mut Io<'_>) -> Flow {
            Flow::Continue
        }
    }
    let server = Server::builder().loops(1).bind(&any_port(), echo).expect("a server");
    let target = server.address().clone();
    let front = move |_: &Peer| Front { target: target.clone(), dial: None, other: channel().1 };
    let proxy = Server::builder().loops(2).bind(&any_port(), front).expect("a proxy");
    let mut client = crate::client::Client::connect(proxy.address());
    for size in [1, 1000, 100_000] {
        assert!(client.echoes(&vec![7; size]));
    }
}
