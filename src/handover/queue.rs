//! A queue from any thread to one, which learns in another way that there is something in it: a [`PushList`] of
//! messages.
//!
//! Putting in allocates one node and never blocks. Messages of one thread come out in their order. Closing is sticky: a
//! message is taken once, or comes back to whoever wanted to put it in. The owner is told of news by something that
//! wakes it ([`Signal`](super::Signal)), after the push; what the wake makes visible is what was pushed before it.
#![expect(unsafe_code, reason = "nodes travel through an intrusive list as raw pointers")]

use std::fmt;
use std::ptr::{self, NonNull};

use super::{Linked, PushList};
use crate::sync::{Track, UnsafeCell};

struct Node<M> {
    next: UnsafeCell<*mut Self>,
    message: Track<UnsafeCell<Option<M>>>,
}

// SAFETY: `link` always returns the `next` cell, which nothing else uses.
unsafe impl<M> Linked for Node<M> {
    fn link(node: &Self) -> &UnsafeCell<*mut Self> {
        &node.next
    }
}

/// See the module's documentation.
pub(crate) struct Queue<M>(PushList<Node<M>>);

// SAFETY: a message is moved in by one thread and out by another (M: Send), and the list hands each node to one thread
// at a time. No `&M` is ever shared.
unsafe impl<M: Send> Sync for Queue<M> {}
// SAFETY: as above.
unsafe impl<M: Send> Send for Queue<M> {}

fn open<M>(node: NonNull<Node<M>>) -> Option<M> {
    // SAFETY: the node came out of the list, which it entered as a leaked box, or never entered it; it is ours alone.
    let node = unsafe { Box::from_raw(node.as_ptr()) };
    node.message.get_ref().with_mut(|message| {
        // SAFETY: the box is ours alone, so is the cell in it.
        let message = unsafe { &mut *message };
        message.take()
    })
}

impl<M: Send> Queue<M> {
    pub(crate) fn new() -> Self {
        Self(PushList::new())
    }

    /// Puts a message in.
    ///
    /// # Errors
    /// Gives it back when the queue is closed.
    pub(crate) fn push(&self, message: M) -> Result<(), M> {
        let node = Node {
            next: UnsafeCell::new(ptr::null_mut()),
            message: Track::new(UnsafeCell::new(Some(message))),
        };
        let node = NonNull::from(Box::leak(Box::new(node)));
        // SAFETY: the node is a fresh box that nobody else knows.
        if unsafe { self.0.push(node) }.is_err() {
            return Err(open(node).expect("the message was put in above"));
        }
        Ok(())
    }

    /// Owner: appends what is in it, oldest first.
    pub(crate) fn take(&self, into: &mut Vec<M>) {
        let first = into.len();
        into.extend(self.0.take_all().filter_map(open));
        into[first..].reverse();
    }

    /// Owner: closes the queue for ever, and appends what was in it, oldest first.
    pub(crate) fn close(&self, into: &mut Vec<M>) {
        let first = into.len();
        into.extend(self.0.close().filter_map(open));
        into[first..].reverse();
    }
}

impl<M> Drop for Queue<M> {
    fn drop(&mut self) {
        self.0.close().for_each(|node| drop(open(node)));
    }
}

impl<M> fmt::Debug for Queue<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
