//! Models of the two handover protocols, through the [`Mailbox`] that is made of both.
//!
//! The kernel is a [`FakeBell`]: it blocks, wakes, now and then returns for no reason, and orders nothing that the
//! code under test has to order itself. Messages lie in tracked loom cells, so a message that is read before it is
//! published, twice or never is reported.

use crate::handover::{Mailbox, Post, Queue, WakerSlot};
use crate::sync::model::{Bound, model};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Bell, FakeBell, Ordering, Parker, WakerArc, thread};

/// The bell of a mailbox, which counts how often it was rung.
struct Counted {
    bell: FakeBell,
    rings: AtomicUsize,
}

struct Handle(Arc<Counted>);

impl Bell for Handle {
    fn ring(&self) {
        // ORDERING: Relaxed: the models must not get an edge from the count.
        self.0.rings.fetch_add(1, Ordering::Relaxed);
        self.0.bell.ring();
    }
}

/// A loop, as far as its mailbox is concerned.
struct Owner<M> {
    mailbox: Mailbox<M>,
    bell: Arc<Counted>,
    announced: usize,
    received: Vec<M>,
}

impl<M: Send + 'static> Owner<M> {
    fn new() -> Self {
        let bell = Arc::new(Counted { bell: FakeBell::new(), rings: AtomicUsize::new(0) });
        let mailbox = Mailbox::new(Box::new(Handle(Arc::clone(&bell))));
        Self { mailbox, bell, announced: 0, received: Vec::new() }
    }

    /// Sleeps, unless a message is waiting or `is_done`, and takes what is there.
    fn turn(&mut self, is_done: impl Fn() -> bool) {
        self.announced += 1;
        if self.mailbox.arm() && !is_done() {
            self.bell.bell.wait();
        }
        self.mailbox.disarm();
        self.mailbox.take(&mut self.received);
    }

    fn receive(&mut self, count: usize) {
        while self.received.len() < count {
            self.turn(|| false);
        }
    }
}

/// A thread that sends messages to an open mailbox.
fn sender<M: Send + 'static>(
    post: Post<M>,
    messages: impl IntoIterator<Item = M> + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || messages.into_iter().for_each(|message| assert!(post.send(message).is_ok())))
}

/// H-1: a message wakes its owner: whatever the owner sees or misses, it never sleeps on a message.
///
/// One sender is the whole race of push against sleep: the owner may look before or after the push, with a value
/// as old as the fences permit. A lost wake-up shows as a deadlock. Absent: a second sender (H-2).
/// Kills: fence F1 or F2 SeqCst -> AcqRel; Release of the push -> Relaxed; Acquire of `take_all` -> Relaxed.
#[test]
fn a_sent_message_always_wakes_its_owner() {
    model("handover-wakes", Bound::Preemptions(4), || {
        let mut owner = Owner::new();
        let sender = sender(owner.mailbox.sender(), [1, 2]);
        owner.receive(2);
        assert_eq!(owner.received, [1, 2]);
        sender.join().unwrap();
    });
}

