//! Loops on drivers that are not plain epoll: two in one.

mod both;
