//! Models of a stream: the halves as they ship, and the loop's end as it ships, in a loop that has a mailbox and no
//! connection.
//!
//! A wake-up that is lost, in whichever direction, is reported as a deadlock, a segment that stays behind as a leak, a
//! segment that is read before it is published as a race. Pieces have one byte, chunks of the buffers one slot.
//!
//! MODEL: time stands still, and the transport takes everything at once.

use std::io::{self, Read as _};

use super::hand_off::ends;
use super::loop_end::{LoopEnd, Receiving};
use super::{Ended, Options, ReadHalf, WriteHalf};
use crate::buffer::{Chain, Segment};
use crate::conn::{Command, Door as _};
use crate::driver::Key;
use crate::handover::{Mailbox, Wakes};
use crate::net::Address;
use crate::reactor::Mail;
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, Bell, FakeBell, thread};

struct Ring(Arc<FakeBell>);

impl Bell for Ring {
    fn ring(&self) {
        self.0.ring();
    }
}

/// A loop, as far as one stream is concerned.
struct Loop {
    mailbox: Mailbox<Mail<()>>,
    bell: Arc<FakeBell>,
    end: LoopEnd,
    wakes: Wakes,
    paused: bool,
    sent: Vec<u8>,
    /// Somebody has waited for the transport.
    asked: bool,
}

impl Loop {
    fn new(options: Options) -> (Self, ReadHalf, WriteHalf) {
        let bell = Arc::new(FakeBell::new());
        let mailbox = Mailbox::new(Box::new(Ring(Arc::clone(&bell))));
        let peer = Address::Tcp(([127, 0, 0, 1], 1).into());
        let (end, read, write) = ends(mailbox.handle(Key::new(1, 1)), peer, options);
        (
            Self {
                mailbox,
                bell,
                end,
                wakes: Wakes::default(),
                paused: false,
                sent: Vec::new(),
                asked: false,
            },
            read,
            write,
        )
    }

    /// Sleeps until there is mail, and does what it says.
    fn turn(&mut self) {
        if self.mailbox.arm() {
            self.bell.wait();
        }
        self.mailbox.disarm();
        let mut inbox = Vec::new();
        self.mailbox.take(&mut inbox);
        for mail in inbox {
            match mail {
                Mail::Command(_, Command::Wake) => self.woken(),
                Mail::Command(_, Command::Send(_, promise)) => {
                    self.asked = true;
                    promise.fulfil(Ok(()));
                }
                _ => unreachable!("no model sends it"),
            }
        }
    }

    fn woken(&mut self) {
        self.paused &= !self.end.may_go_on();
        let chain = self.end.take(&mut self.wakes);
        chain.segments().for_each(|segment| self.sent.extend_from_slice(segment));
        self.wakes.wake_all();
    }

    /// A byte arrives, when receiving is on.
    fn receive(&mut self, byte: u8) {
        while self.paused {
            self.turn();
        }
        self.paused = self.end.arrived(piece(byte), &mut self.wakes) == Receiving::Pause;
        self.wakes.wake_all();
    }

    /// The peer has ended its direction.
    fn end(&mut self) {
        self.end.ended(&mut self.wakes);
        self.wakes.wake_all();
    }

    /// Turns until the writer has ended.
    fn take_all(&mut self) {
        while !self.end.is_written() {
            self.turn();
        }
    }
}

fn piece(byte: u8) -> Chain {
    Chain::from(Segment::from(vec![byte]))
}

/// A stream that stops at every byte.
fn narrow() -> Options {
    Options { high: 1, low: 0, ..Options::default() }
}

fn read_all(read: &mut ReadHalf) -> (Vec<u8>, Option<io::Error>) {
    let mut bytes = Vec::new();
    let outcome = read.read_to_end(&mut bytes);
    (bytes, outcome.err())
}

fn why(error: &io::Error) -> Option<Ended> {
    error.get_ref().and_then(|it| it.downcast_ref()).copied()
}

/// Y-1: bytes wake a reader, and so does their end.
///
/// The reader blocks at every moment of a push and of the end behind it. Absent: a pause (Y-3).
/// Kills: fence F3 or F4 SeqCst -> AcqRel; Release of `published` -> Relaxed; an end, or a push, that wakes nobody.
#[test]
fn bytes_and_their_end_wake_a_reader() {
    model("stream-read", Bound::Preemptions(3), || {
        let (mut it, mut read, _write) = Loop::new(Options::default());
        let reader = thread::spawn(move || read_all(&mut read));
        it.receive(7);
        it.end();
        let (bytes, error) = reader.join().unwrap();
        assert!(bytes == [7] && error.is_none());
    });
}

/// Y-2: a reader of a connection that is gone gets the bytes from before, then the reason.
///
/// Absent: an end of the stream (Y-1).
/// Kills: fence F3 or F4 SeqCst -> AcqRel; Release of the drop of `LinkWriter` -> Relaxed; a reason that is stored
/// after the buffer is severed; a loss that wakes nobody.
#[test]
fn a_reader_learns_why_its_connection_is_gone() {
    model("stream-read-gone", Bound::Preemptions(3), || {
        let (mut it, mut read, _write) = Loop::new(Options::default());
        let reader = thread::spawn(move || read_all(&mut read));
        it.receive(7);
        it.end.gone(Ended::WriteExpired);
        let (bytes, error) = reader.join().unwrap();
        assert!(bytes == [7] && why(&error.unwrap()) == Some(Ended::WriteExpired));
    });
}

