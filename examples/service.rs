//! A typed service whose calls may block: `cargo run --example service`.
//!
//! The codec knows how requests and replies look, the service answers them, and a pool of threads makes the calls, so
//! one that sleeps holds up nobody. Replies leave in the order of their requests all the same: the protocol has nothing
//! else that says which is which.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use linkpoll::buffer::{Chain, SegmentWriter};
use linkpoll::net::{Address, Server};
use linkpoll::service::{
    Codec, Cut, Dispatch, Frame, HandlerError, Reply, Serve, Service, Tagged, Unanswered, WorkPool,
};

/// What a client may ask for.
enum Request {
    Sum(Vec<i64>),
    Sleep(Duration),
    Crash,
}

/// Requests are words in a frame, replies are texts in a frame.
#[derive(Default)]
struct Words {
    frame: Frame,
}

impl Codec for Words {
    type In = Request;
    type Out = String;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<Tagged<Self>>, HandlerError> {
        let mut payload = match self.frame.cut(input)? {
            Cut::Message(payload) => payload,
            Cut::Missing(bytes) => return Ok(Cut::Missing(bytes)),
        };
        let text = str::from_utf8(payload.contiguous()?)?;
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let request = match verb {
            "sum" => Request::Sum(rest.split(' ').map(str::parse).collect::<Result<_, _>>()?),
            "sleep" => Request::Sleep(Duration::from_millis(rest.parse()?)),
            "crash" => Request::Crash,
            // Ends the connection, behind the replies to what was asked before.
            _ => return Err(format!("there is no `{verb}`").into()),
        };
        Ok(Cut::Message(((), request)))
    }

    fn put((): (), out: String, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        Ok(Frame::put(out.as_bytes(), to)?)
    }

    fn unanswered((): &(), why: Unanswered) -> Option<String> {
        Some(format!("no answer: {why:?}"))
    }
}

struct Calculator;

impl Service<Words> for Calculator {
    fn call(&self, request: Request, reply: Reply<'_, Words>) {
        match request {
            Request::Sum(numbers) => reply.send(numbers.iter().sum::<i64>().to_string()),
            Request::Sleep(time) => {
                thread::sleep(time);
                reply.send("awake".into());
            }
            Request::Crash => std::panic::resume_unwind(Box::new("on request")),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = Serve::new(Words::default, Calculator).dispatch(Dispatch::Pool(WorkPool::new(4)?));
    let server = Server::builder().loops(1).bind(&Address::resolve("127.0.0.1:0")?, service)?;

    let mut client = TcpStream::connect(server.address().to_string())?;
    for request in ["sleep 20", "sum 1 2 3", "crash", "sum 40 2", "dance"] {
        client.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
        client.write_all(request.as_bytes())?;
    }
    for expected in ["awake", "6", "no answer: Panicked", "42"] {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut reply = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        client.read_exact(&mut reply)?;
        assert_eq!(str::from_utf8(&reply)?, expected);
    }
    assert_eq!(client.read(&mut [0])?, 0, "the bad request has ended the connection");

    server.stopper().stop();
    server.join()?;
    println!("each request had its outcome, in order");
    Ok(())
}
