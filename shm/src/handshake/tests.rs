//! The automaton against every frame, and handshakes between two ends in one thread.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::wire::{AddArena, Bulk, Control, Credentials, Frame, Hello, MAGIC, Refusal, Role, Setup};

fn pair() -> (OwnedFd, OwnedFd) {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    (one.into(), other.into())
}

fn setup(echo: u64) -> Setup {
    Setup { version: 1, features: 0, echo, ring: 64 << 10, releases: 1024, arena: 0, bulk: 0 }
}

fn hello(role: Role, nonce: u64) -> Hello {
    Hello { versions: (1, 1), features: 0, role, nonce }
}

/// Runs both ends by turns until both are over.
fn run(client: &mut Handshake, server: &mut Handshake) -> (Progress, Progress) {
    let now = Instant::now();
    let (mut one, mut other) = (client.advance(now), server.advance(now));
    let is_waiting = |progress: &Progress| matches!(progress, Progress::NeedRead | Progress::NeedWrite);
    for _ in 0..20 {
        if is_waiting(&one) {
            one = client.advance(now);
        }
        if is_waiting(&other) {
            other = server.advance(now);
        }
    }
    (one, other)
}

fn handshake(client: &Options, server: &Options) -> (Progress, Progress) {
    let (one, other) = pair();
    let now = Instant::now();
    let mut client = Handshake::client(one, client, now).expect("a client");
    let mut server = Handshake::server(other, server, now).expect("a server");
    run(&mut client, &mut server)
}

fn established(progress: Progress) -> Established {
    match progress {
        Progress::Done(established) => *established,
        other => panic!("no session: {other:?}"),
    }
}

fn error(progress: Progress) -> HandshakeError {
    match progress {
        Progress::Failed(error) => error,
        other => panic!("no error: {other:?}"),
    }
}

#[test]
fn both_sides_agree() {
    let small = Options { ring: 4 << 10, arena: 1 << 20, ..Options::default() };
    let large = Options { ring: 1 << 20, bulk: 1 << 20, ..Options::default() };
    let (client, server) = handshake(&small, &large);
    let (client, server) = (established(client), established(server));
    assert_eq!((client.role, server.role), (Role::Client, Role::Server));
    assert_eq!(client.agreed.id, server.agreed.id);
    assert_eq!((client.agreed.version, client.agreed.features), (1, 0));
    assert_eq!((client.agreed.own, client.agreed.peer), (server.agreed.peer, server.agreed.own));
    assert_eq!(client.agreed.own, Limits { ring: 4 << 10, arena: 1 << 20, bulk: 64 << 20 });
    assert_eq!(client.own.len(), layout::RING + (4 << 10));
    assert_eq!(client.peer.len(), layout::RING + (1 << 20));
    assert_eq!((client.own.len(), client.peer.len()), (server.peer.len(), server.own.len()));
    assert!(client.bells.is_none() && server.bells.is_none());
    let ours = i32::try_from(std::process::id()).unwrap();
    assert_eq!((client.credentials.process, server.credentials.process), (ours, ours));
}

#[test]
fn eventfds_are_used_when_both_want_them() {
    let with = Options { doorbell: Doorbell::EventFd, ..Options::default() };
    let (client, server) = handshake(&with, &Options::default());
    assert!(established(client).bells.is_none() && established(server).bells.is_none());

    let (client, server) = handshake(&with, &with);
    let (client, server) = (established(client), established(server));
    let (client, server) = (client.bells.expect("bells"), server.bells.expect("bells"));
    client.peer.ring().expect("it rings");
    crate::sys::wait(&server.own, false, Instant::now() + Duration::from_secs(20)).unwrap();
    let rung = nix::unistd::read(&server.own, &mut [0; 8]);
    assert_eq!(rung, Ok(8), "the server hears what the client rings");
    assert_eq!(nix::unistd::read(&client.own, &mut [0; 8]), Err(nix::errno::Errno::EAGAIN));
}

#[test]
fn what_comes_right_behind_the_handshake_is_kept() {
    let (one, other) = pair();
    let now = Instant::now();
    let mut client = Handshake::client(one, &Options::default(), now).unwrap();
    let mut server = Handshake::server(other, &Options::default(), now).unwrap();
    assert!(matches!(client.advance(now), Progress::NeedRead)); // HELLO
    assert!(matches!(server.advance(now), Progress::NeedRead)); // HELLO
    assert!(matches!(client.advance(now), Progress::NeedRead)); // SETUP
    assert!(matches!(server.advance(now), Progress::NeedRead)); // SETUP
    assert!(matches!(client.advance(now), Progress::NeedRead)); // READY
    let mut server = established(server.advance(now)); // READY
    server.control.ring().unwrap();
    server.control.send(Frame::GoAway).unwrap();
    let mut client = established(client.advance(now));
    assert!(matches!(client.control.take(), Ok(Some(Frame::Doorbell))));
    assert!(matches!(client.control.take(), Ok(Some(Frame::GoAway))));
    assert!(matches!(client.control.take(), Ok(None)));
}

