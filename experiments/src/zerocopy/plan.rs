//! What goes out by reference, what is copied, in which calls.
//!
//! The pieces of a flush are cut into groups, each one call: a run of pieces that are lent, or a run of pieces that are
//! copied. Order is kept, since each group is sent behind the one before it, and every group but the last says that more
//! comes (`MSG_MORE`), so the cut between header and payload does not become the end of a packet.
//!
//! KERNEL: lending costs a page reference and an entry of the packet's list of fragments for each page that is touched,
//! copying costs the bytes: so a small piece is copied even in the middle of large ones, and the sum never decides. A
//! packet has 17 fragments (`MAX_SKB_FRAGS`); a group is at most a whole number of such packets, and its memory comes
//! back as one.

/// KERNEL: `MAX_SKB_FRAGS`, of pages, as far as the kernel does not find them adjacent.
const FRAGMENTS: usize = 17;
/// KERNEL: the size of a page on x86-64, and the least elsewhere.
const PAGE: usize = 4096;

/// A piece of a flush, as far as the plan is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes, never none.
    pub len: usize,
    /// The distance of its first byte from the start of a page.
    pub offset: usize,
    /// Its memory may be lent.
    pub lendable: bool,
}

impl Piece {
    fn pages(self) -> usize {
        (self.offset % PAGE + self.len).div_ceil(PAGE)
    }
}

/// How a flush is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The least bytes of a piece that is lent.
    pub least: usize,
    /// The most packets' worth of pages of one lending call.
    pub packets: usize,
    /// The most pieces of one call.
    pub pieces: usize,
}

/// The bytes at the front of a flush that go out with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// By reference, not copied.
    pub lent: bool,
    /// The pieces, the last of which may go in part.
    pub pieces: usize,
    /// Their bytes that go.
    pub bytes: usize,
}

impl Plan {
    /// Whether a piece is lent.
    #[must_use]
    pub fn lends(&self, piece: Piece) -> bool {
        piece.lendable && piece.len >= self.least
    }

    /// The first group of a flush; none when there are no pieces.
    pub fn first(&self, pieces: impl IntoIterator<Item = Piece>) -> Option<Group> {
        let mut pieces = pieces.into_iter().take(self.pieces.max(1));
        let first = pieces.next()?;
        let lent = self.lends(first);
        if !lent {
            let run = pieces.take_while(|piece| !self.lends(*piece));
            let run = run.fold((1, first.len), |(n, bytes), piece| (n + 1, bytes + piece.len));
            return Some(Group { lent, pieces: run.0, bytes: run.1 });
        }
        let room = self.packets.max(1) * FRAGMENTS;
        let mut group = Group { lent, pieces: 0, bytes: 0 };
        let mut pages = 0;
        for piece in std::iter::once(first).chain(pieces.take_while(|piece| self.lends(*piece))) {
            if pages + piece.pages() > room {
                // A part of a piece goes only alone: else the next group begins with it.
                if group.pieces == 0 {
                    group = Group { lent, pieces: 1, bytes: room * PAGE - piece.offset % PAGE };
                }
                break;
            }
            pages += piece.pages();
            group.pieces += 1;
            group.bytes += piece.len;
        }
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAN: Plan = Plan { least: 16 << 10, packets: 1, pieces: 64 };

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let len = prop_oneof![1..100_usize, (16_usize << 10) - 2..(16 << 10) + 3, 1..300_000_usize];
        let piece =
            (len, 0..PAGE, any::<bool>()).prop_map(|(len, offset, lendable)| Piece { len, offset, lendable });
        prop::collection::vec(piece, 0..150)
    }

    proptest! {
        /// Every byte goes out once, in order; what is small or may not be lent never goes by reference; no lending call
        /// touches more pages than it may; no call has more pieces.
        #[test]
        fn a_flush_goes_out_whole_and_small_pieces_are_copied(
            pieces in pieces(), packets in 1..5_usize, most in 1..70_usize,
        ) {
            let plan = Plan { packets, pieces: most, ..PLAN };
            let mut left = pieces.clone();
            while let Some(group) = plan.first(left.iter().copied()) {
                prop_assert!(group.bytes > 0 && group.pieces > 0 && group.pieces <= most);
                let mut bytes = group.bytes;
                let mut pages = 0;
                for at in 0..group.pieces {
                    let piece = left[0];
                    prop_assert_eq!(plan.lends(piece), group.lent);
                    let part = piece.len.min(bytes);
                    prop_assert!(part == piece.len || at + 1 == group.pieces);
                    pages += Piece { len: part, ..piece }.pages();
                    bytes -= part;
                    left[0] = Piece { len: piece.len - part, offset: (piece.offset + part) % PAGE, ..piece };
                    if left[0].len == 0 {
                        left.remove(0);
                    }
                }
                prop_assert_eq!(bytes, 0);
                prop_assert!(!group.lent || pages <= packets * FRAGMENTS);
            }
            prop_assert!(left.is_empty());
        }
    }

    #[test]
    fn a_header_is_copied_and_its_payload_lent() {
        let header = Piece { len: 4, offset: 0, lendable: true };
        let payload = Piece { len: 64 << 10, offset: 4, lendable: true };
        let plan = Plan { packets: 4, ..PLAN };
        assert_eq!(plan.first([header, payload]), Some(Group { lent: false, pieces: 1, bytes: 4 }));
        assert_eq!(plan.first([payload, header]), Some(Group { lent: true, pieces: 1, bytes: 64 << 10 }));
        assert_eq!(plan.first([]), None);
    }
}
