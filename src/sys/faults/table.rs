//! What the kernel may answer at each site, by the man pages. What they list for programming errors only (`EBADF`,
//! `EFAULT`, `ENOTSOCK`, ...) is left out, except where it is the only way to break a call for good.

use std::fmt;

use nix::errno::Errno;

use super::{Place, Rule, Site};

/// Something that can happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails.
    Errno(Errno),
    /// It moves fewer bytes, or reports fewer events, than it could.
    Short,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => write!(f, "{errno:?}"),
            Self::Short => f.write_str("short"),
        }
    }
}

/// What a fault may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the call is made again, or what it did not do is done later.
    Nothing,
    /// The one connection that the call was made for.
    Connection,
    /// Some time, until the loop tries again.
    Rest,
    /// What was being set up.
    SetUp,
    /// The loop.
    Loop,
}

/// Faults by what they may cost; to be short costs nothing.
#[doc(hidden)]
#[macro_export]
macro_rules! faults {
    (short; $($rest:tt)+) => {
        $crate::faults!(@ [($crate::faults::Fault::Short, $crate::faults::Effect::Nothing),] $($rest)+)
    };
    (@ [$($first:tt)*] $($effect:ident: $($errno:ident)+);+) => {
        const {
            &[$($first)* $($((
                $crate::faults::Fault::Errno(::nix::errno::Errno::$errno),
                $crate::faults::Effect::$effect,
            )),+),+]
        }
    };
    ($($rest:tt)+) => { $crate::faults!(@ [] $($rest)+) };
}

impl Site {
    /// All sites.
    pub const ALL: [Self; 34] = [
        Self::EpollCreate,
        Self::EpollAdd,
        Self::EpollModify,
        Self::EpollDelete,
        Self::EpollWait,
        Self::EventFd,
        Self::EventFdWrite,
        Self::EventFdRead,
        Self::Socket,
        Self::SetOption,
        Self::Bind,
        Self::Listen,
        Self::SocketName,
        Self::Accept,
        Self::Connect,
        Self::ConnectResult,
        Self::SocketType,
        Self::PeerName,
        Self::FileFlags,
        Self::Receive,
        Self::ReceiveVectored,
        Self::ErrorQueue,
        Self::Send,
        Self::SendVectored,
        Self::Shutdown,
        Self::Close,
        Self::Map,
        Self::PageExchange,
        Self::Spawn,
        Self::SchedulingRead,
        Self::SchedulingWrite,
        Self::FileStatus,
        Self::FileProbe,
        Self::FileRemove,
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

    /// An error that is pending on a socket (tcp(7), ip(7)) is answered by whatever call on it comes next, so those
    /// are listed where bytes are received and where they are sent.
    fn faults(self) -> &'static [(Fault, Effect)] {
        match self {
            Self::EpollCreate => faults![SetUp: EMFILE ENFILE ENOMEM],
            Self::EpollAdd => faults![Connection: ENOMEM ENOSPC EPERM],
            Self::EpollModify => faults![Connection: ENOMEM ENOENT],
            Self::EpollDelete => faults![Connection: ENOMEM ENOENT],
            Self::EpollWait => faults![short; Nothing: EINTR; Loop: EBADF EINVAL],
            Self::EventFd => faults![SetUp: EMFILE ENFILE ENODEV ENOMEM],
            Self::EventFdWrite | Self::EventFdRead => faults![Nothing: EAGAIN EINTR],
            Self::Socket => faults![SetUp: EMFILE ENFILE ENOMEM ENOBUFS EACCES EAFNOSUPPORT EPROTONOSUPPORT],
            Self::SetOption => faults![SetUp: ENOPROTOOPT ENOMEM EINVAL EPERM],
            Self::Bind => faults![SetUp: EADDRINUSE EADDRNOTAVAIL EACCES EINVAL ENOMEM ENOENT EROFS],
            Self::Listen => faults![SetUp: EADDRINUSE EOPNOTSUPP],
            Self::SocketName => faults![SetUp: ENOBUFS],
            Self::Accept => faults![
                Nothing: EAGAIN EINTR ECONNABORTED EPERM EPROTO ENOPROTOOPT ENETDOWN EHOSTDOWN ENONET EHOSTUNREACH
                    ENETUNREACH EOPNOTSUPP ETIMEDOUT;
                Rest: EMFILE ENFILE ENOMEM ENOBUFS ENOSR ESOCKTNOSUPPORT EPROTONOSUPPORT
            ],
            Self::Connect => faults![
                Nothing: EINPROGRESS EINTR;
                SetUp: EAGAIN ECONNREFUSED ENETUNREACH EHOSTUNREACH ETIMEDOUT EADDRNOTAVAIL EADDRINUSE EACCES EPERM
            ],
            Self::ConnectResult => faults![
                Connection: ECONNREFUSED ECONNRESET ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOMEM
            ],
            Self::SocketType => faults![SetUp: ENOTSOCK ENOPROTOOPT],
            Self::PeerName => faults![SetUp: ENOTCONN ENOBUFS],
            Self::FileFlags => faults![SetUp: EBADF EPERM],
            Self::Receive | Self::ReceiveVectored => faults![
                short;
                Nothing: EAGAIN EINTR;
                Connection: ECONNRESET ECONNREFUSED ENOTCONN ETIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN ENOMEM
                    ENOBUFS EIO
            ],
            Self::ErrorQueue => faults![Nothing: EAGAIN EINTR ENOMEM],
            Self::Send | Self::SendVectored => faults![
                short;
                Nothing: EAGAIN EINTR;
                Connection: ECONNRESET EPIPE ENOTCONN ETIMEDOUT EHOSTUNREACH ENETUNREACH ENETDOWN ENOMEM ENOBUFS
                    EACCES
            ],
            Self::Shutdown => faults![Nothing: ENOTCONN],
            Self::Close => faults![Nothing: EINTR EIO],
            Self::Map => faults![Connection: ENOMEM EAGAIN],
            Self::PageExchange => faults![Nothing: ENOMEM EAGAIN EINVAL],
            Self::Spawn => faults![SetUp: EAGAIN],
            Self::SchedulingRead => faults![Nothing: EINVAL ENOSYS],
            Self::SchedulingWrite => faults![Nothing: EINVAL EPERM ENOSYS],
            Self::FileStatus => faults![SetUp: EACCES ENOMEM],
            Self::FileProbe => faults![SetUp: EACCES EAGAIN],
            Self::FileRemove => faults![SetUp: EACCES EPERM EROFS EBUSY],
        }
    }

    fn goes_on(self, errno: Errno) -> bool {
        match self {
            Self::Connect => matches!(errno, Errno::EINPROGRESS | Errno::EINTR),
            Self::Close => true,
            _ => false,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
