//! What the program that hosts sessions does to itself: fork(2) and exec(2) under traffic, no more descriptors, no more
//! memory.
#![expect(unsafe_code, reason = "a process is forked, in a program with threads")]

use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use linkpoll::reactor::Spin;
use linkpoll::service::{Client, Frame};
use linkpoll_conformance::isolated;
use linkpoll_shm::handshake::{HandshakeError, connect};
use linkpoll_shm::wire::Refusal;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::bed::{
    Holdings, Place, address_space, dial, echo, finish, finish_loops, is_sanitized, loops, patient, payload,
    server, settled, shared_mappings, until,
};
use crate::kills::bystander::Bystander;
use crate::kills::calls::visit;

/// Runs something in a child, and answers how that ended.
fn in_child(run: impl FnOnce() -> bool) -> WaitStatus {
    // SAFETY: other threads may hold locks of the allocator, so the child allocates nothing: it touches memory, makes system
    // calls, and ends.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            let status = i32::from(!run());
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => waitpid(child, None).expect("it ends"),
    }
}

/// A child that is forked under traffic has none of the memory that is shared, so it cannot write where its parent does;
/// a program that is started then gets no descriptor of a session. Neither is noticed by those who call meanwhile.
#[test]
fn children_get_nothing_of_sessions_under_traffic() {
    isolated(module_path!(), "children_get_nothing_of_sessions_under_traffic", || {
        setrlimit(Resource::RLIMIT_CORE, 0, 0).expect("no core files");
        let before = Holdings::now();
        let place = Place::new("forking");
        let (server, _ends) = server(&place.address(), Spin::Never);
        let own = loops(Spin::Never);
        let bystander = Bystander::start(own.dialer(), place.address());
        let metrics = &server.usage()[0].metrics;
        until("the bystander is there", || metrics.connections() == 1);
        let standing = shared_mappings();
        assert_eq!(standing.len(), 4, "two regions on each side");
        thread::scope(|scope| {
            // Descriptors come and go all the time.
            let visitor = scope.spawn(|| {
                let mut visits = 0;
                for _ in 0..60 {
                    visits += u32::from(visit(&own.dialer(), &place.address(), 5).is_some());
                }
                visits
            });
            let mut children = 0;
            while children < 40 || !visitor.is_finished() {
                children += 1;
                let (at, ..) = standing[children % standing.len()];
                let ended = in_child(|| {
                    // SAFETY: gives the signal its usual end, also where a sanitizer has a handler for it.
                    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
                    // SAFETY: it is the parent's; that the child dies of it is what is tested.
                    unsafe { std::ptr::with_exposed_provenance_mut::<u32>(at + 128).write_volatile(0) };
                    true
                });
                let refused = matches!(ended, WaitStatus::Signaled(_, Signal::SIGSEGV, _));
                assert!(refused, "the child could write at {at:#x}: {ended:?}");
                let listing = Command::new("ls")
                    .args(["-l", "/proc/self/fd"])
                    .stdin(Stdio::null())
                    .output()
                    .expect("ls");
                let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
                let foreign = ["memfd:", "socket:", "anon_inode:"];
                assert!(foreign.iter().all(|kind| !listing.contains(kind)), "inherited:\n{listing}");
                assert!(children < 4000, "the visitor does not come to an end");
            }
            assert!(visitor.join().expect("right replies") > 0);
        });
        assert!(bystander.stop() > 0, "it was served");
        settled(&server, 0);
        finish(server);
        finish_loops(own);
        before.restored("all is over");
    });
}

/// Lowers a limit of the process as long as it lives.
struct Lowered(Resource, u64, u64);

impl Lowered {
    fn to(resource: Resource, limit: u64) -> Self {
        let (soft, hard) = getrlimit(resource).expect("a limit");
        setrlimit(resource, limit.min(hard), hard).expect("a lower limit");
        Self(resource, soft, hard)
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        setrlimit(self.0, self.1, self.2).expect("the old limit");
    }
}

/// Whether a session was turned down for lack of descriptors or memory, here or there.
fn is_lack(error: &HandshakeError) -> bool {
    let is_lack =
        |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
    match error {
        HandshakeError::Local(error) => is_lack(error),
        HandshakeError::Refused(refusal) => *refusal == Refusal::Resources,
        // The one whose place it was had no memory to say so.
        HandshakeError::Closed(_) => true,
        other => other.refusal() == Some(Refusal::Resources),
    }
}

