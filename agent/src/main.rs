//! The `wardlink` command.

fn main() {}
