//! The handler of a service's connections: cuts messages, makes calls, and sees to the connection's end.
//!
//! # Reading, and when it rests
//!
//! | while | messages are cut | bytes are received |
//! |---|---|---|
//! | there is room | yes | yes |
//! | too many calls are in flight, or they hold too many bytes | no | no, after a call that has found it so |
//! | too many bytes are unsent | no | no, by the connection's own congestion |
//! | bytes were no message, or the server drains | no; what had arrived before a drain, yes | no |
//!
//! Messages that wait are cut when answers have made room, by the call that brings the answers. Receiving goes on when
//! none is left. So a client that keeps more requests under way than the limit costs a pause for each full window at
//! most, not for each request.
//!
//! # The end
//!
//! The end of the peer's direction is told only when nothing holds receiving, so after it no message waits. The
//! connection closes when the last answer is written; until then it is busy, and not idle.

use std::ops::ControlFlow;

use super::call::Shop;
use super::desk::{Desk, Failure};
use super::handler::Parts;
use super::reply::Here;
use super::serve::{Setup, Shared};
use super::{CallUnanswered, Codec, Dispatch, Flow, Handler, HandlerError, Io, Reply, Service};
use crate::sync::Arc;

/// See the module's documentation.
pub struct Serving<C: Codec, S> {
    codec: C,
    setup: Arc<Setup<S>>,
    desk: Desk<C>,
    /// The bytes that come next are no message.
    broken: Option<HandlerError>,
    /// No message will follow those that have arrived.
    ending: bool,
    /// Messages may be left in the input that could have been cut.
    left: bool,
    /// What the loop was told.
    busy: bool,
    paused: bool,
}

impl<C: Codec, S: Service<C>> Serving<C, S> {
    pub(super) fn new(codec: C, setup: Arc<Setup<S>>) -> Self {
        let desk = Desk::new(setup.number);
        Self { codec, setup, desk, broken: None, ending: false, left: false, busy: false, paused: false }
    }

    #[inline]
    fn go_on(&mut self, io: &mut Io<'_>) -> Flow {
        if self.broken.is_none() && !io.is_congested() && self.has_room() {
            self.cut(io);
        } else {
            self.left |= !io.input().is_empty();
        }
        let quiet = !(self.left | self.ending | self.busy | self.paused | self.desk.has_failed())
            && self.broken.is_none()
            && self.desk.in_flight() == 0;
        if quiet { Flow::Continue } else { self.conclude(io) }
    }

    #[inline]
    fn has_room(&self) -> bool {
        let options = &self.setup.options;
        self.desk.has_room(options.max_in_flight, options.max_held)
    }

    /// Makes a call for each message that is there, as long as there is room.
    #[inline]
    fn cut(&mut self, io: &mut Io<'_>) {
        let room = io.high() - io.unsent();
        let (desk, setup) = (&mut self.desk, &*self.setup);
        desk.sit(io.key());
        let Parts { input, output, locals, door } = io.parts();
        let (most, most_held) = (setup.options.max_in_flight, setup.options.max_held);
        let (mut calls, mut left) = (0, false);
        let found = match &setup.dispatch {
            Dispatch::Inline => self.codec.cut_run(input, |tag, message, bytes| {
                calls += 1;
                desk.begin(bytes, tag);
                let mut here = Here { desk: &mut *desk, output: &mut *output, locals: &mut *locals, door };
                setup.service.call(message, Reply::here(&mut here));
                desk.end(output);
                left = output.len() > room || !desk.has_room(most, most_held);
                if left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }),
            Dispatch::Pool(pool) => {
                let workers = || -> (Shop<C>, _) {
                    (Some(Box::new(Shared(Arc::clone(&setup.service)))), Some(pool.clone()))
                };
                let (lane, home) = desk.enter(locals, door, workers);
                self.codec.cut_run(input, |tag, message, bytes| {
                    calls += 1;
                    lane.hand_over(desk.open(bytes), Arc::clone(&home), tag, message);
                    left = !desk.has_room(most, most_held);
                    if left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
            }
        };
        self.left = left;
        io.count_messages(calls);
        match found {
            Ok(0) => {}
            Ok(missing) => io.want(missing),
            Err(error) => self.broken = Some(error),
        }
    }

    /// What follows for the connection.
    #[cold]
    fn conclude(&mut self, io: &mut Io<'_>) -> Flow {
        if let Some(failure) = self.desk.take_failure() {
            self.desk.leave();
            return match failure {
                Failure::Put(error) => Flow::Abort(error),
                Failure::Unanswered(why) => Flow::AbortWhenSent(Box::new(CallUnanswered(why))),
            };
        }
        let busy = self.desk.in_flight() > 0;
        if !busy {
            if let Some(error) = self.broken.take() {
                return Flow::AbortWhenSent(error);
            }
            if self.ending && !self.left {
                return Flow::CloseWhenSent;
            }
        }
        if std::mem::replace(&mut self.busy, busy) != busy {
            io.set_busy(busy);
        }
        let pause = self.broken.is_some() || self.ending || (self.left && !self.has_room());
        if std::mem::replace(&mut self.paused, pause) != pause {
            if pause { io.pause() } else { io.resume() }
        }
        Flow::Continue
    }
}

impl<C: Codec, S: Service<C>> Handler for Serving<C, S> {
    #[inline]
    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        self.go_on(io)
    }

    fn writable(&mut self, io: &mut Io<'_>) -> Flow {
        self.go_on(io)
    }

    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        let key = io.key();
        let Parts { output, locals, .. } = io.parts();
        self.desk.take_answers(key, locals, output);
        self.go_on(io)
    }

    fn eof(&mut self, io: &mut Io<'_>) -> Flow {
        self.ending = true;
        self.go_on(io)
    }

    fn drain(&mut self, io: &mut Io<'_>) -> Flow {
        self.ending = true;
        self.go_on(io)
    }
}

impl<C: Codec, S> std::fmt::Debug for Serving<C, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("in_flight", &self.desk.in_flight()).finish_non_exhaustive()
    }
}
