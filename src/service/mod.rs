//! What applications write: handlers of connections, and codecs of messages.

mod codec;
mod frame;
mod framed;
mod handler;
mod payload;

pub use crate::conn::Handle;
pub use codec::{Codec, Cut, Unanswered};
pub use frame::{Frame, FrameError, FrameOptions};
pub use framed::Framed;
pub(crate) use handler::TurnEnd;
pub use handler::{Detach, Flow, Handler, HandlerError, Io, MakeHandler, Peer};
pub use payload::Payload;
