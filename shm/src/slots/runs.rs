//! Which parts of an arena are free: no memory, only numbers.
//!
//! An arena is made of *chunks*, a chunk of *runs*, and a run is cut into slots of one size. A run whose slots are all
//! free may be cut anew. A whole chunk is a slot too, where all of its runs are free.
//!
//! # Round and round
//!
//! Free slots are taken in turn, over the whole arena, and not the last one first. A slot that was just released lies in the
//! caches of the processor that has read it, and writing there again is slow: of 64 KiB slots that two processors pass to each
//! other, 2 to 8 in turn are written with 7 to 11 GB/s, and 16 or more with 28 (AMD Zen 4, 1 MiB of L2 each).

/// The size of a chunk in bytes: one shared file each.
pub const CHUNK: usize = 1 << 20;
/// The size of a run.
const RUN: usize = 256 << 10;
const RUNS_IN_CHUNK: usize = CHUNK / RUN;
/// All runs of the first chunk.
const WHOLE: u32 = (1 << RUNS_IN_CHUNK) - 1;
/// The sizes that a run is cut into.
const SIZES: [usize; 7] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, RUN];
/// The first of the sizes that may cut up the last half of the arena.
const LARGE: usize = 3;
/// The most chunks: all runs are bits of one word.
pub(super) const MOST_CHUNKS: usize = u32::BITS as usize / RUNS_IN_CHUNK;

/// A slot: which run, which part of it, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot {
    run: u8,
    part: u8,
    /// Among [`SIZES`]; one more is a whole chunk.
    class: u8,
}

impl Slot {
    /// The chunk that it lies in.
    pub(super) fn chunk(self) -> usize {
        usize::from(self.run) / RUNS_IN_CHUNK
    }

    /// Where it begins in its chunk.
    pub(super) fn offset(self) -> usize {
        usize::from(self.run) % RUNS_IN_CHUNK * RUN + usize::from(self.part) * self.size().min(RUN)
    }

    /// How many bytes it has.
    pub(super) fn size(self) -> usize {
        SIZES.get(usize::from(self.class)).copied().unwrap_or(CHUNK)
    }
}

/// What is free.
///
/// INVARIANT: a run is in `free`, or cut into the class where it is in `cut`, or a part of a chunk that is out whole. Its
/// bits in `parts` are the free slots; it is in `room` of its class if there is one.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Runs that are cut into nothing.
    free: u32,
    /// For each class, the runs cut into it that have a free slot.
    room: [u32; SIZES.len()],
    /// For each run, its free slots.
    parts: [u64; u32::BITS as usize],
    /// For each class, the run and the part that are behind the slot that was taken last.
    next: [(u32, u32); SIZES.len()],
    chunks: usize,
}

impl Runs {
    /// Adds a chunk, all of it free, and answers its number; none when there are as many as there can be.
    pub(super) fn add_chunk(&mut self) -> Option<usize> {
        let chunk = self.chunks;
        if chunk == MOST_CHUNKS {
            return None;
        }
        self.free |= WHOLE << (chunk * RUNS_IN_CHUNK);
        self.chunks += 1;
        Some(chunk)
    }

    /// Takes a slot of the smallest size that has `len` bytes: the next free one behind the one that was taken last.
    pub(super) fn take(&mut self, len: usize) -> Option<Slot> {
        let Some(class) = SIZES.iter().position(|size| len <= *size) else {
            return self.take_chunk(len);
        };
        let (run, part) = self.next_part(class)?;
        if self.free >> run & 1 == 1 {
            self.free &= !(1 << run);
            self.parts[run as usize] = all_parts(class);
            self.room[class] |= 1 << run;
        }
        let parts = &mut self.parts[run as usize];
        *parts &= !(1 << part);
        if *parts == 0 {
            self.room[class] &= !(1 << run);
        }
        self.next[class] = (run, part + 1);
        Some(Slot { run: low(run), part: low(part), class: low(class) })
    }

    /// The next free slot of this class, in a run that is cut into it or may be.
    fn next_part(&self, class: usize) -> Option<(u32, u32)> {
        // Small slots that are out for long must not keep large ones from being cut.
        let is_ample = self.free.count_ones() as usize * 2 > self.chunks * RUNS_IN_CHUNK;
        let may_cut = class >= LARGE || is_ample || self.room[class] == 0;
        let runs = self.room[class] | if may_cut { self.free } else { 0 };
        if runs == 0 {
            return None;
        }
        let parts = |run: u32| {
            if self.free >> run & 1 == 1 { all_parts(class) } else { self.parts[run as usize] }
        };
        let (run, part) = self.next[class];
        if runs >> run & 1 == 1 {
            let ahead = parts(run) & u64::MAX.checked_shl(part).unwrap_or(0);
            if ahead != 0 {
                return Some((run, ahead.trailing_zeros()));
            }
        }
        let ahead = runs & u32::MAX << run << 1;
        let run = if ahead == 0 { runs } else { ahead }.trailing_zeros();
        Some((run, parts(run).trailing_zeros()))
    }

