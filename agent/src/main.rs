//! The `wardlink` command.
//!
//! Exit codes: 0 it was stopped; 1 it could not go on; 2 the command line is wrong; 3 with `--once`, the control unit refused.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
