//! Dials a server, and makes typed calls from several threads over one connection.
//!
//! The protocol is a codec: requests are numbers, replies their squares, eight bytes each. Everything is checked.

use std::thread;
use std::time::Duration;

use linkpoll::buffer::{Chain, SegmentWriter};
use linkpoll::net::{Address, Loops, Server};
use linkpoll::service::{
    CallError, Client, ClientOptions, Codec, Cut, Flow, Handler, HandlerError, Io, Peer,
};

/// Numbers of eight bytes, in the order of their requests.
struct Numbers;

impl Codec for Numbers {
    type In = u64;
    type Out = u64;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<((), u64)>, HandlerError> {
        if input.len() < 8 {
            return Ok(Cut::Missing(8 - input.len()));
        }
        let mut number = [0; 8];
        number.copy_from_slice(input.next(8)?);
        Ok(Cut::Message(((), u64::from_be_bytes(number))))
    }

    fn put(_: (), number: u64, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        Ok(to.write(&number.to_be_bytes())?)
    }
}

/// The server's side, as a plain handler.
struct Squares;

impl Handler for Squares {
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        match self.answer(io) {
            Ok(()) => Flow::Continue,
            Err(error) => Flow::Abort(error),
        }
    }
}

impl Squares {
    fn answer(&mut self, io: &mut Io<'_>) -> Result<(), HandlerError> {
        let (input, output) = io.split();
        while let Cut::Message(((), number)) = Numbers.cut(input)? {
            Numbers::put((), number * number, output)?;
        }
        Ok(())
    }
}

fn main() -> Result<(), HandlerError> {
    let server = Server::builder().loops(1).bind(&Address::resolve("127.0.0.1:0")?, |_: &Peer| Squares)?;

    // The client's loops are its own; `server.dialer()` would share the server's.
    let loops = Loops::builder().loops(1).start()?;
    let addresses = Address::resolve_all(&server.address().to_string())?;
    let client = Client::dial(&loops.dialer(), addresses, Numbers, ClientOptions::default()).wait()?;

    thread::scope(|scope| {
        for first in [0, 1000, 2000] {
            let client = client.clone();
            scope.spawn(move || {
                // All hundred are under way before the first is awaited.
                let calls: Vec<_> =
                    (first..first + 100).map(|number| (number, client.call(number))).collect();
                for (number, call) in calls {
                    assert_eq!(call.wait_for(Duration::from_secs(10)).expect("a reply"), number * number);
                }
            });
        }
    });

    // When the server stops, calls end with an error that says whether they were sent.
    server.stopper().stop();
    server.join()?;
    let error = client.call(1).wait().expect_err("nobody is there");
    assert!(matches!(error, CallError::NotSent | CallError::Closed(_)));
    println!("300 calls over one connection; then: {error}");
    Ok(())
}
