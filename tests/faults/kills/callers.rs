//! A server is killed under the calls of the library's clients: every one of them ends once, in its own reply or in an
//! error that says why.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use linkpoll::buffer::{Chain, Segment};
use linkpoll::conn::CloseReason;
use linkpoll::net::{Address, DialError, Dialer, Loops};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{CallError, Client, ClientOptions, Frame};
use linkpoll_conformance::isolated;

use super::victim::Victim;
use super::victims::ADDRESS;
use super::{BY_CHANCE, Calls, Hits};
use crate::bed::{any_port, descriptors};
use crate::client::{PATIENCE, payload, until};

/// Payloads of calls that are under way together: the last is sent in several pieces.
const TOGETHER: [usize; 7] = [500, 1, 0, 5000, 500, 500, 100_000];

pub(super) fn loops() -> Loops {
    let options = LoopOptions { linger_limit: Duration::from_millis(20), ..LoopOptions::default() };
    Loops::builder().loops(1).options(options).start().expect("loops")
}

/// One connection from its beginning to its end: a call, then several at once. `None` when nobody listens.
pub(super) fn visit(dialer: &Dialer, address: &Address, kind: u64) -> Option<Calls> {
    let dialled = Client::dial(dialer, [address.clone()], Frame::default(), ClientOptions::default());
    let client = match dialled.wait() {
        Ok(client) => client,
        Err(DialError::Failed(_)) => return None,
        Err(other) => panic!("a connection is established, or fails, but not so: {other}"),
    };
    let mut calls = Calls::default();
    for sizes in [&[100][..], &TOGETHER] {
        let requests = (0..).zip(sizes).map(|(nth, size)| payload(kind << 8 | nth, *size));
        let under_way: Vec<_> =
            requests.map(|request| (client.call(Chain::from(Segment::copy_of(&request))), request)).collect();
        for (call, request) in under_way {
            calls.made += 1;
            match call.wait_for(PATIENCE) {
                Ok(mut reply) => {
                    assert_eq!(calls.failed, 0, "a reply behind one that is lost");
                    assert!(reply.len() == request.len());
                    assert!(reply.next(request.len()).expect("as many are there") == request);
                    calls.replied += 1;
                }
                Err(error) => {
                    assert!(is_typed(&error), "{error:?}");
                    calls.failed += 1;
                }
            }
        }
    }
    assert_eq!(client.calls(), 0, "calls that count as under way");
    client.close();
    until("it is closed", || !client.handle().is_active());
    Some(calls)
}

/// Whether this is how a call ends whose server is gone.
fn is_typed(error: &CallError) -> bool {
    match error {
        CallError::NotSent => true,
        CallError::Closed(why) => match &**why {
            CloseReason::PeerEnded => true,
            CloseReason::Broken(error) => {
                matches!(error.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE))
            }
            _ => false,
        },
        _ => false,
    }
}

/// Visits a server until it is gone; says when the first visit is over.
fn load(dialer: &Dialer, address: &Address, kind: u64, begun: &Sender<()>) -> Calls {
    let mut all = Calls::default();
    while let Some(calls) = visit(dialer, address, kind) {
        all += calls;
        // The killer may have heard enough.
        let _ = begun.send(());
    }
    all
}

/// A server that is killed at any time: every call through the library ends once, in its reply, byte by byte, or in an
/// error; none is left, and nothing of the clients is.
#[test]
fn calls_survive_the_death_of_their_server() {
    isolated(module_path!(), "calls_survive_the_death_of_their_server", || {
        let before = descriptors();
        let loops = loops();
        let (mut hits, mut all, mut interrupted) = (Hits::default(), Calls::default(), 0);
        for number in 30_000..30_000 + BY_CHANCE {
            let victim = Victim::run("a_server", number, &[(ADDRESS, any_port().to_string())]);
            let address = Address::resolve(&victim.hear("listening at").expect("it listens"));
            let address = &address.expect("an address");
            let calls: Calls = thread::scope(|scope| {
                let (tell, begun) = channel();
                let clients: Vec<_> = (0..2)
                    .map(|kind| {
                        let (dialer, tell) = (loops.dialer(), tell.clone());
                        scope.spawn(move || load(&dialer, address, number << 1 | kind, &tell))
                    })
                    .collect();
                begun.recv().expect("a visit");
                thread::sleep(Duration::from_micros(number * 7919 % 5000));
                hits.by_chance(&victim.kill());
                clients.into_iter().map(|client| client.join().expect("right replies")).sum()
            });
            assert_eq!(calls.made, calls.replied + calls.failed, "{calls:?}");
            interrupted += u64::from(calls.failed > 0);
            all += calls;
        }
        hits.report("kills-under-calls.md");
        eprintln!("{all:?}, {interrupted} deaths with calls under way");
        assert!(interrupted >= BY_CHANCE / 4 && all.replied > 0 && hits.total_by_chance() == BY_CHANCE);
        let metrics = &loops.usage()[0].metrics;
        until("all connections are gone", || metrics.connections() == 0);
        until("timers are disarmed", || metrics.timers.get() == 0);
        assert!(metrics.pool.in_use.get() <= 2 << 20, "{} bytes of the pool", metrics.pool.in_use.get());
        loops.stopper().stop();
        loops.join().expect("an orderly end");
        assert_eq!(descriptors(), before, "descriptors that are left");
    });
}
