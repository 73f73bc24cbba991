//! Where connections can be made.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::LazyLock;

use linkpoll::net::Address;
use linkpoll::sync::{AtomicUsize, Ordering};

/// The families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Ports, over the loopback interface.
    Tcp,
    /// Paths, as Unix stream sockets have.
    Unix,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::Tcp, Family::Unix];

/// An address of one's own. Where it is a path, what is there is removed when this is dropped.
#[derive(Debug)]
pub struct Place(Address);

impl Place {
    /// Any port, or a path where nothing is.
    #[must_use]
    pub fn new(family: Family) -> Self {
        // The atomics of the model checker cannot be made in a constant.
        static NUMBER: LazyLock<AtomicUsize> = LazyLock::new(|| AtomicUsize::new(0));
        match family {
            Family::Tcp => Self(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))),
            Family::Unix => {
                // ORDERING: Relaxed: only that no two are alike matters.
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let name = format!("linkpoll-conformance-{}-{number}", std::process::id());
                let place = Self(Address::Unix(std::env::temp_dir().join(name)));
                place.clear();
                place
            }
        }
    }

    /// An address at which somebody has listened, and nobody does any more.
    ///
    /// # Panics
    /// When the system has none to give.
    #[must_use]
    pub fn deserted(family: Family) -> Self {
        let mut place = Self::new(family);
        match &place.0 {
            Address::Unix(path) => drop(UnixListener::bind(path).expect("a path")),
            _ => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
                place.0 = Address::Tcp(listener.local_addr().expect("an address"));
            }
        }
        place
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0
    }

    /// The path, where it is one.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        match &self.0 {
            Address::Unix(path) => Some(path),
            _ => None,
        }
    }

    fn clear(&self) {
        if let Some(path) = self.path() {
            drop(std::fs::remove_file(path));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}
