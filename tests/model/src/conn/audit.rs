//! What connections are promised, checked against what was noted down.

use std::collections::BTreeMap;

use super::patience::Patience;
use super::{Answer, Asked, Callback, Ended, Note, Receipt, Setup, Why};

/// What is known of one connection.
#[derive(Debug, Default)]
struct Conn {
    accepted: bool,
    arrived: usize,
    received: usize,
    seen: usize,
    wrote: usize,
    took: usize,
    peer_ended: bool,
    end_seen: bool,
    broke: bool,
    shut: bool,
    gone: bool,
    opened: bool,
    eof: bool,
    drained: bool,
    /// Its handler has written more than the mark allows, and is to be told when that is over.
    congested: bool,
    /// Its handler has left too much unread: nothing more is to be received.
    held: bool,
    /// Its handler waits for more of a message; and its last call was about its bytes.
    wants_more: bool,
    about_bytes: bool,
    /// Nothing is to be handed over.
    paused: bool,
    /// Somebody waits for a call.
    waked: bool,
    /// Its handler has ended its own direction.
    ending: bool,
    /// Nothing more is to be handled.
    finished: bool,
    given_up: bool,
    closed: Option<Why>,
    /// Its handler wants it to leave its loop; and it has left.
    leaving: bool,
    left: bool,
    /// A dial that has not ended, and when it is to.
    dial: Option<Option<u64>>,
    /// Its time was over when the last turn was.
    dial_overdue: bool,
    /// Addresses that it has not tried.
    untried: usize,
    /// Descriptors of attempts to connect that are open, and whether one of them has led to a connection. Its handler may
    /// yet have to be made, or never be, because its dial has ended.
    attempts: usize,
    connected: bool,
    patience: Patience,
    /// The loop was told to stop: the peer's end is not waited for as long as it may take.
    stopped: bool,
}

/// Checks a run.
///
/// # Errors
/// What is not as promised, and after which note.
pub fn audit(setup: Setup, notes: &[Note]) -> Result<(), String> {
    let mut conns: BTreeMap<usize, Conn> = BTreeMap::new();
    let mut now = 0;
    for (index, note) in notes.iter().enumerate() {
        follow_time(setup, &mut conns, &mut now, note)
            .and_then(|()| follow(setup, &mut conns, note))
            .map_err(|fault| format!("{fault}, at note {index}, {note:?}"))?;
    }
    for (id, conn) in &conns {
        let over = conn.dial.is_none() && (conn.accepted || conn.attempts == 0);
        require(over, &format!("something is left of a dial: connection {id}, {conn:?}"))?;
    }
    // A peer that is never accepted is promised nothing.
    for (id, conn) in conns.iter().filter(|(_, conn)| conn.accepted) {
        check_end(conn).map_err(|fault| format!("{fault}: connection {id}, {conn:?}"))?;
    }
    Ok(())
}

fn require(is_so: bool, fault: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(fault.to_owned()) }
}

fn follow(setup: Setup, conns: &mut BTreeMap<usize, Conn>, note: &Note) -> Result<(), String> {
    match note {
        Note::Fault(fault) => return Err(fault.clone()),
        Note::Accepted(id) => {
            let conn = conns.entry(*id).or_default();
            require(!std::mem::replace(&mut conn.accepted, true), "accepted twice")?;
        }
        Note::Attempted(id) => {
            let conn = conns.entry(*id).or_default();
            conn.attempts += 1;
            conn.gone = false;
        }
        Note::Connected(id) => conns.entry(*id).or_default().connected = true,
        Note::Gone(id) => {
            let conn = conns.entry(*id).or_default();
            conn.attempts = conn.attempts.saturating_sub(1);
            conn.gone = conn.attempts == 0;
        }
        // These may come before the connection is accepted.
        Note::Arrived(id, n) => conns.entry(*id).or_default().arrived += n,
        Note::PeerEnded(id) => conns.entry(*id).or_default().peer_ended = true,
        Note::Broke(id) => conns.entry(*id).or_default().broke = true,
        Note::Stopped => conns.values_mut().for_each(|conn| conn.stopped = true),
        Note::Settled => {
            for (id, conn) in conns.iter().filter(|(_, conn)| conn.accepted) {
                settled(conn).map_err(|fault| format!("{fault}: connection {id}, {conn:?}"))?;
            }
        }
        _ => return follow_accepted(setup, conns, note),
    }
    Ok(())
}

