//! Waiting and waking.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Finding, raw};
use crate::load::Poller;

pub(super) fn examine() -> Vec<Finding> {
    vec![
        Finding::tried("eventfd", eventfd()),
        Finding::tried("epoll_pwait2", nanosecond_wait()),
        Finding::tried("epoll busy poll", busy_poll()),
    ]
}

fn eventfd() -> Result<String, Errno> {
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    event.write(2)?;
    event.write(3)?;
    let sum = event.read()?;
    Ok(format!("two writes came back as one {sum}"))
}

fn nanosecond_wait() -> Result<String, Errno> {
    let mut poller = Poller::new()?;
    let started = Instant::now();
    poller.wait(Duration::from_micros(10))?;
    Ok(format!("a wait of 10 us took {} us", started.elapsed().as_micros()))
}

fn busy_poll() -> Result<String, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    raw::set_busy_poll(epoll.0.as_fd(), 50)?;
    Ok("parameters taken; only devices with NAPI can be polled, the loopback has none".into())
}
