//! Memory of the peer's that is no region: what it has lent.
#![expect(unsafe_code, reason = "mapped memory is reached through raw pointers alone")]

use std::ptr::NonNull;

use super::copy::copy_racing;

/// Memory that the peer may change at any time.
///
/// # Safety
/// The pointer stays valid for reading so many bytes as long as the value lives: its pages never vanish (a seal forbids to
/// shrink the file).
pub unsafe trait PeerMemory {
    /// The first byte, and how many.
    fn range(&self) -> (NonNull<u8>, usize);
}

/// Copies bytes out of the peer's memory, each once or, if the peer changes them meanwhile, to any value.
///
/// # Panics
/// When they are not all inside.
#[inline]
pub fn copy_out(memory: &impl PeerMemory, at: usize, into: &mut [u8]) {
    let (first, len) = memory.range();
    assert!(at <= len && into.len() <= len - at, "{} bytes at {at} of {len}", into.len());
    // SAFETY: `at` is at most the length.
    let from = unsafe { first.as_ptr().add(at) };
    // SAFETY: the source is inside and stays mapped; the target is borrowed for writing.
    unsafe { copy_racing(from, into.as_mut_ptr(), into.len()) }
}
