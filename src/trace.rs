//! Events for the crate `tracing`, behind the feature of that name. Without it they are not there at all.
//!
//! | level | events |
//! |---|---|
//! | error | a panic of a handler, a loop that breaks |
//! | warn | a listener that rests, a loop over its budget, a thread that cannot be scheduled as asked |
//! | info | a loop that begins to drain, and its end |
//! | debug | a connection that opens or closes, with its peer and its reason |
//!
//! There is none for bytes or messages: those are counted.

macro_rules! event {
    ($level:ident, $($field:tt)*) => {
        #[cfg(feature = "tracing")]
        tracing::event!(tracing::Level::$level, $($field)*);
    };
}

pub(crate) use event;
