//! How much of a repository is read.

/// The longest root metadata, in bytes.
pub const MAX_ROOT_BYTES: u64 = 512_000;
/// The longest timestamp metadata, in bytes.
pub const MAX_TIMESTAMP_BYTES: u64 = 16_384;
/// The longest snapshot metadata, in bytes, where the timestamp does not say how long it is.
pub const MAX_SNAPSHOT_BYTES: u64 = 2_000_000;
/// The longest targets metadata, in bytes, where the snapshot does not say how long it is.
pub const MAX_TARGETS_BYTES: u64 = 5_000_000;
/// The most root files that one update follows.
pub const MAX_ROOT_ROTATIONS: u32 = 256;
/// The most targets roles that one search visits, the top-level one not counted.
pub const MAX_DELEGATIONS: usize = 32;