#[test]
fn a_question_gets_an_answer_instead_of_a_session() {
    let (one, other) = pair();
    let mut asker = Control::new(one);
    asker.send(Frame::AskStatistics).unwrap();
    let mut server = Handshake::server(other, &Options::default(), Instant::now()).unwrap();
    let Progress::Asked(mut control) = server.advance(Instant::now()) else { panic!("no question") };
    control.send(Frame::Statistics("sessions 0\n".to_owned())).unwrap();
    drop(control);
    asker.receive().unwrap();
    let answer = asker.take().unwrap();
    assert!(matches!(answer, Some(Frame::Statistics(text)) if text == "sessions 0\n"));
}

#[test]
fn who_is_not_welcome_is_told_so() {
    let nobody = Options { policy: Policy::Only { users: vec![], groups: vec![] }, ..Options::default() };
    let (client, server) = handshake(&Options::default(), &nobody);
    assert!(matches!(error(server), HandshakeError::NotWelcome(_)));
    assert!(matches!(error(client), HandshakeError::Refused(Refusal::Policy)));
    let (client, server) = handshake(&nobody, &Options::default());
    assert!(matches!(error(client), HandshakeError::NotWelcome(_)));
    assert!(matches!(error(server), HandshakeError::Refused(Refusal::Policy)));
}

#[test]
fn a_policy_goes_by_user_and_group() {
    let peer = Credentials { process: 1, user: 1000, group: 100 };
    let only = |users: &[u32], groups: &[u32]| Policy::Only { users: users.into(), groups: groups.into() };
    assert!(Policy::SameUser.welcomes(peer, 1000) && !Policy::SameUser.welcomes(peer, 0));
    assert!(only(&[7, 1000], &[]).welcomes(peer, 0) && only(&[], &[100]).welcomes(peer, 0));
    assert!(!only(&[100], &[1000]).welcomes(peer, 1000) && Policy::Anyone.welcomes(peer, 0));
}

#[test]
fn each_step_has_a_deadline() {
    let options = Options { step: Duration::from_millis(500), ..Options::default() };
    // How many frames the peer sends before it falls silent, and what is missing then.
    for (frames, step) in [(0, Step::Hello), (1, Step::Setup), (2, Step::Ready)] {
        let (one, other) = pair();
        let begin = Instant::now();
        let mut server = Handshake::server(other, &options, begin).unwrap();
        let mut peer = Handshake::client(one, &options, begin).unwrap();
        assert!(matches!(server.advance(begin), Progress::NeedRead));
        let mut now = begin;
        for number in 0..frames {
            assert!(matches!(peer.advance(now), Progress::NeedRead));
            now = begin + Duration::from_millis(400) * (number + 1);
            assert!(matches!(server.advance(now), Progress::NeedRead), "the frame is there in time");
        }
        let deadline = server.deadline().expect("a deadline");
        assert_eq!(deadline, now + options.step, "a frame begins a new step");
        assert!(matches!(server.advance(deadline - Duration::from_nanos(1)), Progress::NeedRead));
        match error(server.advance(deadline)) {
            HandshakeError::TimedOut(late) => assert_eq!(late, step),
            other => panic!("{other:?}"),
        }
        assert!(server.deadline().is_none());
        assert!(matches!(error(server.advance(deadline)), HandshakeError::Over));
        assert!(matches!(error(peer.advance(now)), HandshakeError::Refused(Refusal::Time)));
    }
}

#[test]
fn drops_of_bytes_gain_no_time() {
    let options = Options { step: Duration::from_millis(100), ..Options::default() };
    let (one, other) = pair();
    let begin = Instant::now();
    let mut server = Handshake::server(other, &options, begin).unwrap();
    for (number, byte) in [2, 0, 32, 0, b'L', b'I', b'N', b'K'].into_iter().enumerate() {
        nix::unistd::write(&one, &[byte]).unwrap();
        let now = begin + Duration::from_millis(10) * u32::try_from(number).unwrap();
        assert!(matches!(server.advance(now), Progress::NeedRead));
    }
    assert_eq!(server.deadline(), Some(begin + options.step));
}

#[test]
fn a_step_may_have_no_end() {
    let options = Options { step: Duration::MAX, ..Options::default() };
    let (client, server) = handshake(&options, &options);
    established(client);
    established(server);
}

