//! One value from one thread to another; to be replaced by a protocol of our own.
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::Instant;
/// The sending end.
#[derive(Debug)]
pub struct Promise<T>(mpsc::SyncSender<T>);
/// The receiving end.
#[derive(Debug)]
pub struct Pending<T>(mpsc::Receiver<T>);
/// The sender went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abandoned;
/// Both ends.
#[must_use]
pub fn oneshot<T: Send>() -> (Promise<T>, Pending<T>) {
    let (a, b) = mpsc::sync_channel(1);
    (Promise(a), Pending(b))
}
impl<T> Promise<T> {
    /// Sends.
    pub fn fulfil(self, value: T) {
        drop(self.0.send(value));
    }
}
impl<T> Pending<T> {
    /// Blocks.
    ///
    /// # Errors
    /// When the sender goes away.
    pub fn wait(self) -> Result<T, Abandoned> {
        self.0.recv().map_err(|_| Abandoned)
    }
    /// Blocks until a deadline.
    pub fn wait_until(&mut self, at: Instant) -> Option<Result<T, Abandoned>> {
        match self.0.recv_timeout(at.saturating_duration_since(Instant::now())) {
            Ok(v) => Some(Ok(v)),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(_) => Some(Err(Abandoned)),
        }
    }
}
impl<T> Future for Pending<T> {
    type Output = Result<T, Abandoned>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.try_recv() {
            Ok(v) => Poll::Ready(Ok(v)),
            _ => Poll::Pending,
        }
    }
}
