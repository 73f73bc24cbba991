//! The places at which this package calls the kernel, and places between calls at which it may be killed.
//!
//! Each call goes through [`at`](linkpoll::faults::at), or through [`retry`](super::retry), with the name of its place, as
//! the core's own do. In a build with `cfg(linkpoll_faults)` a test can make it fail there; see `linkpoll::faults`.

/// A place: one system call each, or a moment of the protocol in which no call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// memfd_create(2).
    MemoryCreate,
    /// fallocate(2).
    MemoryAllocate,
    /// mmap(2) for reading and writing.
    MemoryMap,
    /// mmap(2) of a peer's memory, for reading.
    PeerMap,
    /// mmap(2) of memory that is sealed for good.
    SealedMap,
    /// pread(2) of memory that is sealed for good, and small.
    SealedRead,
    /// madvise(2), `MADV_DONTFORK`.
    MemoryAdvise,
    /// madvise(2), `MADV_POPULATE_READ`.
    MemoryPopulate,
    /// fcntl(2), `F_ADD_SEALS`.
    SealsAdd,
    /// fcntl(2), `F_GET_SEALS`.
    SealsRead,
    /// fstat(2) of a peer's memory.
    FileStatus,
    /// fstatfs(2) of a peer's memory.
    SystemStatus,
    /// eventfd(2).
    BellCreate,
    /// fcntl(2), `F_DUPFD_CLOEXEC` of an eventfd.
    BellShare,
    /// fcntl(2), `F_GETFL` of what a peer says is an eventfd.
    BellFlags,
    /// readlink(2) of what a peer says is an eventfd.
    BellLink,
    /// write(2) to a peer's eventfd.
    BellRing,
    /// getrandom(2).
    Random,
    /// recvmsg(2).
    Receive,
    /// What recvmsg(2) answers of descriptors: there may be no room for them.
    Descriptors,
    /// send(2).
    Send,
    /// sendmsg(2) with descriptors.
    SendDescriptors,
    /// getsockopt(2), `SO_PEERCRED`.
    PeerCredentials,
    /// socket(2).
    Socket,
    /// setsockopt(2), `SO_SNDTIMEO`.
    SetOption,
    /// connect(2).
    Connect,
    /// poll(2).
    Poll,
    /// Records are written, and not published.
    RecordsWritten,
    /// A counter is published, and the peer's threshold not looked at.
    CounterPublished,
    /// It is known whether a doorbell is due for a counter, and it has not been rung.
    DoorbellDecided,
    /// A threshold is stored, and the counter not looked at once more.
    ThresholdStored,
    /// Memory is lent, and its record not published.
    LoanGiven,
    /// Bytes were copied out of memory that is lent, and nothing is released.
    LoanRead,
    /// Tickets stand in the release ring, and are not published.
    TicketsWritten,
}

#[cfg(not(linkpoll_faults))]
impl linkpoll::faults::Place for Site {}

/// A moment that a process may be killed in.
#[inline(always)]
pub(crate) fn pass(site: Site) {
    linkpoll::faults::pass(site);
}
