//! A client that does not notice that others die.

use std::thread::{self, JoinHandle};

use linkpoll::net::{Address, Dialer};
use linkpoll::sync::{Arc, AtomicBool, Ordering};

use crate::bed::{dial, echo, payload};

/// Calls again and again, until it is told to stop. Answers how many calls it has made.
pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Bystander {
    pub(crate) fn start(dialer: Dialer, address: Address) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let client = dial(&dialer, &address).expect("the server is there");
        let thread = thread::spawn(move || {
            let mut calls = 0;
            // ORDERING: Relaxed, no partner: it stops a little later otherwise.
            while !told.load(Ordering::Relaxed) {
                // Small ones: what a session holds of the kernel does not change then.
                let size = [100, 1, 3000, 0][usize::try_from(calls % 4).expect("an index")];
                echo(&client, &payload(calls, size)).expect("a bystander does not notice");
                calls += 1;
                thread::sleep(std::time::Duration::from_micros(500));
            }
            client.close();
            calls
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> u64 {
        // ORDERING: see above.
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every reply as it should be")
    }
}
