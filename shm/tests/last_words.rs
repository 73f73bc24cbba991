//! A peer that dies has said something before: that is received first, whatever we had to say to it.

mod pair;

use std::time::{Duration, Instant};

use linkpoll::buffer::{Chain, Segment};
use linkpoll::driver::{Driver as _, Event, Key};
use linkpoll::net::Address;
use linkpoll_shm::session::Session;
use linkpoll_shm::{ShmDriver, ShmOptions, ShmSocket};

use crate::pair::ends;

const KEY: Key = Key::new(0, 1);

/// A driver with one session, and the session's other end.
fn bed(options: ShmOptions) -> (ShmDriver, Session) {
    let (ours, theirs) = ends();
    let mut driver = ShmDriver::new(options).expect("a driver");
    let ours = Session::new(ours).expect("a session");
    driver.attach(KEY, ShmSocket::new(ours, Address::Unix("peer".into()))).expect("attached");
    (driver, Session::new(theirs).expect("a session"))
}

/// Runs the driver until the session is over. Answers the bytes that came before.
fn until_the_error(driver: &mut ShmDriver, mut heard: impl FnMut(&mut ShmDriver)) -> usize {
    let mut received = 0;
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        assert!(Instant::now() < deadline, "nobody is told of the death");
        driver.wait(Some(Duration::from_secs(60))).expect("a turn");
        while let Some(event) = driver.next() {
            match event {
                Event::Received(KEY, bytes) => {
                    received += bytes.len();
                    heard(driver);
                }
                Event::Error(KEY, _) => return received,
                Event::Sent(KEY, _) | Event::Released(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn bytes(n: usize) -> Chain {
    Segment::copy_of(&vec![7; n]).into()
}

#[test]
fn what_a_dead_peer_has_said_is_received_before_the_failure_to_answer() {
    let (mut driver, mut peer) = bed(ShmOptions::default());
    assert!(driver.send(KEY, bytes(1 << 20), None) < 1 << 20, "it has no room for all of it");
    assert!(matches!(peer.send(&mut &[1; 1000][..]), Ok(1000)));
    drop(peer);
    assert_eq!(until_the_error(&mut driver, |_| ()), 1000);
}

#[test]
fn an_answer_that_comes_too_late_costs_no_question() {
    let (mut driver, mut peer) = bed(ShmOptions { receive_budget: 1000, ..ShmOptions::default() });
    for _ in 0..20 {
        assert!(matches!(peer.send(&mut &[1; 1000][..]), Ok(1000)));
    }
    drop(peer);
    let received = until_the_error(&mut driver, |driver| {
        driver.send(KEY, bytes(10), None);
    });
    assert_eq!(received, 20_000);
}

/// Who does not receive learns at once that nobody takes what is unsent: nothing else would tell.
#[test]
fn who_does_not_receive_hears_of_the_death_all_the_same() {
    for pause_late in [false, true] {
        let (mut driver, mut peer) = bed(ShmOptions { receive_budget: 1000, ..ShmOptions::default() });
        driver.send(KEY, bytes(1 << 20), None);
        // A turn receives at least as much as a record may have, and these are more.
        for _ in 0..5 {
            assert!(matches!(peer.send(&mut &[1; 8000][..]), Ok(8000)));
        }
        drop(peer);
        if !pause_late {
            driver.receive(KEY, false);
        }
        let received = until_the_error(&mut driver, |driver| driver.receive(KEY, false));
        assert_eq!(received > 0, pause_late);
        assert!(received < 40_000, "what comes after a pause is not received: {received}");
    }
}