/// What takes too long.
fn follow_time(
    setup: Setup,
    conns: &mut BTreeMap<usize, Conn>,
    now: &mut u64,
    note: &Note,
) -> Result<(), String> {
    follow_dials(conns, *now, note)?;
    let all = conns.values_mut().map(|conn| &mut conn.patience);
    match note {
        Note::Passed(nanoseconds) => *now += nanoseconds,
        Note::Sleeps(milliseconds) => {
            for patience in all {
                patience.sleep(*now, *milliseconds)?;
            }
        }
        Note::Turned => {
            for patience in all {
                patience.turn(setup.limits(), *now)?;
            }
        }
        _ => {
            if let Some(id) = note.connection() {
                return conns.entry(id).or_default().patience.follow(setup, *now, note);
            }
        }
    }
    Ok(())
}

/// Dials that take too long.
fn follow_dials(conns: &mut BTreeMap<usize, Conn>, now: u64, note: &Note) -> Result<(), String> {
    match note {
        Note::Dials(id, addresses, limit) => {
            let conn = conns.entry(*id).or_default();
            conn.dial = Some(limit.map(|limit| now + limit));
            conn.untried = *addresses;
        }
        Note::Tried(id) => {
            let conn = conns.entry(*id).or_default();
            conn.untried = conn.untried.checked_sub(1).ok_or("an address was tried twice")?;
        }
        Note::DialEnded(id, ended) => return dial_ended(conns.entry(*id).or_default(), now, *ended),
        Note::Sleeps(milliseconds) => {
            for at in conns.values().filter_map(|conn| conn.dial.flatten()) {
                let left = at.saturating_sub(now).div_ceil(1_000_000);
                require(milliseconds.is_some_and(|it| it <= left), "sleeps beyond the end of a dial")?;
            }
        }
        Note::Turned => {
            for conn in conns.values_mut() {
                let late = conn.dial_overdue && conn.dial.is_some();
                require(!late, "the time of a dial is over, and nobody is told")?;
                conn.dial_overdue = conn.dial.flatten().is_some_and(|at| at <= now);
            }
        }
        _ => {}
    }
    Ok(())
}

fn dial_ended(conn: &mut Conn, now: u64, ended: Ended) -> Result<(), String> {
    let limit = conn.dial.take().ok_or("a dial has ended twice")?;
    match ended {
        Ended::Connected => require(conn.accepted, "a dial has led to no connection"),
        Ended::Failed => require(
            !conn.accepted && conn.untried == 0,
            "a dial has failed with addresses untried, or connected",
        ),
        Ended::TimedOut => {
            let over = limit.is_some_and(|at| at <= now);
            require(!conn.accepted && over, "a dial has ended before its time, or connected")
        }
        Ended::Stopped => require(!conn.accepted && conn.stopped, "a dial was stopped, and its loop was not"),
        Ended::Silent => Err("nobody is told what has come of a dial".to_owned()),
    }
}

/// Notes that only a connection that was accepted can have.
fn follow_accepted(setup: Setup, conns: &mut BTreeMap<usize, Conn>, note: &Note) -> Result<(), String> {
    match note {
        Note::Received(id, n) => {
            let conn = accepted(conns, *id)?;
            require(!conn.gone && conn.closed.is_none() && !conn.end_seen, "received after the end")?;
            require(!conn.held || conn.finished, "received although too much is unread")?;
            conn.received += n;
        }
        Note::EndSeen(id) => {
            let conn = accepted(conns, *id)?;
            require(!conn.end_seen, "the end was received twice")?;
            conn.end_seen = true;
        }
        Note::Took(id, n) => {
            let conn = accepted(conns, *id)?;
            require(!conn.gone && conn.closed.is_none() && !conn.shut, "sent after the end")?;
            conn.took += n;
            require(conn.took <= conn.wrote, "more was sent than written")?;
        }
        Note::Shut(id) => {
            let conn = accepted(conns, *id)?;
            require(
                !conn.shut && (conn.finished || conn.ending),
                "the sending direction ended unasked or twice",
            )?;
            require(conn.took == conn.wrote, "the sending direction ended before everything was sent")?;
            conn.shut = true;
        }
        Note::Called(id, callback, new) => return called(setup, accepted(conns, *id)?, *callback, *new),
        Note::Answered(id, n, answer) => {
            let conn = accepted(conns, *id)?;
            answered(conn, *n, *answer);
            conn.congested |= conn.wrote - conn.took > setup.marks().0;
        }
        Note::Left { id, consumed, unread, wants_more } => {
            let conn = accepted(conns, *id)?;
            let (high, low) = setup.unread_marks();
            // A call beside the bytes ends no wait for them.
            if conn.about_bytes || *consumed || *wants_more {
                conn.wants_more = *wants_more;
            }
            conn.held = !conn.wants_more && *unread > if conn.held { low } else { high };
        }
        Note::Again(id, n) => accepted(conns, *id)?.seen -= n,
        Note::Asked(id, what) => asked(accepted(conns, *id)?, *what),
        Note::Given(id, n) => {
            let conn = accepted(conns, *id)?;
            require(!conn.finished && !conn.ending, "bytes are taken that cannot be sent")?;
            conn.wrote += n;
            conn.congested |= conn.wrote - conn.took > setup.marks().0;
        }
        Note::Receipt(id, start, n, said) => return receipt(accepted(conns, *id)?, *start, *n, *said),
        Note::Closed(id, why) => return closed(accepted(conns, *id)?, *why),
        Note::Detached { id, consumed, received, unsent, peer_ended, shut } => {
            let conn = accepted(conns, *id)?;
            require(!std::mem::replace(&mut conn.left, true), "left twice")?;
            require(conn.closed == Some(Why::Detached), "left, and its handler was not told before")?;
            require(consumed + received == conn.received, "it has left with other bytes than were received")?;
            require(conn.took + unsent == conn.wrote, "it has left with other bytes than were not sent")?;
            require(!peer_ended || conn.end_seen, "it has left with an end that nobody has seen")?;
            require(*shut == conn.ending, "it has left, and the end of its direction is another")?;
        }
        _ => {}
    }
    Ok(())
}

