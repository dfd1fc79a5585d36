//! The native `wardlink` command.
