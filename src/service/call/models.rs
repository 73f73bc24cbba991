//! Models of a call whose connection goes while it waits for a worker, or is made.
//!
//! Messages and answers are tracked: one that is dropped twice, or never, is reported.

use super::{Call, Caller, Line};
use crate::buffer::{Chain, SegmentWriter};
use crate::driver::Key;
use crate::handover::{Parcel, Tray, Wake};
use crate::service::pool::Shared;
use crate::service::{Codec, Cut, HandlerError, Reply, Tagged};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, Counter, Track, thread};

/// Messages without bytes.
struct Wordless;

impl Codec for Wordless {
    type In = Track<u32>;
    type Out = Track<u32>;
    type Tag = ();
    const ORDERED: bool = true;

    fn cut(&mut self, _: &mut Chain) -> Result<Cut<Tagged<Self>>, HandlerError> {
        Ok(Cut::Missing(1))
    }

    fn put((): (), _: Track<u32>, _: &mut SegmentWriter) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// MODEL: the loop does not sleep.
struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

/// W-20: a call whose connection goes at any moment is made, skipped, or let go of with the pool, once, and leaves
/// nothing.
///
/// The loop hands one call over, loses its connection, stops the pool and ends, while the only worker comes for the call,
/// makes it, and answers into a tray that is there or closed. A call that sees its connection gone does not answer.
/// Absent: other calls, other workers (W-10 to W-14).
/// Kills: Release of the tray's push, Acquire of its `close` -> Relaxed. By hand: a worker that forgets what it skips.
#[test]
fn a_call_whose_connection_goes_is_made_or_skipped_once() {
    model("call-abandoned", Bound::Preemptions(3), || {
        let (made, shared) = (Arc::<Counter>::default(), Arc::new(Shared::new(1)));
        let counted = Arc::clone(&made);
        let service = move |message: Track<u32>, reply: Reply<'_, Wordless>| {
            counted.add(1);
            if !reply.is_abandoned() {
                reply.send(message);
            }
        };
        let tray = Tray::new(Box::new(Awake), Some(Box::new(service) as _));
        let home = Arc::new(Line::<Wordless>::new(tray.way_back()));
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work(0))
        };
        let from = Caller { key: Key::new(0, 1), serial: 0, number: 0, bytes: 0 };
        let (message, way) = (Some(Track::new(7)), Some(Arc::clone(&home)));
        let call = Parcel::new(Call { from, tag: Some(()), message, answer: None, home: way });
        shared.hand_over(std::iter::once(call as _));
        home.end();
        drop(home);
        shared.stop();
        drop(tray);
        worker.join().unwrap();
        shared.abandon();
        let metrics = shared.metrics();
        assert!(metrics.calls + metrics.skipped <= 1, "{metrics:?}");
        assert_eq!(metrics.calls, made.get());
    });
}
