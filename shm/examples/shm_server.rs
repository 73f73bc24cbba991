//! Answers typed calls over shared memory, until SIGINT or SIGTERM: `shm_server PATH`.
//!
//! The service knows nothing of shared memory: only the driver is another one.

mod protocol;

use std::path::PathBuf;
use std::process::ExitCode;

use linkpoll::net::{Address, Server};
use linkpoll::reactor::Spin;
use linkpoll::service::{HandlerError, Reply as Answer, Serve};
use linkpoll_shm::{ShmDriver, ShmOptions};
use protocol::{Reply, Request, Typed};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

type Requests = Typed<Request, Reply>;

fn answer(request: Request) -> Reply {
    match request {
        Request::Add(a, b) => Reply::Sum(a.checked_add(b)),
        Request::Reverse(text) => Reply::Text(text.chars().rev().collect()),
        Request::Digest(bytes) => {
            Reply::Digest { bytes: bytes.len() as u64, sum: bytes.iter().map(|&byte| u64::from(byte)).sum() }
        }
    }
}

fn serve(path: PathBuf) -> Result<(), HandlerError> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let service = Serve::function(Requests::new, |request, reply: Answer<'_, Requests>| {
        reply.send(answer(request));
    });
    // Clones, so that whoever asks one loop how it is (`lab shmstat`) is told of all.
    let options = ShmOptions::default();
    let server = Server::builder()
        .loops(1)
        // While calls come in quick succession they are looked for, and not waited for.
        .spin(Spin::Adaptive)
        .bind_with(&Address::Unix(path.clone()), service, move |_| ShmDriver::new(options.clone()))
        .map_err(|error| format!("listen on {}: {error}", path.display()))?;
    println!("listening on {}", server.address());
    signals.forever().next();
    server.stopper().stop();
    Ok(server.join()?)
}

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: shm_server PATH");
        return ExitCode::from(2);
    };
    match serve(path.into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm_server: {error}");
            ExitCode::FAILURE
        }
    }
}
