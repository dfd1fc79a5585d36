//! The computer's clock and random source, in the shapes that the shared crates take.

use getrandom::SysRng;
use rand_core::UnwrapErr;
use std::time::{SystemTime, UNIX_EPOCH};
use wardlink_protocol::UnixMillis;

/// Now.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The operating system's random source. A system without one cannot do anything that this program is for.
pub const fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
