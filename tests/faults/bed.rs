//! A server to be tried out, with connections that must not notice.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use linkpoll::buffer::SegmentWriter;
use linkpoll::conn::{CloseReason, Handle};
use linkpoll::driver::epoll::Trigger;
use linkpoll::net::{Address, Server, Usage};
use linkpoll::reactor::LoopOptions;
use linkpoll::service::{Flow, Frame, Framed, Handler, HandlerError, Io, Payload, Peer};

use crate::client::{Client, payload, until};

/// Messages that begin with one of these are echoed, and acted on.
pub(crate) const PAUSE: u8 = b'p';
pub(crate) const QUIT: u8 = b'q';
pub(crate) const WOKEN: &[u8] = b"woken";

type Answer = fn(Payload<'_>, &mut SegmentWriter) -> Result<(), HandlerError>;

fn answer(request: Payload<'_>, reply: &mut SegmentWriter) -> Result<(), HandlerError> {
    request.pieces().try_for_each(|piece| reply.write(piece)).map_err(Into::into)
}

/// Echoes messages, acts on some, and tells how its connection has ended.
pub(crate) struct Actor {
    framed: Framed<Answer>,
    handles: Sender<Handle>,
    ends: Sender<CloseReason>,
}

impl Handler for Actor {
    fn open(&mut self, io: &mut Io<'_>) -> Flow {
        // A test that is over does not listen any more; nor does one that asks for nothing.
        drop(self.handles.send(io.handle()));
        Flow::Continue
    }

    fn data(&mut self, io: &mut Io<'_>) -> Flow {
        let word = io.input().front().get(4).copied();
        let flow = self.framed.data(io);
        match word {
            Some(PAUSE) => io.pause(),
            Some(QUIT) => return Flow::CloseWhenSent,
            _ => {}
        }
        flow
    }

    fn woken(&mut self, io: &mut Io<'_>) -> Flow {
        let reply = [&[0, 0, 0, 5], WOKEN].concat();
        io.output().write(&reply).map_or_else(Flow::from, |()| Flow::Continue)
    }

    fn closed(self: Box<Self>, why: CloseReason) {
        drop(self.ends.send(why));
    }
}

/// What a loop keeps of its pool when nothing is under way: a block to receive into, one that a receive may run over
/// into, of 64 KiB each, and one to write into, as large as the largest piece that was ever written at once.
const MOST_IN_USE: u64 = (64 << 10) + (64 << 10) + (1 << 20);

/// Makes actors.
pub(crate) fn actors(
    handles: Sender<Handle>,
    ends: Sender<CloseReason>,
) -> impl Fn(&Peer) -> Actor + Send + Sync {
    move |_| Actor {
        framed: Framed::new(Frame::default(), answer as Answer),
        handles: handles.clone(),
        ends: ends.clone(),
    }
}

pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("the descriptors of this process").count()
}

/// The event loops of this process.
pub(crate) fn loops() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").expect("the threads of this process").flatten();
    threads
        .filter(|thread| {
            std::fs::read_to_string(thread.path().join("comm"))
                .is_ok_and(|name| name.starts_with("linkpoll-"))
        })
        .count()
}

pub(crate) fn any_port() -> Address {
    Address::Tcp(([127, 0, 0, 1], 0).into())
}

/// See the module's documentation.
pub(crate) struct Bed {
    pub(crate) server: Server,
    pub(crate) handles: Receiver<Handle>,
    pub(crate) ends: Receiver<CloseReason>,
    bystanders: Vec<Client>,
    descriptors: usize,
    round: u64,
}

impl Bed {
    pub(crate) fn new(trigger: Trigger) -> Self {
        let descriptors = descriptors();
        let (tell_handle, handles) = channel();
        let (tell_end, ends) = channel();
        let options = LoopOptions { linger_limit: Duration::from_millis(30), ..LoopOptions::default() };
        let server = Server::builder()
            .loops(1)
            .trigger(trigger)
            .options(options)
            .bind(&any_port(), actors(tell_handle, tell_end))
            .expect("a server");
        let mut bed = Self { server, handles, ends, bystanders: Vec::new(), descriptors, round: 0 };
        bed.bystanders = (0..3).map(|_| bed.client()).collect();
        bed.handles.try_iter().for_each(drop);
        bed
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.server.usage()[0]
    }

    /// A connection that is served.
    pub(crate) fn client(&self) -> Client {
        let mut client = Client::connect(self.server.address()).expect("somebody listens");
        client.echo(&payload(1, 100)).expect("a connection that is served");
        client
    }

    /// The bystanders are served as ever, small messages and large ones.
    pub(crate) fn undisturbed(&mut self) {
        self.round += 1;
        for (index, client) in self.bystanders.iter_mut().enumerate() {
            let index = u64::try_from(index).expect("a few");
            for size in [100_000, 5000, 1, 0] {
                let payload = payload(self.round << 8 | index, size);
                client.echo(&payload).expect("a bystander does not notice");
            }
        }
    }

    /// The bystanders are served once more.
    pub(crate) fn echo(&mut self) {
        self.round += 1;
        for client in &mut self.bystanders {
            client.echo(&payload(self.round, 1000)).expect("a bystander does not notice");
        }
    }

    /// All connections but the bystanders have ended.
    pub(crate) fn gone(&self) {
        let others = self.bystanders.len() as u64;
        until("the victims are gone", || self.usage().metrics.connections() == others);
    }

    /// All connections but the bystanders have ended; nothing of them is left.
    pub(crate) fn settled(&mut self) {
        self.gone();
        self.undisturbed();
        let used = || self.usage().metrics.pool.in_use.get();
        until(&format!("blocks are given back, of {} bytes", used()), || used() <= MOST_IN_USE);
        let others = self.bystanders.len() as u64;
        until("timers are disarmed", || self.usage().metrics.timers.get() <= others);
    }

    /// Ends in an orderly way, and nothing is left.
    pub(crate) fn finish(self) {
        let Self { server, bystanders, descriptors: before, handles, .. } = self;
        drop(bystanders);
        let metrics = &server.usage()[0].metrics;
        until("the bystanders are gone", || metrics.connections() == 0);
        until("all timers are disarmed", || metrics.timers.get() == 0);
        server.stopper().stop();
        server.join().expect("an orderly end");
        drop(handles);
        assert_eq!((descriptors(), loops()), (before, 0), "descriptors and loops that are left");
    }

    /// The loop breaks: the server ends with this error, and every connection with it.
    pub(crate) fn broken(self, expected: i32) -> io::Result<()> {
        let Self { server, mut bystanders, descriptors: before, handles, ends, .. } = self;
        let error = server.join().expect_err("the loop broke");
        assert_eq!(error.raw_os_error(), Some(expected));
        bystanders.iter_mut().try_for_each(Client::drain)?;
        let ended = ends.iter().filter(|why| matches!(why, CloseReason::Broken(_))).count();
        assert!(ended >= bystanders.len(), "{ended} handlers were told");
        drop((bystanders, handles));
        assert_eq!((descriptors(), loops()), (before, 0), "descriptors and loops that are left");
        Ok(())
    }
}
