//! Frames over real sockets: full ones, descriptors among them, and peers that do not read.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::bulk::BulkBuffer;

/// Two ends, with the smallest buffers that the kernel gives.
fn pair() -> (Control, Control) {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    for end in [&one, &other] {
        setsockopt(end, sockopt::SndBuf, &1).expect("a small buffer");
    }
    (Control::new(one.into()), Control::new(other.into()))
}

fn piece(byte: u8) -> OwnedFd {
    let mut buffer = BulkBuffer::new(16).expect("memory");
    buffer.bytes().fill(byte);
    buffer.seal().expect("sealed").into_descriptor()
}

/// Everything that the other end has sent so far.
fn read_all(control: &mut Control) -> Vec<Frame<OwnedFd>> {
    let mut frames = Vec::new();
    while control.receive().expect("it is open") == Arrival::Bytes {
        while let Some(frame) = control.take().expect("a frame") {
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn descriptors_arrive_with_their_frames() {
    let (mut one, mut other) = pair();
    let sent: Vec<_> = (0..12_u8).map(piece).collect();
    let inodes: Vec<u64> = sent
        .iter()
        .map(|fd| File::from(fd.try_clone().expect("a copy")).metadata().expect("a file").ino())
        .collect();
    let mut read = Vec::new();
    for (sequence, fd) in (0..).zip(sent) {
        one.ring().expect("rung");
        one.send(Frame::Bulk(Bulk { sequence, len: 16 }, fd)).expect("queued");
        one.send(Frame::ArenaReady(sequence)).expect("queued");
        if sequence % 3 == 2 {
            read.extend(read_all(&mut other));
            one.flush().expect("it is open");
        }
    }
    while one.wants_to_send() {
        read.extend(read_all(&mut other));
        one.flush().expect("it is open");
    }
    read.extend(read_all(&mut other));
    let mut expected = (0..).zip(inodes);
    for frame in read {
        match frame {
            Frame::Bulk(bulk, fd) => {
                let inode = File::from(fd).metadata().expect("a file").ino();
                assert_eq!(Some((bulk.sequence, inode)), expected.next());
            }
            Frame::Doorbell | Frame::ArenaReady(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(expected.next(), None, "all of them");
}

/// A program that this process starts gets none of it.
#[test]
fn descriptors_are_closed_on_exec() {
    let (mut one, mut other) = pair();
    one.send(Frame::Bulk(Bulk { sequence: 0, len: 16 }, piece(1))).expect("sent");
    let frame = read_all(&mut other).pop();
    let Some(Frame::Bulk(_, arrived)) = frame else { panic!("{frame:?}") };
    let (_region, made) = crate::region::OwnRegion::create(4096).expect("a region");
    let bell = crate::sys::EventFd::new().expect("a bell");
    for fd in [arrived, made, bell.share().expect("a copy")] {
        let flags = fcntl(&fd, FcntlArg::F_GETFD).map(FdFlag::from_bits_retain);
        assert!(flags.is_ok_and(|flags| flags.contains(FdFlag::FD_CLOEXEC)));
    }
}

#[test]
fn a_full_socket_delays_frames_and_swallows_doorbells() {
    let (mut one, mut other) = pair();
    let mut sent = 0;
    while one.send(Frame::ArenaReady(sent)).expect("it is open") {
        sent += 1;
        one.ring().expect("rung");
    }
    assert!(one.wants_to_send());
    for _ in 0..100 {
        one.ring().expect("no error: the peer has something to read");
    }
    let mut read = read_all(&mut other);
    assert!(read.iter().any(|frame| matches!(frame, Frame::Doorbell)));
    assert!(one.flush().expect("there is room again"));
    one.ring().expect("rung");
    read.extend(read_all(&mut other));
    assert!(matches!(read.last(), Some(Frame::Doorbell)), "a doorbell after all that was queued");
    let numbers: Vec<u32> = read
        .iter()
        .filter_map(|frame| match frame {
            Frame::ArenaReady(number) => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, (0..=sent).collect::<Vec<_>>());
}

#[test]
fn a_long_frame_goes_out_in_parts() {
    let (mut one, mut other) = pair();
    let text = "0123456789abcdef".repeat(256);
    let mut read = Vec::new();
    for _ in 0..8 {
        one.send(Frame::Statistics(text.clone())).expect("queued");
        one.ring().expect("rung");
    }
    while one.wants_to_send() {
        read.extend(read_all(&mut other));
        // There is room for a doorbell now, but its place is behind the rest of the frame.
        one.ring().expect("rung");
        one.flush().expect("it is open");
    }
    read.extend(read_all(&mut other));
    let texts = read.iter().filter(|frame| matches!(frame, Frame::Statistics(found) if *found == text));
    assert_eq!(texts.count(), 8);
}

#[test]
fn a_peer_that_does_not_read_gets_no_more() {
    let (mut one, _other) = pair();
    let error = loop {
        if let Err(error) = one.send(Frame::GoAway) {
            break error;
        }
    };
    assert!(matches!(error, ControlError::NotRead), "{error:?}");
    assert_eq!(error.refusal(), Some(Refusal::Resources));
}

#[test]
fn the_end_comes_after_the_last_frame() {
    let (mut one, mut other) = pair();
    one.send(Frame::GoAway).expect("sent");
    drop(one);
    assert_eq!(other.receive().expect("bytes"), Arrival::Bytes);
    assert!(matches!(other.take(), Ok(Some(Frame::GoAway))));
    assert_eq!(other.receive().expect("the end"), Arrival::End);
    assert!(matches!(other.ring(), Err(ControlError::Io(_))), "and there is nobody to ring for");
}

#[test]
fn frames_that_were_not_taken_are_no_end() {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let bytes: Vec<u8> = (0..128_u8).flat_map(|number| [7, 0, 4, 0, number, 0, 0, 0]).collect();
    assert_eq!(nix::unistd::write(&one, &bytes), Ok(1024));
    let mut other = Control::new(other.into());
    for _ in 0..10 {
        assert_eq!(other.receive().expect("no end"), Arrival::Bytes, "though there is no room for more");
    }
    let mut frames: Vec<_> = std::iter::from_fn(|| other.take().expect("a frame")).collect();
    frames.extend(read_all(&mut other));
    let numbers: Vec<u32> = frames
        .into_iter()
        .map(|frame| match frame {
            Frame::ArenaReady(number) => number,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, (0..128).collect::<Vec<_>>());
}
