//! Panics of code that is not ours: of handlers, calls, wakers, and owners of bytes.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops what a contained panic carried. Dropping it may panic too; what that panic carries is leaked.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Drops what belongs to the application, and comes back whatever becomes of it. A panic has been reported then.
pub(crate) fn let_go<T>(what: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(what))) {
        discard(payload);
    }
}
