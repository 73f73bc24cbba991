//! Parcels that go out and come back: any thread returns them to the one that owns the tray.
//!
//! A [`Parcel`] is a box that can be sent again and again, with its link inside: giving it back allocates nothing, and
//! its owner may keep it for the next time. A tray is a [`PushList`] of parcels and a way to wake the owner, who looks
//! at the tray between announcing its sleep and sleeping; so it never sleeps on a parcel that has come back (the race
//! is that of the [module](super), with the owner's own sleep flag). When the tray is closed, a parcel stays with whoever
//! wanted to return it.
#![expect(unsafe_code, reason = "parcels travel through an intrusive list as raw pointers")]

use std::fmt;
use std::ptr::{self, NonNull};

use super::{Linked, PushList, Wake};
use crate::panics;
use crate::sync::{Arc, Track, UnsafeCell};

/// A box with a link; see the module's documentation.
pub(crate) struct Parcel<T> {
    next: UnsafeCell<*mut Self>,
    content: Track<UnsafeCell<T>>,
}

// SAFETY: whoever has the box has the content, and sends it with the box (T: Send). The link is a pointer that only the
// list follows.
unsafe impl<T: Send> Send for Parcel<T> {}

// SAFETY: `link` always returns the `next` cell, which nothing else uses.
unsafe impl<T> Linked for Parcel<T> {
    fn link(node: &Self) -> &UnsafeCell<*mut Self> {
        &node.next
    }
}

impl<T> Parcel<T> {
    pub(crate) fn new(content: T) -> Box<Self> {
        Box::new(Self {
            next: UnsafeCell::new(ptr::null_mut()),
            content: Track::new(UnsafeCell::new(content)),
        })
    }

    /// What is inside.
    #[inline]
    pub(crate) fn open(&mut self) -> &mut T {
        self.content.get_ref().with_mut(|content| {
            // SAFETY: the cell is inside of `self`, which is borrowed exclusively for as long as the answer lives.
            unsafe { &mut *content }
        })
    }
}

impl<T> fmt::Debug for Parcel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel").finish_non_exhaustive()
    }
}

struct Shared<T, X> {
    list: PushList<Parcel<T>>,
    owner: Box<dyn Wake>,
    extra: X,
}

impl<T, X> Shared<T, X> {
    fn close(&self) {
        for parcel in self.list.close() {
            // SAFETY: it came out of the list, which it entered as a leaked box; it is ours alone again.
            panics::let_go(unsafe { Box::from_raw(parcel.as_ptr()) });
        }
    }
}

/// The owner's end: belongs to one thread.
pub(crate) struct Tray<T, X>(Arc<Shared<T, X>>);

impl<T: Send, X> Tray<T, X> {
    /// An empty tray whose owner is woken by `owner`. `extra` is for those who return.
    pub(crate) fn new(owner: Box<dyn Wake>, extra: X) -> Self {
        Self(Arc::new(Shared { list: PushList::new(), owner, extra }))
    }

    /// A way back.
    pub(crate) fn way_back(&self) -> WayBack<T, X> {
        WayBack(Arc::clone(&self.0))
    }

    /// Whether nothing had come back at this moment.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    /// Appends what has come back, in no order that means anything.
    pub(crate) fn take(&mut self, into: &mut Vec<Box<Parcel<T>>>) {
        into.extend(self.0.list.take_all().map(|parcel| {
            // SAFETY: it came out of the list, which it entered as a leaked box; it is ours alone again.
            unsafe { Box::from_raw(parcel.as_ptr()) }
        }));
    }
}

impl<T, X> Drop for Tray<T, X> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The way back to a tray, from any thread.
pub(crate) struct WayBack<T, X>(Arc<Shared<T, X>>);

impl<T: Send, X> WayBack<T, X> {
    /// Returns a parcel, and wakes the tray's owner if it sleeps.
    ///
    /// # Errors
    /// Gives it back when the tray is closed.
    pub(crate) fn put(&self, parcel: Box<Parcel<T>>) -> Result<(), Box<Parcel<T>>> {
        let parcel = NonNull::from(Box::leak(parcel));
        // SAFETY: the box was leaked just now, so the parcel is valid, in no list, and nobody else knows it.
        if unsafe { self.0.list.push(parcel) }.is_err() {
            // SAFETY: a closed list leaves it to us.
            return Err(unsafe { Box::from_raw(parcel.as_ptr()) });
        }
        self.0.owner.wake();
        Ok(())
    }

    /// What the tray was made with.
    #[inline]
    pub(crate) fn extra(&self) -> &X {
        &self.0.extra
    }
}

impl<T, X> Clone for WayBack<T, X> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
