//! What the kernel may answer at each place, by the man pages, and what it may cost. As the core's `sys::faults::table`.

use std::fmt;

use linkpoll::faults;
use linkpoll::faults::{Effect, Fault, Place, Rule};

use super::Site;

impl Site {
    /// All places.
    pub const ALL: [Self; 34] = [
        Self::MemoryCreate,
        Self::MemoryAllocate,
        Self::MemoryMap,
        Self::PeerMap,
        Self::SealedMap,
        Self::SealedRead,
        Self::MemoryAdvise,
        Self::MemoryPopulate,
        Self::SealsAdd,
        Self::SealsRead,
        Self::FileStatus,
        Self::SystemStatus,
        Self::BellCreate,
        Self::BellShare,
        Self::BellFlags,
        Self::BellLink,
        Self::BellRing,
        Self::Random,
        Self::Receive,
        Self::Descriptors,
        Self::Send,
        Self::SendDescriptors,
        Self::PeerCredentials,
        Self::Socket,
        Self::SetOption,
        Self::Connect,
        Self::Poll,
        Self::RecordsWritten,
        Self::CounterPublished,
        Self::DoorbellDecided,
        Self::ThresholdStored,
        Self::LoanGiven,
        Self::LoanRead,
        Self::TicketsWritten,
    ];
}

static RULES: [Rule; Site::ALL.len()] = [const { Rule::new() }; Site::ALL.len()];

const _: () = {
    let mut at = 0;
    while at < Site::ALL.len() {
        assert!(Site::ALL[at] as usize == at);
        at += 1;
    }
};

impl Place for Site {
    fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }

    fn faults(self) -> &'static [(Fault, Effect)] {
        match self {
            Self::MemoryCreate => faults![SetUp: EMFILE ENFILE ENOMEM EPERM],
            Self::MemoryAllocate => faults![Nothing: EINTR; SetUp: ENOMEM ENOSPC EPERM EFBIG],
            Self::MemoryMap | Self::PeerMap => faults![SetUp: ENOMEM EAGAIN ENFILE EPERM],
            Self::SealedMap => faults![SetUp: ENOMEM EAGAIN ENFILE EPERM],
            Self::SealedRead => faults![Nothing: EINTR; SetUp: EIO ENOMEM],
            Self::MemoryAdvise => faults![SetUp: ENOMEM EINVAL],
            Self::MemoryPopulate => faults![Nothing: EINVAL; SetUp: EFAULT ENOMEM],
            Self::SealsAdd => faults![Nothing: EINTR; SetUp: EBUSY EPERM],
            Self::SealsRead => faults![Nothing: EINTR; SetUp: EINVAL EBADF EPERM],
            Self::FileStatus => faults![Nothing: EINTR; SetUp: ENOMEM EOVERFLOW],
            Self::SystemStatus => faults![Nothing: EINTR; SetUp: ENOMEM EIO ENOSYS],
            Self::BellCreate => faults![SetUp: EMFILE ENFILE ENODEV ENOMEM],
            Self::BellShare => faults![SetUp: EMFILE],
            Self::BellFlags => faults![Nothing: EINTR; SetUp: EBADF],
            Self::BellLink => faults![SetUp: EACCES ENOENT ENOMEM EIO],
            Self::BellRing => faults![Nothing: EAGAIN EINTR; Connection: EINVAL EIO],
            Self::Random => faults![Nothing: EINTR; SetUp: ENOSYS EAGAIN],
            Self::Receive => faults![
                short;
                Nothing: EAGAIN EINTR;
                Connection: ECONNRESET ENOTCONN ENOMEM ENOBUFS EIO
            ],
            Self::Descriptors => faults![Connection: EMFILE],
            Self::Send => {
                faults![short; Nothing: EAGAIN EINTR; Connection: EPIPE ECONNRESET ENOTCONN ENOBUFS ENOMEM]
            }
            Self::SendDescriptors => faults![
                short;
                Nothing: EAGAIN EINTR;
                Connection: EPIPE ECONNRESET ENOTCONN ENOBUFS ENOMEM ETOOMANYREFS EPERM
            ],
            Self::PeerCredentials => faults![SetUp: ENOPROTOOPT ENOTCONN],
            Self::Socket => faults![SetUp: EMFILE ENFILE ENOMEM ENOBUFS EACCES EAFNOSUPPORT],
            Self::SetOption => faults![SetUp: ENOPROTOOPT ENOMEM EDOM],
            Self::Connect => faults![Nothing: EINTR; SetUp: EAGAIN ECONNREFUSED ENOENT EACCES EPERM ENOMEM],
            Self::Poll => faults![Nothing: EINTR; SetUp: ENOMEM],
            Self::RecordsWritten
            | Self::CounterPublished
            | Self::DoorbellDecided
            | Self::ThresholdStored
            | Self::LoanGiven
            | Self::LoanRead
            | Self::TicketsWritten => &[],
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
