//! When connections are to be closed because something took too long, told from the notes alone.
//!
//! ```text
//!   Sleeps   the loop must not sleep beyond the first deadline
//!   Passed   time goes on; it stands still during a turn
//!   Turned   whoever's deadline has passed is overdue now, and must be closed when the next turn is over
//!   Closed   only who was overdue may be closed for it
//! ```

use super::{Answer, Asked, Ended, Limits, Note, Setup, Why};

/// What is known of one connection's deadlines, in nanoseconds since the start.
#[derive(Debug, Default)]
pub(super) struct Patience {
    idle: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
    linger: Option<u64>,
    unsent: usize,
    /// Too much is unsent: the handler is kept from reading.
    congested: bool,
    /// A call is under way, or over and not settled: what it has left, and whether it has read.
    left: Option<(bool, usize)>,
    /// Somebody has sent bytes on it, and it is not settled whether that has congested it.
    given: bool,
    /// The application keeps the handler from reading.
    paused: bool,
    /// Our direction has ended.
    shut: bool,
    finished: bool,
    /// Deadlines had passed when the last turn was over.
    overdue: Vec<Why>,
    closed: bool,
}

impl Patience {
    /// Follows a note on this connection, at a time.
    pub(super) fn follow(&mut self, setup: Setup, now: u64, note: &Note) -> Result<(), String> {
        let limits = setup.limits();
        if !matches!(note, Note::Took(..) | Note::Answered(..) | Note::Again(..)) {
            self.settle_call(limits, now);
        }
        let after = |limit: Option<u64>| limit.map(|limit| now + limit);
        match note {
            Note::Accepted(_) | Note::Received(..) => self.idle = after(limits.idle),
            Note::Left { consumed, unread, .. } => self.left = Some((*consumed, *unread)),
            Note::Answered(_, wrote, answer) => match answer {
                // It is being closed.
                Answer::Abort | Answer::Panic | Answer::OpenHole | Answer::Detach => self.forget(),
                _ => {
                    self.queue(setup, now, *wrote);
                    self.finished |= *answer == Answer::Finish;
                    self.paused = *answer == Answer::Pause || (self.paused && *answer != Answer::Resume);
                }
            },
            Note::Given(_, n) => {
                self.queue(setup, now, *n);
                self.given = true;
            }
            Note::Asked(_, asked) => self.ask(*asked),
            Note::Took(_, n) => {
                self.idle = after(limits.idle);
                self.unsent = self.unsent.saturating_sub(*n);
                self.congested &= self.unsent > setup.marks().1;
                self.write = if self.unsent == 0 { None } else { after(limits.write) };
            }
            Note::Shut(_) => self.shut = true,
            // Nobody is there to be patient with.
            Note::DialEnded(_, ended) => self.closed |= *ended != Ended::Connected,
            Note::Closed(_, why) => {
                self.closed = true;
                let early = matches!(why, Why::Idle | Why::Read | Why::Write) && !self.overdue.contains(why);
                return if early { Err("closed before its time".to_owned()) } else { Ok(()) };
            }
            _ => {}
        }
        if self.finished && self.shut && self.linger.is_none() {
            self.linger = Some(now + limits.linger);
        }
        Ok(())
    }

    fn queue(&mut self, setup: Setup, now: u64, n: usize) {
        self.unsent += n;
        self.congested |= self.unsent > setup.marks().0;
        let begun = self.write.or(setup.limits().write.map(|limit| now + limit));
        self.write = begun.filter(|_| self.unsent > 0);
    }

    fn ask(&mut self, asked: Asked) {
        match asked {
            Asked::Wake => {}
            Asked::Resume => self.paused = false,
            Asked::Abort => self.forget(),
            Asked::Pause | Asked::Close => {
                self.paused |= asked == Asked::Pause;
                self.finished |= asked == Asked::Close;
                self.read = None;
            }
        }
    }

    /// What a call has left begins the time to read, when it is settled whether the handler may be called again.
    fn settle_call(&mut self, limits: Limits, now: u64) {
        if std::mem::take(&mut self.given) && self.congested {
            self.read = None;
        }
        let Some((consumed, unread)) = self.left.take() else { return };
        if unread == 0 || self.congested || self.paused || self.finished {
            self.read = None;
        } else if consumed || self.read.is_none() {
            self.read = limits.read.map(|limit| now + limit);
        }
    }

    fn forget(&mut self) {
        (self.idle, self.read, self.write, self.linger) = (None, None, None, None);
        self.left = None;
    }

    fn deadlines(&self) -> impl Iterator<Item = (Why, u64)> {
        let all = [(Why::Idle, self.idle), (Why::Read, self.read), (Why::Write, self.write)];
        let all = all.into_iter().chain([(Why::Done, self.linger)]);
        all.filter_map(|(why, at)| at.map(|at| (why, at))).filter(|_| !self.closed)
    }

    /// The loop sleeps.
    pub(super) fn sleep(&self, now: u64, milliseconds: Option<u64>) -> Result<(), String> {
        for (why, at) in self.deadlines() {
            let left = at.saturating_sub(now).div_ceil(1_000_000);
            if milliseconds.is_none_or(|asleep| asleep > left) {
                return Err(format!("sleeps for {milliseconds:?} ms beyond a limit, {why:?} in {left} ms"));
            }
        }
        Ok(())
    }

    /// A turn is over.
    pub(super) fn turn(&mut self, limits: Limits, now: u64) -> Result<(), String> {
        self.settle_call(limits, now);
        if !self.closed && !self.overdue.is_empty() {
            return Err(format!("overdue for {:?} and not closed a turn later", self.overdue));
        }
        self.overdue = self.deadlines().filter(|(_, at)| *at <= now).map(|(why, _)| why).collect();
        Ok(())
    }

    /// Whether some time was over. Who has sent everything is closed as done then, for whatever time it was.
    pub(super) fn was_overdue(&self) -> bool {
        !self.overdue.is_empty()
    }
}
