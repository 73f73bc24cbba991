//! Arguments that are one of several words.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

/// Ways of moving bytes that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Readiness through epoll
    Epoll,
    /// Epoll, and io_uring as one call for many connections
    #[cfg(feature = "batch")]
    BatchUring,
    /// Epoll, and Linux AIO as one call for many connections
    #[cfg(feature = "batch")]
    BatchAio,
    /// Completions of io_uring
    #[cfg(feature = "uring")]
    Uring,
    /// Epoll, and large replies by reference (MSG_ZEROCOPY)
    #[cfg(feature = "zerocopy")]
    Zerocopy,
    /// Shared memory between processes of this host; listens at a path
    #[cfg(feature = "shm")]
    Shm,
}

impl Transport {
    /// The driver over sockets that it is; `None` for shared memory.
    pub(crate) fn over_sockets(self) -> Option<linkpoll_experiments::Transport> {
        use linkpoll_experiments::Transport as Driver;
        Some(match self {
            Self::Epoll => Driver::Epoll,
            #[cfg(feature = "batch")]
            Self::BatchUring => Driver::BatchUring,
            #[cfg(feature = "batch")]
            Self::BatchAio => Driver::BatchAio,
            #[cfg(feature = "uring")]
            Self::Uring => Driver::Uring,
            #[cfg(feature = "zerocopy")]
            Self::Zerocopy => Driver::Zerocopy,
            #[cfg(feature = "shm")]
            Self::Shm => return None,
        })
    }
}

/// What the connections of a load are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Medium {
    /// Stream sockets, TCP or Unix
    Socket,
    /// Sessions in shared memory, through the path of a server with `--transport shm`
    #[cfg(feature = "shm")]
    Shm,
}

/// How the sides of a session in shared memory wake each other.
#[cfg(feature = "shm")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Doorbell {
    /// By a byte in the session's socket
    Socket,
    /// By an eventfd, if the other side asks for that too
    Eventfd,
}

#[cfg(feature = "shm")]
impl From<Doorbell> for linkpoll_shm::handshake::Doorbell {
    fn from(doorbell: Doorbell) -> Self {
        match doorbell {
            Doorbell::Socket => Self::Socket,
            Doorbell::Eventfd => Self::EventFd,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.over_sockets().map_or("shm", linkpoll_experiments::Transport::name))
    }
}

/// Where the calls of a service are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dispatch {
    /// On the loop
    Inline,
    /// On a pool of threads
    Pool,
}

/// What takes part in a run beside the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A transport, with a handler of borrowed bytes.
    Transport(Transport),
    /// Epoll, with a service.
    Service(Dispatch),
    /// Epoll, over a Unix socket.
    Unix,
    /// Shared memory, and its doorbell.
    #[cfg(feature = "shm")]
    Shm(Doorbell),
}

impl Side {
    /// Every one that takes part unless others are asked for.
    pub(crate) fn all() -> Vec<Self> {
        let over_sockets = Transport::value_variants().iter().filter(|side| side.over_sockets().is_some());
        let transports = over_sockets.map(|transport| Self::Transport(*transport));
        let services = Dispatch::value_variants().iter().map(|dispatch| Self::Service(*dispatch));
        let on_one_host = [
            Self::Unix,
            #[cfg(feature = "shm")]
            Self::Shm(Doorbell::Socket),
        ];
        transports.chain(services).chain(on_one_host).collect()
    }

    /// Every one that can be asked for.
    fn known() -> Vec<Self> {
        let all = Self::all();
        #[cfg(feature = "shm")]
        let all = [all, vec![Self::Shm(Doorbell::Eventfd)]].concat();
        all
    }

    /// Whether it reaches no further than this host.
    pub(crate) fn is_on_one_host(self) -> bool {
        !matches!(self, Self::Transport(_) | Self::Service(_))
    }

    /// As `--transports` and the table name it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Transport(transport) => transport.to_string(),
            Self::Service(Dispatch::Inline) => "service".into(),
            Self::Service(Dispatch::Pool) => "pool".into(),
            Self::Unix => "unix".into(),
            #[cfg(feature = "shm")]
            Self::Shm(Doorbell::Socket) => "shm".into(),
            #[cfg(feature = "shm")]
            Self::Shm(Doorbell::Eventfd) => "shm-eventfd".into(),
        }
    }
}

/// One of the names that `--transports` takes: a side, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selected(pub(crate) Option<Side>);

impl FromStr for Selected {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "none" {
            return Ok(Self(None));
        }
        Side::known().into_iter().find(|side| side.name() == name).map(|side| Self(Some(side))).ok_or_else(
            || {
                let known = Side::known().into_iter().map(|side| format!("{}, ", side.name()));
                format!("the transports are {}none", known.collect::<String>())
            },
        )
    }
}

/// Ways of telling messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// A big-endian u32 length, then the payload
    Frame,
}

/// When an idle event loop of a server polls instead of sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerSpin {
    /// Sleep at once
    Never,
    /// Poll once more, then sleep
    Once,
    /// Poll for as long as that has paid off lately
    Adaptive,
    /// Never sleep
    Always,
}

/// How the connections of a server come to its event loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accept {
    /// Every loop listens, and the kernel spreads connections (TCP; a Unix socket is served as by round-robin)
    Each,
    /// The first loop accepts, and gives connections to each loop in turn
    RoundRobin,
    /// The first loop accepts, and gives a connection to the loop with the fewest
    Least,
    /// The first loop accepts, and connections from one IP address share a loop
    ByAddress,
}

/// When a load that waits for replies polls instead of sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadSpin {
    /// Sleep at once
    Never,
    /// Poll for a while after the last reply, then sleep
    Adaptive,
    /// Never sleep
    Always,
}

/// Whose buffer a connection of the floor receives into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// 64 KiB for each connection
    Own,
    /// 64 KiB for all of them
    Shared,
}

/// What a readiness event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trigger {
    /// Level-triggered
    Lt,
    /// Edge-triggered
    Et,
}
