//! What another process can do to this one: die at any moment, or mean harm at full speed.

mod bare;
mod bed;
mod kills;
