//! The conformance suite on the drivers of this package.

/// Enough for one turn, as by default.
#[cfg(any(feature = "batch", feature = "zerocopy"))]
const BUDGET: usize = 256 << 10;

#[cfg(feature = "batch")]
mod batch {
    use std::marker::PhantomData;
    use std::os::fd::OwnedFd;

    use linkpoll::driver::epoll::{Epoll, EpollOptions, Socket, Trigger};
    use linkpoll::net::Address;
    use linkpoll_conformance::SocketBed;
    use linkpoll_experiments::batch::{self, Aio, Batched, Engine, Uring};

    struct BatchBed<E> {
        trigger: Trigger,
        receive_budget: usize,
        batch: usize,
        engine: PhantomData<E>,
    }

    impl<E: Engine> SocketBed for BatchBed<E> {
        type Driver = Epoll<Batched<E>>;

        fn driver(&self, memory: usize) -> Self::Driver {
            let Self { trigger, receive_budget, batch, .. } = *self;
            let options = EpollOptions { trigger, memory, receive_budget };
            batch::driver(options, batch).expect("this kernel has the engine")
        }

        fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
            Socket { fd, peer: Box::new(peer) }
        }
    }

    fn bed<E>(trigger: Trigger, batch: usize, receive_budget: usize) -> BatchBed<E> {
        BatchBed { trigger, receive_budget, batch, engine: PhantomData }
    }

    mod uring {
        linkpoll_conformance::conformance!(super::bed::<super::Uring>(
            super::Trigger::Level,
            64,
            crate::BUDGET
        ));
    }

    mod uring_by_few_at_the_edge {
        linkpoll_conformance::conformance!(super::bed::<super::Uring>(super::Trigger::Edge, 2, 1));
    }

    mod aio {
        linkpoll_conformance::conformance!(super::bed::<super::Aio>(
            super::Trigger::Level,
            64,
            crate::BUDGET
        ));
    }

    mod aio_by_few_at_the_edge {
        linkpoll_conformance::conformance!(super::bed::<super::Aio>(super::Trigger::Edge, 2, 1));
    }
}

#[cfg(feature = "zerocopy")]
mod zerocopy {
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use linkpoll::buffer::Segment;
    use linkpoll::driver::epoll::{EpollOptions, Socket, Trigger};
    use linkpoll::driver::{Driver as _, Key};
    use linkpoll::net::Address;
    use linkpoll_conformance::SocketBed;
    use linkpoll_experiments::zerocopy::{self, ZerocopyEpoll, ZerocopyOptions};

    /// Drivers that lend each piece of so many bytes, and get all pieces in memory that can be lent.
    struct LendingBed {
        trigger: Trigger,
        least: usize,
    }

    impl SocketBed for LendingBed {
        type Driver = ZerocopyEpoll;

        fn driver(&self, memory: usize) -> ZerocopyEpoll {
            let options = EpollOptions { trigger: self.trigger, memory, receive_budget: crate::BUDGET };
            let patience = Duration::from_millis(200);
            let zerocopy = ZerocopyOptions { least: self.least, patience, ..ZerocopyOptions::default() };
            zerocopy::driver(options, zerocopy).expect("an epoll instance can be had")
        }

        fn socket(&self, fd: OwnedFd, peer: Address) -> Socket {
            Socket { fd, peer: Box::new(peer) }
        }

        fn piece(&self, driver: &mut ZerocopyEpoll, key: Key, piece: Segment) -> Segment {
            let Ok(mut tail) = driver.alloc_send(key, piece.len()) else { return piece };
            tail.spare()[..piece.len()].copy_from_slice(&piece);
            tail.commit(piece.len())
        }
    }

    mod much_is_lent {
        linkpoll_conformance::conformance!(super::LendingBed { trigger: super::Trigger::Level, least: 256 });
    }

    mod much_is_lent_at_the_edge {
        linkpoll_conformance::conformance!(super::LendingBed { trigger: super::Trigger::Edge, least: 256 });
    }

    mod large_pieces_are_lent {
        linkpoll_conformance::conformance!(super::LendingBed {
            trigger: super::Trigger::Level,
            least: 16 << 10
        });
    }
}
