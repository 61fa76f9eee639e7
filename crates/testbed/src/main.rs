//! Holds sockets in every way the tests need.
fn main() {}