/// While descriptors run out sessions go on, and new ones are turned down by a typed error, whichever step of theirs it
/// hits; afterwards they are welcome.
#[test]
fn sessions_survive_that_descriptors_run_out() {
    isolated(module_path!(), "sessions_survive_that_descriptors_run_out", || {
        let before = Holdings::now();
        let place = Place::new("descriptors");
        let (server, _ends) = server(&place.address(), Spin::Never);
        let own = loops(Spin::Never);
        let client = dial(&own.dialer(), &place.address()).expect("the server is there");
        warm_up(&client);
        let metrics = &server.usage()[0].metrics;
        let standing = Holdings::now();
        let used = std::fs::File::open("/dev/null").expect("a file");
        let first_free = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&used)).expect("a number");
        drop(used);
        let mut refused = 0;
        // Both sides of the new session are here, and have to share what is left.
        for left in 0..12 {
            let lowered = Lowered::to(Resource::RLIMIT_NOFILE, first_free + left);
            let mut options = patient().session;
            options.step = Duration::from_millis(300);
            let session = connect(place.path(), &options);
            if let Err(error) = &session {
                // A connection that waits in the queue of a listener that rests is given up in time.
                let is_typed = is_lack(error) || matches!(error, HandshakeError::TimedOut(_));
                assert!(is_typed, "{left} descriptors left: {error:?}");
                refused += 1;
            }
            for size in [100, 5000, 70_000] {
                echo(&client, &payload(left, size)).expect("a session that is there is served");
            }
            drop((session, lowered));
            until("nothing but the old session is left", || metrics.connections() == 1);
            standing.restored("it is over");
        }
        assert!((1..12).contains(&refused), "{refused} of 12 refused");
        let next = dial(&own.dialer(), &place.address()).expect("there is room again");
        echo(&next, &payload(3, 10_000)).expect("it is served");
        next.close();
        client.close();
        drop((next, client));
        finish_loops(own);
        settled(&server, 0);
        finish(server);
        before.restored("all is over");
    });
}

/// Calls until both sides have taken all the memory that large messages take.
fn warm_up(client: &Client<Frame>) {
    let mut unchanged = 0;
    until("a session takes no more memory", || {
        let before = shared_mappings().len();
        echo(client, &payload(1, 70_000)).expect("it is served");
        unchanged = if shared_mappings().len() == before { unchanged + 1 } else { 0 };
        unchanged == 20
    });
}

/// Where memory cannot be mapped a session is turned down when it is set up, by a typed error. One that is there never
/// misses any later: all of it is taken in the beginning.
#[test]
fn without_memory_a_session_is_turned_down_when_it_is_set_up() {
    if is_sanitized() {
        return;
    }
    isolated(module_path!(), "without_memory_a_session_is_turned_down_when_it_is_set_up", || {
        let place = Place::new("memory");
        let (server, _ends) = server(&place.address(), Spin::Never);
        let own = loops(Spin::Never);
        let client = dial(&own.dialer(), &place.address()).expect("the server is there");
        warm_up(&client);
        let metrics = &server.usage()[0].metrics;
        let standing = Holdings::now();
        drop(connect(place.path(), &patient().session).expect("there is memory"));
        standing.restored("it is over");
        let (mut refused, mut taken) = (0, 0);
        // Rings of 1 MiB need some at a time, whatever the allocator has in reserve.
        let mut options = patient().session;
        options.ring = 1 << 20;
        for mebibytes in 0..4 {
            let lowered = Lowered::to(Resource::RLIMIT_AS, address_space() + (mebibytes << 20) + (64 << 10));
            let session = connect(place.path(), &options);
            drop(lowered);
            match &session {
                Ok(_) => taken += 1,
                Err(error) => {
                    assert!(is_lack(error), "{mebibytes} MiB left: {error:?}");
                    refused += 1;
                }
            }
            drop(session);
            echo(&client, &payload(mebibytes, 1000)).expect("a session that is there is served");
            until("nothing but the old session is left", || metrics.connections() == 1);
            standing.restored("it is over");
        }
        assert!(refused > 0 && taken > 0, "{refused} refused, {taken} taken");
        client.close();
        drop(client);
        finish_loops(own);
        settled(&server, 0);
        finish(server);
    });
}
