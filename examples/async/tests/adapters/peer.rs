//! The other end: an ordinary socket. In a file of its own, because the traits of `std` and those of async code have
//! methods of the same names.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

pub(crate) fn send(mut peer: &TcpStream, bytes: &[u8]) {
    peer.write_all(bytes).expect("it is read");
}

pub(crate) fn receive_all(mut peer: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("an orderly end");
    received
}
