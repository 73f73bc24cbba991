//! What the machine can do: the same copies without a protocol, and the kernel's cheapest wake-up.
#![expect(unsafe_code, reason = "the floor checks nothing")]

use std::hint::spin_loop;
use std::os::fd::AsFd as _;

use linkpoll::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::echo::{Side, Subject};

/// A slot for one message, and a word that says which one is in it.
#[repr(C, align(128))]
pub(crate) struct Slot<const LEN: usize> {
    number: AtomicUsize,
    bytes: Bytes<LEN>,
}

#[repr(C, align(128))]
struct Bytes<const LEN: usize>(UnsafeCell<[u8; LEN]>);

// SAFETY: the two sides take turns, as the number says.
unsafe impl<const LEN: usize> Sync for Slot<LEN> {}

impl<const LEN: usize> Slot<LEN> {
    pub(crate) fn new() -> Self {
        Self { number: AtomicUsize::new(0), bytes: Bytes(UnsafeCell::new([0; LEN])) }
    }

    /// Copies a message in, as the `number`th.
    #[inline]
    pub(crate) fn put(&self, number: usize, message: &[u8]) {
        assert!(message.len() <= LEN);
        self.bytes.0.with_mut(|bytes| {
            // SAFETY: it is this side's turn, and they fit.
            unsafe { bytes.cast::<u8>().copy_from_nonoverlapping(message.as_ptr(), message.len()) }
        });
        // ORDERING: Release, partner the Acquire in `wait`: the bytes were written before.
        self.number.store(number, Ordering::Release);
    }

    /// Waits for the number.
    #[inline]
    pub(crate) fn wait(&self, number: usize) {
        // ORDERING: Acquire, partner the Release in `put` and `done`.
        while self.number.load(Ordering::Acquire) != number {
            spin_loop();
        }
    }

    /// Copies the message out.
    #[inline]
    pub(crate) fn take(&self, message: &mut [u8]) {
        assert!(message.len() <= LEN);
        self.bytes.0.with(|bytes| {
            // SAFETY: it is this side's turn, and they fit.
            unsafe { bytes.cast::<u8>().copy_to_nonoverlapping(message.as_mut_ptr(), message.len()) }
        });
    }

    /// Says that the bytes were read.
    #[inline]
    pub(crate) fn done(&self, number: usize) {
        // ORDERING: Release, partner the Acquire in `wait`: the bytes were read before.
        self.number.store(number, Ordering::Release);
    }
}

/// Slots for each direction, used in turn, as many as are asked for: with one the same cache lines go back and forth.
pub(crate) struct Slots(pub(crate) usize);

type Row = Arc<Vec<Slot<1024>>>;

struct SlotSide {
    own: Row,
    peer: Row,
    sent: usize,
    received: usize,
}

impl SlotSide {
    /// Both sides.
    fn pair(count: usize) -> (Self, Self) {
        let row = || Arc::new((0..count).map(|_| Slot::new()).collect());
        let (a, b): (Row, Row) = (row(), row());
        let side = |own: &Row, peer: &Row| Self {
            own: Arc::clone(own),
            peer: Arc::clone(peer),
            sent: 0,
            received: 0,
        };
        (side(&a, &b), side(&b, &a))
    }
}

impl Subject for Slots {
    fn name(&self) -> String {
        format!("floor: bare slots, {}", self.0)
    }

    fn sides(&mut self) -> (Box<dyn Side>, Box<dyn Side>) {
        let (a, b) = SlotSide::pair(self.0);
        (Box::new(a), Box::new(b))
    }
}

impl Side for SlotSide {
    fn send(&mut self, message: &[u8]) {
        let slot = &self.own[self.sent % self.own.len()];
        self.sent += 1;
        slot.put(self.sent, message);
    }

    fn recv(&mut self, message: &mut Vec<u8>) {
        let slot = &self.peer[self.received % self.peer.len()];
        self.received += 1;
        slot.wait(self.received);
        slot.take(message);
    }
}

/// Slots, and two eventfds that are written and read, with calls that block.
pub(crate) struct Events;

struct EventSide {
    slots: SlotSide,
    own: Arc<EventFd>,
    peer: Arc<EventFd>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Subject for Events {
    fn name(&self) -> String {
        "floor: bare slots and eventfds".to_string()
    }

    fn sides(&mut self) -> (Box<dyn Side>, Box<dyn Side>) {
        let (a, b) = SlotSide::pair(1);
        let event = || Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC).expect("an eventfd"));
        let (to_a, to_b) = (event(), event());
        let first = EventSide { slots: a, own: Arc::clone(&to_a), peer: Arc::clone(&to_b) };
        (Box::new(first), Box::new(EventSide { slots: b, own: to_b, peer: to_a }))
    }
}

impl Side for EventSide {
    fn send(&mut self, message: &[u8]) {
        self.slots.send(message);
        self.peer.write(1).expect("an eventfd");
    }

    fn recv(&mut self, message: &mut Vec<u8>) {
        nix::unistd::read(self.own.as_fd(), &mut [0; 8]).expect("an eventfd");
        self.slots.recv(message);
    }
}
