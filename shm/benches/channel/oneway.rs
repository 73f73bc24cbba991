//! Bytes in one direction, as many as there are.

use std::hint::spin_loop;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use linkpoll::reactor::Spin;
use linkpoll::sync::Arc;
use linkpoll_shm::channel::Channel;
use linkpoll_shm::handshake::Doorbell;
use linkpoll_shm::session::{Received, Room};

use crate::floor::Slot;
use crate::report::{median, spread};
use crate::sides::{check, fill, pair, pin, sessions};

const SMALL: usize = 64;
const LARGE: usize = 1 << 20;

/// Messages per second, each written in place, and read.
pub(crate) fn small() {
    const MESSAGES: usize = 200_000;
    const SLICES: usize = 40;
    for spin in [Spin::Always, Spin::Adaptive, Spin::Never] {
        let (mut a, mut b) = pair(spin, Doorbell::Socket, 64 << 10);
        let receiver = thread::spawn(move || {
            pin(1);
            let mut bytes = [0; SMALL];
            let mut rates = Vec::new();
            for _ in 0..SLICES {
                let begin = Instant::now();
                for number in 0..MESSAGES {
                    b.recv_with(|message| message.copy_to(0, &mut bytes)).expect("an honest peer");
                    check(&bytes, number);
                }
                rates.push(MESSAGES as f64 / begin.elapsed().as_secs_f64() / 1e6);
            }
            rates
        });
        pin(0);
        for _ in 0..SLICES {
            for number in 0..MESSAGES {
                let mut room = a.reserve(SMALL).expect("somebody reads");
                fill(room.bytes(), number);
                room.stage();
                if number % 32 == 31 {
                    a.flush().expect("a session");
                }
            }
            a.flush().expect("a session");
        }
        let rates = receiver.join().expect("no panic");
        let (low, high) = spread(rates.clone());
        let sent = a.counters().records_sent;
        println!(
            "channel, {spin:?}: {:.1} million/s ({low:.1} to {high:.1}); {} doorbells for {sent}: one for {}",
            median(rates),
            a.counters().doorbells_sent,
            sent / a.counters().doorbells_sent.max(1)
        );
    }
}

type Send = Box<dyn FnMut(&[u8]) + std::marker::Send>;
type Receive = Box<dyn FnMut(&mut Vec<u8>) + std::marker::Send>;

/// One way to move bytes; each side is used by a thread of its own.
trait Way {
    fn name(&self) -> String;
    fn ends(&self) -> (Send, Receive);
}

/// Two processors that copy, through `N` slots.
struct Pipeline<const LEN: usize, const N: usize>;

impl<const LEN: usize, const N: usize> Way for Pipeline<LEN, N> {
    fn name(&self) -> String {
        format!("floor: copies through {N} slots of {} KiB", LEN >> 10)
    }

    fn ends(&self) -> (Send, Receive) {
        let slots: Arc<[Slot<LEN>; N]> = Arc::new([(); N].map(|()| Slot::new()));
        let (mut sent, mut received) = (0, 0);
        let to = Arc::clone(&slots);
        let send = move |message: &[u8]| {
            for piece in message.chunks(LEN) {
                let slot = &to[sent % N];
                slot.wait(sent / N * 2);
                slot.put(sent / N * 2 + 1, piece);
                sent += 1;
            }
        };
        let receive = move |message: &mut Vec<u8>| {
            for piece in message.chunks_mut(LEN) {
                let slot = &slots[received % N];
                slot.wait(received / N * 2 + 1);
                slot.take(piece);
                slot.done(received / N * 2 + 2);
                received += 1;
            }
        };
        (Box::new(send), Box::new(receive))
    }
}

struct Ours(Spin, u32);

impl Way for Ours {
    fn name(&self) -> String {
        format!("channel, {:?}, {} KiB", self.0, self.1 >> 10)
    }

    fn ends(&self) -> (Send, Receive) {
        let (mut a, mut b): (Channel, Channel) = pair(self.0, Doorbell::Socket, self.1);
        let send = move |message: &[u8]| a.send(message).expect("somebody reads");
        let receive = move |message: &mut Vec<u8>| {
            b.recv(message).expect("an honest peer");
        };
        (Box::new(send), Box::new(receive))
    }
}

