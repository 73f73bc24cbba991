//! Whether a connection lends, from what became of the memory it has lent.
//!
//! ```text
//!             first large send
//!   Fresh ---------------------> Lending ---- K copied in a row ----> Copying
//!     |                             ^                                 |  after so many
//!     | refused: Never              | one that was really lent        v  large sends
//!     | not ours: Foreign           +------------------------------ Trying
//!                                        copied once more: Copying again, for twice as long
//! ```
//!
//! KERNEL: a notification with `SO_EE_CODE_ZEROCOPY_COPIED` says that the kernel has copied after all (over loopback it
//! always does), so lending was pure loss. It is a hint: merged notifications carry the first one's code, hence a count
//! and not a verdict. What is lent when lending is switched off comes back as usual.

/// So many copied in a row switch lending off.
const PATIENCE: u32 = 8;
/// Large sends that are copied before one is tried by reference again, at first and at most.
const FIRST_REST: u32 = 1024;
const LONGEST_REST: u32 = 64 * 1024;

/// The state of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nothing was lent yet; the socket must be asked first.
    #[default]
    Fresh,
    /// Large sends go by reference; so many in a row were copied after all.
    Lending(u32),
    /// Large sends are copied, so many more, and the next rest lasts so long.
    Copying {
        /// Large sends until one is tried by reference.
        left: u32,
        /// The length of this rest.
        rest: u32,
    },
    /// One large send goes by reference, to see whether that has become worth it. Until its notification comes the
    /// others are copied.
    Trying {
        /// The length of the rest before.
        rest: u32,
        /// It is on its way.
        sent: bool,
    },
    /// The socket cannot lend.
    Never,
    /// Somebody else has lent from the socket: its numbers are not ours.
    Foreign,
}

impl Policy {
    /// A large send is to be made: may it go by reference? `Fresh` answers no; the socket is to be asked.
    pub fn may_lend(&mut self) -> bool {
        match self {
            Self::Lending(_) => true,
            Self::Fresh | Self::Never | Self::Foreign => false,
            Self::Trying { sent, .. } => !*sent,
            Self::Copying { left: 0, rest } => {
                *self = Self::Trying { rest: *rest, sent: false };
                true
            }
            Self::Copying { left, .. } => {
                *left -= 1;
                false
            }
        }
    }

    /// A large send went by reference.
    pub fn has_lent(&mut self) {
        if let Self::Trying { sent, .. } = self {
            *sent = true;
        }
    }

    /// A notification came.
    pub fn is_back(&mut self, copied: bool) {
        *self = match (*self, copied) {
            (Self::Lending(_) | Self::Trying { sent: true, .. }, false) => Self::Lending(0),
            (Self::Lending(n), true) if n + 1 < PATIENCE => Self::Lending(n + 1),
            (Self::Lending(_), true) => Self::Copying { left: FIRST_REST, rest: FIRST_REST },
            (Self::Trying { rest, sent: true }, true) => {
                let rest = (rest * 2).min(LONGEST_REST);
                Self::Copying { left: rest, rest }
            }
            (other, _) => other,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied_in_a_row(policy: &mut Policy, n: u32) {
        (0..n).for_each(|_| policy.is_back(true));
    }

    /// Large sends until one goes by reference.
    fn until_tried(policy: &mut Policy) -> u32 {
        let mut copied = 0;
        while !policy.may_lend() {
            copied += 1;
            assert!(copied <= LONGEST_REST, "it is never tried again");
        }
        copied
    }

    #[test]
    fn lending_that_is_copied_is_given_up_and_rarely_tried_again() {
        let mut policy = Policy::Lending(0);
        copied_in_a_row(&mut policy, PATIENCE - 1);
        policy.is_back(false);
        copied_in_a_row(&mut policy, PATIENCE - 1);
        assert!(policy.may_lend(), "they were not in a row");
        copied_in_a_row(&mut policy, 1);
        let mut rest = FIRST_REST;
        for _ in 0..10 {
            assert_eq!(until_tried(&mut policy), rest);
            policy.has_lent();
            assert!(!policy.may_lend(), "one at a time");
            policy.is_back(true);
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    #[test]
    fn a_try_that_is_not_copied_switches_lending_on() {
        let mut policy = Policy::Copying { left: 0, rest: FIRST_REST };
        assert!(policy.may_lend());
        policy.is_back(true);
        assert!(policy.may_lend(), "a late notification of an earlier send decides nothing");
        policy.has_lent();
        policy.is_back(false);
        assert_eq!(policy, Policy::Lending(0));
    }

    #[test]
    fn a_socket_that_cannot_never_does() {
        let mut policy = Policy::Never;
        policy.is_back(false);
        assert!(!policy.may_lend());
    }
}
