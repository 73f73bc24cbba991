//! What a driver reports.

use std::io;

use super::Key;
use crate::buffer::Segment;

/// Names a send whose memory somebody waits for; chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// What has become of the bytes of a send whose memory is free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Lending {
    /// They were copied on the way.
    Copied,
    /// The transport used them where they were.
    Lent,
}

/// Something that has happened on a connection or listener.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<S> {
    /// A listener has a connection, which belongs to the caller now.
    Incoming(Key, S),
    /// A listener cannot accept: the process or the system is out of descriptors or memory. The connections still
    /// wait; the listener should be given a rest.
    AcceptFailed(Key, io::Error),
    /// A connection that was being established is.
    Connected(Key),
    /// Bytes have arrived, never none.
    Received(Key, Segment),
    /// So many bytes, never none, have been taken by the transport, in the order they were given. What was taken at
    /// once is not among them: `send` has answered it.
    Sent(Key, usize),
    /// The memory of a send is free again.
    Released(Token, Lending),
    /// The peer has ended its direction.
    Eof(Key),
    /// The peer wants the connection to end soon. What is under way may be finished; what is new belongs elsewhere.
    Leaving(Key),
    /// The connection is broken. It must still be closed.
    Error(Key, io::Error),
    /// The connection is gone; no event with this key follows.
    Closed(Key),
}

impl<S> Event<S> {
    /// With another socket in the place of this one, if it has one.
    #[inline]
    pub(crate) fn map_socket<T>(self, map: impl FnOnce(S) -> T) -> Event<T> {
        match self {
            Self::Incoming(key, socket) => Event::Incoming(key, map(socket)),
            Self::AcceptFailed(key, error) => Event::AcceptFailed(key, error),
            Self::Connected(key) => Event::Connected(key),
            Self::Received(key, segment) => Event::Received(key, segment),
            Self::Sent(key, bytes) => Event::Sent(key, bytes),
            Self::Released(token, lending) => Event::Released(token, lending),
            Self::Eof(key) => Event::Eof(key),
            Self::Leaving(key) => Event::Leaving(key),
            Self::Error(key, error) => Event::Error(key, error),
            Self::Closed(key) => Event::Closed(key),
        }
    }
}
