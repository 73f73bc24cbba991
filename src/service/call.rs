//! One call that is not answered at once, and the way of its answer.

#[cfg(test)]
mod models;

use super::pool::Job;
use super::reply::Away;
use super::{Codec, Reply, Service, Unanswered};
use crate::driver::Key;
use crate::handover::{Parcel, WayBack};
use crate::panics;
use crate::sync::{Arc, AtomicBool, Ordering};

/// What became of a call.
pub(super) type Answer<C> = Result<<C as Codec>::Out, Unanswered>;

/// The way of answers back to the loop, which ends at a [`Lane`](super::lane::Lane). One for all calls of a connection.
pub(super) type Home<C> = Arc<Line<C>>;

/// See [`Home`].
pub(super) struct Line<C: Codec> {
    way: WayBack<Call<C>, Shop<C>>,
    /// Nobody is left to whom answers could be given.
    gone: AtomicBool,
}

impl<C: Codec> Line<C> {
    pub(super) fn new(way: WayBack<Call<C>, Shop<C>>) -> Self {
        Self { way, gone: AtomicBool::new(false) }
    }

    /// Whether answers come to nothing. A hint: they may do so from the next moment on.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        // ORDERING: Relaxed, no partner: nothing is read on the strength of it.
        self.gone.load(Ordering::Relaxed)
    }

    /// Loop: answers come to nothing from now on.
    pub(super) fn end(&self) {
        // ORDERING: Relaxed, as in `is_gone`.
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// A call on its way. The box that it travels in is used again for another.
pub(super) type Boxed<C> = Box<Parcel<Call<C>>>;

/// Who answers calls off the loop; nobody where calls are made on it.
pub(super) type Shop<C> = Option<Box<dyn Service<C>>>;

/// See the module's documentation. What is `None` was taken out, or is not there yet.
pub(super) struct Call<C: Codec> {
    pub(super) from: Caller,
    pub(super) tag: Option<C::Tag>,
    pub(super) message: Option<C::In>,
    pub(super) answer: Option<Answer<C>>,
    /// For a call that is made off the loop.
    pub(super) home: Option<Home<C>>,
}

/// Where a call comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) key: Key,
    /// Which of the handlers that the connection has had.
    pub(super) serial: u32,
    /// Which of the connection's calls, see [`Window`](super::window::Window).
    pub(super) number: u32,
    /// The length of its message as it arrived.
    pub(super) bytes: usize,
}

/// Answers a call: the box goes back to its loop. If that has ended, the answer comes to nothing.
pub(super) fn answer<C: Codec>(home: &Home<C>, mut call: Boxed<C>, tag: C::Tag, answer: Answer<C>) {
    let content = call.open();
    content.tag = Some(tag);
    content.answer = Some(answer);
    drop(home.way.put(call));
}

/// A call that is made off the loop.
impl<C: Codec> Job for Parcel<Call<C>> {
    fn is_wanted(&mut self) -> bool {
        self.open().home.as_ref().is_some_and(|home| !home.is_gone())
    }

    fn run(mut self: Box<Self>) {
        let Call { home, tag, message, .. } = self.open();
        let (home, mut tag, message) = (home.take(), tag.take(), message.take());
        if let (Some(home), Some(message)) = (&home, message)
            && let Some(service) = home.way.extra()
        {
            let mut call = Some(self);
            let mut away = Away { home, call: &mut call, tag: &mut tag };
            service.call(message, Reply::away(&mut away));
        }
    }

    fn abandon(mut self: Box<Self>) {
        let Call { home, tag, message, .. } = self.open();
        // Whoever waits for the calls behind it is answered, whatever the message does.
        panics::let_go(message.take());
        if let (Some(home), Some(tag)) = (home.take(), tag.take()) {
            answer(&home, self, tag, Err(Unanswered::Dropped));
        }
    }
}
