//! The conformance suite on the uring driver: as it is, and with everything so small that the rare paths are taken.
#![cfg(feature = "uring")]

use std::os::fd::OwnedFd;

use linkpoll::driver::epoll::Socket;
use linkpoll::net::Address;
use linkpoll_conformance::SocketBed;
use linkpoll_experiments::uring::{Uring, UringOptions};

/// Uring drivers.
struct UringBed {
    submissions: u32,
    completions: u32,
    buffers: u16,
    buffer_size: usize,
    limit_receives: bool,
    lend_from: Option<usize>,
    fill_from: Option<usize>,
}

impl SocketBed for UringBed {
    type Driver = Uring;

    fn driver(&self, memory: usize) -> Uring {
        let Self { submissions, completions, buffers, buffer_size, limit_receives, lend_from, fill_from } =
            *self;
        let options = UringOptions {
            memory,
            submissions,
            completions,
            buffers,
            buffer_size,
            limit_receives,
            lend_from,
            fill_from,
        };
        Uring::new(options).expect("a ring can be had")
    }

    fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
        Socket { fd, peer: Box::new(peer) }
    }
}

const USUAL: UringBed = UringBed {
    submissions: 256,
    completions: 4096,
    buffers: 64,
    buffer_size: 64 << 10,
    limit_receives: true,
    lend_from: Some(64 << 10),
    fill_from: Some(64 << 10),
};

mod usual {
    linkpoll_conformance::conformance!(super::USUAL);
}

/// Completions overflow, submissions find no room.
mod tiny_queues {
    linkpoll_conformance::conformance!(super::UringBed { submissions: 1, completions: 2, ..super::USUAL });
}

/// Buffers run out over and over.
mod tiny_buffers {
    linkpoll_conformance::conformance!(super::UringBed { buffers: 2, buffer_size: 4096, ..super::USUAL });
}

/// Both at once.
mod tiny {
    linkpoll_conformance::conformance!(super::UringBed {
        submissions: 2,
        completions: 2,
        buffers: 1,
        buffer_size: 4096,
        ..super::USUAL
    });
}

/// Every send lends its memory.
mod lending {
    linkpoll_conformance::conformance!(super::UringBed { lend_from: Some(1), ..super::USUAL });
}

/// No send does.
mod copying {
    linkpoll_conformance::conformance!(super::UringBed { lend_from: None, ..super::USUAL });
}

/// Everything that is wanted is received into a block of its own.
mod filling {
    linkpoll_conformance::conformance!(super::UringBed { fill_from: Some(1), ..super::USUAL });
}

/// The same, where completions overflow and submissions find no room.
mod filling_with_tiny_queues {
    linkpoll_conformance::conformance!(super::UringBed {
        submissions: 1,
        completions: 2,
        fill_from: Some(1),
        ..super::USUAL
    });
}

/// Nothing is.
mod gathering {
    linkpoll_conformance::conformance!(super::UringBed { fill_from: None, ..super::USUAL });
}

/// As on kernels that cannot limit receives.
mod unlimited {
    linkpoll_conformance::conformance!(super::UringBed { limit_receives: false, ..super::USUAL });
}
