//! Blocks whose bytes the allocator or another owner supplies: the origins `heap` and `foreign`.
#![expect(
    unsafe_code,
    reason = "memory is taken from the allocator, and owners are kept behind raw pointers"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use super::{AllocError, Block, Header, Origin};
use crate::panics;

static HEAP: Origin = Origin { name: "heap", writable: true, exchange_pages: None, release: release_heap };

#[repr(C)]
struct HeapBlock {
    header: Header,
    bytes: NonNull<u8>,
    layout: Layout,
}

fn heap_block(bytes: NonNull<u8>, layout: Layout, capacity: usize) -> Block {
    let block = HeapBlock { header: Header::new(&HEAP, bytes, capacity), bytes, layout };
    let header = NonNull::from(Box::leak(Box::new(block))).cast();
    // SAFETY: the leaked box keeps header and bytes in place until `release_heap`; the allocator takes memory back
    // on any thread; the bytes are initialised and nobody else has their address.
    unsafe { Block::from_header(header) }
}

/// # Safety
/// As for [`Origin::release`]; the header is the first field of a leaked `HeapBlock`.
unsafe fn release_heap(header: NonNull<Header>) {
    // SAFETY: `heap_block` made the header as the first field of a leaked box (repr(C)).
    let block = unsafe { Box::from_raw(header.cast::<HeapBlock>().as_ptr()) };
    if block.layout.size() > 0 {
        // SAFETY: the bytes were allocated with this layout.
        unsafe { dealloc(block.bytes.as_ptr(), block.layout) }
    }
}

/// A block of `capacity` zeroed bytes from the allocator.
pub(super) fn allocate(capacity: usize) -> Result<Block, AllocError> {
    let layout = Layout::array::<u8>(capacity).map_err(|_| AllocError::TooLarge { asked: capacity })?;
    if capacity == 0 {
        return Ok(heap_block(NonNull::dangling(), layout, 0));
    }
    // SAFETY: the layout's size is not zero.
    let bytes = unsafe { alloc_zeroed(layout) };
    match NonNull::new(bytes) {
        Some(bytes) => Ok(heap_block(bytes, layout, capacity)),
        None => Err(AllocError::OutOfMemory { asked: capacity }),
    }
}

/// A block over a vector's bytes, all of them written.
pub(super) fn adopt_vec(vec: Vec<u8>) -> Block {
    let mut vec = ManuallyDrop::new(vec);
    let bytes = NonNull::new(vec.as_mut_ptr()).unwrap_or(NonNull::dangling());
    let layout = Layout::array::<u8>(vec.capacity()).unwrap_or_else(|_| unreachable!("the vector exists"));
    heap_block(bytes, layout, vec.len())
}

#[repr(C)]
struct ForeignBlock<T> {
    header: Header,
    owner: T,
}

struct Foreign<T>(std::marker::PhantomData<T>);

impl<T: Send + 'static> Foreign<T> {
    const ORIGIN: &'static Origin =
        &Origin { name: "foreign", writable: false, exchange_pages: None, release: Self::release };

    /// # Safety
    /// As for [`Origin::release`]; the header is the first field of a leaked `ForeignBlock<T>`.
    unsafe fn release(header: NonNull<Header>) {
        // SAFETY: `adopt` made the header as the first field of a leaked box (repr(C)) of this very type.
        let block = unsafe { Box::from_raw(header.cast::<ForeignBlock<T>>().as_ptr()) };
        // An owner that panics does so wherever its last bytes are let go, which may be a loop that has just sent
        // them for somebody else. It has been reported then.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(block))) {
            panics::discard(payload);
        }
    }
}

/// A block over the bytes of another owner, all of them written and never writable.
pub(super) fn adopt<T: AsRef<[u8]> + Send + 'static>(owner: T) -> Block {
    let nowhere = NonNull::dangling();
    let fresh = ForeignBlock { header: Header::new(Foreign::<T>::ORIGIN, nowhere, 0), owner };
    let block = Box::into_raw(Box::new(fresh));
    // The owner is asked only once it has its final place, and only once: a second answer might differ. The box is a
    // raw pointer by then, because moving a box ends what was borrowed from it.
    // SAFETY: the box was leaked just now, and nobody else knows it.
    let view = unsafe { &(*block).owner }.as_ref();
    let header = Header::new(Foreign::<T>::ORIGIN, NonNull::from(view).cast(), view.len());
    // SAFETY: as above; the view is of the owner, not of the header.
    unsafe { (*block).header = header };
    // SAFETY: a box is never null.
    let header = unsafe { NonNull::new_unchecked(block) }.cast();
    // SAFETY: the leaked box keeps owner and header in place until `release`, which may run on any thread (T: Send).
    // `AsRef` gave bytes that live as long as the owner is neither moved nor changed, and nobody can reach it now.
    unsafe { Block::from_header(header) }
}
