//! Frames against golden bytes, and the inbox against arbitrary ones.

use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;

use super::frame::{HEADER, MOST_BODY};
use super::*;

/// One of each kind, with the bytes that `PROTOCOL.md` says.
fn golden() -> Vec<(Frame<u32>, Vec<u8>)> {
    let hello = Hello { versions: (1, 2), features: 1, role: Role::Server, nonce: 0x0807_0605_0403_0201 };
    let setup = Setup {
        version: 1,
        features: 1,
        echo: 0x1817_1615_1413_1211,
        ring: 64 << 10,
        releases: 1024,
        arena: 8 << 20,
        bulk: 64 << 20,
    };
    let hello_bytes = [
        &[2, 0, 32, 0][..],
        b"LINKPOLL",
        &[1, 0, 2, 0, 1, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[1, 2, 3, 4, 5, 6, 7, 8],
    ]
    .concat();
    let setup_body = [
        &[1, 0, 0, 0, 1, 0, 0, 0][..],
        &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[0, 0, 1, 0, 0, 4, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 4],
    ]
    .concat();
    let with = |head: [u8; 4], body: &[u8]| [&head[..], body].concat();
    vec![
        (Frame::Doorbell, vec![1]),
        (Frame::Hello(hello), hello_bytes),
        (Frame::Setup(setup, 7, None), with([3, 1, 32, 0], &setup_body)),
        (Frame::Setup(setup, 7, Some(8)), with([3, 2, 32, 0], &setup_body)),
        (Frame::Ready, vec![4, 0, 0, 0]),
        (Frame::Refused(Refusal::Policy), vec![5, 0, 2, 0, 5, 0]),
        (
            Frame::AddArena(AddArena { number: 1, len: 2 << 20 }, 9),
            vec![6, 1, 8, 0, 1, 0, 0, 0, 0, 0, 0x20, 0],
        ),
        (Frame::ArenaReady(1), vec![7, 0, 4, 0, 1, 0, 0, 0]),
        (Frame::Bulk(Bulk { sequence: 3, len: 0x0102_0304 }, 5), vec![8, 1, 8, 0, 3, 0, 0, 0, 4, 3, 2, 1]),
        (Frame::GoAway, vec![9, 0, 0, 0]),
        (Frame::AskStatistics, with([10, 0, 8, 0], b"LINKPOLL")),
        (Frame::Statistics("up 1\n".to_owned()), with([11, 0, 5, 0], b"up 1\n")),
    ]
}

fn encode(frame: Frame<u32>) -> (Vec<u8>, Vec<u32>) {
    let mut bytes = Vec::new();
    let descriptors = frame.write(&mut bytes);
    (bytes, descriptors)
}

/// Puts bytes in as they would arrive, at most as many as there is room for at a time.
fn put<F>(inbox: &mut Inbox<F>, mut bytes: &[u8], descriptors: Vec<F>) -> Result<Vec<Frame<F>>, FrameError> {
    let mut descriptors = Some(descriptors);
    let mut frames = Vec::new();
    loop {
        let n = inbox.space().len().min(bytes.len());
        inbox.space()[..n].copy_from_slice(&bytes[..n]);
        inbox.arrived(n, descriptors.take().into_iter().flatten());
        bytes = &bytes[n..];
        while let Some(frame) = inbox.take()? {
            frames.push(frame);
        }
        if bytes.is_empty() {
            return Ok(frames);
        }
        assert!(n > 0, "there is room once all frames are taken");
    }
}

#[test]
fn frames_are_the_bytes_of_the_specification() {
    for (frame, bytes) in golden() {
        let (written, descriptors) = encode(frame.clone());
        assert_eq!(written, bytes, "{frame:?}");
        let read = put(&mut Inbox::new(), &bytes, descriptors);
        assert_eq!(read, Ok(vec![frame]));
    }
}

/// The page is what others are to build from.
#[test]
fn the_specification_names_every_kind_and_reason() {
    let page = include_str!("../../PROTOCOL.md");
    for (name, (frame, bytes)) in KINDS.iter().zip(golden_by_kind()) {
        let row = format!("| {} | {name} |", bytes[0]);
        assert!(page.contains(&row), "{row} for {frame:?}");
    }
    for refusal in Refusal::ALL {
        assert!(page.contains(&format!("| {} | ", refusal.code())), "{refusal:?}");
    }
    use crate::layout;
    let words = [
        (layout::TAIL, "tail"),
        (layout::HEAD, "head"),
        (layout::RELEASED, "released"),
        (layout::WAKE_AT, "wake_at"),
        (layout::SPACE_AT, "space_at"),
        (layout::RELEASE_AT, "release_at"),
    ];
    for (at, name) in words {
        assert!(page.contains(&format!("| {at} | 4 | `{name}`")), "{name}");
    }
    assert!(page.contains(&format!("| {} | 4096 | the release ring", layout::RELEASE_RING)));
    assert!(page.contains(&format!("| {} | | the ring", layout::RING)));
    assert_eq!(layout::RELEASES, 1024, "as the page says");
}

const KINDS: [&str; 11] = [
    "DOORBELL",
    "HELLO",
    "SETUP",
    "READY",
    "REFUSED",
    "ADD_ARENA",
    "ARENA_READY",
    "BULK",
    "GO_AWAY",
    "ASK_STATISTICS",
    "STATISTICS",
];

/// One frame of each kind, by number.
fn golden_by_kind() -> Vec<(Frame<u32>, Vec<u8>)> {
    let mut golden = golden();
    golden.dedup_by_key(|(_, bytes)| bytes[0]);
    golden
}

#[test]
fn every_reason_has_a_number_of_its_own() {
    for (number, refusal) in (1..).zip(Refusal::ALL) {
        assert_eq!(refusal.code(), number, "{refusal:?}");
        assert_eq!(Refusal::from_code(number), *refusal);
    }
    assert_eq!(Refusal::from_code(999), Refusal::Unknown(999));
}

#[test]
fn frames_cut_anywhere_are_whole_again() {
    let all: Vec<u8> = golden().into_iter().flat_map(|(frame, _)| encode(frame).0).collect();
    let mut inbox = Inbox::new();
    let mut frames = Vec::new();
    for (at, byte) in all.iter().enumerate() {
        // A descriptor arrives with the first byte of its frame.
        let mut start = 0;
        let descriptors = golden().into_iter().find_map(|(frame, bytes)| {
            let mine = (start == at).then(|| encode(frame).1);
            start += bytes.len();
            mine
        });
        frames.extend(put(&mut inbox, &[*byte], descriptors.unwrap_or_default()).expect("they are frames"));
    }
    assert_eq!(frames, golden().into_iter().map(|(frame, _)| frame).collect::<Vec<_>>());
}

#[test]
fn a_later_greeting_may_be_longer() {
    let (mut bytes, _) = encode(golden()[1].0.clone());
    bytes[2] = 40;
    bytes.extend([0xff; 8]);
    assert_eq!(put(&mut Inbox::new(), &bytes, vec![]), Ok(vec![golden()[1].0.clone()]));
}

#[test]
fn headers_are_refused_before_their_bodies_come() {
    let cases: [(&[u8], FrameError); 9] = [
        (&[0, 0, 0, 0], FrameError::Kind(0)),
        (&[12, 0, 0, 0], FrameError::Kind(12)),
        (b"GET ", FrameError::Kind(b'G')),
        (&[2, 0, 31, 0], FrameError::Length { kind: 2, body: 31 }),
        (&[2, 0, 1, 1], FrameError::Length { kind: 2, body: 257 }),
        (&[3, 1, 33, 0], FrameError::Length { kind: 3, body: 33 }),
        (&[11, 0, 1, 0x10], FrameError::Length { kind: 11, body: MOST_BODY + 1 }),
        (&[3, 0, 32, 0], FrameError::Descriptors),
        (&[4, 1, 0, 0], FrameError::Descriptors),
    ];
    for (header, error) in cases {
        assert_eq!(put::<u32>(&mut Inbox::new(), header, vec![]), Err(error), "{header:?}");
    }
}

#[test]
fn bodies_are_checked() {
    let mut wrong = golden()[1].1.clone();
    wrong[HEADER] = b'l';
    assert_eq!(put::<u32>(&mut Inbox::new(), &wrong, vec![]), Err(FrameError::Magic));
    let mut wrong = golden()[1].1.clone();
    wrong[HEADER + 16] = 2;
    assert_eq!(put::<u32>(&mut Inbox::new(), &wrong, vec![]), Err(FrameError::Role));
    assert_eq!(put::<u32>(&mut Inbox::new(), b"\x0a\0\x08\0linkpoll", vec![]), Err(FrameError::Magic));
    assert_eq!(put::<u32>(&mut Inbox::new(), &[11, 0, 1, 0, 0xff], vec![]), Err(FrameError::Text));
}

#[test]
fn descriptors_belong_to_the_frame_they_came_with() {
    let arena = golden()[6].1.clone();
    let doorbell_first = [&[1, 1][..], &arena].concat();
    let frames = put(&mut Inbox::new(), &doorbell_first, vec![9]).expect("the arena's");
    assert_eq!(frames, [Frame::Doorbell, golden()[6].0.clone()]);

    // With the second half of its frame.
    let mut inbox = Inbox::new();
    assert_eq!(put(&mut inbox, &arena[..7], vec![]), Ok(vec![]));
    assert_eq!(put(&mut inbox, &arena[7..], vec![9]), Ok(vec![golden()[6].0.clone()]));

    let lost: [(&[u8], usize); 7] = [
        (&[1], 1),             // a doorbell has none
        (&[4, 0, 0, 0], 1),    // nor has this
        (&[4, 0, 0], 5),       // more than ever come, though the header is not complete
        (&arena, 0),           // missing
        (&arena, 2),           // too many
        (&arena[..5], 2),      // too many, and that is plain before the body has come
        (&[5, 0, 2, 0, 1], 1), // an unfinished frame that will have none
    ];
    for (bytes, count) in lost {
        let watched = Rc::new(());
        let mut inbox = Inbox::new();
        let result = put(&mut inbox, bytes, vec![Rc::clone(&watched); count]);
        assert_eq!(result.map(drop), Err(FrameError::Descriptors), "{bytes:?} with {count}");
        assert_eq!(Rc::strong_count(&watched), 1, "none is kept after an error");
        inbox.arrived(0, [Rc::clone(&watched)]);
        assert_eq!(Rc::strong_count(&watched), 1, "and none is taken any more");
        assert_eq!(inbox.take().map(drop), Err(FrameError::Descriptors), "the error stays");
    }

    // A descriptor that is left when the frames are at their end belonged to none.
    let mut inbox = Inbox::new();
    assert_eq!(put(&mut inbox, &[1, 4, 0, 0, 0], vec![9]), Err(FrameError::Descriptors));
}

#[test]
fn long_statistics_are_cut_between_characters() {
    let text = format!("{}{}", "x".repeat(MOST_BODY - 1), "\u{e4}");
    let (bytes, _) = encode(Frame::Statistics(text));
    let read = put::<u32>(&mut Inbox::new(), &bytes, vec![]).expect("a frame");
    assert_eq!(read, [Frame::Statistics("x".repeat(MOST_BODY - 1))]);
}

/// What may arrive: bytes that are no frames, and frames with something wrong.
fn arrivals() -> impl Strategy<Value = Vec<(Vec<u8>, usize)>> {
    let kinds = golden().len();
    let nearly = (0..kinds, any::<prop::sample::Index>(), any::<u8>(), 0..3_usize, any::<bool>()).prop_map(
        |(kind, at, byte, more, keep)| {
            let (mut bytes, descriptors) = encode(golden().swap_remove(kind).0);
            if !keep {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            (bytes, if keep { descriptors.len() } else { more })
        },
    );
    let noise = (prop::collection::vec(any::<u8>(), 0..64), 0..6_usize);
    prop::collection::vec(prop_oneof![4 => nearly, 1 => noise], 0..12)
}

mod prop_inbox {
    use super::*;

    proptest! {
        /// Whatever arrives, however it is cut: no panic, bounded memory, and an error stays.
        #[test]
        fn anything_may_arrive(arrivals in arrivals(), cuts in prop::collection::vec(1..80_usize, 1..8)) {
            let watched = Rc::new(());
            let mut inbox = Inbox::new();
            let mut cuts = cuts.iter().cycle();
            let mut failed = None;
            for (bytes, count) in arrivals {
                let mut bytes = &bytes[..];
                let mut count = count;
                while !bytes.is_empty() {
                    let n = bytes.len().min(*cuts.next().unwrap());
                    let result = put(&mut inbox, &bytes[..n], vec![Rc::clone(&watched); count]);
                    bytes = &bytes[n..];
                    count = 0;
                    if let Some(error) = failed {
                        prop_assert_eq!(result.map(drop), Err(error));
                    } else {
                        failed = result.map(drop).err();
                    }
                    prop_assert!(inbox.capacity() <= HEADER + MOST_BODY);
                    prop_assert!(Rc::strong_count(&watched) <= 1 + MOST_DESCRIPTORS);
                    prop_assert!(failed.is_none() || Rc::strong_count(&watched) == 1);
                }
            }
        }

        /// Frames that were sent arrive, however the kernel cuts them.
        #[test]
        fn frames_survive_any_cut(
            kinds in prop::collection::vec(0..12_usize, 0..20),
            cuts in prop::collection::vec(1..80_usize, 1..8),
        ) {
            let mut kinds = kinds;
            kinds.dedup(); // doorbells in a row are one
            let frames: Vec<_> = kinds.iter().map(|kind| golden().swap_remove(*kind).0).collect();
            let mut stream: VecDeque<_> = frames.iter().cloned().map(encode).collect();
            let mut cuts = cuts.iter().cycle();
            let mut inbox = Inbox::new();
            let mut read = Vec::new();
            while !stream.is_empty() {
                let (bytes, descriptors) = receive(&mut stream, *cuts.next().unwrap());
                read.extend(put(&mut inbox, &bytes, descriptors).unwrap());
            }
            prop_assert_eq!(read, frames);
        }
    }

    /// What the kernel does (unix(7)): one receive goes over several sends, but it ends with the first that has
    /// descriptors, and answers them with the first byte of that send.
    fn receive(stream: &mut VecDeque<(Vec<u8>, Vec<u32>)>, room: usize) -> (Vec<u8>, Vec<u32>) {
        let mut bytes = Vec::new();
        while let Some((first, descriptors)) = stream.front_mut() {
            let n = first.len().min(room - bytes.len());
            if n == 0 {
                break;
            }
            bytes.extend(first.drain(..n));
            let descriptors = std::mem::take(descriptors);
            if first.is_empty() {
                stream.pop_front();
            }
            if !descriptors.is_empty() {
                return (bytes, descriptors);
            }
        }
        (bytes, Vec::new())
    }
}
