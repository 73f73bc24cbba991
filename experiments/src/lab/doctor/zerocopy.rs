//! Sending without a copy.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

use super::{Answer, Finding, errno, explain, raw};

/// How long a completion may take; on a live connection it follows the acknowledgement.
const PATIENCE: Duration = Duration::from_secs(1);
/// KERNEL: values of `ee_origin` and `ee_code` in linux/errqueue.h.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_COPIED: u8 = 1;

pub(super) fn examine() -> Vec<Finding> {
    let allowed = || "the option is taken".to_string();
    let tcp = tcp_pair().and_then(|(near, _far)| raw::set_option(near.as_fd(), libc::SO_ZEROCOPY, 1));
    let unix = UnixStream::pair().map_err(|error| errno(&error));
    let unix = unix.and_then(|(near, _far)| raw::set_option(near.as_fd(), libc::SO_ZEROCOPY, 1));
    vec![
        Finding::tried("SO_ZEROCOPY on TCP", tcp.map(|()| allowed())),
        Finding::tried("SO_ZEROCOPY on a Unix socket", unix.map(|()| allowed())),
        loopback_send(),
    ]
}

fn loopback_send() -> Finding {
    let capability = "MSG_ZEROCOPY over loopback";
    let refused = |errno| Finding { capability, answer: Answer::No, detail: explain(errno) };
    match completion() {
        Err(errno) => refused(errno),
        Ok(None) => Finding { capability, answer: Answer::No, detail: "sent, but no completion came".into() },
        Ok(Some(CODE_COPIED)) => {
            Finding::limit(capability, "works, and the completion says COPIED: loopback saves no copy".into())
        }
        Ok(Some(_)) => {
            Finding::tried(capability, Ok("works, and the completion says the pages were lent".into()))
        }
    }
}

/// Sends once and returns the code of the completion, `None` if none came.
fn completion() -> Result<Option<u8>, Errno> {
    let (near, far) = tcp_pair()?;
    raw::set_option(near.as_fd(), libc::SO_ZEROCOPY, 1)?;
    let payload = vec![7_u8; 64 << 10];
    let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY) | MsgFlags::MSG_NOSIGNAL;
    let sent = send(near.as_raw_fd(), &payload, flags)?;
    let mut received = vec![0; sent];
    (&far).read_exact(&mut received).map_err(|error| errno(&error))?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match raw::error_queue(near.as_fd()) {
            Ok(Some((ORIGIN_ZEROCOPY, code))) => return Ok(Some(code)),
            Ok(_) => {}
            Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

fn tcp_pair() -> Result<(TcpStream, TcpStream), Errno> {
    let pair = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        Ok((near, far))
    };
    pair().map_err(|error| errno(&error))
}
