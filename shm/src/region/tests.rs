//! What the kernel promises of sealed memory, and what is turned down.
//!
//! The tests that take the part of a peer do with the descriptor what a peer could.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mprotect, munmap};
use nix::unistd::ftruncate;

use super::*;

const LEN: usize = 16 << 10;

fn memory(allocated: bool, seals: SealFlag) -> OwnedFd {
    let fd = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).unwrap();
    if allocated {
        fallocate(&fd, FallocateFlags::empty(), 0, LEN as i64).unwrap();
    } else {
        ftruncate(&fd, LEN as i64).unwrap();
    }
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    fd
}

fn required() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE
}

fn first(region: &PeerRegion) -> u8 {
    // SAFETY: the region has a byte.
    unsafe { region.base().read_volatile() }
}

#[test]
fn a_peer_sees_what_the_owner_writes() {
    let (mut own, fd) = OwnRegion::create(LEN).unwrap();
    let peer = PeerRegion::accept(fd, LEN).unwrap();
    assert_eq!((own.len(), peer.len(), first(&peer)), (LEN, LEN, 0));
    own.write(0, &[7]);
    assert_eq!(first(&peer), 7);
    drop(own);
    assert_eq!(first(&peer), 7, "the memory lives as long as somebody has it");
}

#[test]
#[should_panic(expected = "8 bytes at")]
fn bytes_behind_the_region_are_not_written() {
    OwnRegion::create(LEN).unwrap().0.write(LEN - 7, &[0; 8]);
}

#[test]
fn a_peer_can_neither_write_nor_cut_nor_punch() {
    let (own, fd) = OwnRegion::create(LEN).unwrap();
    let len = std::num::NonZero::new(LEN).unwrap();
    let shared = |protection, fd: &OwnedFd| {
        // SAFETY: a new mapping, wherever there is room.
        unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, fd, 0) }
    };
    let read_write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    assert_eq!(shared(read_write, &fd), Err(Errno::EPERM));

    let read_only = shared(ProtFlags::PROT_READ, &fd).unwrap();
    // SAFETY: the mapping made just now.
    assert_eq!(unsafe { mprotect(read_only, LEN, read_write) }, Err(Errno::EACCES));
    // SAFETY: as above; nothing refers to it.
    let removed = unsafe { madvise(read_only, LEN, MmapAdvise::MADV_REMOVE) };
    assert!(matches!(removed, Err(Errno::EACCES | Errno::EPERM)), "{removed:?}");
    // SAFETY: as above.
    unsafe { munmap(read_only, LEN) }.unwrap();

    let reopened =
        OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let mut reopened = reopened.expect("opening is no harm");
    assert_eq!(reopened.write(&[1]).unwrap_err().raw_os_error(), Some(libc::EPERM));
    let reopened = OwnedFd::from(reopened);
    assert_eq!(shared(read_write, &reopened), Err(Errno::EPERM));

    for fd in [&fd, &reopened] {
        assert_eq!(nix::unistd::write(fd, &[1]), Err(Errno::EPERM));
        assert_eq!(ftruncate(fd, 0), Err(Errno::EPERM));
        assert_eq!(ftruncate(fd, LEN as i64 * 2), Err(Errno::EPERM));
        assert_eq!(fallocate(fd, FallocateFlags::empty(), LEN as i64, 4096), Err(Errno::EPERM));
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        assert_eq!(fallocate(fd, punch, 0, 4096), Err(Errno::EPERM));
        assert_eq!(fcntl(fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)), Err(Errno::EPERM));
    }
    assert!(reopened.try_clone().is_ok_and(|fd| File::from(fd).read(&mut [0; 8]).is_ok_and(|n| n == 8)));
    drop(own);
}

/// The owner has a mapping that may write, and could punch with it if the kernel did not look at the seals there, too.
#[test]
fn the_owner_cannot_take_its_memory_back() {
    let (own, fd) = OwnRegion::create(LEN).unwrap();
    let peer = PeerRegion::accept(fd.try_clone().unwrap(), LEN).unwrap();
    // SAFETY: the region's own memory, to which nothing refers.
    let removed = unsafe { madvise(own.base().cast(), LEN, MmapAdvise::MADV_REMOVE) };
    assert_eq!(removed, Err(Errno::EPERM));
    let mut file = File::from(fd);
    file.rewind().unwrap();
    assert!(file.write(&[1]).is_err(), "not even the owner writes but through its mapping");
    assert_eq!(first(&peer), 0);
}

