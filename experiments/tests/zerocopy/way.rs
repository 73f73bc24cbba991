//! The way of lent pages: copied on delivery, lent all the way, or lost and sent again.
#![expect(unsafe_code, reason = "an option of the socket is set by address")]

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;

use super::bed::{LOOPBACK, Mode, Pair, Verdict, Xdp};
use super::*;

pub(crate) fn set_lending(fd: &OwnedFd) {
    let one: libc::c_int = 1;
    // SAFETY: the pointer is to an integer that outlives the call, and 4 is its size.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, (&raw const one).cast(), 4)
    };
    assert_eq!(result, 0, "TCP can lend");
}

/// Sends large pieces to a peer that reads, and expects all of them to have been lent.
fn all_is_lent(rig: &mut LendingRig<'_>, key: Key, mut peer: SocketPeer) {
    let stats = stats(rig);
    const ROUNDS: usize = 20;
    let reader = std::thread::spawn(move || peer.read(ROUNDS * LARGE));
    let mut released = Vec::new();
    for round in 0..ROUNDS {
        let chain = piece(round * LARGE, LARGE);
        let segment = chain.segments().next().unwrap().clone();
        let laid = Lender::default().piece(&mut rig.driver, key, segment);
        rig.driver.send(key, laid.into(), Some(Token(round as u64)));
        while !released.iter().any(|(token, _)| *token == round as u64) {
            rig.driver.wait(Some(Duration::from_millis(50))).unwrap();
            while let Some(event) = rig.driver.next() {
                if let Event::Released(token, lending) = event {
                    released.push((token.0, lending));
                }
            }
        }
    }
    assert!(reader.join().unwrap() == pattern(0, ROUNDS * LARGE), "other bytes");
    assert!(released.iter().all(|(_, lending)| *lending == Lending::Lent), "{released:?}");
    assert_eq!((stats.copied.get(), stats.copied_bytes.get()), (0, 0), "{stats:?}");
    // A small rest of a piece, for all of which there was no room, is copied.
    assert!(stats.lent_bytes.get() > (ROUNDS * LARGE * 9 / 10) as u64, "{stats:?}");
    assert_eq!(stats.lent_now(), 0);
}

/// Loopback with a program on it, in a namespace: pages are lent all the way.
#[test]
fn with_a_program_on_loopback_pages_are_lent() {
    let prepare = || {
        bed::namespace()?;
        Xdp::attach(LOOPBACK, Mode::Generic, Verdict::Pass)
    };
    bed::on("with_a_program_on_loopback_pages_are_lent", prepare, |_xdp| {
        let lender = Lender::default();
        let mut rig = Rig::new(&lender);
        let (key, peer) = rig.pair();
        all_is_lent(&mut rig, key, peer);
        rig.finish();
    });
}

/// Sends over a pair of namespaces, whose receiving side is worked off where `receive` has it.
fn over_a_pair(name: &str, receive: impl FnOnce(&Pair) -> io::Result<()> + Send) {
    let prepare = || {
        let pair = Pair::new()?;
        receive(&pair)?;
        Ok((pair.listen()?, pair))
    };
    bed::on(name, prepare, |(listener, _pair)| {
        let lender = Lender::default();
        let mut rig = Rig::new(&lender);
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let peer = SocketPeer::new(listener.accept().unwrap().0, PATIENCE);
        let key = rig.key();
        let address = Address::Tcp(SocketAddr::from((Pair::FAR, 0)));
        rig.driver.attach(key, lender.socket(stream.into(), address)).unwrap();
        all_is_lent(&mut rig, key, peer);
        rig.finish();
    });
}

/// Two namespaces, a pair of interfaces, and a program in the driver of the receiving one, which plays the network card.
#[test]
fn with_a_program_in_the_driver_pages_are_lent() {
    over_a_pair("with_a_program_in_the_driver_pages_are_lent", |_| Ok(()));
}

/// As above; the card's part is played by a thread.
#[test]
fn with_a_thread_that_receives_pages_are_lent() {
    over_a_pair("with_a_thread_that_receives_pages_are_lent", |pair| pair.receive_on(0));
}

/// Packets that are lost: their memory stays lent until they were sent again and arrived.
#[test]
fn memory_of_lost_packets_stays_lent() {
    let prepare = || {
        bed::namespace()?;
        // Whether a program can be attached at all.
        Xdp::attach(LOOPBACK, Mode::Generic, Verdict::Pass).map(drop)
    };
    bed::on("memory_of_lost_packets_stays_lent", prepare, |()| {
        let lender = Lender::default();
        let mut rig = Rig::new(&lender);
        let stats = stats(&mut rig);
        let (key, peer) = rig.pair();
        let hole = Xdp::attach(LOOPBACK, Mode::Generic, Verdict::Drop).unwrap();
        rig.send_chain(key, piece(0, LARGE), Some(1));
        rig.linger(MOMENT * 4);
        assert_eq!((stats.lent_now(), rig.tokens.len()), (LARGE as u64, 1), "{stats:?}");
        scribble(rig.driver.pool());
        drop(hole);
        let reader = reads(peer, LARGE);
        rig.until("the memory is back", |rig| rig.tokens.is_empty());
        assert!(reader.join().unwrap().1 == pattern(0, LARGE), "bytes of somebody else");
        rig.finish();
    });
}
