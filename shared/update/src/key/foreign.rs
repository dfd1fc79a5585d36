//! Ed25519 and RSA-PSS, which we verify and never sign with. Keys are parsed and bounded here, whoever computes.

use core::fmt;
use der::asn1::UintRef;
use der::pem::PemLabel;
use der::{Decode, Document, Sequence};
use p256::pkcs8::spki::SubjectPublicKeyInfoRef;
use std::sync::OnceLock;

/// The keys of fewer bits are refused (NIST SP 800-131A).
const MIN_RSA_BITS: usize = 2048;
/// The keys of more bits are refused: verification would take too long.
const MAX_RSA_BITS: usize = 8192;
/// The longest public exponent, in bytes.
const MAX_EXPONENT_BYTES: usize = 4;
/// `rsaEncryption` (RFC 8017 appendix A.1).
const RSA: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The encodings of Edwards points of small order, without the sign bit: such a key would accept signatures that nobody made.
const SMALL_ORDER: [[u8; 32]; 7] = [
    *b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    *b"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
    *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    *b"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    *b"\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    *b"\xee\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
];

static PLATFORM: OnceLock<&'static dyn Platform> = OnceLock::new();

/// What a platform computes for a program that is built without the feature `software`.
pub trait Platform: Sync {
    /// Whether an Ed25519 signature fits (RFC 8032).
    fn verify_ed25519(&self, key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool;
    /// Whether an RSASSA-PSS signature with SHA-256 and a salt of any length fits (RFC 8017). `key` is a SubjectPublicKeyInfo.
    fn verify_rsa_pss(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

/// Lets a platform compute from now on. The first one that is installed stays; where the feature `software` is on, it is not asked.
pub fn install(platform: &'static dyn Platform) {
    PLATFORM.get_or_init(|| platform);
}

/// A key of Ed25519 that is not of small order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    pub(super) fn new(bytes: [u8; 32]) -> Option<Self> {
        let mut unsigned = bytes;
        if let Some(last) = unsigned.last_mut() {
            *last &= 0x7f;
        }
        if SMALL_ORDER.contains(&unsigned) || !is_point(&bytes) {
            return None;
        }
        Some(Self(bytes))
    }

    /// The encoded point.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    #[cfg(feature = "software")]
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&self.0) else { return false };
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
    }

    #[cfg(not(feature = "software"))]
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        PLATFORM.get().is_some_and(|platform| platform.verify_ed25519(&self.0, message, signature))
    }
}

#[cfg(feature = "software")]
fn is_point(bytes: &[u8; 32]) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
}

/// The platform refuses what is no point when it verifies.
#[cfg(not(feature = "software"))]
const fn is_point(_: &[u8; 32]) -> bool {
    true
}

/// A key of RSA of an acceptable length.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaKey {
    spki: Document,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

/// RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

impl RsaKey {
    pub(super) fn from_pem(text: &str) -> Option<Self> {
        let (label, spki) = Document::from_pem(text).ok()?;
        let info = SubjectPublicKeyInfoRef::try_from(spki.as_bytes()).ok()?;
        SubjectPublicKeyInfoRef::validate_pem_label(label).ok()?;
        if info.algorithm.oid != RSA {
            return None;
        }
        let key = RsaPublicKey::from_der(info.subject_public_key.as_bytes()?).ok()?;
        let (modulus, exponent) = (key.modulus.as_bytes().to_vec(), key.public_exponent.as_bytes().to_vec());
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        let bits =
            modulus.len().checked_mul(8)?.checked_sub(usize::try_from(modulus.first()?.leading_zeros()).ok()?)?;
        let is_acceptable = (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits)
            && exponent.len() <= MAX_EXPONENT_BYTES
            && exponent != [1]
            && is_odd(&modulus)
            && is_odd(&exponent);
        is_acceptable.then_some(Self { spki, modulus, exponent })
    }

    /// The modulus, big-endian.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The public exponent, big-endian.
    pub fn exponent(&self) -> &[u8] {
        &self.exponent
    }

    #[cfg(feature = "software")]
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        use rsa::signature::Verifier as _;
        let number = rsa::BoxedUint::from_be_slice_vartime;
        let Ok(key) = rsa::RsaPublicKey::new(number(&self.modulus), number(&self.exponent)) else { return false };
        let key = rsa::pss::VerifyingKey::<sha2::Sha256>::new_with_auto_salt_len(key);
        rsa::pss::Signature::try_from(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }

    #[cfg(not(feature = "software"))]
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        PLATFORM.get().is_some_and(|platform| platform.verify_rsa_pss(self.spki.as_bytes(), message, signature))
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaKey({} bytes)", self.spki.as_bytes().len())
    }
}

#[cfg(all(test, feature = "software"))]
mod tests {
    use super::{Ed25519Key, SMALL_ORDER};

    #[test]
    fn points_of_small_order_are_no_keys_whoever_computes() {
        for mut point in SMALL_ORDER {
            assert!(Ed25519Key::new(point).is_none());
            if let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&point) {
                assert!(key.is_weak());
            }
            point[31] |= 0x80;
            assert!(Ed25519Key::new(point).is_none());
        }
    }
}
