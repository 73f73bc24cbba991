//! Runs connection programs: a real loop on a real driver, around a kernel that is played.

mod handler;
mod handles;
mod kernel;
mod socket;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use linkpoll::conn::Marks;
use linkpoll::driver::epoll::{Epoll, EpollOptions, Trigger};
use linkpoll::net::Address;
use linkpoll::reactor::{LoopOptions, Maker, Reactor, Turn};
use linkpoll::service::Peer;
use linkpoll::sync::Arc;
use linkpoll_model::conn::{Behaviour, Decision, Length, Note, Op, Outcome, Program, Setup, audit};

use handler::Scripted;
use handles::Handles;
use kernel::{Kernel, Order};

/// After so many turns in which nothing happened, nothing more happens by itself.
const QUIET: usize = 6;
/// More turns than anything here takes.
const ENDLESS: usize = 2000;
const LONG: Duration = Duration::from_secs(3600);

/// Runs a program and says what is not as promised. The kernel serves so many connections with one call.
pub(crate) fn run(program: &Program, batch: usize) -> Result<(), String> {
    let (notes, noted) = channel();
    let mut run = Run::new(program, notes, batch);
    for op in &program.ops {
        run.play(*op);
    }
    run.settle();
    let finished = run.stop();
    let Run { handles, reactor, .. } = run;
    drop(reactor);
    handles.answer();
    let notes: Vec<Note> = noted.try_iter().collect();
    finished.and_then(|()| audit(program.setup, &notes)).map_err(|fault| {
        let notes: Vec<String> =
            notes.iter().enumerate().map(|(at, note)| format!("{at}: {note:?}")).collect();
        format!("{fault}\n{}", notes.join("\n"))
    })
}

struct Run {
    reactor: Reactor<Epoll<Kernel>>,
    orders: Sender<Order>,
    notes: Sender<Note>,
    connected: usize,
    stopped: bool,
    /// Time is to pass in the next turn, before commands are carried out.
    passing: bool,
    handles: Handles,
    make: Arc<MakeScripted>,
}

