//! Memory that is lent to a writer for the length of a call.
//!
//! A writer takes its blocks from a pool. A transport may prefer that many bytes are written into memory of its own:
//! then they need not be copied when they are sent. That memory belongs to one connection, and is asked for through
//! the driver, which the writer cannot own. So it is *lent*:
//!
//! ```text
//!   lend(source, run) -- the port is open --> run() -- the port is shut --> answer
//!                                              |
//!                          writer.reserve(64 KiB) --> allocate: through the port, if it is open
//! ```
//!
//! The pointer to the source lies in the port, never in the writer. A writer that is taken out of the call (by
//! `mem::swap`, say) has a share in the port, finds it shut afterwards, and goes on with its pool.
#![expect(unsafe_code, reason = "the port holds a borrow whose end the compiler does not see")]

use std::ptr::NonNull;

use crate::buffer::{AllocError, Tail};
use crate::sync::UnsafeCell;

/// Where a writer may get blocks for many bytes.
pub(crate) trait Source {
    /// A block with room for at least `bytes`.
    fn allocate(&mut self, bytes: usize) -> Result<Tail, AllocError>;
}

/// What a writer and who lends to it share; see the module's documentation.
pub(crate) struct Port {
    /// INVARIANT: `Some` only while a call of [`lend`](Self::lend) runs, which borrows the source; and not while the
    /// source itself is called. Touched by one thread, and for no longer than a [`replace`](Self::replace).
    open: UnsafeCell<Option<Lent>>,
}

impl Default for Port {
    fn default() -> Self {
        Self { open: UnsafeCell::new(None) }
    }
}

#[derive(Clone, Copy)]
struct Lent {
    source: NonNull<()>,
    /// # Safety
    /// `source` points to the type that this was made for, and nobody else uses it.
    allocate: unsafe fn(NonNull<()>, usize) -> Result<Tail, AllocError>,
}

/// # Safety
/// `source` points to an `S`, which nobody else uses.
unsafe fn allocate_from<S: Source>(source: NonNull<()>, bytes: usize) -> Result<Tail, AllocError> {
    // SAFETY: the caller's promise.
    let source = unsafe { source.cast::<S>().as_mut() };
    source.allocate(bytes)
}

/// Puts back what a port had before.
struct Restore<'a>(&'a Port, Option<Lent>);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.0.replace(self.1);
    }
}

impl Port {
    /// Runs `run`, during which writers with a share in `port` can allocate from `source`; without a port, just runs it.
    #[inline(always)]
    pub(crate) fn lend<S: Source, R>(port: Option<&Self>, source: &mut S, run: impl FnOnce() -> R) -> R {
        let _shut = port.map(|port| {
            let lent = Lent { source: NonNull::from(source).cast(), allocate: allocate_from::<S> };
            Restore(port, port.replace(Some(lent)))
        });
        run()
    }

    fn replace(&self, new: Option<Lent>) -> Option<Lent> {
        self.open.with_mut(|open| {
            // SAFETY: a port is not Sync, for what it holds is not, so this is the only thread; no reference to the content
            // leaves this function, which calls nothing.
            unsafe { open.replace(new) }
        })
    }

