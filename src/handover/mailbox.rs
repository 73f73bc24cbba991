//! Messages from any thread to one loop.
//!
//! Sending allocates one node, never blocks, and wakes the loop only when it sleeps: a burst of messages costs one
//! wake-up. Messages of one sender arrive in the order they were sent. When the loop ends it closes its mailbox;
//! a later message comes back to its sender, and messages still inside are handed to the loop one last time, so a
//! message is either received once or returned once.
#![expect(unsafe_code, reason = "nodes travel through an intrusive list as raw pointers")]

use std::fmt;
use std::ptr::{self, NonNull};

use super::signal::Raised;
use crate::handover::{Linked, PushList, Signal, SleepFlag, Wake};
use crate::panics;
use crate::sync::{Arc, Bell, Track, UnsafeCell};

pub(super) struct Node<M> {
    next: UnsafeCell<*mut Node<M>>,
    body: Body<M>,
}

enum Body<M> {
    /// A leaked box, which ends when it is opened.
    Message(Track<UnsafeCell<Option<M>>>),
    /// A leaked share of a signal's node, which goes through the list again and again.
    Signal(Raised<M>),
}

// SAFETY: the link is touched by whoever the list gives the node to, and a message is moved in by one thread and out by
// another (M: Send); no `&M` is ever shared.
unsafe impl<M: Send> Send for Node<M> {}
// SAFETY: as above.
unsafe impl<M: Send> Sync for Node<M> {}

impl<M> Node<M> {
    pub(super) fn signal(raised: Raised<M>) -> Self {
        Self { next: UnsafeCell::new(ptr::null_mut()), body: Body::Signal(raised) }
    }

    /// The signal that this node was made for.
    pub(super) fn raised(&self) -> Option<&Raised<M>> {
        match &self.body {
            Body::Signal(raised) => Some(raised),
            Body::Message(_) => None,
        }
    }
}

// SAFETY: `link` always returns the `next` cell, which nothing else uses.
unsafe impl<M> Linked for Node<M> {
    fn link(node: &Self) -> &UnsafeCell<*mut Self> {
        &node.next
    }
}

struct Shared<M> {
    messages: PushList<Node<M>>,
    sleep: SleepFlag,
    bell: Box<dyn Bell>,
}

// SAFETY: a message is moved in by one thread and out by another (M: Send), and the list hands each node to one
// thread at a time. No `&M` is ever shared.
unsafe impl<M: Send> Sync for Shared<M> {}
// SAFETY: as above.
unsafe impl<M: Send> Send for Shared<M> {}

impl<M> Drop for Shared<M> {
    fn drop(&mut self) {
        for node in self.messages.close() {
            drop(open(node));
        }
    }
}

fn open<M>(node: NonNull<Node<M>>) -> Option<M> {
    // SAFETY: a node from the list is valid; that of a signal may be shared, but nothing changes which kind it is.
    if let Some(raised) = unsafe { node.as_ref() }.raised() {
        let message = raised.take();
        // SAFETY: the node of a signal enters the list as a leaked share of its `Arc`, and this is that share.
        drop(unsafe { Arc::from_raw(node.as_ptr()) });
        return Some(message);
    }
    // SAFETY: the node came out of the list, which it entered as a leaked box; it is ours alone again.
    let node = unsafe { Box::from_raw(node.as_ptr()) };
    let Body::Message(message) = &node.body else { unreachable!("signals are answered above") };
    message.get_ref().with_mut(|message| {
        // SAFETY: the box is ours alone, so is the cell in it.
        let message = unsafe { &mut *message };
        message.take()
    })
}

/// The receiving end: belongs to one loop.
pub struct Mailbox<M> {
    shared: Arc<Shared<M>>,
    closed: bool,
    /// Whether a sleep is announced; spares the owner a swap when none is.
    armed: bool,
}

impl<M: Send> Mailbox<M> {
    /// A mailbox whose senders end the owner's sleep with `bell`.
    #[must_use]
    pub fn new(bell: Box<dyn Bell>) -> Self {
        let shared = Shared { messages: PushList::new(), sleep: SleepFlag::new(), bell };
        Self { shared: Arc::new(shared), closed: false, armed: false }
    }