    /// Takes a slot back. Answers nothing: that it was out is the caller's knowledge.
    pub(super) fn put(&mut self, slot: Slot) {
        let class = usize::from(slot.class);
        let run = usize::from(slot.run);
        if class == SIZES.len() {
            self.free |= WHOLE << run;
            return;
        }
        debug_assert!(self.parts[run] & 1 << slot.part == 0, "{slot:?} was out");
        self.parts[run] |= 1 << slot.part;
        self.room[class] |= 1 << run;
        if self.parts[run] == all_parts(class) {
            self.room[class] &= !(1 << run);
            self.parts[run] = 0;
            self.free |= 1 << run;
        }
    }

    /// How many bytes are free.
    #[cfg(test)]
    pub(super) fn free_bytes(&self) -> usize {
        let of_class = |(class, size): (usize, usize)| {
            let runs = (0..32).filter(move |run| self.room[class] >> run & 1 == 1);
            runs.map(move |run: usize| self.parts[run].count_ones() as usize * size).sum::<usize>()
        };
        let cut: usize = SIZES.into_iter().enumerate().map(of_class).sum();
        self.free.count_ones() as usize * RUN + cut
    }

    /// Whether no slot is out.
    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.free.count_ones() as usize == self.chunks * RUNS_IN_CHUNK
    }

    fn take_chunk(&mut self, len: usize) -> Option<Slot> {
        let chunks = if len <= CHUNK { self.chunks } else { 0 };
        let chunk = (0..chunks).find(|chunk| self.free >> (chunk * RUNS_IN_CHUNK) & WHOLE == WHOLE)?;
        let run = chunk * RUNS_IN_CHUNK;
        self.free &= !(WHOLE << run);
        Some(Slot { run: low(run), part: 0, class: low(SIZES.len()) })
    }
}

/// The bits of all slots of a run.
fn all_parts(class: usize) -> u64 {
    u64::MAX >> (64 - RUN / SIZES[class])
}

/// A small number. All that is counted here is less than 256.
fn low(number: impl TryInto<u8>) -> u8 {
    number.try_into().unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn range(slot: Slot) -> std::ops::Range<usize> {
        let start = slot.chunk() * CHUNK + slot.offset();
        start..start + slot.size()
    }

    #[test]
    fn slots_have_room_and_never_overlap() {
        let mut runs = Runs::default();
        let mut out: Vec<Slot> = Vec::new();
        let mut chunks = 0;
        let mut state = 12345_u32;
        for step in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let draw = (state >> 8) as usize;
            if step % 2000 == 0 && runs.add_chunk().is_some() {
                chunks += 1;
            }
            if draw % 5 < 3 {
                let len = [1, 4096, 4097, 16_000, 60_000, 200_000, 262_145, CHUNK][draw / 5 % 8];
                if let Some(slot) = runs.take(len) {
                    assert!(slot.size() >= len && range(slot).end <= chunks * CHUNK);
                    let clash = out.iter().find(|other| {
                        range(**other).start < range(slot).end && range(slot).start < range(**other).end
                    });
                    assert_eq!(clash, None, "{slot:?}");
                    out.push(slot);
                }
            } else if !out.is_empty() {
                runs.put(out.swap_remove(draw / 5 % out.len()));
            }
        }
        out.drain(..).for_each(|slot| runs.put(slot));
        assert!(runs.is_whole());
        assert_eq!(chunks, MOST_CHUNKS);
        assert_eq!(runs.add_chunk(), None);
    }

    #[test]
    fn every_byte_of_a_chunk_can_be_lent() {
        for (class, size) in SIZES.into_iter().chain([CHUNK]).enumerate() {
            let mut runs = Runs::default();
            assert_eq!(runs.take(size), None);
            runs.add_chunk();
            let slots: BTreeSet<usize> =
                std::iter::from_fn(|| runs.take(size)).map(|slot| range(slot).start).collect();
            assert_eq!(slots.len(), CHUNK / size, "class {class}");
            assert_eq!(runs.take(1), None);
        }
        let mut runs = Runs::default();
        runs.add_chunk();
        assert_eq!(runs.take(CHUNK + 1), None);
    }

    #[test]
    fn slots_are_taken_in_turn() {
        for size in SIZES {
            let mut runs = Runs::default();
            runs.add_chunk();
            runs.add_chunk();
            let mut seen = BTreeSet::new();
            let turn = 2 * CHUNK / size;
            for n in 0..3 * turn {
                let slot = runs.take(size).unwrap();
                seen.insert(range(slot).start);
                runs.put(slot);
                assert!(seen.len() > n.min(turn - 1), "the {n}th slot of {size} bytes was there before");
            }
        }
    }

    #[test]
    fn a_run_whose_slots_are_back_is_cut_anew() {
        let mut runs = Runs::default();
        runs.add_chunk();
        let small: Vec<Slot> = std::iter::from_fn(|| runs.take(4096)).collect();
        assert_eq!(runs.take(RUN), None);
        small.into_iter().for_each(|slot| runs.put(slot));
        assert_eq!(runs.take(CHUNK).map(Slot::size), Some(CHUNK));
    }
}
