//! The service of `lab serve --dispatch`: answers each message with its own bytes, after some work.

use std::io;
use std::time::Duration;

use linkpoll::buffer::Chain;
use linkpoll::service::{Dispatch, Frame, FrameOptions, MakeHandler, Serve, WorkOptions, WorkPool};
use nix::time::{ClockId, clock_gettime};

use crate::cli::{self, ServeArguments};
use crate::load::slow::{STAMP, is_slow_payload};
use crate::serve::slice;

/// How much processor time calls take.
#[derive(Clone, Copy, Debug)]
struct Work {
    usual: Duration,
    slow: Duration,
    /// One call in so many is slow.
    every: Option<u64>,
}

impl Work {
    fn of(self, message: &mut Chain) -> Duration {
        let slow = |every| {
            let stamp = message.peek(STAMP).ok().and_then(|stamp| <[u8; STAMP]>::try_from(stamp).ok());
            stamp.is_some_and(|stamp| is_slow_payload(stamp, every))
        };
        if self.every.is_some_and(slow) { self.slow } else { self.usual }
    }
}

/// Where calls are made, and the pool if that is where.
///
/// # Errors
/// When the pool's threads cannot be started.
pub(crate) fn dispatch(arguments: &ServeArguments, where_to: cli::Dispatch) -> io::Result<Dispatch> {
    let usual = WorkOptions::default();
    let options = WorkOptions {
        threads: arguments.threads.map_or(usual.threads, usize::from),
        slice: slice(arguments.pool_slice, usual.slice),
        nice: arguments.pool_nice.unwrap_or(usual.nice),
    };
    Ok(match where_to {
        cli::Dispatch::Inline => Dispatch::Inline,
        cli::Dispatch::Pool => Dispatch::Pool(WorkPool::with_options(options)?),
    })
}

/// What serves it.
pub(crate) fn maker(arguments: &ServeArguments, dispatch: Dispatch) -> impl MakeHandler + use<> {
    let frame = Frame::new(FrameOptions { max_payload: arguments.max_message });
    let work = Work { usual: arguments.work, slow: arguments.slow, every: arguments.slow_every };
    let serve = Serve::function(
        move || frame,
        move |mut message: Chain, reply| {
            burn(work.of(&mut message));
            reply.send(message);
        },
    );
    serve.dispatch(dispatch)
}

/// Uses up so much time of the processor, however long this thread is kept from it meanwhile.
fn burn(time: Duration) {
    if time.is_zero() {
        return;
    }
    let used = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let Ok(until) = used().map(|now| now + time) else { return };
    while used().is_ok_and(|now| now < until) {
        std::hint::spin_loop();
    }
}