    /// A sender for this mailbox.
    #[must_use]
    pub fn sender(&self) -> Post<M> {
        Post { shared: Arc::clone(&self.shared) }
    }

    /// Announces that the owner is about to sleep. Answers `false` when a message is waiting: then the owner is
    /// not announced as sleeping, and must not sleep. After `true` it may sleep until its bell rings; every
    /// other thing that could have happened must be looked at between this call and the sleep.
    pub fn arm(&mut self) -> bool {
        if !self.shared.messages.is_empty() {
            return false;
        }
        self.shared.sleep.arm();
        self.armed = true;
        if self.shared.messages.is_empty() {
            return true;
        }
        self.disarm();
        false
    }

    /// Ends an announced sleep. Answers whether somebody has rung the bell since; `false` when no sleep was
    /// announced.
    pub fn disarm(&mut self) -> bool {
        std::mem::take(&mut self.armed) && self.shared.sleep.disarm()
    }

    /// Appends the waiting messages to `into`, oldest first.
    pub fn take(&mut self, into: &mut Vec<M>) {
        let first = into.len();
        into.extend(self.shared.messages.take_all().filter_map(open));
        into[first..].reverse();
    }

    /// Closes the mailbox for ever and appends what was in it to `into`, oldest first.
    pub fn close(&mut self, into: &mut Vec<M>) {
        self.closed = true;
        let first = into.len();
        into.extend(self.shared.messages.close().filter_map(open));
        into[first..].reverse();
    }
}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        if !self.closed {
            for node in self.shared.messages.close() {
                panics::let_go(open(node));
            }
        }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// The sending end of a [`Mailbox`]; cheap to clone.
pub struct Post<M> {
    shared: Arc<Shared<M>>,
}

impl<M: Send> Post<M> {
    /// Sends a message and wakes the owner if it sleeps. Never blocks.
    ///
    /// # Errors
    /// Returns the message when the mailbox is closed.
    pub fn send(&self, message: M) -> Result<(), M> {
        let message = Body::Message(Track::new(UnsafeCell::new(Some(message))));
        let node = Node { next: UnsafeCell::new(ptr::null_mut()), body: message };
        let node = NonNull::from(Box::leak(Box::new(node)));
        // SAFETY: the node is a fresh box that nobody else knows.
        if unsafe { self.shared.messages.push(node) }.is_err() {
            return Err(open(node).expect("the message was put in above"));
        }
        self.wake();
        Ok(())
    }

    /// A message that this mailbox gets again and again, but has only once at a time. It costs an allocation now, and
    /// none when it is sent.
    pub(crate) fn signal(&self, message: impl Fn() -> M + Send + Sync + 'static) -> Signal<M> {
        Signal::new(self.clone(), Box::new(message))
    }

    /// Puts a share of a signal's node into the list. Nothing happens when the mailbox is closed.
    pub(super) fn send_signal(&self, node: Arc<Node<M>>) {
        let node = Arc::into_raw(node).cast_mut();
        // SAFETY: an `Arc` is never null.
        let place = unsafe { NonNull::new_unchecked(node) };
        // SAFETY: the node is kept by the leaked share, and in no list: whoever has raised its flag puts it in, and
        // the flag is taken back only when it has come out.
        if unsafe { self.shared.messages.push(place) }.is_err() {
            // SAFETY: the share that was leaked above.
            return drop(unsafe { Arc::from_raw(node) });
        }
        self.wake();
    }

    /// Wakes the owner if it sleeps, without a message: for news that it finds elsewhere.
    pub fn wake(&self) {
        if self.shared.sleep.take() {
            self.shared.bell.ring();
        }
    }
}

impl<M: Send> Wake for Post<M> {
    fn wake(&self) {
        Self::wake(self);
    }
}

impl<M> Clone for Post<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M> fmt::Debug for Post<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}
