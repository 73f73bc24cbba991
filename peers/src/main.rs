//! Round trips of other libraries and of ours, in one run: `cargo run --release --locked`.

use std::hint::spin_loop;
use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;
use iceoryx2::port::client::Client;
use iceoryx2::port::server::Server;
use iceoryx2::prelude::*;
use linkpoll::reactor::Spin;
use linkpoll_shm::channel::{Channel, Listener, Options};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const LEN: usize = 1024;
const SLICES: usize = 300;
const TRIPS: usize = 3000;
/// Of each slice, so many round trips are not counted: the caches are still the other one's.
const WARM: usize = 16;

type Payload = [u8; LEN];

/// One side of one way to call. It lives on its own thread.
trait Caller {
    /// Sends a request of this byte, and answers which byte the reply has.
    fn call(&mut self, byte: u8) -> u8;
}

trait Answerer {
    /// Receives a request, and answers it with the next byte.
    fn answer(&mut self);
}

/// Reads every byte.
fn check(bytes: &[u8]) -> u8 {
    let differs = bytes.iter().fold(0, |all, byte| all | (byte ^ bytes[0]));
    assert_eq!(differs, 0, "the bytes are one message's");
    bytes[0]
}

struct Theirs<S: iceoryx2::service::Service>(Client<S, Payload, (), Payload, ()>);

impl Caller for Theirs<ipc::Service> {
    fn call(&mut self, byte: u8) -> u8 {
        let mut request = self.0.loan_uninit().expect("a loan");
        // SAFETY: it is that long.
        unsafe { request.payload_mut().as_mut_ptr().cast::<u8>().write_bytes(byte, LEN) };
        // SAFETY: all of it was just written.
        let pending = unsafe { request.assume_init() }.send().expect("a server");
        loop {
            if let Some(response) = pending.receive().expect("a server") {
                return check(response.payload());
            }
            spin_loop();
        }
    }
}

struct TheirServer(Server<ipc::Service, Payload, (), Payload, ()>);

impl Answerer for TheirServer {
    fn answer(&mut self) {
        loop {
            if let Some(request) = self.0.receive().expect("a client") {
                let byte = check(request.payload()).wrapping_add(1);
                let mut response = request.loan_uninit().expect("a loan");
                // SAFETY: it is that long.
                unsafe { response.payload_mut().as_mut_ptr().cast::<u8>().write_bytes(byte, LEN) };
                // SAFETY: all of it was just written.
                unsafe { response.assume_init() }.send().expect("a client");
                return;
            }
            spin_loop();
        }
    }
}

/// Ours, in place where that is possible.
struct InPlace(Channel, Payload);

impl InPlace {
    fn send(&mut self, byte: u8) {
        let mut room = self.0.reserve(LEN).expect("somebody reads");
        room.bytes().fill(byte);
        room.stage();
        self.0.flush().expect("a session");
    }

    fn receive(&mut self) -> u8 {
        let bytes = &mut self.1;
        self.0.recv_with(|message| message.copy_to(0, bytes)).expect("an honest peer").expect("no end");
        check(&self.1)
    }
}

impl Caller for InPlace {
    fn call(&mut self, byte: u8) -> u8 {
        self.send(byte);
        self.receive()
    }
}

impl Answerer for InPlace {
    fn answer(&mut self) {
        let byte = self.receive();
        self.send(byte.wrapping_add(1));
    }
}

/// Ours, from a buffer and into one.
struct Buffers(Channel, Payload, Vec<u8>);

impl Buffers {
    fn send(&mut self, byte: u8) {
        self.1.fill(byte);
        self.0.send(&self.1).expect("somebody reads");
    }

    fn receive(&mut self) -> u8 {
        self.0.recv(&mut self.2).expect("an honest peer").expect("no end");
        check(&self.2)
    }
}

impl Caller for Buffers {
    fn call(&mut self, byte: u8) -> u8 {
        self.send(byte);
        self.receive()
    }
}

impl Answerer for Buffers {
    fn answer(&mut self) {
        let byte = self.receive();
        self.send(byte.wrapping_add(1));
    }
}

const NAMES: [&str; 3] = ["iceoryx2, request-response", "channel", "channel, buffers"];

