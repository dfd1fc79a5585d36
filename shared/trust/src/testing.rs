//! What the tests of this crate share.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use rand_core::{Infallible, TryCryptoRng, TryRng};
use wardlink_protocol::channel::{Channel, default_channels};
use wardlink_protocol::{Device, UnixMillis};

/// When the tests happen.
pub(crate) const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);

/// Counts upwards from a seed: every test repeats itself exactly.
pub(crate) struct Counting(pub(crate) u64);

impl TryRng for Counting {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| (number >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(number ^ (number >> 31))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let random = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
        Ok(())
    }
}
impl TryCryptoRng for Counting {}

/// A default row of policy.
pub(crate) fn row(name: &str) -> Channel {
    default_channels().into_iter().find(|row| row.name.as_str() == name).unwrap()
}

/// An infusion pump.
pub(crate) fn pump(number: u32) -> Device {
    format!("infusion-pump/p-{number:05}").parse().unwrap()
}

/// So many seconds after [`NOW`].
pub(crate) fn later(seconds: u64) -> UnixMillis {
    UnixMillis(NOW.0 + seconds * 1000)
}