#[test]
fn memory_needs_every_seal() {
    assert!(PeerRegion::accept(memory(true, required()), LEN).is_ok());
    assert!(PeerRegion::accept(memory(true, required() | SealFlag::F_SEAL_WRITE), LEN).is_ok());
    for missing in required() {
        let refused = PeerRegion::accept(memory(true, required() - missing), LEN);
        assert!(matches!(refused, Err(Unfit::Seals)), "without {missing:?}: {refused:?}");
    }
    let without_sealing = memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap();
    fallocate(&without_sealing, FallocateFlags::empty(), 0, LEN as i64).unwrap();
    assert!(matches!(PeerRegion::accept(without_sealing, LEN), Err(Unfit::Seals)));
}

#[test]
fn memory_is_as_long_as_declared() {
    for declared in [0, 1, LEN - 1, LEN + 1, LEN - 4096, LEN + 4096, 1 << 40, usize::MAX] {
        let refused = PeerRegion::accept(memory(true, required()), declared);
        let found = LEN as u64;
        assert!(
            matches!(refused, Err(Unfit::Length { found: f, .. }) if f == found),
            "{declared}: {refused:?}"
        );
    }
    let refused = PeerRegion::accept(memory(false, required()), LEN);
    assert!(matches!(refused, Err(Unfit::Sparse { allocated: 0, .. })), "{refused:?}");
}

/// Memory behind the end of the file counts among its blocks, and stays when the file is sealed.
#[test]
fn memory_behind_the_end_does_not_stand_for_holes() {
    for holes in [LEN as i64, 4096] {
        let fd = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).unwrap();
        ftruncate(&fd, LEN as i64).unwrap();
        if holes < LEN as i64 {
            fallocate(&fd, FallocateFlags::empty(), holes, LEN as i64 - holes).unwrap();
        }
        fallocate(&fd, FallocateFlags::FALLOC_FL_KEEP_SIZE, LEN as i64, holes).unwrap();
        fcntl(&fd, FcntlArg::F_ADD_SEALS(required())).unwrap();
        let Status { len, allocated, .. } = status(fd.as_fd()).unwrap();
        assert_eq!((len, allocated), (LEN as u64, LEN as u64), "it looks as if all were there");
        let refused = PeerRegion::accept(fd, LEN);
        assert!(matches!(refused, Err(Unfit::Sparse { .. })), "{refused:?}");
    }
}

#[test]
fn what_is_no_memory_is_turned_down() {
    let open = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let (read, write) = nix::unistd::pipe().unwrap();
    let sealed = memory(true, required());
    let path = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_PATH.bits())
        .open(format!("/proc/self/fd/{}", sealed.as_raw_fd()))
        .unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let event_fd: OwnedFd = nix::sys::eventfd::EventFd::new().unwrap().into();
    let others = [
        open("/dev/zero"),
        open("/proc/self/exe"),
        open("/proc/self/status"),
        open("/"),
        read,
        write,
        path.into(),
        socket.into(),
        event_fd,
    ];
    for fd in others {
        let described = format!("{fd:?}");
        let refused = PeerRegion::accept(fd, LEN);
        assert!(matches!(refused, Err(Unfit::NotMemory)), "{described}: {refused:?}");
    }
    // A file on a file system in memory can have seals, and has the one that forbids all others.
    if let Ok(file) = tempfile_in_memory() {
        let refused = PeerRegion::accept(file.into(), LEN);
        assert!(matches!(refused, Err(Unfit::Seals | Unfit::NotMemory)), "{refused:?}");
    }
}

fn tempfile_in_memory() -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlag::O_TMPFILE.bits()).open("/dev/shm")
}

/// Huge pages may be missing when they are first touched, and that would be `SIGBUS`.
#[test]
fn huge_pages_are_turned_down() {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB;
    let Ok(fd) = memfd_create(c"test", flags) else { return };
    fcntl(&fd, FcntlArg::F_ADD_SEALS(required())).unwrap();
    assert!(matches!(PeerRegion::accept(fd, LEN), Err(Unfit::NotMemory)));
}
