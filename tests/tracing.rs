//! What a loop tells the crate `tracing`.
#![expect(clippy::disallowed_types, reason = "what a test collects is no part of the library")]

use std::io::{Read as _, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use linkpoll::net::{Address, Server};
use linkpoll::service::{Flow, Handler, Io, Peer};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Panicking;

impl Handler for Panicking {
    fn data(&mut self, _io: &mut Io<'_>) -> Flow {
        std::panic::resume_unwind(Box::new(()))
    }
}

/// A connection's way from its opening to its reason to close, and a loop's end, can be followed.
#[test]
fn a_connection_and_its_loop_can_be_followed() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let address = Address::resolve("127.0.0.1:0").expect("an address");
    let server = Server::builder().loops(1).bind(&address, |_: &Peer| Panicking).expect("a server");
    let mut client = TcpStream::connect(server.address().to_string()).expect("somebody listens");
    let peer = client.local_addr().expect("an address").to_string();
    client.write_all(b"boom").expect("it is taken");
    // A reset or an end: either way it is over.
    drop(client.read(&mut [0; 1]));
    server.stopper().stop();
    server.join().expect("the server ends");
    let text = String::from_utf8(lines.0.lock().expect("nobody panics with it").clone()).expect("text");
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what:?} is not in:\n{text}"));
    let way = ["opened", "a handler panicked", "closed", "draining", "a loop has ended"];
    assert!(way.map(place).is_sorted(), "{text}");
    assert!(text.matches(&peer).count() >= 2, "the peer is named:\n{text}");
}
