//! Raw memory with a reference count and an origin.
//!
//! # Who may touch what, and when
//!
//! 1. Bytes below every tail's position are *written*: nobody changes them while the count is above one.
//! 2. Bytes from the tail's position on belong to the one [`Tail`](super::Tail) of the block.
//! 3. A holder that reads the count as its own references only, with Acquire, is alone: every earlier holder has
//!    finished reading (its decrement was a Release). It may rewrite the bytes if the origin allows writing.
//! 4. The holder whose decrement ends the count hands the block to its origin; nobody touches the header after.
//!
//! Views of the bytes are always made from the raw pointer in the header, never from a reference to the block, so a
//! tail's `&mut` and a segment's `&` to different parts of one block never alias.
#![expect(unsafe_code, reason = "a block is shared memory behind a raw pointer")]

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::sync::{AtomicUsize, Ordering, Track, Witness, fence};

/// More references than this are a leak in a loop; counting on could wrap and free memory that is in use.
const MOST_REFERENCES: usize = isize::MAX.unsigned_abs();

/// Where a block comes from and goes back to. One static per kind of memory; the core has no list of kinds.
pub struct Origin {
    /// A name for people who debug.
    pub name: &'static str,
    /// Whether the bytes may be written by a sole holder. Memory that someone else may look at is not writable.
    pub writable: bool,
    /// For memory in whole private pages: puts fresh, zeroed pages in the place of those that the bytes lie in. Who still
    /// looks at the old pages (a device that sends from them) goes on to see the old bytes. `None` where that cannot be.
    ///
    /// # Safety
    /// The caller holds all references there are to the block of this header.
    pub exchange_pages: Option<unsafe fn(NonNull<Header>) -> io::Result<()>>,
    /// Takes the block back. Called exactly once per count that falls to zero, on any thread.
    ///
    /// # Safety
    /// The header is the one given to [`Block::from_header`], and its count has just ended.
    pub release: unsafe fn(NonNull<Header>),
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("name", &self.name)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// The head of a block. An origin embeds it as the first field of a `#[repr(C)]` structure of its own.
#[derive(Debug)]
pub struct Header {
    references: AtomicUsize,
    bytes: NonNull<u8>,
    capacity: usize,
    origin: &'static Origin,
    witness: Witness,
    _leak_check: Track<()>,
}

impl Header {
    /// A header for `capacity` initialised bytes at `bytes`, with a count of one.
    #[must_use]
    pub fn new(origin: &'static Origin, bytes: NonNull<u8>, capacity: usize) -> Self {
        Self {
            references: AtomicUsize::new(1),
            bytes,
            capacity,
            origin,
            witness: Witness::new(capacity),
            _leak_check: Track::new(()),
        }
    }

    /// Starts a new life of a block whose count has ended: the count is one again.
    ///
    /// # Safety
    /// The caller is the block's origin and has the only access to it.
    pub unsafe fn renew(&self) {
        // ORDERING: Relaxed: the origin is alone with the block; whoever gets it next gets it from this thread.
        self.references.store(1, Ordering::Relaxed);
    }

    /// The bytes: the first, and how many.
    #[inline]
    pub(super) fn range(&self) -> (NonNull<u8>, usize) {
        (self.bytes, self.capacity)
    }

    /// States, for the model checker, that nobody may look at the bytes any more: all of them count as written.
    #[inline]
    pub(super) fn retire(&self) {
        self.witness.write(0, self.capacity);
    }
}

/// One counted reference to a block.
pub struct Block {
    header: NonNull<Header>,
}

// SAFETY: the count is atomic, the bytes follow the rules of the module, and an origin promises in
// `from_header` that its memory may be released on any thread.
unsafe impl Send for Block {}
// SAFETY: as above; `&Block` allows to clone and to read lengths.
unsafe impl Sync for Block {}

impl Block {
    /// Takes over the one reference of a header.
    ///
    /// # Safety
    /// * The header and its bytes stay valid and in place until the origin's `release` is called for it.
    /// * Where the origin says `writable`, the bytes may be written through the header's pointer.
    /// * The bytes are initialised, and nobody outside this module changes them, not even another process.
    /// * The origin's `release` may be called on any thread.
    /// * The count is one, and the caller does not use it again.
    #[must_use]
    pub unsafe fn from_header(header: NonNull<Header>) -> Self {
        Self { header }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the header is valid as long as we hold a reference (`from_header`); only shared access is made.
        unsafe { self.header.as_ref() }
    }

    /// The number of bytes in the block, written or not.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.header().capacity
    }

    /// Where the block comes from.
    #[must_use]
    pub fn origin(&self) -> &'static Origin {
        self.header().origin
    }

    /// The first byte.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.header().bytes
    }

    /// The witness of the bytes, for the model checker.
    #[inline]
    pub(super) fn witness(&self) -> &Witness {
        &self.header().witness
    }

    #[inline]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.header == other.header
    }

    /// Whether exactly `own` references exist, all of them the caller's.
    #[inline]
    pub(super) fn has_only(&self, own: usize) -> bool {
        // ORDERING: Acquire pairs with the Release decrement of every earlier holder: its reads are over.
        self.header().references.load(Ordering::Acquire) == own
    }

    /// Puts fresh pages in the place of those that the bytes lie in, if nobody else holds the block and its memory can
    /// do so. Answers whether it did.
    pub(super) fn exchange_pages(&mut self) -> bool {
        let Some(exchange) = self.origin().exchange_pages.filter(|_| self.has_only(1)) else { return false };
        self.header().retire();
        // SAFETY: the only reference is ours, and it stays borrowed.
        unsafe { exchange(self.header) }.is_ok()
    }

    /// Adds `n` references that the caller accounts for.
    #[inline]
    pub(super) fn add_references(&self, n: usize) {
        // ORDERING: Relaxed: a new reference is made from one that is held, so the block cannot go away meanwhile.
        let before = self.header().references.fetch_add(n, Ordering::Relaxed);
        if before > MOST_REFERENCES {
            std::process::abort();
        }
    }

    /// One more handle for a reference that was added before with [`add_references`](Self::add_references).
    ///
    /// # Safety
    /// Each added reference is used for one handle, or given back by `drop_references`.
    #[inline]
    pub(super) unsafe fn duplicate(&self) -> Self {
        Self { header: self.header }
    }

    /// Gives up this handle's reference and `more` that were added.
    #[inline]
    pub(super) fn drop_references(self, more: usize) {
        let block = ManuallyDrop::new(self);
        block.release(1 + more);
    }

    #[inline]
    fn release(&self, own: usize) {
        // A sole holder needs no read-modify-write: nobody else can add a reference.
        if !self.has_only(own) {
            // ORDERING: Release: this holder's reads come before whatever a later sole holder writes. Partners are
            // the fence below in the thread that ends the count, and the load in `has_only`.
            if self.header().references.fetch_sub(own, Ordering::Release) != own {
                return;
            }
            // ORDERING: Acquire fence, partner of every other holder's Release decrement.
            fence(Ordering::Acquire);
        }
        self.header().retire();
        let release = self.header().origin.release;
        // SAFETY: the count has ended, and every holder's access happened before.
        unsafe { release(self.header) }
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        self.add_references(1);
        Self { header: self.header }
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        self.release(1);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("origin", &self.origin().name)
            .field("capacity", &self.capacity())
            .finish()
    }
}
