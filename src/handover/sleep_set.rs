//! Several threads that sleep, and are woken one at a time: a [`SleepFlag`](super::SleepFlag) for each, in one place.
//!
//! A thread announces its sleep by raising its bit, then looks at its source of work once more, and sleeps if there is
//! nothing. Whoever has added work looks at the bits, lowers one, and rings for its thread. Whoever sees *no* bit, or
//! leaves those it sees alone because it knows of a thread that is awake, may do so: the race is that of the
//! [module](super), with each thread as owner. Of the two fences, F1 behind the bit and F2 behind the work, one comes
//! first: either the thread's second look finds the work, or the other side sees the bit.

use crate::sync::{AtomicUsize, Ordering, fence};

const BITS: usize = usize::BITS as usize;

/// See the module's documentation. Threads are known by numbers.
#[derive(Debug)]
pub(crate) struct SleepSet {
    words: Box<[AtomicUsize]>,
}

impl SleepSet {
    /// For threads with numbers below `threads`, all awake.
    pub(crate) fn new(threads: usize) -> Self {
        Self { words: (0..threads.div_ceil(BITS)).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Thread: announces sleep. Every source must be looked at once more after this and before sleeping.
    pub(crate) fn arm(&self, thread: usize) {
        // ORDERING: Relaxed; the fence F1 orders it before the thread's second look.
        self.words[thread / BITS].fetch_or(1 << (thread % BITS), Ordering::Relaxed);
        // ORDERING: SeqCst fence F1, partner F2 in `look`.
        fence(Ordering::SeqCst);
    }

    /// Thread: is awake again. Answers whether somebody has taken its bit, and has rung or will ring for it.
    pub(crate) fn disarm(&self, thread: usize) -> bool {
        let bit = 1 << (thread % BITS);
        // ORDERING: Relaxed: what there is to be done is acquired from where it was put, not from the bit.
        self.words[thread / BITS].fetch_and(!bit, Ordering::Relaxed) & bit == 0
    }

    /// Other side, after it has added work: how many sleep, as far as it matters. To be followed by
    /// [`take`](Self::take), if one is to be woken.
    pub(crate) fn look(&self) -> usize {
        // ORDERING: SeqCst fence F2, partner F1 in `arm`.
        fence(Ordering::SeqCst);
        // ORDERING: Relaxed: F2 orders these loads after the work.
        self.words.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    /// Takes a sleeping thread, for which the caller must ring then. The lowest number first, so that work stays with
    /// few threads, whose memory is in the caches.
    pub(crate) fn take(&self) -> Option<usize> {
        for (at, word) in self.words.iter().enumerate() {
            // ORDERING: Relaxed: the load is a guess that the next operation confirms.
            let mut seen = word.load(Ordering::Relaxed);
            while seen != 0 {
                let bit = 1 << seen.trailing_zeros();
                // ORDERING: Relaxed: it decides who rings, and publishes nothing.
                if word.fetch_and(!bit, Ordering::Relaxed) & bit != 0 {
                    return Some(at * BITS + bit.trailing_zeros() as usize);
                }
                seen &= !bit;
            }
        }
        None
    }
}
