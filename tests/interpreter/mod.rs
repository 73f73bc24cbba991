//! Runs buffer programs against the buffers and the reference side by side, and compares them after each operation.
//!
//! Shared by the property test and the fuzz target.

mod check;
mod leases;
mod reading;
mod streaming;
mod writing;

use std::collections::VecDeque;
use std::fmt;

use linkpoll::buffer::{
    AllocError, BlockPool, Chain, Hole, LinkBuffer, LinkReader, LinkWriter, PoolOptions, Segment,
    SegmentWriter, Tail, WriteError,
};
use linkpoll_model::buffer::{Limit, Op, Program, Reference};

use check::{Checked, ensure, same, same_bytes};

/// A program writes at most so many bytes; what an operation asks for beyond is cut.
const BUDGET: usize = 6 << 20;
/// At most so many leases are kept; the oldest goes first.
const LEASES: usize = 32;
/// What a pool may keep mapped when everything has come back: one slab of each size.
const KEPT: usize = 4 * (256 << 10) + (1 << 20);

/// Where a program and its reference part.
#[derive(Debug)]
pub(crate) struct Difference {
    step: usize,
    op: Option<Op>,
    what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Some(op) => write!(f, "at step {}, {op:?}: {}", self.step, self.what),
            None => write!(f, "after the last step: {}", self.what),
        }
    }
}

/// Runs a program to its end.
pub(crate) fn run(program: &Program) -> Result<(), Difference> {
    let mut machine = Machine::new(program.limit);
    for (step, op) in program.ops.iter().enumerate() {
        let checked = machine.apply(*op).and_then(|()| machine.check());
        checked.map_err(|what| Difference { step, op: Some(*op), what })?;
    }
    machine.end().map_err(|what| Difference { step: program.ops.len(), op: None, what })
}

/// The real things, and beside them what they should be.
struct Machine {
    limit: Limit,
    budget: usize,
    pool: BlockPool,
    writer: SegmentWriter,
    holes: Vec<Hole>,
    tail: Option<Tail>,
    chain: Chain,
    leases: VecDeque<Segment>,
    sender: Option<LinkWriter>,
    receiver: Option<LinkReader>,
    reference: Reference,
}

impl Machine {
    fn new(limit: Limit) -> Self {
        let pool = BlockPool::new(PoolOptions { limit: limit.get(), bell: None });
        let (sender, receiver) = LinkBuffer::new();
        Self {
            limit,
            budget: BUDGET,
            writer: SegmentWriter::new(pool.clone()),
            pool,
            holes: Vec::new(),
            tail: None,
            chain: Chain::new(),
            leases: VecDeque::new(),
            sender: Some(sender),
            receiver: Some(receiver),
            reference: Reference::default(),
        }
    }

    fn apply(&mut self, op: Op) -> Checked {
        match op {
            Op::Write { size, via } => self.write(size, via),
            Op::Reserve { room, written, committed, lease } => self.reserve(room, written, committed, lease),
            Op::Hole { len } => self.hole(len),
            Op::Fill { hole } => self.fill(hole),
            Op::FillWrongly { hole } => self.fill_wrongly(hole),
            Op::Append { size, source } => self.append(size, source),
            Op::AppendChain { amount } => self.append_chain(amount),
            Op::Take {} => self.take(),
            Op::Discard {} => self.discard(),
            Op::Tail { size } => self.new_tail(size),
            Op::TailPush { amount } => self.tail_push(amount),
            Op::TailCommit { amount } => self.tail_commit(amount),
            Op::TailReset {} => self.tail_reset(),
            Op::Peek { amount } => self.peek(amount),
            Op::Next { amount } => self.next(amount),
            Op::Skip { amount } => self.skip(amount),
            Op::Slice { amount } => self.slice(amount),
            Op::Rotate { amount } => self.rotate(amount),
            Op::Until { delimiter } => self.until(delimiter),
            Op::Find { delimiter } => self.find(delimiter),
            Op::Pop {} => self.pop(),
            Op::IoSlices { entries } => self.io_slices(entries),
            Op::Read { amount } => self.read(amount),
            Op::ReadBuffered { amount } => self.read_buffered(amount),
            Op::Advance { amount } => self.advance(amount),
            Op::Compact {} => self.compact(),
            Op::PushPieces { count } => self.push_pieces(count),
            Op::Clone { lease } => self.clone_lease(lease),
            Op::Cut { lease, from, len } => self.cut_lease(lease, from, len),
            Op::Split { lease, at } => self.split_lease(lease, at),
            Op::Drop { lease } => self.drop_lease(lease),
            Op::DropElsewhere { lease } => self.drop_lease_elsewhere(lease),
            Op::DropAll {} => self.drop_leases(),
            Op::Detach { lease } => self.detach_lease(lease),
            Op::Unique { lease } => self.change_lease(lease),
            Op::ThroughBytes { lease } => self.lease_through_bytes(lease),
            Op::Push { lease } => self.push_lease(lease),
            Op::StreamPush { amount } => self.stream_push(amount),
            Op::StreamPushSingly { count } => self.stream_push_singly(count),
            Op::StreamRefill {} => self.stream_refill(),
            Op::StreamRead { amount } => self.stream_read(amount),
            Op::StreamSlice { amount } => self.stream_slice(amount),
            Op::StreamRelease {} => self.stream_release(),
            Op::StreamDrain {} => self.stream_drain(),
            Op::StreamIntrude { size } => self.stream_intrude(size),
            Op::StreamFinish {} => self.stream_finish(),
            Op::StreamSever {} => self.stream_sever(),
            Op::StreamLeave {} => self.stream_leave(),
            Op::StreamRenew {} => self.stream_renew(),
        }
    }

    /// The next bytes to write, as many as the operation asks for and the budget allows.
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let n = n.min(self.budget);
        self.budget -= n;
        self.reference.pattern.next(n)
    }

    /// Whether the pool may be unable to supply a block; any other reason is a fault.
    fn may_lack_memory(&self, error: AllocError) -> Checked {
        let limit = self.limit.get();
        ensure(limit < Limit::NONE && error == AllocError::Exhausted { limit }, || {
            format!("no memory, with a limit of {limit}: {error}")
        })
    }

    fn may_not_write(&self, error: WriteError) -> Checked {
        match error {
            WriteError::Alloc(error) => self.may_lack_memory(error),
            other => Err(format!("a write failed: {other}")),
        }
    }

    /// What must hold after every operation.
    fn check(&mut self) -> Checked {
        same("length written", self.writer.len(), self.reference.written.len())?;
        same("whether anything is written", self.writer.is_empty(), self.reference.written.is_empty())?;
        self.check_chain()?;
        self.check_leases()?;
        self.check_stream()?;
        let usage = self.pool.usage();
        ensure(usage.mapped <= self.limit.get() && usage.free <= usage.mapped, || {
            format!("the pool is out of bounds: {usage:?}")
        })
    }

    /// Lets everything go and looks whether it has come back.
    fn end(self) -> Checked {
        let Self { limit, pool, writer, tail, chain, leases, sender, receiver, reference, .. } = self;
        drop((writer, tail, chain, receiver, sender));
        if limit.pool_ends_first() {
            drop(pool);
            for (lease, expected) in leases.iter().zip(&reference.leases) {
                same_bytes("a lease that outlives the pool", lease, expected)?;
            }
            return Ok(());
        }
        drop(leases);
        pool.collect();
        let usage = pool.usage();
        same("bytes free in the pool, when all is dropped", usage.free, usage.mapped)?;
        ensure(usage.mapped <= KEPT, || format!("an idle pool keeps {} bytes", usage.mapped))
    }
}
