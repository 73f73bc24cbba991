//! Makes typed calls over shared memory: `shm_client PATH [CALLS]`. Connects again when the server was restarted.

mod protocol;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use linkpoll::net::{Address, DialError, Loops};
use linkpoll::reactor::Spin;
use linkpoll::service::{Client, ClientOptions, HandlerError};
use linkpoll_shm::{ShmDriver, ShmOptions};
use protocol::{Reply, Request, Typed};

type Replies = Typed<Reply, Request>;

/// How long a server may be away.
const PATIENCE: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(5);

/// Whether nobody is there for the moment: there is no socket, nobody listens at it, or whoever did has just left. That a
/// user is not welcome, or that there can be no such path, does not change by waiting.
fn is_away(error: &DialError) -> bool {
    let DialError::Failed(attempts) = error else { return false };
    attempts.iter().all(|attempt| {
        matches!(
            attempt.error.kind(),
            ErrorKind::NotFound
                | ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::WouldBlock
        )
    })
}

/// Connects, and tries again with growing pauses while nobody is there.
fn connect(loops: &Loops, path: &Address) -> Result<Client<Replies>, HandlerError> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match Client::dial(&loops.dialer(), vec![path.clone()], Replies::new(), ClientOptions::default())
            .wait()
        {
            Ok(client) => return Ok(client),
            Err(error) if begin.elapsed() > PATIENCE || !is_away(&error) => return Err(error.into()),
            Err(_) => {
                // Clients of one server must not come back all at once.
                let jitter = begin.elapsed().subsec_nanos() % 1000;
                thread::sleep(pause + pause * jitter / 1000);
                pause = (pause * 2).min(Duration::from_millis(500));
            }
        }
    }
}

/// The requests, each with the reply that it must have.
fn question(number: i64) -> (Request, Reply) {
    match number % 3 {
        0 => (Request::Add(number, 1), Reply::Sum(Some(number + 1))),
        1 => (Request::Reverse("shared".into()), Reply::Text("derahs".into())),
        _ => (Request::Digest(vec![3; 20_000]), Reply::Digest { bytes: 20_000, sum: 60_000 }),
    }
}

fn call(path: PathBuf, calls: i64) -> Result<(), HandlerError> {
    let loops = Loops::builder()
        .loops(1)
        .spin(Spin::Adaptive)
        .start_with(|_| ShmDriver::new(ShmOptions::default()))?;
    let path = Address::Unix(path);
    let mut client = connect(&loops, &path)?;
    let mut restarts = 0;
    let begin = Instant::now();
    for number in 0..calls {
        loop {
            let (request, expected) = question(number);
            match client.call(request).wait_for(CALL) {
                Ok(reply) if reply == expected => break,
                Ok(reply) => return Err(format!("call {number} was answered by {reply:?}").into()),
                // A server that stops takes no further call, and loses none: such a call is just made again. One that
                // was killed leaves calls of which nobody knows: these may be made twice, of others only their caller
                // knows.
                Err(error) if restarts < 100 => {
                    eprintln!("call {number}: {error}; connecting again");
                    restarts += 1;
                    client = connect(&loops, &path)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    println!("{calls} calls in {:?}, connected again {restarts} times", begin.elapsed());
    client.close();
    loops.stopper().stop();
    Ok(loops.join()?)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next();
    let calls = arguments.next().map_or(Some(1000), |calls| calls.to_str()?.parse().ok());
    let (Some(path), Some(calls)) = (path, calls) else {
        eprintln!("usage: shm_client PATH [CALLS]");
        return ExitCode::from(2);
    };
    match call(path.into(), calls) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm_client: {error}");
            ExitCode::FAILURE
        }
    }
}
