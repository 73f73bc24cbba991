//! Sealed memory: what can be sent, what is turned down, and what the kernel promises.

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::unistd::ftruncate;

use super::*;
use crate::region::OwnRegion;
use crate::wire::Bulk;

fn sealed(bytes: &[u8]) -> SealedBulk {
    let mut buffer = BulkBuffer::new(bytes.len()).unwrap();
    buffer.bytes().copy_from_slice(bytes);
    buffer.seal().unwrap()
}

fn bulk(sequence: u32, len: u32) -> Bulk {
    Bulk { sequence, len }
}

#[test]
fn bytes_arrive_without_a_copy() {
    let message: Vec<u8> = (0..3 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let mut arrivals = Arrivals::new(4 << 20);
    let record = bulk(0, 3 << 20);
    assert!(matches!(arrivals.claim(record), Ok(None)), "nothing is there yet");
    arrivals.arrived(record, sealed(&message).into_descriptor()).unwrap();
    assert_eq!(arrivals.waiting(), 1);
    let segment = arrivals.claim(record).unwrap().expect("it has arrived");
    assert_eq!(arrivals.waiting(), 0);
    let part = segment.slice(1 << 20..2 << 20);
    drop((segment, arrivals));
    assert_eq!(&part[..], &message[1 << 20..2 << 20]);
}

#[test]
fn an_odd_length_is_fine_and_nothing_is_none() {
    let odd = sealed(&[5; 4097]);
    assert_eq!(odd.len(), 4097);
    assert_eq!(&odd.into_segment().unwrap()[..], &[5; 4097]);
    assert!(BulkBuffer::new(0).is_err());
}

#[test]
fn nobody_changes_sealed_bytes() {
    let fd = sealed(&[7; 8192]).into_descriptor();
    assert_eq!(nix::unistd::write(&fd, &[1]), Err(Errno::EPERM));
    assert_eq!(ftruncate(&fd, 0), Err(Errno::EPERM));
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    assert_eq!(fallocate(&fd, punch, 0, 4096), Err(Errno::EPERM));
    assert!(Shared::writable(fd.as_fd(), 8192).is_err());
    let segment = SealedBulk::accept(fd, 8192).unwrap().into_segment().unwrap();
    assert_eq!(&segment[..], &[7; 8192]);
}

/// The kernel is asked by the receiver: one that could still write cannot have it sealed.
#[test]
fn memory_that_is_mapped_for_writing_cannot_be_sealed() {
    let mut buffer = BulkBuffer::new(4096).unwrap();
    let fd = buffer.fd.try_clone().unwrap();
    assert!(add_seals(fd.as_fd(), Seals::CONSTANT).is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY)));
    buffer.bytes()[0] = 1;
    buffer.seal().unwrap();
}

#[test]
fn what_is_not_sealed_for_good_is_turned_down() {
    let refuse = |fd: OwnedFd, len: u32| Arrivals::new(1 << 20).arrived(bulk(0, len), fd).unwrap_err();
    let unsealed = BulkBuffer::new(4096).unwrap().fd;
    assert!(matches!(refuse(unsealed, 4096), BulkError::Unfit(Unfit::Seals)));
    let (_region, one_writer) = OwnRegion::create(4096).unwrap();
    assert!(matches!(refuse(one_writer, 4096), BulkError::Unfit(Unfit::Seals)), "its owner still writes");
    let sparse = create_memory().unwrap();
    ftruncate(&sparse, 4096).unwrap();
    fcntl(&sparse, FcntlArg::F_ADD_SEALS(SealFlag::all())).unwrap();
    assert!(matches!(refuse(sparse, 4096), BulkError::Unfit(Unfit::Sparse { .. })));
    for len in [0, 4095, 4097] {
        let fd = sealed(&[1; 4096]).into_descriptor();
        assert!(matches!(refuse(fd, len), BulkError::Unfit(Unfit::Length { .. })), "{len}");
    }
    let large = sealed(&[1; 4096]).into_descriptor();
    assert!(matches!(refuse(large, (1 << 20) + 1), BulkError::TooLarge { .. }));
}

/// Memory behind the end of the file counts among its blocks: what looks whole has holes.
#[test]
fn holes_come_to_light_when_all_is_mapped() {
    const LEN: i64 = 512 << 10;
    let fd = create_memory().unwrap();
    ftruncate(&fd, LEN).unwrap();
    fallocate(&fd, FallocateFlags::FALLOC_FL_KEEP_SIZE, LEN, LEN).unwrap();
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::all())).unwrap();
    let mut arrivals = Arrivals::new(1 << 20);
    let record = bulk(0, 512 << 10);
    arrivals.arrived(record, fd).unwrap();
    let refused = arrivals.claim(record);
    assert!(matches!(refused, Err(BulkError::Unfit(Unfit::Sparse { allocated: 0, .. }))), "{refused:?}");
}

/// One message in a great many pieces must not take all mappings that the process may have.
#[test]
fn small_pieces_cost_no_mapping() {
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("linkpoll-shm").count();
    let small = sealed(&[3; LEAST_MAPPED - 1]).into_descriptor();
    let before = mappings();
    let pieces: Vec<Segment> = (0..100)
        .map(|_| {
            let copy = small.try_clone().unwrap();
            SealedBulk::accept(copy, LEAST_MAPPED - 1).unwrap().into_segment().unwrap()
        })
        .collect();
    // Other tests of this process map and unmap meanwhile.
    assert!(mappings() < before + 100, "{before} mappings became {}", mappings());
    assert!(pieces.iter().all(|piece| piece.len() == LEAST_MAPPED - 1 && piece.iter().all(|&b| b == 3)));
}

#[test]
fn frames_and_records_come_in_one_order() {
    let piece = || sealed(&[1; 16]).into_descriptor();
    let mut arrivals = Arrivals::new(1 << 20);
    assert!(matches!(arrivals.arrived(bulk(1, 16), piece()), Err(BulkError::Sequence)));
    arrivals.arrived(bulk(0, 16), piece()).unwrap();
    assert!(matches!(arrivals.arrived(bulk(0, 16), piece()), Err(BulkError::Sequence)), "twice the same");
    assert!(matches!(arrivals.claim(bulk(1, 16)), Err(BulkError::Sequence)));
    assert!(matches!(arrivals.claim(bulk(0, 15)), Err(BulkError::Length)));
    assert!(arrivals.claim(bulk(0, 16)).unwrap().is_some());
    assert!(matches!(arrivals.claim(bulk(0, 16)), Err(BulkError::Sequence)), "claimed twice");
    assert!(matches!(arrivals.claim(bulk(1, 16)), Ok(None)));
}

#[test]
fn a_peer_makes_us_hold_few_descriptors() {
    let mut arrivals = Arrivals::new(1 << 20);
    let fd = sealed(&[1; 16]).into_descriptor();
    for sequence in 0.. {
        let copy = fd.try_clone().unwrap();
        match arrivals.arrived(bulk(sequence, 16), copy) {
            Ok(()) => assert!(arrivals.waiting() <= MOST_WAITING),
            Err(BulkError::TooMany) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(arrivals.waiting(), MOST_WAITING);
}
