//! Peers that do not keep to the protocol: each costs its own session, is told why, and leaves neither a descriptor nor a
//! mapping behind.
//!
//! One test in a process of its own, because it counts what the process has.

use std::fs::{self, File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use linkpoll_shm::handshake::{Doorbell, Handshake, HandshakeError, Options, Progress, Step};
use linkpoll_shm::wire::{Control, Frame, Hello, Refusal, Role};
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, SealFlag, fallocate, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::ftruncate;

const RING: u32 = 64 << 10;
const REGION: i64 = 8192 + RING as i64;

/// The two ends: ours, and the hostile one.
struct Scene {
    victim: Handshake,
    peer: Control,
    /// The victim's nonce, once it has greeted.
    nonce: u64,
}

impl Scene {
    fn new(role: Role, options: &Options) -> Self {
        let (one, other) = UnixStream::pair().expect("a pair of sockets");
        let begin = match role {
            Role::Client => Handshake::client,
            Role::Server => Handshake::server,
        };
        let victim = begin(one.into(), options, Instant::now()).expect("a handshake");
        Self { victim, peer: Control::new(other.into()), nonce: 0 }
    }

    /// Bytes and descriptors as they come.
    fn send(&mut self, bytes: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let ancillary = if descriptors.is_empty() { &[][..] } else { &rights };
        let pieces = [IoSlice::new(bytes)];
        let fd = self.peer.as_fd().as_raw_fd();
        let sent = sendmsg::<()>(fd, &pieces, ancillary, MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// Takes the part of a client, up to its set-up.
    fn greet(&mut self, features: u32) {
        let hello = Hello { versions: (1, 1), features, role: Role::Client, nonce: 5 };
        self.peer.send(Frame::Hello(hello)).expect("it is sent");
        self.wait_for_victim();
        match self.hear() {
            Some(Frame::Hello(hello)) => self.nonce = hello.nonce,
            other => panic!("no greeting: {other:?}"),
        }
    }

    fn wait_for_victim(&mut self) {
        let progress = self.victim.advance(Instant::now());
        assert!(matches!(progress, Progress::NeedRead), "{progress:?}");
    }

    fn hear(&mut self) -> Option<Frame<OwnedFd>> {
        drop(self.peer.receive());
        self.peer.take().expect("the victim keeps to the protocol")
    }

    /// A set-up as its bytes.
    fn setup(&self, ring: u32, descriptors: u8, features: u32) -> Vec<u8> {
        let mut bytes = vec![3, descriptors, 32, 0, 1, 0, 0, 0];
        bytes.extend(features.to_le_bytes());
        bytes.extend(self.nonce.to_le_bytes());
        for size in [ring, 1024, 0, 0] {
            bytes.extend(size.to_le_bytes());
        }
        bytes
    }

    fn offer(&mut self, descriptors: &[RawFd]) {
        let count = u8::try_from(descriptors.len()).expect("few");
        let bytes = self.setup(RING, count, 0);
        self.send(&bytes, descriptors);
    }
}

fn required() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE
}

fn memory(len: i64, seals: SealFlag) -> OwnedFd {
    let fd = memfd_create(c"hostile", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).expect("memory");
    fallocate(&fd, FallocateFlags::empty(), 0, len).expect("memory");
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
    fd
}

/// The descriptors and the mappings of memory that this process has.
fn holdings() -> (usize, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").expect("proc(5)").count();
    let maps = fs::read_to_string("/proc/self/maps").expect("proc(5)");
    (descriptors, maps.lines().filter(|line| line.contains("memfd:")).count())
}

/// What the hostile side does, and whether the victim's error is the right one.
struct Case {
    name: &'static str,
    act: fn(&mut Scene),
    is_expected: fn(&HandshakeError) -> bool,
    told: Option<Refusal>,
}

/// Peers that do harm by what they say.
fn liars() -> Vec<Case> {
    fn case(name: &'static str, act: fn(&mut Scene), refusal: Refusal) -> Case {
        Case { name, act, is_expected: |_| true, told: Some(refusal) }
    }
    vec![
        case("another protocol", |s| s.send(b"GET / HTTP/1.1\r\n\r\n", &[]), Refusal::Frame),
        case(
            "a wrong magic",
            |s| s.send(&[&[2, 0, 32, 0][..], b"LINKPULL", &[0; 24]].concat(), &[]),
            Refusal::Magic,
        ),
        case(
            "a later version only",
            |s| {
                let hello = Hello { versions: (2, 3), features: 0, role: Role::Client, nonce: 5 };
                s.peer.send(Frame::Hello(hello)).expect("sent");
            },
            Refusal::Version,
        ),
        case(
            "another server",
            |s| {
                let hello = Hello { versions: (1, 1), features: 0, role: Role::Server, nonce: 5 };
                s.peer.send(Frame::Hello(hello)).expect("sent");
            },
            Refusal::Role,
        ),
        case("a greeting that is too short", |s| s.send(&[2, 0, 8, 0], &[]), Refusal::Frame),
        case("a greeting that is too long", |s| s.send(&[2, 0, 0xff, 0xff], &[]), Refusal::Frame),
        case("no greeting", |s| s.send(&[4, 0, 0, 0], &[]), Refusal::Order),
        case("a doorbell first", |s| s.send(&[1], &[]), Refusal::Order),
        case(
            "the nonce is wrong",
            |s| {
                s.greet(0);
                s.nonce += 1;
                s.offer(&[memory(REGION, required()).as_raw_fd()]);
            },
            Refusal::Nonce,
        ),
        case(
            "a huge ring",
            |s| {
                s.greet(0);
                let bytes = s.setup(1 << 31, 1, 0);
                s.send(&bytes, &[memory(REGION, required()).as_raw_fd()]);
            },
            Refusal::Geometry,
        ),
        case(
            "two set-ups",
            |s| {
                s.greet(0);
                s.offer(&[memory(REGION, required()).as_raw_fd()]);
                s.offer(&[memory(REGION, required()).as_raw_fd()]);
            },
            Refusal::Order,
        ),
    ]
}

/// Peers that do harm by how many descriptors they send.
fn counters() -> Vec<Case> {
    fn case(name: &'static str, act: fn(&mut Scene)) -> Case {
        Case { name, act, is_expected: |_| true, told: Some(Refusal::Descriptors) }
    }
    vec![
        case("a descriptor with a greeting", |s| {
            let hello = [&[2, 0, 32, 0][..], b"LINKPOLL", &[1, 0, 1, 0], &[0; 20]].concat();
            s.send(&hello, &[memory(REGION, required()).as_raw_fd()]);
        }),
        case("a descriptor with a doorbell", |s| s.send(&[1], &[memory(4096, required()).as_raw_fd()])),
        case("no descriptor, and it says so", |s| {
            s.greet(0);
            s.offer(&[]);
        }),
        case("no descriptor where one is declared", |s| {
            s.greet(0);
            let bytes = s.setup(RING, 1, 0);
            s.send(&bytes, &[]);
        }),
        case("two where one is declared", |s| {
            s.greet(0);
            let memory = memory(REGION, required());
            let bytes = s.setup(RING, 1, 0);
            s.send(&bytes, &[memory.as_raw_fd(), memory.as_raw_fd()]);
        }),
        case("a doorbell that was not agreed", |s| {
            s.greet(0);
            let memory = memory(REGION, required());
            s.offer(&[memory.as_raw_fd(), memory.as_raw_fd()]);
        }),
        case("a doorbell that was agreed is missing", |s| {
            s.greet(1);
            let bytes = s.setup(RING, 1, 1);
            s.send(&bytes, &[memory(REGION, required()).as_raw_fd()]);
        }),
        case("one more than is ever received", |s| {
            s.greet(0);
            let bytes = s.setup(RING, 1, 0);
            s.send(&bytes, &[memory(REGION, required()).as_raw_fd(); 5]);
        }),
        case("as many as the kernel allows", |s| {
            s.greet(0);
            let bytes = s.setup(RING, 1, 0);
            s.send(&bytes, &[memory(REGION, required()).as_raw_fd(); 253]);
        }),
        case("readiness with a descriptor", |s| {
            s.greet(0);
            let memory = memory(REGION, required());
            s.offer(&[memory.as_raw_fd()]);
            s.send(&[4, 0, 0, 0], &[memory.as_raw_fd()]);
        }),
    ]
}

/// Peers that offer something else than sealed memory.
fn forgers() -> Vec<Case> {
    fn offer(s: &mut Scene, fd: impl Into<OwnedFd>) {
        s.greet(0);
        s.offer(&[fd.into().as_raw_fd()]);
    }
    fn case(name: &'static str, act: fn(&mut Scene), refusal: Refusal) -> Case {
        let is_expected = |error: &HandshakeError| matches!(error, HandshakeError::Unfit(_));
        Case { name, act, is_expected, told: Some(refusal) }
    }
    vec![
        case("zeroes without end", |s| offer(s, File::open("/dev/zero").expect("open")), Refusal::Kind),
        case("a directory", |s| offer(s, File::open("/").expect("open")), Refusal::Kind),
        case("a program", |s| offer(s, File::open("/proc/self/exe").expect("open")), Refusal::Kind),
        case("a pipe", |s| offer(s, nix::unistd::pipe().expect("pipe").0), Refusal::Kind),
        case("a socket", |s| offer(s, UnixStream::pair().expect("pair").0), Refusal::Kind),
        case(
            "the session's own socket",
            |s| {
                let own = s.peer.as_fd().try_clone_to_owned().expect("a copy");
                offer(s, own);
            },
            Refusal::Kind,
        ),
        case(
            "a path to sealed memory",
            |s| {
                let sealed = memory(REGION, required());
                let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
                let path = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(path);
                offer(s, path.expect("open"));
            },
            Refusal::Kind,
        ),
        case("no seals", |s| offer(s, memory(REGION, SealFlag::empty())), Refusal::Seals),
        case(
            "it may shrink",
            |s| offer(s, memory(REGION, required() - SealFlag::F_SEAL_SHRINK)),
            Refusal::Seals,
        ),
        case("it may grow", |s| offer(s, memory(REGION, required() - SealFlag::F_SEAL_GROW)), Refusal::Seals),
        case(
            "others may write",
            |s| offer(s, memory(REGION, required() - SealFlag::F_SEAL_FUTURE_WRITE)),
            Refusal::Seals,
        ),
        case(
            "seals may come",
            |s| offer(s, memory(REGION, required() - SealFlag::F_SEAL_SEAL)),
            Refusal::Seals,
        ),
        case("too short", |s| offer(s, memory(REGION - 4096, required())), Refusal::Length),
        case("too long", |s| offer(s, memory(REGION + 1, required())), Refusal::Length),
        case("huge", |s| offer(s, sparse(1 << 40)), Refusal::Length),
        case("no memory behind it", |s| offer(s, sparse(REGION)), Refusal::Length),
        case("memory behind the end instead", |s| offer(s, misplaced(REGION)), Refusal::Length),
        case(
            "memory as a doorbell",
            |s| {
                s.greet(1);
                let memory = memory(REGION, required());
                let bytes = s.setup(RING, 2, 1);
                s.send(&bytes, &[memory.as_raw_fd(), memory.as_raw_fd()]);
            },
            Refusal::Kind,
        ),
        case(
            "a socket as a doorbell",
            |s| {
                s.greet(1);
                let (socket, _other) = UnixStream::pair().expect("pair");
                socket.set_nonblocking(true).expect("a flag");
                let bytes = s.setup(RING, 2, 1);
                s.send(&bytes, &[memory(REGION, required()).as_raw_fd(), socket.as_raw_fd()]);
            },
            Refusal::Kind,
        ),
        case(
            "a doorbell that may block",
            |s| {
                s.greet(1);
                let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).expect("an eventfd");
                let bytes = s.setup(RING, 2, 1);
                s.send(&bytes, &[memory(REGION, required()).as_raw_fd(), bell.as_fd().as_raw_fd()]);
            },
            Refusal::Kind,
        ),
    ]
}

/// As many blocks as it should have, and none of them where they should be.
fn misplaced(len: i64) -> OwnedFd {
    let fd = memfd_create(c"hostile", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).expect("memory");
    ftruncate(&fd, len).expect("a length");
    fallocate(&fd, FallocateFlags::FALLOC_FL_KEEP_SIZE, len, len).expect("memory");
    fcntl(&fd, FcntlArg::F_ADD_SEALS(required())).expect("seals");
    fd
}

fn sparse(len: i64) -> OwnedFd {
    let fd = memfd_create(c"hostile", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).expect("memory");
    ftruncate(&fd, len).expect("a length");
    fcntl(&fd, FcntlArg::F_ADD_SEALS(required())).expect("seals");
    fd
}

/// The last frame that the hostile side can read.
fn last_word(peer: &mut Control) -> Option<Refusal> {
    loop {
        match peer.take() {
            Ok(Some(Frame::Refused(refusal))) => return Some(refusal),
            Ok(Some(_)) => {}
            _ if matches!(peer.receive(), Ok(linkpoll_shm::wire::Arrival::Bytes)) => {}
            _ => return None,
        }
    }
}

fn play(case: &Case, options: &Options) {
    let mut scene = Scene::new(Role::Server, options);
    (case.act)(&mut scene);
    match scene.victim.advance(Instant::now()) {
        Progress::Failed(error) => assert!((case.is_expected)(&error), "{}: {error:?}", case.name),
        other => panic!("{}: {other:?}", case.name),
    }
    assert_eq!(last_word(&mut scene.peer), case.told, "{}", case.name);
}

#[test]
fn whatever_a_peer_does_nothing_of_it_stays() {
    let options = Options { doorbell: Doorbell::EventFd, ..Options::default() };
    let before = holdings();
    for case in liars().iter().chain(&counters()).chain(&forgers()) {
        play(case, &options);
        assert_eq!(holdings(), before, "{}", case.name);
    }
    peers_that_leave(&options);
    assert_eq!(holdings(), before, "peers that leave");
    a_region_that_is_sent_back();
    assert_eq!(holdings(), before, "a region that is sent back");
    sessions_that_are_not_used(&options);
    assert_eq!(holdings(), before, "sessions that are not used");
    too_few_descriptors(&options);
    assert_eq!(holdings(), before, "too few descriptors");
}

/// A peer that closes its end after so many frames, or in the middle of one.
fn peers_that_leave(options: &Options) {
    let leave = |act: fn(&mut Scene), step: Step| {
        let mut scene = Scene::new(Role::Server, options);
        act(&mut scene);
        let Scene { mut victim, peer, .. } = scene;
        drop(peer);
        match victim.advance(Instant::now()) {
            Progress::Failed(HandshakeError::Closed(missing)) => assert_eq!(missing, step),
            other => panic!("{step:?}: {other:?}"),
        }
    };
    leave(|_| {}, Step::Hello);
    leave(|s| s.send(&[2, 0, 32, 0, b'L'], &[]), Step::Hello);
    leave(|s| s.greet(0), Step::Setup);
    leave(
        |s| {
            s.greet(0);
            let bytes = s.setup(RING, 1, 0);
            s.send(&bytes[..20], &[memory(REGION, required()).as_raw_fd()]);
        },
        Step::Setup,
    );
    // It leaves while the victim answers.
    leave(
        |s| {
            s.greet(0);
            s.offer(&[memory(REGION, required()).as_raw_fd()]);
        },
        Step::Ready,
    );
    leave(
        |s| {
            s.greet(0);
            s.offer(&[memory(REGION, required()).as_raw_fd()]);
            s.wait_for_victim();
        },
        Step::Ready,
    );
    // A client, whose server leaves without a word.
    let mut scene = Scene::new(Role::Client, options);
    scene.wait_for_victim();
    drop(scene.peer);
    assert!(matches!(
        scene.victim.advance(Instant::now()),
        Progress::Failed(HandshakeError::Closed(Step::Hello))
    ));
}

/// A server that gives a client its own memory back: the client sees its own words, and nothing worse.
fn a_region_that_is_sent_back() {
    let mut scene = Scene::new(Role::Client, &Options::default());
    scene.wait_for_victim();
    let Some(Frame::Hello(hello)) = scene.hear() else { panic!("no greeting") };
    scene.nonce = hello.nonce;
    let answer = Hello { role: Role::Server, nonce: 5, ..hello };
    scene.peer.send(Frame::Hello(answer)).expect("sent");
    scene.wait_for_victim();
    let Some(Frame::Setup(setup, memory, None)) = scene.hear() else { panic!("no set-up") };
    assert_eq!((setup.ring, setup.echo), (RING, 5));
    scene.offer(&[memory.as_raw_fd()]);
    scene.wait_for_victim();
    scene.peer.send(Frame::Ready).expect("sent");
    let Progress::Done(established) = scene.victim.advance(Instant::now()) else { panic!("no session") };
    assert_ne!(established.own.base(), established.peer.base(), "mapped once for each use");
}

fn sessions_that_are_not_used(options: &Options) {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    let mut client = Handshake::client(one.into(), options, Instant::now()).expect("a client");
    let mut server = Handshake::server(other.into(), options, Instant::now()).expect("a server");
    let mut ends = Vec::new();
    for _ in 0..8 {
        for end in [&mut client, &mut server] {
            match end.advance(Instant::now()) {
                Progress::Done(established) => ends.push(established),
                Progress::NeedRead | Progress::Failed(HandshakeError::Over) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(ends.len(), 2);
    // A socket and two doorbells on each side, and no more; two regions on each side.
    drop(client);
    drop(server);
    let with = holdings();
    drop(ends);
    let without = holdings();
    assert_eq!((with.0 - without.0, with.1 - without.1), (6, 4));
}

/// The process runs out of descriptors: while it receives one, and while it makes one.
fn too_few_descriptors(options: &Options) {
    let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let next = |s: &Scene| {
        let free = s.peer.as_fd().try_clone_to_owned().expect("a copy");
        u64::try_from(free.as_raw_fd()).expect("a number")
    };

    let mut scene = Scene::new(Role::Server, options);
    scene.greet(0);
    scene.offer(&[memory(REGION, required()).as_raw_fd()]);
    let least = next(&scene);
    setrlimit(Resource::RLIMIT_NOFILE, least, limits.1).expect("a lower limit");
    let progress = scene.victim.advance(Instant::now());
    setrlimit(Resource::RLIMIT_NOFILE, limits.0, limits.1).expect("the old limit");
    match progress {
        Progress::Failed(HandshakeError::Control(error)) => {
            assert_eq!(error.refusal(), Some(Refusal::Resources), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(last_word(&mut scene.peer), Some(Refusal::Resources));

    let mut scene = Scene::new(Role::Client, options);
    scene.wait_for_victim();
    let hello = Hello { versions: (1, 1), features: 0, role: Role::Server, nonce: 5 };
    scene.peer.send(Frame::Hello(hello)).expect("sent");
    let least = next(&scene);
    setrlimit(Resource::RLIMIT_NOFILE, least, limits.1).expect("a lower limit");
    let progress = scene.victim.advance(Instant::now());
    setrlimit(Resource::RLIMIT_NOFILE, limits.0, limits.1).expect("the old limit");
    match progress {
        Progress::Failed(HandshakeError::Local(error)) => {
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(last_word(&mut scene.peer), Some(Refusal::Resources));
}
