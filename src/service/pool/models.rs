//! Models of the hand-over of work to a pool, with the workers' own life, and of the pool's end.
//!
//! What jobs carry lies in tracked loom cells, so a job that is done twice, before it is published, or never let go of
//! is reported. A worker that sleeps on work, and one that does not end, is a deadlock.
//!
//! MODEL: time stands still, so a call is slow only where a model says so, and no loop ever comes to look again.

#![expect(unsafe_code, reason = "what jobs carry lies in loom cells")]

use super::{Job, Scheduling, Shared, WorkPool};
use crate::handover::{Pending, Promise, oneshot};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, AtomicUsize, Ordering, Track, UnsafeCell, thread};

/// What became of the two jobs of one execution.
struct Fates {
    done: [AtomicUsize; 2],
    abandoned: [AtomicUsize; 2],
    all: AtomicUsize,
}

impl Fates {
    fn new() -> Arc<Self> {
        let zeros = || [AtomicUsize::new(0), AtomicUsize::new(0)];
        Arc::new(Self { done: zeros(), abandoned: zeros(), all: AtomicUsize::new(0) })
    }

    /// Done and abandoned, of each job.
    fn get(&self) -> [(usize, usize); 2] {
        // ORDERING: Relaxed: all threads have ended.
        [0, 1].map(|n| (self.done[n].load(Ordering::Relaxed), self.abandoned[n].load(Ordering::Relaxed)))
    }
}

/// A job that waits for something first, and tells somebody when it is done. With the last of them the workers are to
/// end, if it knows them.
struct Task {
    number: usize,
    fates: Arc<Fates>,
    /// Written before the hand-over, read by the worker.
    content: Track<UnsafeCell<usize>>,
    first: Option<Pending<()>>,
    then: Option<Promise<()>>,
    last: Option<Arc<Shared>>,
}

impl Job for Task {
    fn run(self: Box<Self>) {
        self.content.get_ref().with(|content| {
            // SAFETY: the box is ours alone.
            assert_eq!(unsafe { *content }, self.number);
        });
        if let Some(first) = self.first {
            // It tells by being dropped.
            let _ = first.wait();
        }
        // ORDERING: Relaxed: read when all threads have ended.
        self.fates.done[self.number].fetch_add(1, Ordering::Relaxed);
        drop(self.then);
        // ORDERING: Relaxed: only the number matters.
        if self.fates.all.fetch_add(1, Ordering::Relaxed) == 1
            && let Some(shared) = &self.last
        {
            shared.stop();
        }
    }

    fn abandon(self: Box<Self>) {
        // ORDERING: Relaxed, as in `run`.
        self.fates.abandoned[self.number].fetch_add(1, Ordering::Relaxed);
    }
}

fn jobs(fates: &Arc<Fates>, last: Option<&Arc<Shared>>) -> [Box<Task>; 2] {
    [0, 1].map(|number| {
        let content = Track::new(UnsafeCell::new(number));
        let last = last.cloned();
        Box::new(Task { number, fates: Arc::clone(fates), content, first: None, then: None, last })
    })
}

fn one(job: Box<Task>) -> impl Iterator<Item = Box<dyn Job>> {
    std::iter::once(job as Box<dyn Job>)
}

fn both([first, second]: [Box<Task>; 2]) -> impl Iterator<Item = Box<dyn Job>> {
    [first as Box<dyn Job>, second].into_iter()
}

/// W-10: work that is handed over is done, whether the worker sleeps, is about to, or is busy.
///
/// Two hand-overs, one after another, meet the only worker at any moment of its life. It ends with the second job, which
/// stops it. Absent: other workers (W-11), other loops (W-12), the pool's end (W-14).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a worker that does not look again after it has announced its sleep.
#[test]
fn work_that_is_handed_over_is_done() {
    model("pool-hand-over", Bound::Preemptions(3), || {
        let (fates, shared) = (Fates::new(), Arc::new(Shared::new(1)));
        let [first, second] = jobs(&fates, Some(&shared));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.hand_over(one(first));
                shared.hand_over(one(second));
            })
        };
        shared.work(0);
        other.join().unwrap();
        assert_eq!(fates.get(), [(1, 0); 2]);
    });
}

