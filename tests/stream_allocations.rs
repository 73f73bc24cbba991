//! What a message through a stream allocates: nothing.
#![expect(unsafe_code, reason = "an allocator that counts")]
#![expect(clippy::disallowed_types, reason = "an allocator cannot use the core's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use linkpoll::net::{Address, Server};
use linkpoll::stream::{self, Stream};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system's allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // ORDERING: Relaxed, here and below: a count, compared on the thread that has made the allocations.
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A thousand messages of 1 KiB there and back cost no more allocations than a hundredth of them.
#[test]
fn a_message_allocates_nothing() {
    const MESSAGES: u64 = 1000;
    let hand_off = stream::hand_off(|mut stream: Stream| {
        std::thread::spawn(move || {
            let mut message = [0; 1024];
            while stream.read_exact(&mut message).is_ok() {
                stream.write_all(&message).expect("room");
            }
        });
    });
    let address = Address::Tcp(([127, 0, 0, 1], 0).into());
    let server = Server::builder().loops(1).bind(&address, hand_off).expect("a server");
    let mut client = TcpStream::connect(server.address().to_string()).expect("it listens");
    let mut round = || {
        for _ in 0..MESSAGES {
            client.write_all(&[7; 1024]).expect("room");
            client.read_exact(&mut [0; 1024]).expect("an answer");
        }
    };
    round();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    round();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(allocations < MESSAGES / 100, "{allocations} allocations for {MESSAGES} messages");
}
