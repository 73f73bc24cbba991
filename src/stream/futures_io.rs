//! Streams as those of `futures-io`, for any executor: wake-ups come from the connection's loop.
//!
//! Every call may be given up: a read that was not ready has taken nothing, a write that was not ready has written
//! nothing. Closing waits until the transport has taken everything, see [`WriteHalf::poll_finish`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::{ReadHalf, Stream, WriteHalf};

macro_rules! reads {
    ($type:ty, $half:expr) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                into: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let half: &mut ReadHalf = $half(self.get_mut());
                if into.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                ready!(half.poll_readable(context))?;
                Poll::Ready(half.copy(into))
            }
        }

        impl AsyncBufRead for $type {
            fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
                let half: &mut ReadHalf = $half(self.get_mut());
                ready!(half.poll_readable(context))?;
                Poll::Ready(Ok(half.front()))
            }

            fn consume(self: Pin<&mut Self>, n: usize) {
                let half: &mut ReadHalf = $half(self.get_mut());
                half.drop_front(n);
            }
        }
    };
}

macro_rules! writes {
    ($type:ty, $half:expr) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.poll_write_vectored(context, &[IoSlice::new(bytes)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                parts: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let half: &mut WriteHalf = $half(self.get_mut());
                half.poll_write_parts(context, parts)
            }

            fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                let half: &mut WriteHalf = $half(self.get_mut());
                half.poll_finish(context)
            }
        }
    };
}

reads!(ReadHalf, |half| half);
reads!(Stream, Stream::reader);
writes!(WriteHalf, |half| half);
writes!(Stream, Stream::writer);
