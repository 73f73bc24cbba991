//! Messages keep their bytes, their borders and their order, whatever their lengths.

use std::io::Read as _;
use std::thread;

use linkpoll::reactor::Spin;
use linkpoll_shm::channel::ChannelError;

use crate::bed::{message, options, pair};

/// Around everything that changes how a message travels: empty, a record, a part of one, several rings.
fn lengths(record: usize, ring: usize) -> Vec<usize> {
    let part = record.min(8 << 10);
    let around = |n: usize| [n - 1, n, n + 1];
    let mut lengths = vec![0, 1, 7, 8, 9, 64];
    for n in [record, part, 2 * part, 3 * part, ring, 5 * ring, 1 << 20] {
        lengths.extend(around(n));
    }
    lengths
}

#[test]
fn messages_keep_their_borders_whatever_their_lengths() {
    for (spin, ring) in [(Spin::Never, 4 << 10), (Spin::Adaptive, 64 << 10), (Spin::Once, 1 << 20)] {
        let (mut a, mut b) = pair(&format!("lengths-{ring}"), &options(spin, ring));
        let lengths = lengths(a.longest_record(), ring as usize);
        let echo = thread::spawn(move || {
            let mut bytes = Vec::new();
            while b.recv(&mut bytes).expect("an honest peer").is_some() {
                b.send(&bytes).expect("somebody reads");
            }
        });
        let mut reply = vec![9; 100];
        for (number, &len) in lengths.iter().chain(lengths.iter().rev()).enumerate() {
            let sent = message(number, len);
            a.send(&sent).expect("somebody reads");
            assert_eq!(a.recv(&mut reply).expect("an honest peer"), Some(len));
            assert!(reply == sent, "{len} bytes in a ring of {ring}");
        }
        a.end().expect("a session");
        assert_eq!(a.recv(&mut reply).expect("an end"), None);
        echo.join().expect("no panic");
    }
}

#[test]
fn a_stream_of_messages_arrives_in_order() {
    const MESSAGES: usize = 3000;
    let (mut a, mut b) = pair("order", &options(Spin::Adaptive, 4 << 10));
    let len = |number: usize| (number * 7919) % 2500;
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES {
            let bytes = message(number, len(number));
            match number % 3 {
                0 => a.send(&bytes).expect("somebody reads"),
                1 if bytes.len() <= a.longest_record() => {
                    let mut room = a.reserve(a.longest_record().min(bytes.len() + 1)).expect("room");
                    room.bytes()[..bytes.len()].copy_from_slice(&bytes);
                    room.stage_first(bytes.len());
                }
                _ => a.stage(&bytes).expect("somebody reads"),
            }
        }
        a
    });
    for number in 0..MESSAGES {
        let expected = message(number, len(number));
        let seen = b.recv_with(|message| {
            let mut bytes = Vec::new();
            message.reader().read_to_end(&mut bytes).expect("it is memory");
            assert_eq!(bytes.len(), message.len());
            bytes
        });
        assert!(seen.expect("an honest peer").as_ref() == Some(&expected), "message {number}");
    }
    drop(sender.join().expect("no panic"));
    assert!(b.recv_with(|_| ()).expect("an end").is_none());
}

#[test]
fn room_is_given_back_when_nothing_is_staged() {
    let (mut a, mut b) = pair("room", &options(Spin::Never, 4 << 10));
    for _ in 0..100 {
        drop(a.reserve(1000).expect("room"));
    }
    let mut room = a.reserve(10).expect("room");
    room.bytes().copy_from_slice(b"0123456789");
    room.stage();
    assert_eq!(
        b.try_recv(&mut Vec::new()).map_err(|error| error.kind()),
        Err(std::io::ErrorKind::WouldBlock)
    );
    a.flush().expect("a session");
    let mut bytes = Vec::new();
    assert_eq!(b.recv(&mut bytes).expect("a message"), Some(10));
    assert_eq!(bytes, b"0123456789");
    assert!(matches!(a.reserve(1017), Err(ChannelError::TooLong { len: 1017, longest: 1016 })));
}