/// It closes its ears and goes on talking: whoever looks for its last word does not listen to all of it.
#[test]
fn a_peer_that_only_talks_is_left() {
    use std::io::{Read as _, Write as _};
    let (one, other) = pair();
    let mut rest = UnixStream::from(other.try_clone().unwrap());
    let mut server = Handshake::server(other, &Options::default(), Instant::now()).unwrap();
    let mut talking = UnixStream::from(one.try_clone().unwrap());
    talking.shutdown(std::net::Shutdown::Read).unwrap();
    Control::new(one).send(Frame::Hello(hello(Role::Client, 5))).unwrap();
    talking.write_all(&[1; 64 << 10]).unwrap();
    let error = error(server.advance(Instant::now()));
    assert!(matches!(error, HandshakeError::Closed(_)), "{error:?}");
    drop(talking);
    let unheard = rest.read_to_end(&mut Vec::new()).expect("the rest");
    assert!(unheard > 32 << 10, "{unheard} bytes were left");
}

#[test]
fn impossible_options_are_errors() {
    for ring in [0, 1, 2048, (64 << 10) + 8, 3 << 16, 2 << 20, u32::MAX] {
        let options = Options { ring, ..Options::default() };
        let error = Handshake::client(pair().0, &options, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{ring}");
    }
    let (pipe, _end) = nix::unistd::pipe().unwrap();
    assert!(Handshake::server(pipe, &Options::default(), Instant::now()).is_err(), "no socket");
}

/// What the automaton of a role answers to a peer's frames, one after another.
fn refusal_of(role: Role, frames: Vec<Frame<u8>>) -> Refusal {
    let mut automaton = Automaton::new(role, &Options::default(), 11);
    for frame in frames {
        match automaton.take(frame) {
            Ok(_) => {}
            Err(HandshakeError::Rejected(refusal)) => {
                let after = automaton.take(Frame::<u8>::Ready);
                assert!(matches!(after, Err(HandshakeError::Over)), "an error is the end");
                return refusal;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("accepted")
}

#[test]
fn greetings_that_do_not_match_are_refused() {
    let greet = |hello| refusal_of(Role::Server, vec![Frame::Hello(hello)]);
    let versions = |first, last| Hello { versions: (first, last), ..hello(Role::Client, 5) };
    assert_eq!(greet(hello(Role::Server, 5)), Refusal::Role);
    assert_eq!(refusal_of(Role::Client, vec![Frame::Hello(hello(Role::Client, 5))]), Refusal::Role);
    assert_eq!(greet(versions(2, 9)), Refusal::Version);
    assert_eq!(greet(versions(0, 0)), Refusal::Version);
    assert_eq!(greet(versions(1, 0)), Refusal::Version);
    // A later version that still speaks this one, and features that this one does not know.
    let mut automaton = Automaton::new(Role::Server, &Options::default(), 11);
    let later = Hello { versions: (0, 7), features: u32::MAX, ..hello(Role::Client, 5) };
    let act = automaton.take(Frame::<u8>::Hello(later)).expect("it is welcome");
    assert!(matches!(act.say, Some(Saying::Hello(_))));
    assert_eq!((automaton.agreed().version, automaton.agreed().features), (1, 0));
}

#[test]
fn set_ups_that_do_not_match_are_refused() {
    let offer = |setup, bell| {
        refusal_of(Role::Server, vec![Frame::Hello(hello(Role::Client, 5)), Frame::Setup(setup, 1, bell)])
    };
    let good = setup(11);
    assert_eq!(offer(setup(12), None), Refusal::Nonce);
    assert_eq!(offer(Setup { version: 2, ..good }, None), Refusal::Version);
    assert_eq!(offer(Setup { features: 1, ..good }, None), Refusal::Version);
    assert_eq!(offer(Setup { releases: 512, ..good }, None), Refusal::Geometry);
    assert_eq!(offer(good, Some(2)), Refusal::Descriptors);
    for ring in [0, 8, 2048, 5000, 3 << 16, 2 << 20, 1 << 31, u32::MAX] {
        assert_eq!(offer(Setup { ring, ..good }, None), Refusal::Geometry, "{ring}");
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    let early: [Frame<u8>; 9] = [
        Frame::Doorbell,
        Frame::Ready,
        Frame::Setup(setup(11), 1, None),
        Frame::AddArena(AddArena { number: 0, len: 4096 }, 1),
        Frame::ArenaReady(0),
        Frame::Bulk(Bulk { sequence: 0, len: 1 }, 1),
        Frame::GoAway,
        Frame::Statistics(String::new()),
        Frame::AskStatistics,
    ];
    for frame in early {
        assert_eq!(refusal_of(Role::Client, vec![frame.clone()]), Refusal::Order, "{frame:?}");
        let greeting = Frame::Hello(hello(Role::Client, 5));
        if frame != Frame::Setup(setup(11), 1, None) {
            assert_eq!(refusal_of(Role::Server, vec![greeting.clone(), frame.clone()]), Refusal::Order);
        }
        if frame != Frame::Ready {
            let offer = Frame::Setup(setup(11), 1, None);
            assert_eq!(refusal_of(Role::Server, vec![greeting, offer, frame]), Refusal::Order);
        }
    }
}

#[test]
fn a_region_begins_with_its_version() {
    let (client, server) = handshake(&Options::default(), &Options::default());
    let (client, server) = (established(client), established(server));
    for region in [&client.peer, &server.peer] {
        let mut bytes = [0; 12];
        for (at, byte) in bytes.iter_mut().enumerate() {
            #[expect(unsafe_code, reason = "the peer's memory is read as it must be")]
            // SAFETY: inside of the mapping.
            let from = unsafe { region.base().add(at) };
            #[expect(unsafe_code, reason = "the peer's memory is read as it must be")]
            // SAFETY: as above.
            let value = unsafe { from.read_volatile() };
            *byte = value;
        }
        assert_eq!((&bytes[..8], &bytes[8..]), (&MAGIC[..], &[1, 0, 0, 0][..]));
    }
}

/// The errors that a program sees say what was wrong.
#[test]
fn errors_are_readable() {
    let error = HandshakeError::Unfit(crate::region::Unfit::Length { declared: 2, found: 1 });
    assert_eq!(error.to_string(), "the memory was declared as 2 bytes and has 1");
    let error = std::io::Error::from(HandshakeError::TimedOut(Step::Setup));
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "the peer's set-up took too long");
}

fn frames() -> impl Strategy<Value = Frame<u8>> {
    let small = || prop_oneof![Just(0_u32), Just(1), Just(4096), Just(64 << 10), Just(1024), any::<u32>()];
    let hellos =
        (0..3_u16, 0..3_u16, small(), any::<bool>(), 0..3_u64).prop_map(|(a, b, features, role, nonce)| {
            let role = if role { Role::Client } else { Role::Server };
            Frame::Hello(Hello { versions: (a, b), features, role, nonce })
        });
    let setups = (0..3_u16, 0..2_u32, 10..12_u64, small(), small(), any::<bool>()).prop_map(
        |(version, features, echo, ring, releases, bell)| {
            let setup = Setup { version, features, echo, ring, releases, arena: ring, bulk: releases };
            Frame::Setup(setup, 1, bell.then_some(2))
        },
    );
    prop_oneof![
        3 => hellos,
        3 => setups,
        3 => Just(Frame::Ready),
        1 => Just(Frame::AskStatistics),
        1 => Just(Frame::Doorbell),
        1 => Just(Frame::GoAway),
        1 => any::<u16>().prop_map(|code| Frame::Refused(Refusal::from_code(code))),
    ]
}

mod prop_automaton {
    use super::*;

    proptest! {
        /// Whatever frames come: no panic, at most three are taken, a region is offered and one is mapped before there is a
        /// session, and what is mapped has a size that rings have.
        #[test]
        fn a_session_is_reached_by_one_road(
            is_server in any::<bool>(), bells in any::<bool>(), frames in prop::collection::vec(frames(), 0..6),
        ) {
            let role = if is_server { Role::Server } else { Role::Client };
            let doorbell = if bells { Doorbell::EventFd } else { Doorbell::Socket };
            let options = Options { doorbell, ..Options::default() };
            let mut automaton = Automaton::new(role, &options, 11);
            let (mut taken, mut offered, mut mapped, mut over) = (0, 0, 0, false);
            for frame in frames {
                let result = automaton.take(frame);
                prop_assert!(!over || matches!(result, Err(HandshakeError::Over)));
                let Ok(act) = result else {
                    over = true;
                    continue;
                };
                taken += 1;
                if let Some(map) = &act.map {
                    mapped += 1;
                    prop_assert!(is_ring(map.ring));
                    prop_assert_eq!(map.bell.is_some(), automaton.agreed().has(features::EVENT_FD));
                }
                offered += usize::from(act.offer.is_some());
                match act.outcome {
                    Some(Outcome::Established) => prop_assert_eq!((taken, offered, mapped), (3, 1, 1)),
                    Some(Outcome::Asked) => prop_assert_eq!((taken, offered, mapped, is_server), (1, 0, 0, true)),
                    None => {}
                }
                over |= act.outcome.is_some();
            }
            prop_assert!(taken <= 3);
        }
    }
}
