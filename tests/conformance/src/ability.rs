//! What one transport has and another has not, and the cases that are about it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use linkpoll::driver::Driver;
use linkpoll::net::Address;

use crate::{Bed, Rig};

/// What not every transport has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Connections are made at ports, and come from addresses of hosts.
    Ports,
    /// Single bytes can be sent ahead of others (send(2), `MSG_OOB`).
    UrgentBytes,
    /// A connection is a descriptor: one can be made a connection, and a connection one.
    Descriptors,
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ports => "ports",
            Self::UrgentBytes => "urgent bytes",
            Self::Descriptors => "connections that are descriptors",
        })
    }
}

/// A case of the suite.
#[derive(Debug)]
pub struct Case<B> {
    /// The name of its function.
    pub name: &'static str,
    /// What it is about, if not every transport has it.
    pub needs: Option<Ability>,
    /// Panics when the bed's driver does not conform.
    pub run: fn(&B),
}

impl<B: Bed> Case<B> {
    /// Whether the bed has what the case is about.
    pub fn applies(&self, bed: &B) -> bool {
        self.needs.is_none_or(|ability| bed.has(ability))
    }

    /// Runs the case; or, where the transport has not what it is about, sees to it that the driver refuses just that.
    ///
    /// # Panics
    /// When the driver does not conform.
    pub fn check(&self, bed: &B) {
        match self.needs.filter(|&ability| !bed.has(ability)) {
            None => (self.run)(bed),
            Some(ability) => {
                println!("{} is left out: this transport has no {ability}", self.name);
                refuses(bed, ability);
            }
        }
    }
}

/// What a transport has not, its driver refuses with an error, and without harm to itself.
fn refuses<B: Bed>(bed: &B, ability: Ability) {
    match ability {
        Ability::Ports => {
            let mut rig = Rig::new(bed);
            let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let key = rig.key();
            assert!(rig.driver.listen(key, &address, false).is_err(), "it listens at {address}");
            assert!(rig.connect(key, &address).is_err(), "it connects to {address}");
            rig.finish();
        }
        Ability::Descriptors => {
            let fd = OwnedFd::from(std::fs::File::open("/dev/null").expect("a file of the system"));
            let socket = B::Driver::from_fd(fd, Address::Unix(PathBuf::new()));
            assert!(socket.is_none(), "a descriptor has become a connection");
        }
        // Nobody can send one to it.
        Ability::UrgentBytes => {}
    }
}