/// W-11: a batch is done by whoever is awake, and wakes at most one sleeper, however many sleep.
///
/// Both jobs come at once, to two workers at any moment of their lives. Calls are fast, so the worker that takes the
/// first job wakes nobody for the second. Absent: slow calls (W-13).
/// Kills: a hand-over that wakes one for each job; a stop that wakes only one.
#[test]
fn a_batch_wakes_at_most_one_worker() {
    model("pool-batch", Bound::Preemptions(1), || {
        let (fates, shared) = (Fates::new(), Arc::new(Shared::new(2)));
        let batch = both(jobs(&fates, Some(&shared)));
        let [worker, hander] = [0, 1].map(|_| Arc::clone(&shared));
        let worker = thread::spawn(move || worker.work(1));
        let hander = thread::spawn(move || hander.hand_over(batch));
        shared.work(0);
        [worker, hander].into_iter().for_each(|other| other.join().unwrap());
        let metrics = shared.metrics();
        // One by the hand-over, one by the stop: the other worker ends by itself.
        assert!(metrics.wakes <= 2, "{metrics:?}");
        assert_eq!((metrics.calls, fates.get()), (2, [(1, 0); 2]));
    });
}

/// W-12: loops that hand over at the same time lose no work, and do none twice.
///
/// Two threads hand one job over each, to one worker. One of them may find the other's wake-up under way, and wake
/// nobody. Absent: a second worker (W-11).
/// Kills: fence F1 or F2 SeqCst -> AcqRel.
#[test]
fn loops_that_hand_over_at_once_lose_nothing() {
    model("pool-loops", Bound::Preemptions(2), || {
        let (fates, shared) = (Fates::new(), Arc::new(Shared::new(1)));
        let others = jobs(&fates, Some(&shared)).map(|job| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.hand_over(one(job)))
        });
        shared.work(0);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(fates.get(), [(1, 0); 2]);
    });
}

/// W-13: while calls are slow, one that blocks does not hold back another of its batch: whoever takes it wakes the next
/// worker first.
///
/// The first job waits for the second to be done, so a worker that took both, or a second worker that nobody woke, is a
/// deadlock. Absent: calls that are slow without warning, for which a loop looks again (a test).
/// Kills: no ordering, but a worker that takes a slow call and wakes nobody for the rest.
#[test]
fn a_slow_call_holds_back_no_other() {
    model("pool-slow", Bound::Preemptions(1), || {
        let (fates, shared) = (Fates::new(), Arc::new(Shared::new(2)));
        shared.expect_slow();
        let [mut first, mut second] = jobs(&fates, Some(&shared));
        let (then, done) = oneshot();
        (first.first, second.then) = (Some(done), Some(then));
        shared.hand_over(both([first, second]));
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work(1))
        };
        shared.work(0);
        worker.join().unwrap();
        assert_eq!(fates.get(), [(1, 0); 2]);
    });
}

/// W-14: when a pool ends, each job is done or let go of, once; and the pool waits for its workers.
///
/// Two owners hand over one job each and go, at the same time, so either of them may be the last, and the worker may be
/// asleep, awake, or in a job. Nobody waits for the jobs. Absent: a job that owns its pool.
/// Kills: fence F1 or F2 SeqCst -> AcqRel; a stop that wakes nobody; a worker that sleeps without looking at the stop.
#[test]
fn each_job_is_done_or_let_go_of_when_the_pool_ends() {
    model("pool-end", Bound::Preemptions(2), || {
        let fates = Fates::new();
        let pool = WorkPool::start(Arc::new(Shared::new(1)), Scheduling::default()).unwrap();
        let [first, second] = jobs(&fates, None);
        let other = {
            let pool = pool.clone();
            thread::spawn(move || {
                pool.shared().hand_over(one(second));
                drop(pool);
            })
        };
        pool.shared().hand_over(one(first));
        drop(pool);
        other.join().unwrap();
        for (done, abandoned) in fates.get() {
            assert_eq!(done + abandoned, 1);
        }
    });
}
