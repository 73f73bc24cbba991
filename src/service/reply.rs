//! The right to answer one call.
//!
//! A [`Reply`] is lent for the duration of the call. On the loop it is a loan of the loop's own output: an answer that
//! is given at once is written where it is sent from, and costs no allocation and no atomic operation. An answer that
//! is given later, from any thread or task, takes a [`Deferred`].

use std::fmt;

use super::call::{self, Answer, Boxed, Home};
use super::desk::Desk;
use super::local::Locals;
use super::{Codec, Unanswered};
use crate::buffer::SegmentWriter;
use crate::conn::Door;

/// The right to answer a call, while it runs. To be used once; dropping it leaves the call unanswered, which is an
/// outcome too, see [`Codec::unanswered`].
pub struct Reply<'a, C: Codec>(Option<To<'a, C>>);

enum To<'a, C: Codec> {
    /// The call runs on its connection's loop.
    Here {
        desk: &'a mut Desk<C>,
        output: &'a mut SegmentWriter,
        locals: &'a mut Locals,
        door: &'a dyn Door,
        tag: C::Tag,
    },
    /// It runs elsewhere.
    Away { home: &'a Home<C>, call: Boxed<C>, tag: C::Tag },
}

impl<'a, C: Codec> Reply<'a, C> {
    #[inline(always)]
    pub(super) fn here(
        desk: &'a mut Desk<C>,
        output: &'a mut SegmentWriter,
        locals: &'a mut Locals,
        door: &'a dyn Door,
        tag: C::Tag,
    ) -> Self {
        Self(Some(To::Here { desk, output, locals, door, tag }))
    }

    pub(super) fn away(home: &'a Home<C>, call: Boxed<C>, tag: C::Tag) -> Self {
        Self(Some(To::Away { home, call, tag }))
    }

    /// Answers. Never blocks. When the connection is gone, the answer comes to nothing.
    #[inline(always)] // what is not usual stays outside, so that closures that only answer are small
    pub fn send(mut self, out: C::Out) {
        match self.0.take() {
            Some(To::Here { desk, output, tag, .. }) if desk.is_free() => desk.write_out(tag, out, output),
            Some(to) => to.answer(Ok(out)),
            None => {}
        }
    }

    /// Puts the answer off: from now on it may come from any thread, at any time.
    #[must_use = "dropping it leaves the call unanswered"]
    pub fn later(mut self) -> Deferred<C> {
        Deferred(self.0.take().map(To::later))
    }

    /// Whether the answer would come to nothing, because the connection is gone: then whatever is still to be done for
    /// it alone can be left out. One load, and a hint: the connection may go at any later moment. A call that is made on
    /// the loop never finds it so.
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        match &self.0 {
            Some(To::Away { home, .. }) => home.is_gone(),
            _ => false,
        }
    }

    /// What the protocol tells this request by.
    pub fn tag(&self) -> Option<&C::Tag> {
        self.0.as_ref().map(|to| match to {
            To::Here { tag, .. } | To::Away { tag, .. } => tag,
        })
    }
}

impl<C: Codec> To<'_, C> {
    #[inline(never)]
    fn answer(self, answer: Answer<C>) {
        match self {
            Self::Here { desk, output, tag, .. } => desk.pass(tag, answer, output),
            Self::Away { home, call, tag } => call::answer(home, call, tag, answer),
        }
    }

    fn later(self) -> Late<C> {
        match self {
            Self::Here { desk, locals, door, tag, .. } => {
                let (home, call) = desk.put_off(locals, door);
                Late { home, call, tag }
            }
            Self::Away { home, call, tag } => Late { home: home.clone(), call, tag },
        }
    }
}

impl<C: Codec> Drop for Reply<'_, C> {
    #[inline]
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            abandon(to);
        }
    }
}

#[cold]
fn abandon<C: Codec>(to: To<'_, C>) {
    match (to, outcome()) {
        // A panic on the loop closes the connection, unless the service contains it; now is not the time to write.
        (To::Here { desk, tag, .. }, Unanswered::Panicked) => desk.lose(tag),
        (to, why) => to.answer(Err(why)),
    }
}

/// Why somebody lets go of a call just now.
fn outcome() -> Unanswered {
    if std::thread::panicking() { Unanswered::Panicked } else { Unanswered::Dropped }
}

/// The right to answer a call later, from any thread or task. To be used once; dropping it leaves the call unanswered,
/// which is an outcome too, see [`Codec::unanswered`].
///
/// As long as it lives its connection counts as busy: it is not closed for being idle, nor because its peer has ended.
pub struct Deferred<C: Codec>(Option<Late<C>>);

struct Late<C: Codec> {
    home: Home<C>,
    call: Boxed<C>,
    tag: C::Tag,
}

impl<C: Codec> Deferred<C> {
    /// Whether the answer would come to nothing, see [`Reply::is_abandoned`].
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(|late| late.home.is_gone())
    }

    /// Answers. Never blocks. When the connection is gone, the answer comes to nothing.
    pub fn send(mut self, out: C::Out) {
        if let Some(late) = self.0.take() {
            late.answer(Ok(out));
        }
    }
}

impl<C: Codec> Late<C> {
    fn answer(self, answer: Answer<C>) {
        call::answer(&self.home, self.call, self.tag, answer);
    }
}

impl<C: Codec> Drop for Deferred<C> {
    fn drop(&mut self) {
        if let Some(late) = self.0.take() {
            late.answer(Err(outcome()));
        }
    }
}

impl<C: Codec> fmt::Debug for Reply<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl<C: Codec> fmt::Debug for Deferred<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred").finish_non_exhaustive()
    }
}
