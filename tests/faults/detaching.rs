//! Faults while a connection leaves its loop.

use std::os::fd::AsFd as _;

use linkpoll::conn::{CloseReason, DetachError};
use linkpoll::driver::epoll::Trigger;
use linkpoll::faults::{Fault, Plan, Site, executed};
use linkpoll_conformance::isolated;
use nix::errno::Errno;
use nix::unistd::write;

use crate::bed::Bed;
use crate::client::{Fate, PATIENCE, fate};

/// A descriptor that the kernel would go on to report to the loop is not given away: the connection ends, for that
/// reason, and the next one leaves. Broken by a driver that does not look whether its watch has ended.
#[test]
fn a_connection_that_stays_watched_is_not_given_away() {
    isolated(module_path!(), "a_connection_that_stays_watched_is_not_given_away", || {
        for (trigger, errno) in [(Trigger::Level, Errno::ENOMEM), (Trigger::Edge, Errno::ENOENT)] {
            let fault = Fault::Errno(errno);
            let mut bed = Bed::new(trigger);
            let mut victim = bed.client();
            let handle = bed.handles.recv_timeout(PATIENCE).expect("it is open");
            let before = executed(Site::EpollDelete, fault);
            let injected = Plan::new().in_loops().fail(Site::EpollDelete, fault, 0, 1).inject();
            assert!(matches!(handle.detach().wait(), Err(DetachError::Closed)));
            assert_eq!(fate(victim.drain()), Fate::Served, "it ends");
            let why = bed.ends.recv_timeout(PATIENCE).expect("its handler is told");
            assert!(
                matches!(&why, CloseReason::Broken(error) if error.raw_os_error() == Some(errno as i32)),
                "{why}"
            );
            drop((injected, victim, handle));
            assert_eq!(executed(Site::EpollDelete, fault), before + 1, "it happens once");

            let mut victim = bed.client();
            let handle = bed.handles.recv_timeout(PATIENCE).expect("it is open");
            let detached = handle.detach().wait().expect("nothing is in the way");
            write(detached.fd.as_fd(), &[0, 0, 0, 1, b'x']).expect("it is open");
            victim.expect(b"x").expect("it comes from its new owner");
            drop((detached, victim, handle));
            bed.settled();
            bed.finish();
        }
    });
}
