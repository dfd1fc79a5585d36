//! Secrets at rest: AES-256-GCM under the deployment's master key, each bound to its place.

use crate::platform::{master_key, rng};
use crate::problem::Failure;
use wardlink_crypto::cose::{self, ContentKey, Encrypted, Header};
use worker::Env;
use zeroize::Zeroizing;

/// Which key sealed secrets are under: there is one.
const KID: &[u8] = b"master";
/// The longest sealed secret, in bytes.
const MAX_SEALED_BYTES: usize = 512 * 1024;

/// Seals and opens what is stored.
pub struct Vault(ContentKey);

impl Vault {
    /// Takes the master key of the deployment.
    pub fn open(env: &Env) -> Result<Self, Failure> {
        Ok(Self(ContentKey::A256(master_key(env)?)))
    }

    /// Encrypts a secret for one place of the storage.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, Failure> {
        let header = Header { kid: KID.to_vec(), ..Header::default() };
        cose::seal(&header, &self.0, place.as_bytes(), secret, &mut rng()).map_err(Failure::internal)
    }

    /// Decrypts what was sealed for this place.
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let opened =
            Encrypted::parse(sealed, MAX_SEALED_BYTES).and_then(|sealed| sealed.open(&self.0, place.as_bytes()));
        opened.map_err(|error| {
            Failure::internal(format!("the stored {place} does not open under this MASTER_KEY: {error}"))
        })
    }
}