fn main() {
    pin(0);
    let name = format!("linkpoll/{}", std::process::id());
    let path =
        |number: usize| std::env::temp_dir().join(format!("linkpoll-peers-{}-{number}", std::process::id()));
    let options = Options { spin: Spin::Always, ..Options::default() };
    let server = thread::spawn({
        let (name, options) = (name.clone(), options.clone());
        move || {
            pin(1);
            let node = NodeBuilder::new().create::<ipc::Service>().expect("a node");
            let service = node
                .service_builder(&name.as_str().try_into().expect("a name"))
                .request_response::<Payload, Payload>()
                .open_or_create()
                .expect("a service");
            let theirs = TheirServer(service.server_builder().create().expect("a server"));
            let [first, second] = [0, 1].map(|number| {
                let mut listener = Listener::bind(path(number), &options).expect("a listener");
                let channel = listener.accept().expect("a channel");
                drop(std::fs::remove_file(path(number)));
                channel
            });
            let mut ways: [Box<dyn Answerer>; 3] = [
                Box::new(theirs),
                Box::new(InPlace(first, [0; LEN])),
                Box::new(Buffers(second, [0; LEN], Vec::new())),
            ];
            for _ in 0..SLICES {
                for way in &mut ways {
                    (0..TRIPS + WARM).for_each(|_| way.answer());
                }
            }
        }
    });
    let node = NodeBuilder::new().create::<ipc::Service>().expect("a node");
    let [first, second] = [0, 1].map(|number| {
        loop {
            // Until the other side listens.
            match Channel::connect(path(number), &options) {
                Ok(channel) => return channel,
                Err(_) => thread::yield_now(),
            }
        }
    });
    let service = node
        .service_builder(&name.as_str().try_into().expect("a name"))
        .request_response::<Payload, Payload>()
        .open_or_create()
        .expect("a service");
    let theirs = Theirs(service.client_builder().create().expect("a client"));
    let mut ways: [Box<dyn Caller>; 3] = [
        Box::new(theirs),
        Box::new(InPlace(first, [0; LEN])),
        Box::new(Buffers(second, [0; LEN], Vec::new())),
    ];
    let histogram = || Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3).expect("possible bounds");
    let mut all = NAMES.map(|_| histogram());
    let mut slices = NAMES.map(|_| Vec::new());
    for _ in 0..SLICES {
        for ((way, all), medians) in ways.iter_mut().zip(&mut all).zip(&mut slices) {
            let mut slice = histogram();
            for number in 0..TRIPS + WARM {
                let byte = number.to_le_bytes()[0];
                let begin = Instant::now();
                let reply = way.call(byte);
                let time = begin.elapsed();
                assert_eq!(reply, byte.wrapping_add(1), "the reply to this request");
                if number >= WARM {
                    slice.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
                }
            }
            medians.push(slice.value_at_quantile(0.5) as f64);
            all.add(&slice).expect("the same bounds");
        }
    }
    server.join().expect("no panic");
    println!("{LEN} bytes there and back, {SLICES} slices of {TRIPS}, us");
    println!("{:<30} {:>7} {:>7} {:>7}   median of the ratios of p50", "", "p50", "p90", "p99");
    for ((name, all), medians) in NAMES.iter().zip(&all).zip(&slices) {
        let mut ratios: Vec<f64> = medians.iter().zip(&slices[0]).map(|(own, first)| own / first).collect();
        ratios.sort_by(f64::total_cmp);
        let us = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
        println!(
            "{name:<30} {:>7.3} {:>7.3} {:>7.3}   {:.2}",
            us(0.5),
            us(0.9),
            us(0.99),
            ratios[SLICES / 2]
        );
    }
}

/// Pins this thread to the first (0) or the last (1) processor that the process may use.
fn pin(which: usize) {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    let me = Pid::from_raw(0);
    let allowed = ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(me).expect("the processors of this thread");
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect()
    });
    let cpu = if which == 0 { allowed.first() } else { allowed.last() };
    let mut set = CpuSet::new();
    if cpu.is_some_and(|cpu| set.set(*cpu).is_ok()) {
        let _ = sched_setaffinity(me, &set);
    }
}
