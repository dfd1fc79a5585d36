//! Wardlink xtask.
fn main() {}
