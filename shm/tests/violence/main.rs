//! What another process can do to this one: die at any moment, or mean harm at full speed; and what the program that hosts
//! sessions does to itself.

mod bare;
mod bed;
#[cfg(linkpoll_faults)]
mod faults;
mod host;
mod hostile;
mod kills;