impl Run {
    fn new(program: &Program, notes: Sender<Note>, batch: usize) -> Self {
        let (orders, ordered) = channel();
        let (high, low) = program.setup.marks();
        let limits = program.setup.limits();
        let (unread_high, unread_low) = program.setup.unread_marks();
        let options = LoopOptions {
            marks: Marks { high, low },
            unread_marks: Marks { high: unread_high, low: unread_low },
            idle_limit: limits.idle.map(Duration::from_nanos),
            read_limit: limits.read.map(Duration::from_nanos),
            write_limit: limits.write.map(Duration::from_nanos),
            linger_limit: Duration::from_nanos(limits.linger),
            drain_limit: if program.setup.drains_not() { Duration::ZERO } else { LONG },
            ..LoopOptions::default()
        };
        let driver = driver(program.setup, Kernel::new(ordered, notes.clone(), batch));
        let handles = Handles::new(notes.clone());
        let make = maker(program, notes.clone(), &handles);
        let maker: Maker = {
            let make = Arc::clone(&make);
            Box::new(move |peer| Box::new(make(socket::id_of(&peer.address))))
        };
        let mut reactor = Reactor::new(driver, options, Arc::default(), maker);
        // The listener is real, but nobody ever connects to it: its connections come from the played kernel.
        let any_port = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        reactor.listen(&any_port, false).expect("a port can be had");
        Self { reactor, orders, notes, connected: 0, stopped: false, passing: false, handles, make }
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Turn {} => drop(self.turn()),
            Op::Stop {} => {
                self.notes.send(Note::Stopped).expect("the notes are read later");
                self.reactor.stopper().stop();
                self.stopped = true;
            }
            Op::Connect { .. } => {
                self.order(Order::Connect(self.connected));
                self.connected += 1;
            }
            Op::Pass { length } => {
                // Commands are carried out before time goes on.
                if self.handles.any_is_busy() {
                    self.turn();
                }
                self.passing = true;
                self.order(Order::Pass(Duration::from_nanos(Length(length).nanoseconds())));
            }
            Op::Dial { outcome, .. } => {
                let (conn, outcome) = (self.connected, Outcome(outcome));
                self.connected += 1;
                self.order(Order::Dial(conn, outcome));
                if self.stopped {
                    return;
                }
                // Commands are carried out before time goes on.
                if self.passing {
                    self.turn();
                }
                let (notes, make) = (self.notes.clone(), Arc::clone(&self.make));
                let make = move |_: &Peer| {
                    notes.send(Note::Accepted(conn)).expect("the notes are read later");
                    make(conn)
                };
                self.handles.dial(conn, outcome, Box::new(make));
            }
            Op::Vanish {} => self.order(Order::Vanish),
            Op::Decide { .. } => {}
            Op::Wake { conn }
            | Op::Pause { conn }
            | Op::Resume { conn }
            | Op::Send { conn, .. }
            | Op::CloseByHandle { conn }
            | Op::AbortByHandle { conn } => {
                if let Some(conn) = usize::from(conn).checked_rem(self.connected) {
                    // Two commands for one connection in a row, and it is not known what happens between them.
                    if self.handles.is_busy(conn) || self.passing {
                        self.turn();
                    }
                    self.handles.ask(conn, op);
                }
            }
            Op::Arrive { conn, .. }
            | Op::ArriveLate { conn, .. }
            | Op::End { conn }
            | Op::Reset { conn }
            | Op::Room { conn, .. }
            | Op::ShortSends { conn, .. }
            | Op::FailSend { conn, .. }
            | Op::FailReceive { conn, .. }
            | Op::Spurious { conn, .. } => {
                if let Some(conn) = usize::from(conn).checked_rem(self.connected) {
                    self.order(Order::Play(conn, op));
                }
            }
        }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).expect("the kernel is there");
    }

    fn turn(&mut self) -> Turn {
        self.handles.begin_turn();
        self.passing = false;
        let turn = self.reactor.turn().expect("the kernel never fails to wait");
        self.handles.look_at_dials();
        self.notes.send(Note::Turned).expect("the notes are read later");
        turn
    }

    /// Turns for as long as something happens. Answers whether the loop has ended.
    fn turn_until_quiet(&mut self) -> bool {
        let metrics = self.reactor.handle().metrics;
        let figures =
            || [&metrics.opened, &metrics.closed, &metrics.received, &metrics.sent].map(|it| it.get());
        let mut quiet = 0;
        for _ in 0..ENDLESS {
            let before = figures();
            if self.turn() == Turn::Finished {
                return true;
            }
            quiet = if figures() == before { quiet + 1 } else { 0 };
            if quiet == QUIET {
                break;
            }
        }
        false
    }

    /// Lets every peer read and end, and looks whether anything is left undone. Not for a loop that is stopping: it
    /// leaves undone what it likes.
    fn settle(&mut self) {
        self.turn();
        self.handles.resume_all();
        self.order(Order::Settle);
        self.turn_until_quiet();
        if !self.stopped {
            self.notes.send(Note::Settled).expect("the notes are read later");
        }
    }

    /// Stops, first in an orderly way and then at once. Both must come to an end.
    fn stop(&mut self) -> Result<(), String> {
        self.notes.send(Note::Stopped).expect("the notes are read later");
        self.reactor.stopper().stop();
        let drained = self.turn_until_quiet();
        self.reactor.stopper().stop_now();
        let finished = drained || self.turn_until_quiet();
        // The descriptors that were closed last are noticed here.
        self.order(Order::Look);
        self.turn();
        let metrics = self.reactor.handle().metrics;
        let (opened, closed) = (metrics.opened.get(), metrics.closed.get());
        match (finished, opened == closed) {
            (false, _) => Err("the loop does not end".to_owned()),
            (_, false) => Err(format!("{opened} connections were opened and {closed} closed")),
            _ => Ok(()),
        }
    }
}

fn driver(setup: Setup, kernel: Kernel) -> Epoll<Kernel> {
    let options = EpollOptions {
        trigger: if setup.edge() { Trigger::Edge } else { Trigger::Level },
        receive_budget: setup.budget(),
        ..EpollOptions::default()
    };
    Epoll::with_kernel(kernel, options).expect("the kernel refuses nothing")
}

/// Makes the handler of a connection, by its number.
type MakeScripted = Box<dyn Fn(usize) -> Scripted + Send + Sync>;

/// Makes handlers with the decisions that the program has for each.
fn maker(program: &Program, notes: Sender<Note>, handles: &Handles) -> Arc<MakeScripted> {
    let (wrote, given) = handles.for_handlers();
    let mut scripts: Vec<(Behaviour, VecDeque<Decision>)> = Vec::new();
    for op in &program.ops {
        if let Op::Connect { behaviour } | Op::Dial { behaviour, .. } = op {
            scripts.push((Behaviour(*behaviour), VecDeque::new()));
        }
        if let Some((conn, decision)) = op.decision()
            && let Some(conn) = usize::from(conn).checked_rem(scripts.len())
        {
            scripts[conn].1.push_back(decision);
        }
    }
    Arc::new(Box::new(move |id| {
        let (behaviour, decisions) = scripts[id].clone();
        let wrote = Arc::clone(&wrote[id]);
        Scripted::new(id, behaviour, decisions, notes.clone(), wrote, given.clone())
    }))
}
