//! What the two examples say to each other: typed requests and replies, encoded by serde, behind their lengths.

use std::marker::PhantomData;

use linkpoll::buffer::{Chain, SegmentWriter};
use linkpoll::service::{Codec, Cut, HandlerError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message. Whoever announces a longer one is not believed.
const LONGEST: usize = 16 << 20;

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The sum of two numbers.
    Add(i64, i64),
    /// A text, backwards.
    Reverse(String),
    /// How many bytes there are, and their sum.
    Digest(Vec<u8>),
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To `Add`; nothing if it is out of range.
    Sum(Option<i64>),
    /// To `Reverse`.
    Text(String),
    /// To `Digest`.
    Digest {
        /// The number of bytes.
        bytes: u64,
        /// Their sum.
        sum: u64,
    },
}

/// Messages behind their lengths, read as `In` and written as `Out`.
pub(crate) struct Typed<In, Out>(PhantomData<(In, Out)>);

impl<In, Out> Typed<In, Out> {
    /// The codec.
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<In, Out> Codec for Typed<In, Out>
where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
{
    type In = In;
    type Out = Out;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, input: &mut Chain) -> Result<Cut<((), In)>, HandlerError> {
        if input.len() < 4 {
            return Ok(Cut::Missing(4 - input.len()));
        }
        let mut len = [0; 4];
        len.copy_from_slice(input.peek(4)?);
        let len = usize::try_from(u32::from_le_bytes(len))?;
        if len > LONGEST {
            return Err(format!("a message of {len} bytes").into());
        }
        if input.len() < 4 + len {
            return Ok(Cut::Missing(4 + len - input.len()));
        }
        input.skip(4)?;
        Ok(Cut::Message(((), postcard::from_bytes(input.next(len)?)?)))
    }

    fn put(_: (), out: Out, to: &mut SegmentWriter) -> Result<(), HandlerError> {
        let bytes = postcard::to_stdvec(&out)?;
        to.write(&u32::try_from(bytes.len())?.to_le_bytes())?;
        Ok(to.write(&bytes)?)
    }
}