/// Y-3: a loop that has paused, because the reader has too much, goes on when the reader has consumed.
///
/// The first byte pauses the loop, which then sleeps until it is woken, so the reader's report races the loop's look at
/// it. The reader stays, so nothing else helps. Absent: a reader that goes (Y-4).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a reader that reports and wakes nobody; a pause that does not look again.
#[test]
fn a_paused_loop_goes_on_when_the_reader_has_consumed() {
    model("stream-pause", Bound::Preemptions(2), || {
        let (mut it, mut read, _write) = Loop::new(Options { high: 0, ..narrow() });
        let reader = thread::spawn(move || {
            let chain = read.read_chain().unwrap();
            assert_eq!(chain.front(), [1]);
            // Who has taken so little reports it when it asks for more.
            drop(read.look());
            read
        });
        it.receive(1);
        it.receive(2);
        drop(reader.join().unwrap());
    });
}

/// Y-4: a paused loop goes on when the reader is gone, and learns it.
///
/// Kills: a reader that wakes the loop before its end of the buffer is gone; a pause that looks at bytes only.
#[test]
fn a_paused_loop_goes_on_without_its_reader() {
    model("stream-pause-gone", Bound::Preemptions(3), || {
        let (mut it, read, _write) = Loop::new(Options { high: 0, ..narrow() });
        let reader = thread::spawn(move || drop(read));
        it.receive(1);
        it.receive(2);
        while !it.end.is_read() {
            it.turn();
        }
        reader.join().unwrap();
    });
}

/// Y-5: what is written wakes the loop, and a writer that waits for room is woken when the loop has taken it.
///
/// There is room for one byte, so the second write waits for the loop, which sleeps until it is woken; then comes the
/// end, by a drop. Absent: a connection that goes (Y-6).
/// Kills: AcqRel of the signal's swaps; fence F3 or F4 SeqCst -> AcqRel; a loop that takes and wakes nobody; an end that
/// wakes nobody.
#[test]
fn a_writer_and_its_loop_wake_each_other() {
    model("stream-write", Bound::Preemptions(2), || {
        let (mut it, _read, mut write) = Loop::new(narrow());
        let writer = thread::spawn(move || {
            write.write_chain(piece(1)).unwrap();
            write.write_chain(piece(2)).unwrap();
        });
        it.take_all();
        assert_eq!(it.sent, [1, 2]);
        writer.join().unwrap();
    });
}

/// Y-6: a writer that waits for room, or writes just then, learns that the connection is gone, and why.
///
/// Kills: fence F3 or F4 SeqCst -> AcqRel; the Acquire fence of `push` -> Relaxed; a loss that wakes nobody.
#[test]
fn a_writer_learns_why_its_connection_is_gone() {
    model("stream-write-gone", Bound::Preemptions(3), || {
        let (mut it, _read, mut write) = Loop::new(narrow());
        let writer = thread::spawn(move || {
            let failed = (1..=2).find_map(|byte| write.write_chain(piece(byte)).err());
            assert_eq!(failed.as_ref().and_then(why), Some(Ended::IdleExpired));
        });
        it.end.gone(Ended::IdleExpired);
        writer.join().unwrap();
    });
}

/// Y-7: either half may go at any time, on a thread of its own: the loop learns of both, and every piece is freed once.
///
/// Absent: bytes that wait for a reader that is there (Y-1).
/// Kills: a half that is dropped and wakes nobody; a drop of the reader that wakes before its buffer is gone.
#[test]
fn either_half_may_go_at_any_time() {
    model("stream-drop", Bound::Preemptions(2), || {
        let (mut it, read, mut write) = Loop::new(Options::default());
        let halves =
            [thread::spawn(move || drop(read)), thread::spawn(move || drop(write.write_chain(piece(1))))];
        it.receive(7);
        while !(it.end.is_written() & it.end.is_read()) {
            it.turn();
        }
        assert_eq!(it.sent, [1]);
        halves.into_iter().for_each(|half| half.join().unwrap());
    });
}

/// Y-8: who waits until everything is sent waits for the loop, then for the transport, and gets on.
///
/// The writer ends its direction and waits; the loop takes the end, says so, and is asked for the transport's part.
/// Absent: a connection that goes (Y-6).
/// Kills: fence F3 or F4 SeqCst -> AcqRel; an end that is taken and wakes nobody.
#[test]
fn a_writer_can_wait_until_everything_is_sent() {
    model("stream-sent", Bound::Preemptions(2), || {
        let (mut it, _read, mut write) = Loop::new(Options::default());
        let writer = thread::spawn(move || {
            write.write_chain(piece(1)).unwrap();
            write.finish().unwrap();
        });
        while !it.asked {
            it.turn();
        }
        assert!(it.end.is_written() && it.sent == [1]);
        writer.join().unwrap();
    });
}

/// Y-16: who waits until everything is sent learns that it was, also when the connection is closed in good order just
/// then: handles know of the close before the stream does.
///
/// The loop takes everything, closes, and goes with its mailbox, while the writer is anywhere on its way. Absent: a
/// transport that takes its time (Y-8).
/// Kills: no ordering, but a writer that takes a handle that is gone for a loop that is; one that learns of the end and
/// does not look again at what was taken before it.
#[test]
fn a_writer_whose_connection_closes_in_good_order_has_sent_everything() {
    model("stream-sent-closed", Bound::Preemptions(2), || {
        let (mut it, _read, mut write) = Loop::new(Options::default());
        let handle = write.handle().clone();
        let writer = thread::spawn(move || {
            write.write_chain(piece(1)).unwrap();
            write.finish().unwrap();
        });
        it.take_all();
        handle.end();
        it.end.gone(Ended::Finished);
        drop(it);
        writer.join().unwrap();
    });
}
