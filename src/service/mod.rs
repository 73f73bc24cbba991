//! What applications write: handlers of connections, codecs of messages, and services that answer them.

mod call;
mod client;
mod codec;
mod desk;
mod frame;
mod framed;
mod handler;
mod lane;
mod local;
mod payload;
mod pool;
mod prefix;
mod reply;
mod serve;
mod serving;
mod tagged;
mod window;

pub use crate::conn::Handle;
pub use client::{Call, CallError, CallTag, Client, ClientOptions, Connecting, UnexpectedReply};
pub use codec::{Codec, Cut, Tagged, Unanswered};
pub use frame::{Frame, FrameError, FrameOptions};
pub use framed::Framed;
pub(crate) use handler::TurnEnd;
pub use handler::{Detach, Flow, Handler, HandlerError, Io, MakeHandler, Peer};
pub(crate) use local::Locals;
#[cfg(test)]
pub(crate) use local::{Clock, Local};
pub use payload::Payload;
pub use pool::{WorkMetrics, WorkOptions, WorkPool};
pub use reply::{Deferred, Reply};
pub use serve::{CallUnanswered, Dispatch, Serve, ServeOptions, Service};
pub use serving::Serving;
pub use tagged::TaggedFrame;
