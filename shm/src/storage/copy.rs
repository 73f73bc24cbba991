//! Copies bytes out of memory that another process may change meanwhile.
//!
//! To the compiler such bytes must not be ordinary memory: a plain copy of them is a data race, and it might read a byte
//! twice and take both answers for the same. Instructions of our own are outside of what it reasons about, and so are
//! volatile reads. What arrives is a mixture of values that the bytes had during the copy.
#![expect(unsafe_code, reason = "foreign memory is reached through raw pointers and instructions")]

/// The bytes that processors move at a time.
pub(super) const LINE: usize = 64;

/// Asks for a line that will be read soon.
#[inline(always)]
pub(super) fn fetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, wherever it points.
    unsafe {
        std::arch::asm!("prefetcht0 [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Copies `len` bytes.
///
/// # Safety
/// * `from` is valid for reading `len` bytes, which may change at any time but stay mapped.
/// * `into` is valid for writing `len` bytes, which nobody else looks at.
#[inline]
pub(super) unsafe fn copy_racing(from: *const u8, into: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len < 16 {
        // SAFETY: as the caller promises.
        unsafe { copy_short(from, into, len) }
    } else {
        // SAFETY: as the caller promises; it is 16 bytes or more.
        unsafe { copy_long(from, into, len) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as the caller promises.
    unsafe {
        copy_words(from, into, len);
    }
}

/// # Safety
/// As for [`copy_racing`]; `len` is less than 16.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn copy_short(from: *const u8, into: *mut u8, len: usize) {
    use std::arch::asm;

    if len >= 8 {
        // The first 8 bytes and the last 8, which may overlap.
        // SAFETY: both moves stay inside of `len` bytes of each.
        unsafe {
            asm!(
                "mov {a}, [{from}]",
                "mov {b}, [{from} + {len} - 8]",
                "mov [{into}], {a}",
                "mov [{into} + {len} - 8], {b}",
                len = in(reg) len,
                from = in(reg) from,
                into = in(reg) into,
                a = out(reg) _,
                b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else if len >= 4 {
        // SAFETY: as above, with 4 bytes.
        unsafe {
            asm!(
                "mov {a:e}, [{from}]",
                "mov {b:e}, [{from} + {len} - 4]",
                "mov [{into}], {a:e}",
                "mov [{into} + {len} - 4], {b:e}",
                len = in(reg) len,
                from = in(reg) from,
                into = in(reg) into,
                a = out(reg) _,
                b = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    } else {
        // SAFETY: as the caller promises.
        unsafe { copy_bytes(from, into, len) }
    }
}

/// # Safety
/// As for [`copy_racing`].
#[inline]
unsafe fn copy_bytes(from: *const u8, into: *mut u8, len: usize) {
    for at in 0..len {
        // SAFETY: `at` is less than `len`.
        let source = unsafe { from.add(at) };
        // SAFETY: as the caller promises; a volatile read may race with another process.
        let byte = unsafe { source.read_volatile() };
        // SAFETY: `at` is less than `len`.
        let target = unsafe { into.add(at) };
        // SAFETY: as the caller promises.
        unsafe { target.write(byte) }
    }
}

/// # Safety
/// As for [`copy_racing`]; `len` is 16 or more.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn copy_long(from: *const u8, into: *mut u8, len: usize) {
    use std::arch::asm;

    // Not the processor's own string move (`rep movsb`), however long it is: with a target that lies a few bytes further into
    // its page than the source, as bytes behind a short head do, it was ten times slower (3.3 and 42 GB/s on AMD Zen 4).
    // The whole blocks of 64 bytes, then the whole 16, then the last 16 once more: they overlap what was copied before.
    // SAFETY: all three loops stay below `from + len` and `into + len`, and the last move ends there; `len >= 16`, so
    // it begins inside.
    unsafe {
        asm!(
            "sub {left}, 64",
            "jb 3f",
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{into}], {a}",
            "movups [{into} + 16], {b}",
            "movups [{into} + 32], {c}",
            "movups [{into} + 48], {d}",
            "add {from}, 64",
            "add {into}, 64",
            "sub {left}, 64",
            "jae 2b",
            "3:",
            "add {left}, 64",
            "jz 6f",
            "4:",
            "cmp {left}, 16",
            "jbe 5f",
            "movups {a}, [{from}]",
            "movups [{into}], {a}",
            "add {from}, 16",
            "add {into}, 16",
            "sub {left}, 16",
            "jmp 4b",
            "5:",
            "movups {a}, [{from} + {left} - 16]",
            "movups [{into} + {left} - 16], {a}",
            "6:",
            left = inout(reg) len => _,
            from = inout(reg) from => _,
            into = inout(reg) into => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// # Safety
/// As for [`copy_racing`].
#[cfg(any(not(target_arch = "x86_64"), test))]
#[inline]
unsafe fn copy_words(from: *const u8, into: *mut u8, len: usize) {
    let before = from.align_offset(size_of::<u64>()).min(len);
    let words = (len - before) / size_of::<u64>();
    // SAFETY: `before` is at most `len`.
    unsafe { copy_bytes(from, into, before) };
    for word in 0..words {
        let at = before + word * size_of::<u64>();
        // SAFETY: the word ends at or before `len`.
        let source = unsafe { from.add(at) }.cast::<u64>();
        // SAFETY: as the caller promises, and aligned: `before` bytes lead to a multiple of 8.
        let value = unsafe { source.read_volatile() };
        // SAFETY: as above.
        let target = unsafe { into.add(at) }.cast::<u64>();
        // SAFETY: as the caller promises.
        unsafe { target.write_unaligned(value) }
    }
    let done = before + words * size_of::<u64>();
    // SAFETY: `done` is at most `len`.
    let source = unsafe { from.add(done) };
    // SAFETY: as above.
    let target = unsafe { into.add(done) };
    // SAFETY: fewer than 8 bytes are left, inside of both.
    unsafe { copy_bytes(source, target, len - done) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_exact(copy: unsafe fn(*const u8, *mut u8, usize)) {
        let source: Vec<u8> = (0..6000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        for len in (0..600).chain([1023, 1024, 1025, 2047, 2048, 2049, 4096, 5000]) {
            for skew in [0, 1, 7, 8, 15] {
                let mut target = vec![0xEE; len + 32];
                // SAFETY: the source has `skew + len` bytes.
                let from = unsafe { source.as_ptr().add(skew) };
                // SAFETY: the target has 16 bytes on either side of `len`.
                let into = unsafe { target.as_mut_ptr().add(16) };
                // SAFETY: as above.
                unsafe { copy(from, into, len) };
                assert_eq!(target[16..16 + len], source[skew..skew + len], "{len} bytes, {skew} off");
                assert!(target[..16].iter().chain(&target[16 + len..]).all(|&b| b == 0xEE), "{len}, {skew}");
            }
        }
    }

    #[test]
    fn every_length_and_alignment_is_copied_exactly() {
        assert_exact(copy_racing);
    }

    #[test]
    fn the_way_without_instructions_of_our_own_copies_exactly() {
        assert_exact(copy_words);
    }
}
