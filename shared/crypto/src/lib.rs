//! Keys, key schedule, COSE envelopes and the X.509 profile of Wardlink.
//!
//! One suite: ECDSA and ECDH on P-256, HKDF and HMAC with SHA-256, AES-GCM. The primitives come from the RustCrypto crates, P-256 also from
//! the platform ([`provider`]); this crate fixes how they are used. Time and randomness are parameters. The formats and every derivation are described in `docs/protocol.md`.
//!
//! Threats considered: hostile bytes in every parser (bounded, one encoding only), keys used for another purpose, direction or session
//! than theirs (labels and identities are inputs of every derivation), certificates used beyond their purpose, secrets left in memory
//! or printed (zeroized, no `Debug`), and comparisons that leak by their duration.

pub mod authentication;
pub mod cose;
pub mod director;
pub mod key;
pub mod package;
pub mod provider;
pub mod schedule;
pub mod session;
#[cfg(test)]
mod testing;
pub mod token;
pub mod x509;
