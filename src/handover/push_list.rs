//! An intrusive list: any thread pushes, one thread takes everything, and it can be closed for ever.
//!
//! The list is a stack of nodes linked through themselves. Nodes are never popped one by one, so the ABA problem
//! cannot arise: a pusher whose compare-and-swap succeeds has linked its node to the list as it then is, whatever
//! has happened in between. Its guess may by then be the address of another, newer node, so links are followed by
//! address, with the provenance that a node exposes when it is pushed, and not with that of the guess.
//!
//! States of `head`: null (empty), a node (the newest), or [`closed`](PushList::close) (no more pushes, for ever).
#![expect(unsafe_code, reason = "an intrusive list links nodes through raw pointers")]

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::sync::{AtomicPtr, Ordering, UnsafeCell};

/// A node that carries its own link.
///
/// # Safety
/// `link` must return the same cell for the same node at every call, and nothing but the list may touch the cell.
pub(crate) unsafe trait Linked: Sized {
    /// The cell that the list uses while the node is in it.
    fn link(node: &Self) -> &UnsafeCell<*mut Self>;
}

/// The list; see the module's documentation.
pub(crate) struct PushList<N> {
    head: AtomicPtr<N>,
}

impl<N: Linked> PushList<N> {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    fn closed_mark() -> *mut N {
        ptr::without_provenance_mut(usize::MAX)
    }

    /// Adds a node, or says that the list is closed; then the node still belongs to the caller.
    ///
    /// # Safety
    /// The node is valid, in no list, and the caller gives up all access to it until it comes out again.
    pub(crate) unsafe fn push(&self, node: NonNull<N>) -> Result<(), Closed> {
        // ORDERING: Relaxed, no partner: the value is a guess that the compare-exchange below confirms.
        let mut head = self.head.load(Ordering::Relaxed);
        node.as_ptr().expose_provenance();
        loop {
            if head == Self::closed_mark() {
                return Err(Closed);
            }
            // SAFETY: the caller gave us the node, which is valid.
            let link = N::link(unsafe { node.as_ref() });
            link.with_mut(|next| {
                // SAFETY: until the exchange below succeeds nobody else can reach this node.
                unsafe { *next = head }
            });
            // ORDERING: Release publishes the node and its link to the Acquire swaps of `take_all` and `close`.
            // On failure Relaxed: the value is again only a guess.
            match self.head.compare_exchange(head, node.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => head = newer,
            }
        }
    }

    /// Whether nothing was to be had at this moment. A closed list counts as empty.
    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: Relaxed: a node that is seen is fetched by `take_all`, which acquires; a node that is not seen
        // is announced through the sleep flag, whose fences order this load.
        let head = self.head.load(Ordering::Relaxed);
        head.is_null() || head == Self::closed_mark()
    }

    /// Takes all nodes, newest first. Only for the one consuming thread.
    pub(crate) fn take_all(&self) -> Taken<N> {
        if self.is_empty() {
            return Taken::new(ptr::null_mut());
        }
        // ORDERING: Acquire pairs with the Release of every push: a push is an atomic read-modify-write, so the
        // release sequences of older pushes run on through the newer ones. The list cannot have been closed in
        // between: only the consumer closes.
        Taken::new(self.head.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Closes the list for ever and takes what is in it. Only for the one consuming thread.
    pub(crate) fn close(&self) -> Taken<N> {
        // ORDERING: Acquire as in `take_all`.
        let head = self.head.swap(Self::closed_mark(), Ordering::Acquire);
        Taken::new(if head == Self::closed_mark() { ptr::null_mut() } else { head })
    }
}

/// The list was closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Nodes taken from a list, newest first. What is not iterated over leaks.
pub(crate) struct Taken<N> {
    head: *mut N,
    nodes: PhantomData<NonNull<N>>,
}

impl<N> Taken<N> {
    fn new(head: *mut N) -> Self {
        Self { head, nodes: PhantomData }
    }
}

impl<N: Linked> Iterator for Taken<N> {
    type Item = NonNull<N>;

    fn next(&mut self) -> Option<NonNull<N>> {
        let node = NonNull::new(self.head)?;
        // SAFETY: the node was pushed, so it is valid, and taking it gave us the only access.
        let link = N::link(unsafe { node.as_ref() });
        let next = link.with(|next| {
            // SAFETY: as above; the Acquire of the taking swap ordered the pusher's write before this read.
            unsafe { *next }
        });
        self.head = ptr::with_exposed_provenance_mut(next.addr());
        Some(node)
    }
}
