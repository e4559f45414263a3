//! The kvleap command.
fn main() {}
