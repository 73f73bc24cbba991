//! A message that is sent many times, and is under way at most once: news is to be found elsewhere.
//!
//! | `raised` | meaning | left by |
//! |---|---|---|
//! | false | the message is not under way; whoever publishes sends it | sender: swap to true, then puts the node in |
//! | true | it is under way, and the owner will look after it was taken | owner, who has the node: swap to false |
//!
//! A sender that finds `true` sends nothing: the owner's swap, which comes later in the order of the word, reads its
//! swap or a later one, and so sees everything published before it. A sender that finds `false` has the node to
//! itself: it is in no list, because the owner resets the word only when the node has come out.
//!
//! The node lives in an `Arc`, and its share in the list is leaked and taken back, so sending allocates nothing.

use std::fmt;

use super::Post;
use super::mailbox::Node;
use crate::sync::{Arc, AtomicBool, Ordering};

type Make<M> = Box<dyn Fn() -> M + Send + Sync>;

/// What the node of a signal carries.
pub(super) struct Raised<M> {
    raised: AtomicBool,
    make: Make<M>,
}

impl<M> Raised<M> {
    /// Owner, with the node out of the list: the message, and from here on the signal can be raised again.
    pub(super) fn take(&self) -> M {
        // ORDERING: Acquire pairs with the Release in `raise`, and with those of the raises that found it raised.
        // Release pairs with the Acquire in `raise`: the owner's last look at the node comes before it goes into the
        // list again.
        self.raised.swap(false, Ordering::AcqRel);
        (self.make)()
    }
}

/// See the module's documentation. Cheap to raise; never blocks.
pub(crate) struct Signal<M> {
    post: Post<M>,
    node: Arc<Node<M>>,
}

impl<M: Send> Signal<M> {
    pub(super) fn new(post: Post<M>, make: Make<M>) -> Self {
        let raised = Raised { raised: AtomicBool::new(false), make };
        Self { post, node: Arc::new(Node::signal(raised)) }
    }

    /// The mailbox that it is sent to.
    pub(crate) fn post(&self) -> &Post<M> {
        &self.post
    }

    /// Sends the message, unless it is under way. What was published before is visible to the owner when it has taken
    /// the message. Does nothing once the mailbox is closed.
    pub(crate) fn raise(&self) {
        let Some(raised) = self.node.raised() else { return };
        // ORDERING: AcqRel, with the swap in `take`: Release publishes the news, Acquire makes the node ours.
        if !raised.raised.swap(true, Ordering::AcqRel) {
            self.post.send_signal(Arc::clone(&self.node));
        }
    }
}

impl<M> fmt::Debug for Signal<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").finish_non_exhaustive()
    }
}
