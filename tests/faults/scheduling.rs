//! Faults while a thread asks the kernel to schedule it: it serves all the same, and says that it was refused.

use std::sync::mpsc::channel;

use linkpoll::faults::{Fault, Plan, Site, executed};
use linkpoll::net::Server;
use linkpoll::service::WorkPool;

use crate::bed::loops;
use crate::client::{Client, payload, until};
use crate::echoing::{Kind, serve};

/// One fault for a loop, then one for a worker. Answers what has come of it, in words.
pub(crate) fn check(site: Site, fault: Fault) -> String {
    let happened = executed(site, fault);
    let injected = Plan::new().fail(site, fault, 0, 1).inject();
    let server = serve(Kind::Inline, &Server::builder().loops(1), channel().0).expect("a server");
    drop(injected);
    assert_eq!(executed(site, fault), happened + 1, "it happens once");
    assert_eq!(server.usage()[0].metrics.slice_refused.get(), 1);
    let mut client = Client::connect(server.address()).expect("somebody listens");
    client.echo(&payload(1, 1000)).expect("it is served");
    drop((client, server));

    let injected = Plan::new().fail(site, fault, 0, 1).inject();
    let pool = WorkPool::new(1).expect("a pool");
    until("it is refused", || pool.metrics().scheduling_refused == 1);
    drop((injected, pool));
    assert_eq!(executed(site, fault), happened + 2, "it happens once");
    until("the threads end", || loops() == 0);
    "the thread runs as it did, and it is counted".to_owned()
}
