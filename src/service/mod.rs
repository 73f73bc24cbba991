//! What applications write: handlers of connections, and codecs of messages.

mod frame;
mod framed;
mod handler;
mod payload;

pub use crate::conn::Handle;
pub use frame::{Cut, Frame, FrameError, FrameOptions};
pub use framed::Framed;
pub(crate) use handler::TurnEnd;
pub use handler::{Flow, Handler, HandlerError, Io, MakeHandler, Peer};
pub use payload::Payload;
