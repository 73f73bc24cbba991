//! What one wait costs when a descriptor is ready, at timeout 0 and at timeout -1: the question behind the spin
//! policy "once". `cargo bench --bench epoll_wait`.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use divan::{Bencher, black_box};
use linkpoll::driver::epoll::{Interest, Kernel as _, Linux};

fn main() {
    divan::main();
}

fn wait(bencher: Bencher<'_, '_>, timeout: i32) {
    let (mut near, far) = UnixStream::pair().expect("a socket pair");
    near.write_all(b"x").expect("room for a byte");
    let mut kernel = Linux::new().expect("an epoll instance");
    kernel
        .watch(far.as_fd(), 1, Interest { receive: true, send: false, edge: false })
        .expect("it can be watched");
    let mut ready = Vec::with_capacity(64);
    bencher.bench_local(|| assert_eq!(kernel.wait(black_box(&mut ready), timeout).expect("it waits"), 1));
}

/// Looks, and finds the descriptor ready.
#[divan::bench]
fn ready_timeout_0(bencher: Bencher<'_, '_>) {
    wait(bencher, 0);
}

/// Would sleep, but finds the descriptor ready.
#[divan::bench]
fn ready_timeout_forever(bencher: Bencher<'_, '_>) {
    wait(bencher, -1);
}

/// Looks, and finds nothing: what a spin costs each time.
#[divan::bench]
fn nothing_timeout_0(bencher: Bencher<'_, '_>) {
    let mut kernel = Linux::new().expect("an epoll instance");
    let mut ready = Vec::with_capacity(64);
    bencher.bench_local(|| assert_eq!(kernel.wait(black_box(&mut ready), 0).expect("it waits"), 0));
}

/// A system call that does nothing, for comparison.
#[divan::bench]
fn system_call(bencher: Bencher<'_, '_>) {
    let null = File::open("/dev/null").expect("there is a null device");
    bencher.bench_local(|| black_box(read_nothing(&null)));
}

fn read_nothing(file: &File) -> usize {
    use std::io::Read as _;
    let mut file = file;
    file.read(&mut [0; 1]).expect("the null device reads as empty")
}
