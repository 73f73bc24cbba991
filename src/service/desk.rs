//! Where the answers of one connection are put in order and written.

use std::rc::Rc;

use super::call::{Answer, Boxed, Call, Caller, Home, Shop};
use super::lane::Lane;
use super::local::Locals;
use super::window::Window;
use super::{Codec, HandlerError, Unanswered, WorkPool};
use crate::buffer::SegmentWriter;
use crate::conn::Door;
use crate::driver::Key;
use crate::sync::Arc;

/// Why nothing more can be answered on a connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// An answer could not be written. What was written with it is of no use.
    Put(HandlerError),
    /// A call was left unanswered, and the codec has no answer for that. Everything before it was written.
    Unanswered(Unanswered),
}

/// One connection's part in a lane, once it has one.
struct Part<C: Codec> {
    place: usize,
    serial: u32,
    home: Home<C>,
    _share: Rc<()>,
}

impl<C: Codec> Drop for Part<C> {
    /// Calls that nobody has begun yet need not be made.
    fn drop(&mut self) {
        self.home.end();
    }
}

/// What has become of the right to answer the call that is being made on the loop.
enum Right<T> {
    /// It was used, or there is no such call.
    Used,
    /// It is there, for the call with this tag.
    Given(T),
    /// It was dropped in a panic, when nothing that might panic again could be done.
    Lost(T),
}

/// See the module's documentation.
pub(super) struct Desk<C: Codec> {
    key: Key,
    /// The number of the service, by which its lane is found.
    service: u64,
    part: Option<Part<C>>,
    window: Window<(C::Tag, Answer<C>)>,
    /// The length of the message that is being handled, as it arrived.
    bytes: usize,
    right: Right<C::Tag>,
    failure: Option<Failure>,
}

impl<C: Codec> Desk<C> {
    pub(super) fn new(service: u64) -> Self {
        Self {
            key: Key::new(0, 0),
            service,
            part: None,
            window: Window::new(C::ORDERED),
            bytes: 0,
            right: Right::Used,
            failure: None,
        }
    }

    /// Calls whose answers have not left.
    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// Whether another call may begin.
    #[inline]
    pub(super) fn has_room(&self, most: usize, most_held: usize) -> bool {
        self.window.len() < most && self.window.held() < most_held && self.failure.is_none()
    }

    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Calls from now on come by the connection of this key.
    pub(super) fn sit(&mut self, key: Key) {
        self.key = key;
    }

    /// A call begins, about a message that had so many bytes when it arrived.
    #[inline]
    pub(super) fn begin(&mut self, bytes: usize, tag: C::Tag) {
        self.bytes = bytes;
        self.right = Right::Given(tag);
    }

    /// The tag of the call that has begun, as long as it may be answered.
    pub(super) fn tag(&self) -> Option<&C::Tag> {
        match &self.right {
            Right::Given(tag) => Some(tag),
            Right::Used | Right::Lost(_) => None,
        }
    }

    /// Uses the right to answer the call that has begun.
    #[inline(always)] // as `Reply::send`
    pub(super) fn take_right(&mut self) -> Option<C::Tag> {
        match std::mem::replace(&mut self.right, Right::Used) {
            Right::Given(tag) => Some(tag),
            Right::Used | Right::Lost(_) => None,
        }
    }

    /// The call that has begun was made, and has come back.
    #[inline]
    pub(super) fn end(&mut self, output: &mut SegmentWriter) {
        if !matches!(self.right, Right::Used) {
            self.end_unanswered(output);
        }
    }

    /// Nobody can answer the call any more. A panic that came as far as the loop does not come by here.
    #[cold]
    fn end_unanswered(&mut self, output: &mut SegmentWriter) {
        match std::mem::replace(&mut self.right, Right::Used) {
            Right::Used => {}
            Right::Lost(tag) => self.pass_for(tag, Err(Unanswered::Panicked), output),
            // The right was forgotten (`mem::forget`), and its tag with it; the next reply must not be taken for this one.
            Right::Given(_) => self.failure = Some(Failure::Unanswered(Unanswered::Dropped)),
        }
    }

    /// The right to answer the call that has begun was dropped in a panic. If somebody contains that, the call is
    /// answered at its [`end`](Self::end).
    pub(super) fn lose(&mut self) {
        if let Some(tag) = self.take_right() {
            self.right = Right::Lost(tag);
        }
    }

