//! Loops on drivers that are not plain epoll: two in one, one with memory of its own, a card that bypasses the kernel.

mod both;
mod card;
mod lending;
