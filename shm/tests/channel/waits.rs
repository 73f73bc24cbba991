//! Deadlines, and calls that do not wait.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::reactor::Spin;
use linkpoll_shm::channel::{Channel, ChannelError, Options};
use linkpoll_shm::handshake::Doorbell;

use crate::bed::{message, options, pair};

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

const POLICIES: [Spin; 4] = [Spin::Never, Spin::Once, Spin::Adaptive, Spin::Always];

#[test]
fn a_deadline_ends_a_wait() {
    for spin in POLICIES {
        let (mut a, mut b) = pair(&format!("deadline-{spin:?}"), &options(spin, 4 << 10));
        let begin = Instant::now();
        assert!(matches!(a.recv_until(&mut Vec::new(), soon()), Err(ChannelError::TimedOut)), "{spin:?}");
        assert!(begin.elapsed() >= Duration::from_millis(20));
        let full = loop {
            match a.send_until(&[1; 500], soon()) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(full, ChannelError::TimedOut), "{spin:?}");
        assert!(matches!(a.reserve_until(500, soon()), Err(ChannelError::TimedOut)));
        assert!(matches!(a.try_reserve(500), Err(ChannelError::WouldBlock)));
        // And it goes on.
        let (mut bytes, mut received) = (Vec::new(), 0);
        while b.try_recv(&mut bytes).is_ok() {
            received += 1;
        }
        assert!(received >= 6, "{received}");
        a.send(b"again").expect("there is room");
        assert_eq!(b.recv(&mut bytes).expect("a message"), Some(5));
    }
}

/// A message that was given up in the middle is no message: what comes behind it is whole.
#[test]
fn a_message_that_was_given_up_is_never_seen() {
    for next_is_long in [false, true] {
        let (mut a, mut b) = pair(&format!("torn-{next_is_long}"), &options(Spin::Never, 4 << 10));
        a.send(b"before").expect("room");
        assert!(matches!(a.send_until(&message(1, 100_000), soon()), Err(ChannelError::TimedOut)));
        assert!(matches!(a.send_until(&message(2, 50_000), soon()), Err(ChannelError::TimedOut)));
        let after = message(3, if next_is_long { 70_000 } else { 70 });
        let sender = thread::spawn({
            let after = after.clone();
            move || {
                a.send(&after).expect("somebody reads");
                a
            }
        });
        let mut bytes = Vec::new();
        assert_eq!(b.recv(&mut bytes).expect("a message"), Some(6));
        assert_eq!(b.recv(&mut bytes).expect("a message"), Some(after.len()));
        assert!(bytes == after);
        let mut a = sender.join().expect("no panic");
        // Also at the end.
        assert!(matches!(a.send_until(&message(4, 100_000), soon()), Err(ChannelError::TimedOut)));
        a.end().expect("a session");
        assert!(matches!(a.send(b"x"), Err(ChannelError::Ended)));
        assert_eq!(b.recv(&mut bytes).expect("an end"), None);
        assert_eq!(b.recv(&mut bytes).expect("still"), None);
    }
}

#[test]
fn half_of_a_message_is_kept_for_the_next_call() {
    let (mut a, mut b) = pair("half", &options(Spin::Never, 4 << 10));
    let whole = message(1, 30_000);
    let sender = thread::spawn({
        let whole = whole.clone();
        move || {
            a.send(&whole).expect("somebody reads");
            a
        }
    });
    let mut bytes = Vec::new();
    let received = loop {
        match b.recv_until(&mut bytes, Instant::now()) {
            Err(ChannelError::TimedOut) => thread::yield_now(),
            other => break other,
        }
    };
    assert_eq!(received.expect("a message"), Some(whole.len()));
    assert!(bytes == whole);
    drop(sender.join());
}

#[test]
fn calls_that_do_not_wait_take_all_of_a_message_or_nothing() {
    let (mut a, mut b) = pair("try", &options(Spin::Never, 4 << 10));
    let longest = (a.longest_record()) / 2 * 3;
    assert!(matches!(a.try_send(&vec![0; longest + 1]), Err(ChannelError::TooLong { .. })));
    let (mut sent, mut received, mut bytes) = (0, 0, Vec::new());
    while received < 500 {
        for _ in 0..10 {
            match a.try_send(&message(sent, (sent * 31) % (longest + 1))) {
                Ok(()) => sent += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        while b.try_recv(&mut bytes).is_ok() {
            assert!(bytes == message(received, (received * 31) % (longest + 1)), "message {received}");
            received += 1;
        }
    }
    assert!(sent > 0);
}

/// However the two wait, whoever sleeps is woken.
#[test]
fn whoever_sleeps_is_woken() {
    for client in POLICIES {
        for server in POLICIES {
            for (ring, doorbell) in [(4 << 10, Doorbell::Socket), (64 << 10, Doorbell::EventFd)] {
                let mut options = options(Spin::Never, ring);
                options.session.doorbell = doorbell;
                exchange(client, server, &options);
            }
        }
    }
}

fn exchange(client: Spin, server: Spin, options: &Options) {
    let (mut a, mut b) = pair(&format!("woken-{client:?}-{server:?}"), options);
    a.set_spin(client);
    b.set_spin(server);
    let echo = thread::spawn(move || {
        let mut bytes = Vec::new();
        while b.recv(&mut bytes).expect("an honest peer").is_some() {
            b.send(&bytes).expect("somebody reads");
        }
    });
    let mut bytes = Vec::new();
    for number in 0..60 {
        let sent = message(number, if number % 20 == 0 { 20_000 } else { 100 });
        a.send(&sent).expect("somebody reads");
        assert_eq!(a.recv(&mut bytes).expect("an echo"), Some(sent.len()));
        assert!(bytes == sent);
    }
    drop(a);
    echo.join().expect("no panic");
}

#[test]
fn a_side_that_never_sleeps_costs_no_doorbell() {
    let never = Options { ..options(Spin::Always, 64 << 10) };
    let (mut a, b) = pair("doorbells", &never);
    let echo = thread::spawn(move || echo_once(b, 200));
    let mut bytes = Vec::new();
    for _ in 0..200 {
        a.send(b"ping").expect("somebody reads");
        a.recv(&mut bytes).expect("an echo");
    }
    let b = echo.join().expect("no panic");
    // The first on each side: nobody had said that it does not sleep.
    assert!(a.counters().doorbells_sent <= 1 && b.counters().doorbells_sent <= 1);
    assert_eq!(a.waits().slept + b.waits().slept, 0);
}

fn echo_once(mut channel: Channel, times: usize) -> Channel {
    let mut bytes = Vec::new();
    for _ in 0..times {
        channel.recv(&mut bytes).expect("an honest peer");
        channel.send(&bytes).expect("somebody reads");
    }
    channel
}
