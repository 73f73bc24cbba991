//! Streams through the traits of tokio and of `futures-io`.

#[path = "../../../../tests/stream/bed.rs"]
#[expect(dead_code, reason = "shared with the tests of blocking streams")]
mod bed;
#[path = "../../../../tests/stream/drivers.rs"]
mod drivers;
mod peer;
mod with_futures;
mod with_tokio;