    /// The call that has begun is answered at once, by a message.
    ///
    /// Not inlined: so the answer is read from where it was put, and not copied.
    #[inline(never)]
    pub(super) fn answer(&mut self, out: C::Out, output: &mut SegmentWriter) {
        let Some(tag) = self.take_right() else { return };
        if self.window.is_clear() & self.failure.is_none() {
            if let Err(error) = C::put(tag, out, output) {
                self.fail(error);
            }
        } else {
            self.pass_for(tag, Ok(out), output);
        }
    }

    #[cold]
    fn fail(&mut self, error: HandlerError) {
        self.failure = Some(Failure::Put(error));
    }

    /// The call that has begun is answered at once.
    pub(super) fn pass(&mut self, answer: Answer<C>, output: &mut SegmentWriter) {
        if let Some(tag) = self.take_right() {
            self.pass_for(tag, answer, output);
        }
    }

    fn pass_for(&mut self, tag: C::Tag, answer: Answer<C>, output: &mut SegmentWriter) {
        if self.window.is_clear() {
            self.write(tag, answer, output);
        } else {
            self.window.pass((tag, answer));
        }
    }

    /// A call about a message of so many bytes is answered later. Answers where it comes from.
    pub(super) fn open(&mut self, bytes: usize) -> Caller {
        let serial = self.part.as_ref().map_or(0, |part| part.serial);
        let number = self.window.open(bytes);
        Caller { key: self.key, serial, number, bytes }
    }

    /// As [`open`](Self::open), for the call that has begun on the loop, whose right was [used](Self::take_right).
    pub(super) fn put_off(&mut self, locals: &mut Locals, door: &dyn Door) -> (Home<C>, Boxed<C>) {
        let (lane, home) = self.enter(locals, door, || (None, None));
        let call = Call { from: self.open(self.bytes), tag: None, message: None, answer: None, home: None };
        (home, lane.pack(call))
    }

    /// Answers come to nothing from now on: the connection ends without them.
    pub(super) fn leave(&self) {
        if let Some(part) = &self.part {
            part.home.end();
        }
    }

    /// The lane of the service on this loop, and the way of this connection's answers to it.
    pub(super) fn enter<'l>(
        &mut self,
        locals: &'l mut Locals,
        door: &dyn Door,
        workers: impl FnOnce() -> (Shop<C>, Option<WorkPool>),
    ) -> (&'l mut Lane<C>, Home<C>) {
        let place = match &self.part {
            Some(part) => part.place,
            None => locals.place(self.service, || {
                let (shop, pool) = workers();
                Box::new(Lane::<C>::new(door.waker(), shop, pool))
            }),
        };
        let lane: &mut Lane<C> =
            locals.get(place).unwrap_or_else(|| unreachable!("a service's number is of one kind of lane"));
        let part = self.part.get_or_insert_with(|| {
            let (serial, home) = (lane.next_serial(), lane.home());
            Part { place, serial, home, _share: lane.share() }
        });
        let home = Arc::clone(&part.home);
        (lane, home)
    }

    /// Writes the answers that have come for this connection.
    pub(super) fn take_answers(&mut self, key: Key, locals: &mut Locals, output: &mut SegmentWriter) {
        let Some(&Part { place, serial, .. }) = self.part.as_ref() else { return };
        let Some(lane) = locals.get::<Lane<C>>(place) else { return };
        while let Some((from, tag, answer)) = lane.next(key, serial) {
            let mut next = self.window.settle(from.number, from.bytes, (tag, answer));
            while let Some((tag, answer)) = next.or_else(|| self.window.next()) {
                self.write(tag, answer, output);
                next = None;
            }
        }
    }

    fn write(&mut self, tag: C::Tag, answer: Answer<C>, output: &mut SegmentWriter) {
        if self.failure.is_some() {
            return;
        }
        match answer {
            Ok(out) => {
                if let Err(error) = C::put(tag, out, output) {
                    self.fail(error);
                }
            }
            Err(why) => self.write_none(&tag, why, output),
        }
    }

    /// Writes what the codec has for a call without an answer.
    #[cold]
    fn write_none(&mut self, tag: &C::Tag, why: Unanswered, output: &mut SegmentWriter) {
        self.failure = match C::unanswered(tag, why) {
            Some(out) => C::put(tag.clone(), out, output).err().map(Failure::Put),
            None => Some(Failure::Unanswered(why)),
        };
    }
}
