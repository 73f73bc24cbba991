//! Calls, one and many, small and large.

use std::time::Duration;

use linkpoll::buffer::{Chain, SegmentWriter};
use linkpoll::reactor::Spin;
use linkpoll::service::{Client, ClientOptions, Codec, Cut, HandlerError, MakeHandler, Reply, Serve};
use linkpoll_shm::ShmOptions;

use crate::bed::{Path, loops, server};

/// Messages of bytes behind their length.
pub(crate) struct Bytes;

impl Codec for Bytes {
    type In = Vec<u8>;
    type Out = Vec<u8>;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<((), Vec<u8>)>, HandlerError> {
        if input.len() < 4 {
            return Ok(Cut::Missing(4 - input.len()));
        }
        let mut len = [0; 4];
        len.copy_from_slice(input.peek(4)?);
        let len = u32::from_le_bytes(len) as usize;
        if input.len() < 4 + len {
            return Ok(Cut::Missing(4 + len - input.len()));
        }
        input.skip(4)?;
        let message = input.split_to(len)?;
        let mut bytes = Vec::with_capacity(len);
        message.segments().for_each(|segment| bytes.extend_from_slice(segment));
        Ok(Cut::Message(((), bytes)))
    }

    fn put(_: (), bytes: Vec<u8>, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        to.write(&u32::try_from(bytes.len())?.to_le_bytes())?;
        Ok(to.write(&bytes)?)
    }
}

pub(crate) fn pattern(n: usize, seed: usize) -> Vec<u8> {
    (0..n).map(|at| u8::try_from((at * 31 + seed) % 251).unwrap_or_default()).collect()
}

/// Answers each message with itself.
pub(crate) fn echo() -> impl MakeHandler {
    Serve::function(|| Bytes, |message: Vec<u8>, reply: Reply<'_, Bytes>| reply.send(message))
}

fn exchange(name: &str, spin: Spin, sizes: &[usize], depth: usize) {
    exchange_with(name, spin, sizes, depth, |_| {});
}

/// Calls, `depth` at a time; `look` is called when all are answered, and the server still runs.
pub(crate) fn exchange_with(name: &str, spin: Spin, sizes: &[usize], depth: usize, look: impl FnOnce(&Path)) {
    let path = Path::new(name);
    let options = ShmOptions::default();
    let server = server(&path, &options, spin, echo());
    let loops = loops(&options, spin);
    let client = Client::dial(&loops.dialer(), vec![path.address()], Bytes, ClientOptions::default())
        .wait()
        .expect("a session");
    for (number, sizes) in sizes.chunks(depth).enumerate() {
        let calls: Vec<_> = sizes
            .iter()
            .map(|&size| {
                let message = pattern(size, number);
                (client.call(message.clone()), message)
            })
            .collect();
        for (call, message) in calls {
            let reply = call.wait_for(Duration::from_secs(60)).expect("a reply");
            assert!(reply == message, "{} bytes came back as {}", message.len(), reply.len());
        }
    }
    look(&path);
    drop(client);
    loops.stopper().stop_now();
    loops.join().expect("loops end");
    server.stopper().stop_now();
    server.join().expect("the server ends");
}

#[test]
fn a_call_is_answered() {
    exchange("one", Spin::Never, &[5], 1);
}

#[test]
fn calls_are_answered_one_after_the_other() {
    exchange("successive", Spin::Never, &[0, 1, 7, 8, 1024, 4096, 8191, 65536], 1);
}

#[test]
fn many_calls_are_answered_in_order() {
    exchange("many", Spin::Adaptive, &[100; 1000], 100);
}

#[test]
fn messages_larger_than_the_ring_come_through() {
    exchange("large", Spin::Once, &[100_000, 1_000_000, 3_000_000, 1, 500_000], 5);
}
