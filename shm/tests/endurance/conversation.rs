//! What a client does in a soak: calls of random sizes, several at once, whose replies are kept for a while.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::buffer::Chain;
use linkpoll::net::{Address, Dialer};
use linkpoll::service::{Call, Client, Frame};
use linkpoll::stream::Options;

use crate::bed::{Message, PATIENCE, Random, dial, until};
use crate::between::Busy;

/// How messages are chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// The longest message.
    pub(crate) longest: usize,
    /// The most calls at once.
    pub(crate) deepest: usize,
    /// The most bytes of replies that are kept.
    pub(crate) kept: usize,
}

/// What went through a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sessions: u64,
    pub(crate) messages: u64,
    /// In each direction, with what stands in front of messages.
    pub(crate) bytes: u64,
}

impl Tally {
    fn count(&mut self, message: Message) {
        self.messages += 1;
        self.bytes += (Message::LENGTH + Message::HEAD + message.len) as u64;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// Calls until `end`; then everything that is under way comes in.
pub(crate) fn converse(
    dialer: &Dialer,
    address: &Address,
    style: Style,
    busy: &Busy,
    random: &mut Random,
    end: Instant,
) -> Tally {
    let client = dial(dialer, address);
    let mut tally = Tally { sessions: 1, ..Tally::default() };
    let mut under_way: VecDeque<(Call<Chain>, Message)> = VecDeque::new();
    let mut kept = Kept::default();
    while Instant::now() < end {
        let depth = 1 + random.below(style.deepest);
        while under_way.len() < depth {
            let message = Message { number: random.next(), len: random.len(style.longest) };
            under_way.push_back((call(&client, message, busy), message));
            tally.count(message);
        }
        answer(&mut under_way, &mut kept, busy);
        kept.let_go(style.kept, random);
        if random.below(20) == 0 {
            thread::sleep(Duration::from_micros(random.next() % 3000));
        }
    }
    while !under_way.is_empty() {
        answer(&mut under_way, &mut kept, busy);
    }
    kept.let_go(0, random);
    client.close();
    until("it is closed", || !client.handle().is_active());
    tally
}

fn call(client: &Client<Frame>, message: Message, busy: &Busy) -> Call<Chain> {
    busy.begin();
    client.call(message.chain())
}

/// Waits for the next reply: they come in the order of the calls.
fn answer(under_way: &mut VecDeque<(Call<Chain>, Message)>, kept: &mut Kept, busy: &Busy) {
    let Some((call, message)) = under_way.pop_front() else { return };
    let reply = call.wait_for(PATIENCE).unwrap_or_else(|error| panic!("{message:?}: {error}"));
    busy.end();
    kept.bytes += reply.len();
    kept.replies.push((reply, message));
}

/// Replies that are looked at later: nobody may have written over them.
#[derive(Default)]
struct Kept {
    replies: Vec<(Chain, Message)>,
    bytes: usize,
}

impl Kept {
    /// Lets some go: all, one day.
    fn let_go(&mut self, most: usize, random: &mut Random) {
        while !self.replies.is_empty() && (self.bytes > most || random.below(3) > 0) {
            let (reply, message) = self.replies.swap_remove(random.below(self.replies.len()));
            message.check(&reply);
            self.bytes -= reply.len();
        }
    }
}

/// A stream that ends its own direction behind its messages, and then reads to the end.
pub(crate) fn half_close(dialer: &Dialer, address: &Address, random: &mut Random) -> Tally {
    let connecting = dialer.dial_stream([address.clone()], Options::default());
    let mut stream = connecting.wait().expect("a session");
    let mut tally = Tally { sessions: 1, ..Tally::default() };
    let mut sent = Vec::new();
    for _ in 0..random.below(6) {
        let message = Message { number: random.next(), len: random.len(20_000) };
        let bytes = message.write();
        sent.extend(u32::try_from(bytes.len()).expect("a short message").to_be_bytes());
        sent.extend(bytes);
        tally.count(message);
    }
    stream.reader().set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.writer().set_write_timeout(Some(PATIENCE)).expect("not zero");
    stream.write_all(&sent).expect("room");
    stream.writer().end();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("an orderly end");
    assert!(received == sent, "{} bytes came back as {}", sent.len(), received.len());
    tally
}