fn accepted(conns: &mut BTreeMap<usize, Conn>, id: usize) -> Result<&mut Conn, String> {
    let conn = conns.get_mut(&id).filter(|conn| conn.accepted || conn.connected);
    conn.ok_or_else(|| "a connection that nobody accepted".to_owned())
}

fn called(setup: Setup, conn: &mut Conn, callback: Callback, new: usize) -> Result<(), String> {
    require(conn.closed.is_none(), "called after it was closed")?;
    require(!conn.finished && !conn.given_up, "called after nothing more was to be handled")?;
    require(conn.opened != (callback == Callback::Open), "opened twice or not at all")?;
    conn.seen += new;
    conn.about_bytes = matches!(callback, Callback::Open | Callback::Data | Callback::Eof);
    require(conn.seen <= conn.received, "bytes that nobody received")?;
    if !matches!(callback, Callback::Drain | Callback::Woken | Callback::Open) {
        require(conn.wrote - conn.took <= setup.marks().0, "called while congested")?;
    }
    if matches!(callback, Callback::Data | Callback::Eof) {
        require(!conn.paused, "called while paused")?;
    }
    match callback {
        Callback::Open => {
            conn.opened = true;
            // A handler that takes over is told of the end of a congestion that it finds, and of no other.
            conn.congested &= conn.wrote - conn.took > setup.marks().1;
        }
        Callback::Woken => require(std::mem::take(&mut conn.waked), "woken by nobody")?,
        Callback::Data => require(new == 0 || !conn.eof, "bytes after the end")?,
        Callback::Writable => conn.congested = false,
        Callback::Eof => {
            require(!conn.eof, "the end told twice")?;
            require(conn.end_seen, "an end that nobody has seen")?;
            require(conn.seen == conn.received, "the end told before all bytes before it")?;
            conn.eof = true;
        }
        Callback::Drain => {
            require(!conn.drained, "drained twice")?;
            conn.drained = true;
        }
    }
    Ok(())
}

fn answered(conn: &mut Conn, wrote: usize, answer: Answer) {
    match answer {
        Answer::Abort | Answer::Panic | Answer::OpenHole => conn.given_up = true,
        _ => conn.wrote += wrote,
    }
    match answer {
        Answer::Finish => conn.finished = true,
        Answer::Pause => conn.paused = true,
        Answer::Resume => conn.paused = false,
        Answer::Shut => conn.ending = true,
        Answer::Detach => conn.leaving = true,
        // To the next one the connection is new.
        Answer::Become => (conn.opened, conn.eof, conn.drained) = (false, false, false),
        _ => {}
    }
}

fn asked(conn: &mut Conn, what: Asked) {
    match what {
        Asked::Wake => conn.waked = true,
        Asked::Pause => conn.paused = true,
        Asked::Resume => conn.paused = false,
        Asked::Close => conn.finished = true,
        Asked::Abort => conn.given_up = true,
    }
}

fn receipt(conn: &Conn, start: usize, n: usize, said: Receipt) -> Result<(), String> {
    let taken = conn.took.saturating_sub(start).min(n);
    match said {
        Receipt::Sent => require(taken == n, "told to be sent, and was not"),
        Receipt::Closed(told) => require(told == taken, "another number of bytes was told to be sent"),
        Receipt::Silent => Err("nobody is told what has become of bytes".to_owned()),
    }
}

