//! What victims do until they are killed. Without their variables these tests do nothing.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::time::Duration;

use linkpoll::faults::{Fault, Injected, Plan, STEPS, Site, die, write_down};
use linkpoll::net::{Accept, Address, Server};
use linkpoll::reactor::{LoopOptions, Placement};

use super::callers;
use crate::bed::actors;
use crate::client::{Client, payload};

/// A server's address, or the address of a client's server.
pub(super) const ADDRESS: &str = "LINKPOLL_VICTIM_ADDRESS";
/// `Send 7`: the call that is to be cut short.
pub(super) const SHORT: &str = "LINKPOLL_VICTIM_SHORT";
/// `3 7`: the step of a client to die in, and how often it is to be survived.
pub(super) const CLIENT_KILL: &str = "LINKPOLL_VICTIM_KILL";

fn pair(variable: &str) -> Option<(String, u64)> {
    let text = env::var(variable).ok()?;
    let (first, second) = text.split_once(' ')?;
    Some((first.to_owned(), second.parse().ok()?))
}

/// Cuts the call short that it is told.
fn short() -> Option<Injected> {
    let (name, nth) = pair(SHORT)?;
    let site = Site::ALL.into_iter().find(|site| site.to_string() == name).expect("a site");
    Some(Plan::new().in_loops().fail(site, Fault::Short, nth, 1).inject())
}

fn say(what: &str) {
    println!("\n{what}");
    io::stdout().flush().expect("a pipe");
}

/// Echoes until it is killed, or its killer is gone.
#[test]
fn a_server() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let (handles, ends) = (channel().0, channel().0);
    let options = LoopOptions { linger_limit: Duration::from_millis(20), ..LoopOptions::default() };
    let accept = Accept::OneLoop(Placement::RoundRobin);
    let builder = Server::builder().loops(2).accept(accept).options(options);
    let server = builder
        .bind(&Address::resolve(&address).expect("an address"), actors(handles, ends))
        .expect("nobody else listens there");
    let short = short();
    say(&format!("listening at {}", server.address()));
    // The killer says nothing. Should it go, so does its victim.
    drop(io::stdin().read(&mut [0]));
    drop((short, server));
}

/// Calls through the library until it is killed.
#[test]
fn a_caller() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let address = Address::resolve(&address).expect("an address");
    let loops = callers::loops();
    let _short = short();
    say("at work");
    while callers::visit(&loops.dialer(), &address, 1).is_some_and(|calls| calls.failed == 0) {}
    panic!("the server is there, and answers");
}

/// The steps of a client.
pub(super) const CLIENT_STEPS: [&str; 9] = [
    "begun",
    "connected",
    "half a header sent",
    "half a payload sent",
    "a request sent",
    "half a reply received",
    "a reply received",
    "several requests sent",
    "half-closed",
];

/// Says where the client is.
struct Whereabouts {
    file: File,
    kill: Option<(usize, u64)>,
}

impl Whereabouts {
    fn step(&mut self, step: usize) {
        write_down(&self.file, CLIENT_STEPS[step]).expect("the killer's file");
        if let Some((last, survive)) = &mut self.kill
            && *last == step
        {
            match survive.checked_sub(1) {
                Some(less) => *survive = less,
                None => die(),
            }
        }
    }
}

/// Asks until it is killed.
#[test]
fn a_client() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let address = Address::resolve(&address).expect("an address");
    let path = env::var_os(STEPS).expect("a file for steps");
    let file = File::options().write(true).open(path).expect("a file for steps");
    let kill = pair(CLIENT_KILL).map(|(step, survive)| (step.parse().expect("a step"), survive));
    let mut at = Whereabouts { file, kill };
    say("at work");
    loop {
        visit(&address, &mut at).expect("the server is there");
    }
}

/// One connection, from its beginning to its end.
fn visit(address: &Address, at: &mut Whereabouts) -> io::Result<()> {
    let message = payload(1, 20_000);
    let header = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let mut client = Client::connect(address)?;
    at.step(1);
    client.stream.write_all(&header[..2])?;
    at.step(2);
    client.stream.write_all(&header[2..])?;
    client.stream.write_all(&message[..10_000])?;
    at.step(3);
    client.stream.write_all(&message[10_000..])?;
    at.step(4);
    let mut half = [0; 10_000];
    client.stream.read_exact(&mut half)?;
    at.step(5);
    let mut rest = [0; 10_004];
    client.stream.read_exact(&mut rest)?;
    assert!(half[4..] == message[..9996] && rest == message[9996..], "a reply as it should be");
    at.step(6);
    let small = payload(2, 100);
    (0..5).try_for_each(|_| client.request(&small))?;
    at.step(7);
    (0..5).try_for_each(|_| client.expect(&small))?;
    client.request(&small)?;
    client.stream.shutdown(Shutdown::Write)?;
    at.step(8);
    client.expect(&small)?;
    client.drain()
}
