//! Batches by Linux AIO.
//!
//! One io_submit carries a read or a write for each connection. On a socket that does not wait, each of them is executed
//! while it is submitted, and its event lies in the mapped ring when the call returns, so no call is spent on fetching
//! events.
//!
//! KERNEL: io_submit(2) stops at a bad entry (a descriptor that is none): the entries behind it are not executed. It
//! is answered by itself, and the rest submitted again.
//!
//! KERNEL: a write to a reset socket raises SIGPIPE unless the entry carries `RWF_NOSIGNAL`, which older kernels refuse.
//! There the engine only receives, and connections send by themselves.

#![expect(unsafe_code, reason = "entries refer to memory by address")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use linkpoll::driver::SystemCalls;

use super::sys::{Context, ControlBlock, NO_SIGNAL, NO_WAIT, READ, WRITE, WRITE_PIECES};
use super::{Engine, Entry, MOST_PIECES, Outgoing, is_interrupted, outcome};

/// Batches by Linux AIO; see the module's documentation.
#[derive(Debug)]
pub struct Aio {
    context: Context,
    /// Writes can be kept from raising signals.
    sends: bool,
    blocks: Vec<ControlBlock>,
    pieces: Vec<libc::iovec>,
}

impl Engine for Aio {
    fn new(batch: usize) -> io::Result<Self> {
        let context = Context::new(batch)?;
        let mut engine = Self { context, sends: false, blocks: Vec::new(), pieces: Vec::new() };
        engine.sends = engine.may_send()?;
        Ok(engine)
    }

    fn receive(&mut self, calls: &SystemCalls, entries: &mut [Entry<'_, '_>]) -> io::Result<()> {
        self.blocks.clear();
        for entry in entries.iter_mut() {
            let descriptor = descriptor(entry.entry.fd());
            let room = entry.entry.room();
            self.blocks.push(ControlBlock {
                data: self.blocks.len() as u64,
                rw_flags: NO_WAIT,
                opcode: READ,
                descriptor,
                buffer: room.as_mut_ptr().expose_provenance() as u64,
                length: room.len() as u64,
                ..ControlBlock::default()
            });
        }
        let count = |submitted| calls.receive.add(submitted);
        // SAFETY: the rooms are borrowed by `entries`, and `run` comes back when everything submitted has completed.
        unsafe {
            self.run(count, |at, result| {
                if let Some(entry) = entries.get_mut(at)
                    && !entry.answered
                    && !is_interrupted(result)
                {
                    entry.answer(outcome(result));
                }
            })
        }
    }

    fn send(&mut self, calls: &SystemCalls, entries: &mut [Outgoing<'_, '_>]) -> io::Result<()> {
        if !self.sends {
            return Ok(());
        }
        self.blocks.clear();
        self.gather(entries);
        let mut from = 0;
        for entry in entries.iter() {
            let chain = entry.entry.chain();
            let block = ControlBlock {
                data: self.blocks.len() as u64,
                rw_flags: NO_WAIT | NO_SIGNAL,
                descriptor: descriptor(entry.entry.fd()),
                ..ControlBlock::default()
            };
            let pieces = chain.pieces().min(MOST_PIECES);
            self.blocks.push(if pieces == 1 {
                let piece = chain.front();
                let buffer = piece.as_ptr().expose_provenance() as u64;
                ControlBlock { opcode: WRITE, buffer, length: piece.len() as u64, ..block }
            } else {
                let list = self.pieces[from..from + pieces].as_ptr();
                from += pieces;
                let buffer = list.expose_provenance() as u64;
                ControlBlock { opcode: WRITE_PIECES, buffer, length: pieces as u64, ..block }
            });
        }
        let count = |submitted| calls.send.add(submitted);
        // SAFETY: the bytes are borrowed by `entries`, the list of pieces is not touched meanwhile, and `run` comes back
        // when everything submitted has completed.
        unsafe {
            self.run(count, |at, result| {
                if let Some(entry) = entries.get_mut(at)
                    && !entry.answered
                    && !is_interrupted(result)
                {
                    entry.answer(outcome(result));
                }
            })
        }
    }
}

impl Aio {
    /// Lists the pieces of every entry that has several.
    fn gather(&mut self, entries: &[Outgoing<'_, '_>]) {
        self.pieces.clear();
        for entry in entries {
            let chain = entry.entry.chain();
            if chain.pieces() > 1 {
                let pieces = chain.segments().take(MOST_PIECES);
                self.pieces.extend(pieces.map(|piece| libc::iovec {
                    iov_base: piece.as_ptr().cast_mut().cast(),
                    iov_len: piece.len(),
                }));
            }
        }
    }

