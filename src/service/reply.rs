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
pub struct Reply<'a, C: Codec>(To<'a, C>);

/// One word beside its kind, so that a reply goes to its service in registers: what it needs lies with the caller.
enum To<'a, C: Codec> {
    /// The right was used.
    Nobody,
    /// The call runs on its connection's loop.
    Here(&'a mut Here<'a, C>),
    /// It runs elsewhere.
    Away(&'a mut Away<'a, C>),
}

/// What an answer needs that is given on the connection's loop. The desk keeps the tag.
pub(super) struct Here<'a, C: Codec> {
    pub(super) desk: &'a mut Desk<C>,
    pub(super) output: &'a mut SegmentWriter,
    pub(super) locals: &'a mut Locals,
    pub(super) door: &'a dyn Door,
}

/// What an answer needs that is given elsewhere. Box and tag are taken out by whoever answers.
pub(super) struct Away<'a, C: Codec> {
    pub(super) home: &'a Home<C>,
    pub(super) call: &'a mut Option<Boxed<C>>,
    pub(super) tag: &'a mut Option<C::Tag>,
}

impl<'a, C: Codec> Reply<'a, C> {
    #[inline(always)]
    pub(super) fn here(here: &'a mut Here<'a, C>) -> Self {
        Self(To::Here(here))
    }

    pub(super) fn away(away: &'a mut Away<'a, C>) -> Self {
        Self(To::Away(away))
    }

    #[inline(always)]
    fn take(&mut self) -> To<'a, C> {
        std::mem::replace(&mut self.0, To::Nobody)
    }

    /// Answers. Never blocks. When the connection is gone, the answer comes to nothing.
    #[inline(always)] // what is not usual stays outside, so that closures that only answer are small
    pub fn send(mut self, out: C::Out) {
        match self.take() {
            To::Here(here) => here.desk.answer(out, here.output),
            to => to.answer(Ok(out)),
        }
    }

    /// Puts the answer off: from now on it may come from any thread, at any time.
    #[must_use = "dropping it leaves the call unanswered"]
    pub fn later(mut self) -> Deferred<C> {
        Deferred(self.take().later())
    }

    /// Whether the answer would come to nothing, because the connection is gone: then whatever is still to be done for
    /// it alone can be left out. One load, and a hint: the connection may go at any later moment. A call that is made on
    /// the loop never finds it so.
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        match &self.0 {
            To::Away(away) => away.home.is_gone(),
            _ => false,
        }
    }

    /// What the protocol tells this request by.
    pub fn tag(&self) -> Option<&C::Tag> {
        match &self.0 {
            To::Nobody => None,
            To::Here(here) => here.desk.tag(),
            To::Away(away) => away.tag.as_ref(),
        }
    }
}

impl<C: Codec> To<'_, C> {
    #[inline(never)]
    fn answer(self, answer: Answer<C>) {
        match self {
            Self::Nobody => {}
            Self::Here(here) => here.desk.pass(answer, here.output),
            Self::Away(Away { home, call, tag }) => {
                if let (Some(call), Some(tag)) = (call.take(), tag.take()) {
                    call::answer(home, call, tag, answer);
                }
            }
        }
    }

    fn later(self) -> Option<Late<C>> {
        match self {
            Self::Nobody => None,
            Self::Here(Here { desk, locals, door, .. }) => {
                let tag = desk.take_right()?;
                let (home, call) = desk.put_off(locals, *door);
                Some(Late { home, call, tag })
            }
            Self::Away(Away { home, call, tag }) => {
                Some(Late { home: home.clone(), call: call.take()?, tag: tag.take()? })
            }
        }
    }
}

impl<C: Codec> Drop for Reply<'_, C> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.0, To::Nobody) {
            abandon(self.take());
        }
    }
}

#[cold]
fn abandon<C: Codec>(to: To<'_, C>) {
    match (to, outcome()) {
        // A panic on the loop closes the connection, unless the service contains it; now is not the time to write.
        (To::Here(here), Unanswered::Panicked) => here.desk.lose(),
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