    /// A block of the source's; `None` when nothing is lent, or the source has no such block.
    pub(super) fn allocate(&self, bytes: usize) -> Option<Tail> {
        // Shut meanwhile: the source is in use.
        let lent = self.replace(None)?;
        let _open = Restore(self, Some(lent));
        // SAFETY: `lend` runs, and borrows the source that it has made the pointer from, as an `S`; the port was open, so
        // nobody else is using it now.
        let tail = unsafe { (lent.allocate)(lent.source, bytes) };
        tail.ok().filter(|tail| tail.len() >= bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{BlockPool, PoolOptions, SegmentWriter};

    /// Counts what it is asked for. May be empty.
    #[derive(Default)]
    struct Counting {
        asked: Vec<usize>,
        is_empty: bool,
    }

    impl Source for Counting {
        fn allocate(&mut self, bytes: usize) -> Result<Tail, AllocError> {
            self.asked.push(bytes);
            if self.is_empty { Err(AllocError::Exhausted { limit: 0 }) } else { Tail::heap(bytes) }
        }
    }

    const FROM: usize = 100;

    fn writer() -> SegmentWriter {
        SegmentWriter::with_port(BlockPool::new(PoolOptions::default()), FROM)
    }

    fn origins(writer: &mut SegmentWriter) -> Vec<(&'static str, usize)> {
        let chain = writer.take().unwrap();
        chain.segments().map(|segment| (segment.block().origin().name, segment.len())).collect()
    }

    #[test]
    fn many_bytes_come_from_the_source_and_few_from_the_pool() {
        let mut writer = writer();
        let mut source = Counting::default();
        let port = writer.port();
        writer.write(&[1; 10]).unwrap();
        Port::lend(port.as_deref(), &mut source, || {
            writer.write(&[2; FROM - 1]).unwrap();
            let mut reserved = writer.reserve(FROM).unwrap();
            reserved.write(&[3; FROM]);
            reserved.commit(FROM).unwrap();
            writer.write(&[4; 20]).unwrap();
            writer.reserve(3 * FROM).unwrap().write(&[0; 3 * FROM]);
            let mut reserved = writer.reserve(3 * FROM).unwrap();
            reserved.write(&[5; 3 * FROM]);
            reserved.commit(3 * FROM).unwrap();
        });
        writer.come_home();
        writer.write(&[6; 2 * FROM]).unwrap();
        assert_eq!(source.asked, [FROM, 3 * FROM]);
        let bytes: Vec<u8> = writer.take().unwrap().segments().flat_map(|it| it.to_vec()).collect();
        let runs = [(1, 10), (2, FROM - 1), (3, FROM), (4, 20), (5, 3 * FROM), (6, 2 * FROM)];
        let expected: Vec<u8> = runs.iter().flat_map(|(byte, n)| vec![*byte; *n]).collect();
        assert!(bytes == expected, "other bytes, or another order");
    }

    #[test]
    fn memory_of_a_source_is_given_up_with_the_call() {
        let mut writer = writer();
        let port = writer.port();
        for round in 0..3 {
            let mut source = Counting::default();
            Port::lend(port.as_deref(), &mut source, || {
                writer.reserve(FROM).unwrap().zeroed(FROM);
                writer.reserve(FROM).unwrap().write(&[9]);
                let mut reserved = writer.reserve(FROM).unwrap();
                reserved.write(&[round; FROM]);
                reserved.commit(FROM).unwrap();
            });
            writer.come_home();
            assert_eq!(source.asked, [FROM], "a reservation that is given up leaves its room to the next");
            writer.write(&[round; 8]).unwrap();
            assert_eq!(origins(&mut writer), [("heap", FROM), ("pool", 8)]);
        }
    }

    #[test]
    fn a_source_without_memory_is_done_without() {
        let mut writer = writer();
        let mut source = Counting { is_empty: true, ..Default::default() };
        let port = writer.port();
        Port::lend(port.as_deref(), &mut source, || {
            let mut reserved = writer.reserve(FROM).unwrap();
            reserved.write(&[1; FROM]);
            reserved.commit(FROM).unwrap();
        });
        writer.come_home();
        assert_eq!(source.asked, [FROM]);
        assert_eq!(origins(&mut writer), [("pool", FROM)]);
    }

    #[test]
    fn a_writer_that_is_taken_out_of_the_call_finds_the_port_shut() {
        let mut ours = writer();
        let mut theirs = SegmentWriter::new(BlockPool::new(PoolOptions::default()));
        let mut source = Counting::default();
        let port = ours.port();
        Port::lend(port.as_deref(), &mut source, || std::mem::swap(&mut ours, &mut theirs));
        drop(source);
        theirs.write(&[1; 2 * FROM]).unwrap();
        assert_eq!(origins(&mut theirs), [("pool", 2 * FROM)]);
        ours.write(&[1; 2 * FROM]).unwrap();
        ours.come_home();
        assert_eq!(origins(&mut ours), [("pool", 2 * FROM)]);
    }

    #[test]
    fn a_call_that_panics_shuts_the_port() {
        let mut writer = writer();
        let mut source = Counting::default();
        let port = writer.port();
        let call = std::panic::AssertUnwindSafe(|| {
            Port::lend(port.as_deref(), &mut source, || std::panic::resume_unwind(Box::new(())))
        });
        assert!(std::panic::catch_unwind(call).is_err());
        writer.write(&[1; FROM]).unwrap();
        assert_eq!(source.asked, []);
    }

    #[test]
    fn holes_may_lie_in_memory_of_a_source() {
        let mut writer = writer();
        let mut source = Counting::default();
        let port = writer.port();
        let holes = Port::lend(port.as_deref(), &mut source, || {
            let first = writer.hole(2).unwrap();
            writer.write(&[7; FROM]).unwrap();
            let mut reserved = writer.reserve(2 * FROM).unwrap();
            reserved.write(&[8; FROM]);
            reserved.commit(FROM).unwrap();
            (first, writer.hole(4).unwrap())
        });
        writer.come_home();
        writer.fill(holes.1, b"last").unwrap();
        writer.fill(holes.0, b"1.").unwrap();
        let bytes: Vec<u8> = writer.take().unwrap().segments().flat_map(|it| it.to_vec()).collect();
        assert!(bytes.starts_with(b"1.\x07") && bytes.ends_with(b"\x08last") && bytes.len() == 2 * FROM + 6);
    }
}