    /// Submits the blocks, and answers each that was executed, or is bad.
    ///
    /// # Safety
    /// What the blocks describe stays valid until this comes back.
    unsafe fn run(
        &mut self,
        mut count: impl FnMut(u64),
        mut answer: impl FnMut(usize, i64),
    ) -> io::Result<()> {
        let list: Vec<*mut ControlBlock> = self.blocks.iter_mut().map(std::ptr::from_mut).collect();
        let mut at = 0;
        while at < list.len() {
            count(1);
            // SAFETY: the caller's promise, and everything submitted is reaped right below.
            let submitted = match unsafe { self.context.submit(&list[at..]) } {
                // The rest is left to single calls.
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => continue,
                    // KERNEL: io_submit(2): no memory, or no room in the ring, for the moment.
                    Some(libc::EAGAIN | libc::ENOMEM) => return Ok(()),
                    // KERNEL: io_submit(2): the first entry is bad; that is an answer of its own.
                    Some(number @ libc::EBADF) => {
                        answer(at, -i64::from(number));
                        at += 1;
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            at += submitted;
            for _ in 0..submitted {
                // All of it was executed within the call. Should a kernel do it otherwise, it is waited for: the memory
                // is not ours before.
                match self.context.reap() {
                    Ok((event, called)) => {
                        count(u64::from(called));
                        answer(usize::try_from(event.data).unwrap_or(usize::MAX), event.result);
                    }
                    Err(error) => {
                        // They were executed, and nobody can tell how: their connections are broken.
                        (at - submitted..at).for_each(|lost| answer(lost, -i64::from(libc::EIO)));
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether this kernel takes `RWF_NOSIGNAL`, found out with a byte to a socket that nobody reads.
    fn may_send(&mut self) -> io::Result<bool> {
        let (near, _far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let byte = [0_u8];
        self.blocks.clear();
        self.blocks.push(ControlBlock {
            rw_flags: NO_WAIT | NO_SIGNAL,
            opcode: WRITE,
            descriptor: u32::try_from(near.as_raw_fd()).unwrap_or(u32::MAX),
            buffer: byte.as_ptr().expose_provenance() as u64,
            length: 1,
            ..ControlBlock::default()
        });
        let mut written = false;
        // SAFETY: the byte outlives the call.
        let result = unsafe { self.run(|_| {}, |_, result| written = result == 1) };
        match result {
            Ok(()) => Ok(written),
            // KERNEL: an unknown flag makes the entry bad: EOPNOTSUPP or EINVAL.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    use linkpoll::driver::Key;
    use linkpoll::driver::epoll::ReceiveEntry;

    use super::*;

    /// A ring without room refuses a batch for the moment: its entries are left to single calls, and the engine is not
    /// given up.
    #[test]
    fn a_batch_that_is_refused_for_the_moment_is_left_to_single_calls() {
        let mut engine = Aio::new(1).expect("this kernel has the engine");
        let (mut peer, near) = UnixStream::pair().expect("a pair of sockets");
        near.set_nonblocking(true).expect("an option of sockets");
        peer.write_all(b"bytes").expect("there is room");
        let mut nothing = [0_u8; 1];
        let mut block = ControlBlock {
            rw_flags: NO_WAIT,
            opcode: READ,
            descriptor: u32::try_from(near.as_raw_fd()).expect("a number"),
            buffer: nothing.as_mut_ptr().expose_provenance() as u64,
            ..ControlBlock::default()
        };
        let mut taken = 0;
        // Reads of no bytes, until the ring is full of their events.
        // SAFETY: the block outlives the call, and describes no bytes.
        while let Ok(1) = unsafe { engine.context.submit(&[&raw mut block]) } {
            taken += 1;
        }
        assert!(taken > 0, "the ring has room at first");
        let calls = SystemCalls::default();
        let mut room = [0; 8];
        let mut receive = |engine: &mut Aio| {
            let mut entry = ReceiveEntry::new(Key::new(0, 1), near.as_fd(), &mut room);
            let mut entries = [Entry { entry: &mut entry, answered: false }];
            engine.receive(&calls, &mut entries).expect("it goes on");
            let [Entry { answered, .. }] = entries;
            answered.then(|| entry.into_result().expect("bytes are there"))
        };
        assert_eq!(receive(&mut engine), None);
        for _ in 0..taken {
            engine.context.reap().expect("the events are there");
        }
        assert_eq!(receive(&mut engine), Some(5));
    }
}
