//! What takes another process: a child of fork(2) has none of its parent's regions, and does no harm when it drops them;
//! another user's process is not welcome.
#![expect(unsafe_code, reason = "a process is forked")]

mod pair;

use std::io::ErrorKind;
use std::num::NonZero;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use linkpoll_shm::handshake::{HandshakeError, Options, Policy, accept, connect};
use linkpoll_shm::region::{OwnRegion, PeerRegion};
use linkpoll_shm::session::{Heard, Parked, Received, Room, Session};
use linkpoll_shm::wire::Refusal;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, fork, geteuid, setresuid};

use crate::pair::ends;

const LEN: usize = 16 << 10;

/// Runs something in a child, which must not panic, and answers how that ended.
fn in_child(run: impl FnOnce() -> bool) -> WaitStatus {
    // SAFETY: the child only makes system calls and touches memory of its own before it ends.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            let status = i32::from(!run());
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => waitpid(child, None).expect("it ends"),
    }
}

#[test]
fn a_child_can_neither_use_nor_unmap_a_region() {
    // Children die here on purpose, and nobody wants to look at them.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("no core files");
    let (own, fd) = OwnRegion::create(LEN).expect("a region");
    let peer = PeerRegion::accept(fd, LEN).expect("a region");
    for base in [own.base(), peer.base()] {
        let ended = in_child(|| {
            // A sanitizer would catch the signal, and exit.
            // SAFETY: the default action runs nothing.
            unsafe { signal(Signal::SIGSEGV, SigHandler::SigDfl) }.expect("a signal");
            // SAFETY: it is the parent's; that the child dies of it is what is tested.
            let byte = unsafe { base.as_ptr().read_volatile() };
            byte == 0
        });
        assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGSEGV, _)), "{ended:?}");
    }

    // What the child puts in their place stays there when it drops them.
    let bases = [own.base(), peer.base()];
    let mut regions = Some((own, peer));
    let ended = in_child(|| {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
        for base in bases {
            let (at, len) = (NonZero::new(base.as_ptr().addr()), NonZero::new(LEN));
            let Some(len) = len else { return false };
            // SAFETY: nothing is replaced.
            let mapped = unsafe { mmap_anonymous(at, len, protection, flags) };
            if mapped.is_err() {
                return false;
            }
            // SAFETY: mapped just now.
            unsafe { base.as_ptr().write_volatile(7) };
        }
        drop(regions.take());
        bases.iter().all(|base| {
            // SAFETY: still mapped, or the child dies.
            let byte = unsafe { base.as_ptr().read_volatile() };
            byte == 7
        })
    });
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
    let (_own, peer) = regions.expect("the child has taken its copy only");
    // SAFETY: the parent's own, still there.
    assert_eq!(unsafe { peer.base().as_ptr().read_volatile() }, 0);
}

/// What a handshake has brought about is its process's, too: a child cannot make a session of it, and touches nothing.
#[test]
fn a_child_makes_no_session_of_its_parents_handshake() {
    let (client, _server) = ends();
    let mut client = Some(client);
    let ended = in_child(|| {
        let made = Session::new(client.take().expect("it is there"));
        made.is_err_and(|error| error.kind() == ErrorKind::Unsupported)
    });
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
    assert!(Session::new(client.expect("the child has taken its copy only")).is_ok());
}

/// A child that ends, or drops what it has inherited, does not speak for its parent.
#[test]
fn a_child_that_drops_a_session_says_nothing() {
    let (client, server) = ends();
    let mut server = Session::new(server).expect("a session");
    let mut client = Some(Session::new(client).expect("a session"));
    if let Some(client) = &mut client {
        // Something is under way in both directions.
        assert!(matches!(client.send(&mut &b"question"[..]), Ok(8)));
        assert!(matches!(server.park(true, None), Ok(Parked::NotYet)));
    }
    let ended = in_child(|| {
        drop(client.take());
        true
    });
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
    while server.listen().expect("the session goes on") == Heard::More {}
    assert!(!server.peer_is_gone(), "the parent lives");
    let heard = server.counters().doorbells_heard;
    let (mut first, mut second) = (vec![0; 64 << 10], Vec::new());
    let mut room = Room { first: &mut first, second: &mut second };
    assert!(matches!(server.receive(&mut room, usize::MAX), Ok(Received::Copied(8))));
    assert!(matches!(server.receive(&mut room, usize::MAX), Ok(Received::Nothing)), "the end was not told");
    assert_eq!(server.counters().doorbells_heard, heard);
    let client = client.as_mut().expect("the child has taken its copy only");
    assert!(matches!(server.send(&mut &b"answer"[..]), Ok(6)));
    let mut room = Room { first: &mut first, second: &mut second };
    assert!(matches!(client.receive(&mut room, usize::MAX), Ok(Received::Copied(6))));
}

/// The kernel says who a peer is, whatever the peer says. Only root can take the part of two users.
#[test]
fn another_user_is_not_welcome() {
    const OTHER: u32 = 54321;
    if !geteuid().is_root() {
        return;
    }
    let path = std::env::temp_dir().join(format!("linkpoll-shm-user-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).expect("a listener");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&path, permissions).expect("everybody may connect");
    let options = Options { step: Duration::from_secs(60), ..Options::default() };
    let anyone = Options { policy: Policy::Anyone, ..options.clone() };

    let policies = [
        (options.clone(), false),
        (Options { policy: Policy::Only { users: vec![OTHER], groups: vec![] }, ..options }, true),
    ];
    for (server, is_welcome) in policies {
        let client = std::thread::spawn({
            let (path, anyone) = (path.clone(), anyone.clone());
            move || {
                let other = Uid::from_raw(OTHER);
                in_child(|| {
                    setresuid(other, other, other).is_ok()
                        && match connect(&path, &anyone) {
                            Ok(_) => is_welcome,
                            Err(HandshakeError::Refused(Refusal::Policy)) => !is_welcome,
                            Err(_) => false,
                        }
                })
            }
        });
        let (socket, _) = listener.accept().expect("a client");
        match accept(socket.into(), &server) {
            Ok(session) => assert!(is_welcome && session.credentials.user == OTHER),
            Err(HandshakeError::NotWelcome(who)) => assert!(!is_welcome && who.user == OTHER),
            Err(other) => panic!("{other:?}"),
        }
        let ended = client.join().expect("no panic");
        assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
    }
    drop(std::fs::remove_file(&path));
}
