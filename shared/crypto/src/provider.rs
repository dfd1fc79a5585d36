//! Where P-256 is computed: in the crate `p256`, or by the platform, where a shell installs a faster [`Provider`].
//!
//! A provider gets keys and signatures that are checked already, and what it gives back is checked again. What it does not
//! compute, the crate computes: without a provider, or with one that fails, everything works as it does with one.

use std::sync::OnceLock;

use crate::key::SharedSecret;

static PROVIDER: OnceLock<&'static dyn Provider> = OnceLock::new();

/// P-256 of a platform. Each call may return none: then the crate `p256` does it.
pub trait Provider: Sync {
    /// Signs with ECDSA and SHA-256. `key` is PKCS#8 DER; the signature is X.509's DER.
    fn sign(&self, key: &[u8], message: &[u8]) -> Option<Vec<u8>>;
    /// Whether an ECDSA signature with SHA-256 fits. `key` is a SubjectPublicKeyInfo, `signature` X.509's DER.
    fn verify(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool>;
    /// Computes the x coordinate of ECDH. `secret` is the scalar, big-endian; `peer` an uncompressed SEC1 point.
    fn agree(&self, secret: &[u8; 32], peer: &[u8]) -> Option<SharedSecret>;
}

/// Lets `provider` compute from now on. The first one that is installed stays.
pub fn install(provider: &'static dyn Provider) {
    PROVIDER.get_or_init(|| provider);
}

/// What the provider answers; none where there is no provider.
pub(crate) fn ask<T>(question: impl FnOnce(&dyn Provider) -> Option<T>) -> Option<T> {
    PROVIDER.get().and_then(|provider| question(*provider))
}