fn closed(conn: &mut Conn, why: Why) -> Result<(), String> {
    require(conn.closed.is_none(), "closed twice")?;
    require(conn.opened, "closed before it was opened")?;
    conn.closed = Some(why);
    match why {
        Why::Done => {
            require(conn.finished, "done, but nobody has finished it")?;
            require(conn.took == conn.wrote, "done, but not everything was sent")?;
            // Through its handle a connection may be given up while it lingers.
            let given_up = conn.given_up || conn.stopped;
            let over = conn.end_seen || conn.broke || given_up || conn.patience.was_overdue();
            require(over, "done, but its peer could still send")
        }
        Why::GivenUp => require(conn.given_up, "given up, but not by its handler"),
        Why::Broken => require(conn.broke, "broken, but nothing has broken it"),
        Why::Detached => require(conn.leaving, "it leaves, and nobody wanted it to"),
        Why::Expired | Why::Idle | Why::Read | Why::Write => Ok(()),
    }
}

/// Every peer has ended and reads everything: nothing may be left undone.
fn settled(conn: &Conn) -> Result<(), String> {
    if conn.closed.is_some() {
        return Ok(());
    }
    if (conn.held || conn.paused) && !conn.finished {
        // Its end, too, waits until its handler has read, or goes on.
        return require(!conn.given_up && conn.took == conn.wrote, "given up, or bytes that were not sent");
    }
    require(!conn.waked, "waked, and its handler was not called")?;
    // Where both directions have ended there is nothing left to break: it is there for as long as its handler likes.
    let over = conn.shut && conn.end_seen;
    require(!conn.broke || over, "broken, and nobody was told")?;
    require(!conn.given_up, "given up, and still there")?;
    require(!conn.finished, "finished, everything can be sent, and still there")?;
    require(conn.received == conn.arrived, "bytes that were not received")?;
    require(conn.seen == conn.arrived, "bytes that were not handled")?;
    require(!conn.congested, "a congestion is over, and its handler was not told")?;
    require(conn.eof, "an end that was not told")?;
    require(conn.took == conn.wrote, "bytes that were not sent")
}

fn check_end(conn: &Conn) -> Result<(), String> {
    require(conn.closed.is_some(), "never closed")?;
    require(conn.left == (conn.closed == Some(Why::Detached)), "it has left, and nobody has it")?;
    require(conn.gone, "its descriptor is still open")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(notes: &[Note]) -> Result<(), String> {
        audit(Setup(0), notes)
    }

    #[test]
    fn a_life_in_order_is_accepted() {
        let life = [
            Note::Accepted(0),
            Note::Called(0, Callback::Open, 0),
            Note::Answered(0, 0, Answer::Continue),
            Note::Arrived(0, 5),
            Note::Received(0, 5),
            Note::Called(0, Callback::Data, 5),
            Note::Answered(0, 3, Answer::Continue),
            Note::Took(0, 3),
            Note::PeerEnded(0),
            Note::EndSeen(0),
            Note::Called(0, Callback::Eof, 0),
            Note::Answered(0, 0, Answer::Finish),
            Note::Closed(0, Why::Done),
            Note::Gone(0),
        ];
        assert_eq!(run(&life), Ok(()));
        for (cut, fault) in [(13, "its descriptor"), (12, "never closed"), (6, "never closed")] {
            assert!(run(&life[..cut]).is_err_and(|text| text.contains(fault)), "{cut}");
        }
        // Without any one of its steps it is not in order. Arrivals are only looked at when all has settled.
        for left_out in [0, 1, 4, 6, 7, 9, 11, 12, 13] {
            let rest: Vec<Note> = life
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != left_out)
                .map(|(_, note)| note.clone())
                .collect();
            assert!(run(&rest).is_err(), "without {:?}", life[left_out]);
        }
    }

    #[test]
    fn who_leaves_too_much_unread_gets_nothing_more() {
        let life = |unread, wants_more| {
            [
                Note::Accepted(0),
                Note::Called(0, Callback::Open, 0),
                Note::Answered(0, 0, Answer::Continue),
                Note::Arrived(0, 9000),
                Note::Received(0, 6000),
                Note::Called(0, Callback::Data, 6000),
                Note::Left { id: 0, consumed: false, unread, wants_more },
                Note::Answered(0, 0, Answer::Continue),
                Note::Received(0, 3000),
            ]
        };
        let run = |unread, wants_more| audit(Setup(32), &life(unread, wants_more)).unwrap_err();
        assert!(run(6000, false).contains("too much is unread"));
        assert!(run(6000, true).contains("never closed") && run(5000, false).contains("never closed"));
    }

    #[test]
    fn what_is_left_undone_is_noticed() {
        let undone = [
            Note::Accepted(0),
            Note::Called(0, Callback::Open, 0),
            Note::Answered(0, 0, Answer::Continue),
            Note::Arrived(0, 5),
            Note::Settled,
        ];
        assert!(run(&undone).is_err_and(|text| text.contains("not received")));
    }
}
