//! io_uring: the ways of setting it up, its opcodes, and a multishot receive.

#![expect(unsafe_code, reason = "entries of a submission queue refer to memory by address")]

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue, types};
use nix::errno::Errno;

use super::{Answer, Finding, errno};

/// Opcodes the library has a use for, and two that date a kernel.
const OPCODES: [(&str, u8); 10] = [
    ("RECV", 27),
    ("SEND", 26),
    ("SENDMSG", 9),
    ("ACCEPT", 13),
    ("SEND_ZC", 47),
    ("SENDMSG_ZC", 48),
    ("READ_MULTISHOT", 49),
    ("FUTEX_WAIT", 51),
    ("RECV_ZC", 58),
    ("EPOLL_WAIT", 59),
];

pub(super) fn examine() -> Vec<Finding> {
    vec![
        set_up("io_uring", |_| {}),
        set_up("io_uring SINGLE_ISSUER + DEFER_TASKRUN", |builder| {
            builder.setup_single_issuer().setup_defer_taskrun();
        }),
        set_up("io_uring SQPOLL", |builder| {
            builder.setup_sqpoll(1);
        }),
        opcodes(),
        Finding::tried("io_uring multishot receive", multishot_receive()),
    ]
}

fn set_up(capability: &'static str, choose: impl FnOnce(&mut Builder)) -> Finding {
    let mut builder = IoUring::builder();
    choose(&mut builder);
    let outcome = builder.build(8).map_err(|error| errno(&error)).map(|ring| {
        let parameters = ring.params();
        let known = [
            ("NODROP", parameters.is_feature_nodrop()),
            ("FAST_POLL", parameters.is_feature_fast_poll()),
            ("EXT_ARG", parameters.is_feature_ext_arg()),
            ("CQE_SKIP", parameters.is_feature_skip_cqe_on_success()),
            ("RECVSEND_BUNDLE", parameters.is_feature_recvsend_bundle()),
        ];
        let present: Vec<_> = known.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect();
        format!("features {}", present.join(" "))
    });
    Finding::tried(capability, outcome)
}

fn opcodes() -> Finding {
    let capability = "io_uring opcodes";
    let mut probe = Probe::new();
    let registered = IoUring::new(8).and_then(|ring| ring.submitter().register_probe(&mut probe));
    if let Err(error) = registered {
        return Finding::tried(capability, Err(errno(&error)));
    }
    let count = (0..=u8::MAX).filter(|code| probe.is_supported(*code)).count();
    let named = |wanted: bool| {
        let names =
            OPCODES.iter().filter(|(_, code)| probe.is_supported(*code) == wanted).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(" ")
    };
    let missing = named(false);
    let missing = if missing.is_empty() { "none".to_string() } else { missing };
    let answer = if count == 0 { Answer::No } else { Answer::Yes };
    Finding {
        capability,
        answer,
        detail: format!("{count} supported, with {}; without {missing}", named(true)),
    }
}

/// Two pieces arrive through one submitted receive, each in a buffer the kernel picked from a group.
fn multishot_receive() -> Result<String, Errno> {
    const GROUP: u16 = 7;
    const PIECE: i32 = 64;
    let (mut near, far) = UnixStream::pair().map_err(|error| errno(&error))?;
    let mut memory = vec![0_u8; 4 * PIECE as usize];
    // Declared after the memory and the socket, so that it is dropped, and its requests end, before them.
    let mut ring = IoUring::new(8).map_err(|error| errno(&error))?;
    let provide = opcode::ProvideBuffers::new(memory.as_mut_ptr(), PIECE, 4, GROUP, 0).build();
    complete(&mut ring, &provide)?;
    let receive = opcode::RecvMulti::new(types::Fd(far.as_raw_fd()), GROUP).build();
    let mut pieces = 0;
    for round in 0..2 {
        near.write_all(b"piece").map_err(|error| errno(&error))?;
        let entry = if round == 0 { complete(&mut ring, &receive)? } else { wait(&mut ring)? };
        if !cqueue::more(entry.flags()) || cqueue::buffer_select(entry.flags()).is_none() {
            return Err(Errno::EINVAL);
        }
        pieces += 1;
    }
    Ok(format!("{pieces} pieces through one request, in buffers the kernel chose"))
}

/// Submits one entry and waits for a completion.
fn complete(ring: &mut IoUring, entry: &squeue::Entry) -> Result<cqueue::Entry, Errno> {
    // SAFETY: the entries of this module refer to memory and a socket that their caller keeps until after the ring
    // is dropped, and nothing else touches that memory.
    unsafe { ring.submission().push(entry) }.map_err(|_| Errno::EBUSY)?;
    wait(ring)
}

fn wait(ring: &mut IoUring) -> Result<cqueue::Entry, Errno> {
    ring.submit_and_wait(1).map_err(|error| errno(&error))?;
    let entry = ring.completion().next().ok_or(Errno::EAGAIN)?;
    if entry.result() < 0 { Err(Errno::from_raw(-entry.result())) } else { Ok(entry) }
}
