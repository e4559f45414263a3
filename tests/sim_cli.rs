//! `kvleap simulate`.
fn main() {}