/// H-2: wake-ups coalesce: the bell rings at most once for each announced sleep, however many senders there are.
///
/// Two senders race for one flag, and the owner may announce a second sleep between them. Rings are counted where
/// the kernel would be entered. Absent: order of messages (H-3).
/// Kills: no ordering, but a flag that is reset by a store, or read without being reset.
#[test]
fn a_sleep_is_ended_by_at_most_one_ring() {
    model("handover-coalesces", Bound::Preemptions(2), || {
        let mut owner = Owner::new();
        let senders = [1, 2].map(|message| sender(owner.mailbox.sender(), [message]));
        owner.receive(2);
        owner.received.sort_unstable();
        assert_eq!(owner.received, [1, 2]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        // ORDERING: Relaxed: the senders have ended.
        let rings = owner.bell.rings.load(Ordering::Relaxed);
        assert!(rings <= owner.announced, "{rings} rings for {} sleeps", owner.announced);
    });
}

/// H-3: messages of one sender arrive in the order they were sent, and each arrives once.
///
/// The other sender comes between the two messages, before or after them, and the owner takes at any moment, so the
/// list is reversed in one, two or three parts. Absent: the bell; the owner looks again and again.
/// Kills: Release of the push -> Relaxed where another push stands on it; Acquire of `take_all` -> Relaxed.
#[test]
fn messages_of_one_sender_stay_in_order() {
    model("handover-order", Bound::Preemptions(3), || {
        let mut owner = Owner::new();
        let senders = [sender(owner.mailbox.sender(), vec![1, 2]), sender(owner.mailbox.sender(), vec![7])];
        while owner.received.len() < 3 {
            owner.mailbox.take(&mut owner.received);
            thread::yield_now();
        }
        owner.received.retain(|message| *message != 7);
        assert_eq!(owner.received, [1, 2]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// H-4: when a mailbox closes, each message is received once or returned to its sender once.
///
/// Two senders race one `close`; the owner has taken once before, so a message can be in either batch or come back.
/// What the owner got is read before any join. Absent: sleep; closing needs no wake-up.
/// Kills: Acquire of `close` -> Relaxed.
#[test]
fn a_message_is_received_once_or_returned_once() {
    model("handover-close", Bound::Exhaustive, || {
        let mut owner = Owner::new();
        let senders = [1, 2].map(|message| {
            let post = owner.mailbox.sender();
            thread::spawn(move || post.send(message).err())
        });
        owner.mailbox.take(&mut owner.received);
        owner.mailbox.close(&mut owner.received);
        let mut all = std::mem::take(&mut owner.received);
        all.extend(senders.into_iter().filter_map(|sender| sender.join().unwrap()));
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        owner.mailbox.take(&mut owner.received);
        assert!(owner.received.is_empty(), "a closed mailbox is empty for ever");
    });
}

/// H-5: `wake` ends a sleep for news that the owner finds elsewhere, by the same fences.
///
/// The news is a Relaxed word, which the owner looks at between `arm` and its sleep, as a loop does with its other
/// sources. Nothing but F1 and F2 relates the word to the flag. Absent: messages.
/// Kills: fence F1 or F2 SeqCst -> AcqRel.
#[test]
fn news_from_elsewhere_wakes_the_owner() {
    model("handover-news", Bound::Exhaustive, || {
        let mut owner = Owner::<u8>::new();
        let news = Arc::new(AtomicBool::new(false));
        let post = owner.mailbox.sender();
        let other = thread::spawn({
            let news = Arc::clone(&news);
            move || {
                // ORDERING: Relaxed, so that only the fences of the flag can save the owner.
                news.store(true, Ordering::Relaxed);
                post.wake();
            }
        });
        // ORDERING: Relaxed, as above.
        let is_news = || news.load(Ordering::Relaxed);
        while !is_news() {
            owner.turn(is_news);
        }
        other.join().unwrap();
    });
}

/// A message that counts its drops.
#[derive(Debug)]
struct Counting(Arc<AtomicUsize>);

impl Drop for Counting {
    fn drop(&mut self) {
        // ORDERING: Relaxed: the count is read when all threads have ended.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// H-6: a mailbox that is dropped while its senders send loses no message: each is dropped exactly once.
///
/// A message is in the list, on its way into it, or comes back; nodes are tracked, so one that stays behind is
/// reported as a leak. Absent: an owner that closes first (H-4).
/// Kills: Acquire of `close` -> Relaxed.
#[test]
fn a_dropped_mailbox_drops_each_message_once() {
    model("handover-drop", Bound::Preemptions(3), || {
        let owner = Owner::new();
        let drops = Arc::new(AtomicUsize::new(0));
        let senders = [0, 1].map(|_| {
            let (post, message) = (owner.mailbox.sender(), Counting(Arc::clone(&drops)));
            thread::spawn(move || drop(post.send(message)))
        });
        drop(owner);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        // ORDERING: Relaxed: the senders have ended.
        assert_eq!(drops.load(Ordering::Relaxed), 2);
    });
}

/// H-7: a signal that is raised again and again goes through the list as one node, and each raise is seen.
///
/// A signal is raised twice by one thread, the second time before, while and after the owner takes the first; so the
/// node goes into the list again just behind the owner's last look at it. Its link is a cell, so a node that is pushed
/// too early is reported; the news are plain words, which only the signal's own can publish. Absent: a second thread
/// that raises (L-11).
/// Kills: AcqRel of `raise` -> Release, -> Acquire; AcqRel of `take` -> Acquire, -> Release.
#[test]
fn a_signal_is_raised_again_and_again() {
    model("handover-signal", Bound::Preemptions(3), || {
        let mut owner = Owner::new();
        let signal = owner.mailbox.sender().signal(|| 0);
        let news = Arc::new(AtomicUsize::new(0));
        let other = thread::spawn({
            let news = Arc::clone(&news);
            move || {
                for _ in 0..2 {
                    // ORDERING: Relaxed: the signal is to publish it.
                    news.fetch_add(1, Ordering::Relaxed);
                    signal.raise();
                }
            }
        });
        let mut seen = 0;
        while seen < 2 {
            owner.turn(|| false);
            if !owner.received.is_empty() {
                // ORDERING: Relaxed, as above.
                seen = news.load(Ordering::Relaxed);
            }
            assert!(owner.received.len() <= 2);
        }
        other.join().unwrap();
    });
}

/// H-8: a signal whose mailbox is dropped while it is raised is freed once, by whoever is last.
///
/// Nodes are shared by the signal and the list, and a share that stays behind is a leak. Absent: an owner that takes.
/// Kills: no ordering, but a share that is not taken back when the list is closed.
#[test]
fn a_signal_may_outlive_its_mailbox() {
    model("handover-signal-drop", Bound::Exhaustive, || {
        let owner = Owner::new();
        let signal = Arc::new(owner.mailbox.sender().signal(|| 0));
        let others = [0, 1].map(|_| {
            let signal = Arc::clone(&signal);
            thread::spawn(move || signal.raise())
        });
        drop(owner);
        signal.raise();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

/// A slot, and the news that are told through it.
struct Told {
    slot: WakerSlot,
    news: AtomicUsize,
}

impl Told {
    fn new() -> Arc<Self> {
        Arc::new(Self { slot: WakerSlot::new(), news: AtomicUsize::new(0) })
    }

    fn tell(&self) {
        // ORDERING: Relaxed, so that only the fences of the slot can save the waiter.
        self.news.fetch_add(1, Ordering::Relaxed);
        self.slot.wake();
    }

    fn news(&self) -> usize {
        // ORDERING: Relaxed, as above.
        self.news.load(Ordering::Relaxed)
    }
}

/// H-9: whoever waits in a slot is woken by news, or has seen them.
///
/// News come twice, so the slot is emptied by the other side and filled again while the second are on their way, and
/// while the waker of the first is being taken out. The news are a Relaxed word, which nothing but F3 and F4 relates to
/// the slot. A lost wake-up is a deadlock, a waker that both sides touch a reported race. Absent: other wakers (H-10).
/// Kills: fence F3 or F4 SeqCst -> AcqRel; Acquire of the exchange in `wake` -> Relaxed; Release in `register` and in
/// `wake` -> Relaxed; Acquire of `take_back`'s failure -> Relaxed.
#[test]
fn news_wake_whoever_waits_in_a_slot() {
    model("handover-slot", Bound::Preemptions(4), || {
        let told = Told::new();
        let other = thread::spawn({
            let told = Arc::clone(&told);
            move || (0..2).for_each(|_| told.tell())
        });
        let parker = Parker::current();
        let mut seen = 0;
        while seen < 2 {
            told.slot.register(&parker.waker());
            let news = told.news();
            if news == seen {
                parker.park();
            }
            seen = news;
        }
        other.join().unwrap();
    });
}

/// H-10: of several wakers put in one after another the last is woken.
///
/// From the second on the waiter sleeps on that one alone; the first may be taken out while the second is to be put
/// in. Absent: news that come again (H-9).
/// Not killed: a `register` that does nothing in `WAKING`, because loom shows fresh news to whoever has yielded there. The
/// test of the slot kills it.
/// Kills: fence F3 or F4 SeqCst -> AcqRel; Acquire of `take_back`'s failure -> Relaxed.
#[test]
fn the_last_waker_in_a_slot_is_woken() {
    model("handover-slot-wakers", Bound::Exhaustive, || {
        let told = Told::new();
        let other = thread::spawn({
            let told = Arc::clone(&told);
            move || told.tell()
        });
        let (first, second) = (Parker::current(), Parker::current());
        told.slot.register(&first.waker());
        while told.news() == 0 {
            told.slot.register(&second.waker());
            if told.news() == 0 {
                second.park();
            }
        }
        other.join().unwrap();
    });
}

/// H-11: a waiter may go at any time: its waker is dropped by it, or by the other side that has it.
///
/// The waker is a tracked one, so one that stays in the slot while the slot lives is counted. Absent: a wait (H-9).
/// Kills: Acquire of the exchange in `wake` -> Relaxed; a `clear` that takes the waker without looking at the state.
#[test]
fn a_waiter_may_leave_its_slot_at_any_time() {
    model("handover-slot-clear", Bound::Exhaustive, || {
        let told = Told::new();
        let other = thread::spawn({
            let told = Arc::clone(&told);
            move || (0..2).for_each(|_| told.tell())
        });
        let mark = WakerArc::new(Mark);
        for _ in 0..2 {
            told.slot.register(&WakerArc::clone(&mark).into());
            told.slot.clear();
        }
        other.join().unwrap();
        assert_eq!(WakerArc::strong_count(&mark), 1, "the slot keeps no waker");
    });
}

/// A waker that only counts who has it.
struct Mark;

impl std::task::Wake for Mark {
    fn wake(self: WakerArc<Self>) {}
}

/// H-12: what is put into a queue before its owner is woken is found after the wake, however wakes coalesce.
///
/// Two threads put a message each into a queue and raise one signal, so one may find it raised by the other and send
/// nothing. The owner looks into the queue only when the signal has come: a message that it does not find then is a
/// deadlock. Messages lie in tracked loom cells. Absent: the queue's end (H-13).
/// Kills: Release of the push -> Relaxed; AcqRel of `raise` and of `take` -> Acquire, -> Release.
#[test]
fn what_is_queued_before_a_wake_is_found_after_it() {
    model("handover-queue", Bound::Preemptions(2), || {
        let mut owner = Owner::new();
        let queue = Arc::new(Queue::new());
        let signal = Arc::new(owner.mailbox.sender().signal(|| 0_u8));
        let senders = [1, 2].map(|message| {
            let (queue, signal) = (Arc::clone(&queue), Arc::clone(&signal));
            thread::spawn(move || {
                queue.push(message).unwrap();
                signal.raise();
            })
        });
        let mut found = Vec::new();
        while found.len() < 2 {
            owner.turn(|| false);
            if !owner.received.is_empty() {
                owner.received.clear();
                queue.take(&mut found);
            }
        }
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// H-13: when a queue closes, each message is taken once, in its sender's order, or comes back once.
///
/// One thread puts two messages in, another one, while the owner takes and closes; a message that stays behind is a
/// leak. Absent: waking (H-12).
/// Kills: Acquire of `close` -> Relaxed; Acquire of `take_all` -> Relaxed.
#[test]
fn a_queued_message_is_taken_once_or_comes_back_once() {
    model("handover-queue-close", Bound::Preemptions(3), || {
        let queue = Arc::new(Queue::new());
        let senders = [vec![1, 2], vec![7]].map(|messages| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                messages.into_iter().filter_map(|message| queue.push(message).err()).collect::<Vec<_>>()
            })
        });
        let mut found = Vec::new();
        queue.take(&mut found);
        queue.close(&mut found);
        found.extend(senders.into_iter().flat_map(|sender| sender.join().unwrap()));
        assert_eq!(found.iter().filter(|message| **message == 7).count(), 1);
        found.retain(|message| *message != 7);
        assert_eq!(found, [1, 2]);
    });
}