/// A session of a stream, which lends what is large.
struct Lending;

/// How often a side looks at the ring before it looks at the socket, where arenas are shown.
const LOOKS: usize = 64;

impl Way for Lending {
    fn name(&self) -> String {
        "session, lending".to_string()
    }

    fn ends(&self) -> (Send, Receive) {
        let (mut a, mut b) = sessions();
        let mut spare = vec![0; b.least_room()];
        let send = move |mut message: &[u8]| {
            for look in 1.. {
                a.send(&mut message).expect("somebody reads");
                if message.is_empty() {
                    break;
                }
                if look % LOOKS == 0 {
                    a.listen().expect("a session");
                }
                spin_loop();
            }
        };
        let receive = move |message: &mut Vec<u8>| {
            let mut got = 0;
            for look in 1.. {
                let left = message.len() - got;
                if left == 0 {
                    break;
                }
                let mut room = Room { first: &mut message[got..], second: &mut spare };
                match b.receive(&mut room, left).expect("an honest peer") {
                    Received::Copied(n) => got += n,
                    Received::Nothing => spin_loop(),
                    other => panic!("{other:?} in a stream of bytes"),
                }
                if look % LOOKS == 0 {
                    b.listen().expect("a session");
                }
            }
        };
        (Box::new(send), Box::new(receive))
    }
}

struct Socket;

impl Way for Socket {
    fn name(&self) -> String {
        "Unix socket, blocking".to_string()
    }

    fn ends(&self) -> (Send, Receive) {
        let (mut a, mut b) = UnixStream::pair().expect("sockets");
        let send = move |message: &[u8]| a.write_all(message).expect("somebody reads");
        let receive = move |message: &mut Vec<u8>| b.read_exact(message).expect("an honest peer");
        (Box::new(send), Box::new(receive))
    }
}

/// Bytes per second of large messages.
pub(crate) fn large() {
    const SLICES: usize = 100;
    const MESSAGES: usize = 12;
    let ways: [&dyn Way; 8] = [
        &Pipeline::<8192, 8>,
        &Pipeline::<16384, 16>,
        &Pipeline::<{ 64 << 10 }, 4>,
        &Socket,
        &Ours(Spin::Always, 64 << 10),
        &Ours(Spin::Always, 256 << 10),
        &Ours(Spin::Adaptive, 256 << 10),
        &Lending,
    ];
    let (mut senders, mut receivers): (Vec<_>, Vec<_>) = ways.iter().map(|way| way.ends()).unzip();
    let receiver = thread::spawn(move || {
        pin(1);
        let mut bytes = vec![0; LARGE];
        let mut rates = vec![Vec::new(); receivers.len()];
        for _ in 0..SLICES {
            for (receive, rates) in receivers.iter_mut().zip(&mut rates) {
                // The first one only says that the other side has begun.
                receive(&mut bytes);
                let begin = Instant::now();
                (0..MESSAGES).for_each(|_| receive(&mut bytes));
                rates.push((MESSAGES * LARGE) as f64 / begin.elapsed().as_secs_f64() / 1e9);
            }
        }
        rates
    });
    pin(0);
    let message = vec![7; LARGE];
    for _ in 0..SLICES {
        for send in &mut senders {
            (0..=MESSAGES).for_each(|_| send(&message));
        }
    }
    let rates = receiver.join().expect("no panic");
    println!("{:<42} {:>7}   ratio to the first (tenths 1 to 9)", "", "GB/s");
    for (way, own) in ways.iter().zip(&rates) {
        let ratios: Vec<f64> = own.iter().zip(&rates[0]).map(|(own, first)| own / first).collect();
        let (low, high) = spread(ratios.clone());
        println!(
            "{:<42} {:>7.2}   {:.2} ({low:.2} to {high:.2})",
            way.name(),
            median(own.clone()),
            median(ratios)
        );
    }
}
