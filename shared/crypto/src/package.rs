//! Packages that are encrypted to one gateway (Distribution, paragraphs 0030 and 0032): the content key is sealed to the gateway's key
//! ([`seal_key`], [`open_key`]), the image is a row of encrypted records ([`Encoder`], [`Decoder`]).
//!
//! Whoever encrypts is proved by the directive that names the files, not here; what comes of it is checked against the manufacturer's
//! signature as ever.

mod encoding;

pub use encoding::{CODE_BYTES, ContentCode, Decoder, Encoder, EncodingError, Place, SALT_BYTES, encrypted_bytes};

use aes_gcm::aead::Payload;
use coset::iana::{self, EnumI64, HeaderAlgorithmParameter};
use coset::{
    AsCborValue, CborSerializable, CoseEncrypt, CoseEncryptBuilder, CoseKdfContextBuilder, CoseKey, CoseKeyBuilder,
    CoseRecipient, CoseRecipientBuilder, Header, HeaderBuilder, Label, RegisteredLabelWithPrivate, SuppPubInfoBuilder,
    TaggedCborSerializable,
};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use wardlink_protocol::Device;
use wardlink_protocol::cbor;
use wardlink_protocol::identity::Sha256 as Hash;
use zeroize::Zeroizing;

use crate::cose::{ContentKey, EnvelopeError, IV_BYTES};
use crate::key::{PrivateKey, PublicKey, SharedSecret};

/// The longest sealed key that is read, in bytes.
const MAX_SEALED_BYTES: usize = 1024;
const LABEL: &str = "wardlink package key";
/// What the sealed key's own key is for: AES-256-GCM, in bits.
const KEY_BITS: u64 = 256;

/// Which file a sealed key is for: nobody can hand it on with another.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The gateway that can open it.
    pub gateway: &'a Device,
    /// The package's path at its repository.
    pub path: &'a str,
    /// The SHA-256 of the package itself, not encrypted.
    pub sha256: Hash,
}

impl Sealed<'_> {
    fn aad(&self) -> Result<Vec<u8>, EnvelopeError> {
        let Self { gateway, path, sha256 } = self;
        Ok(cbor::encode(&(LABEL, &gateway.client, &gateway.identifier, path, sha256))?)
    }
}

/// Seals a content key to a gateway's key: COSE_Encrypt (RFC 9052 section 5.1), one recipient by ECDH-ES with HKDF-SHA-256 (RFC 9053
/// section 6.3.1), whose fresh key stands in its protected header.
pub fn seal_key<R: CryptoRng>(
    content: &ContentCode,
    recipient: &PublicKey,
    of: Sealed<'_>,
    rng: &mut R,
) -> Result<Vec<u8>, EnvelopeError> {
    let ephemeral = PrivateKey::make(rng);
    let protected = HeaderBuilder::new()
        .algorithm(iana::Algorithm::ECDH_ES_HKDF_256)
        .value(
            HeaderAlgorithmParameter::EphemeralKey.to_i64(),
            cose_key(&ephemeral.public())?.to_cbor_value().map_err(|_| EnvelopeError::Encode)?,
        )
        .build();
    let key = derive(&ephemeral.agree(recipient), &protected)?;
    let mut iv = [0; IV_BYTES];
    rng.fill_bytes(&mut iv);
    let header = HeaderBuilder::new().algorithm(iana::Algorithm::A256GCM).iv(iv.to_vec()).build();
    let to = CoseRecipientBuilder::new().protected(protected).build();
    CoseEncryptBuilder::new()
        .protected(header)
        .try_create_ciphertext(content.as_bytes(), &of.aad()?, |msg, aad| key.encrypt(&iv, Payload { msg, aad }))?
        .add_recipient(to)
        .build()
        .to_tagged_vec()
        .map_err(|_| EnvelopeError::Encode)
}

/// Opens a sealed content key with the gateway's key. Everything but the one form that [`seal_key`] makes is refused.
pub fn open_key(sealed: &[u8], key: &PrivateKey, of: Sealed<'_>) -> Result<ContentCode, EnvelopeError> {
    cbor::check(sealed, MAX_SEALED_BYTES)?;
    let envelope = CoseEncrypt::from_tagged_slice(sealed).map_err(|_| EnvelopeError::Structure)?;
    let [recipient] = envelope.recipients.as_slice() else { return Err(EnvelopeError::Structure) };
    let header = &envelope.protected.header;
    let is_plain = envelope.unprotected.is_empty()
        && header.alg == Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::A256GCM))
        && header.crit.is_empty()
        && header.rest.is_empty();
    let iv: [u8; IV_BYTES] = header.iv.as_slice().try_into().map_err(|_| EnvelopeError::Structure)?;
    if !is_plain {
        return Err(EnvelopeError::Structure);
    }
    let ephemeral = ephemeral_of(recipient)?;
    let content_key = derive(&key.agree(&ephemeral), &recipient.protected.header)?;
    let no_content = || EnvelopeError::Structure;
    let opened = envelope
        .decrypt_ciphertext(&of.aad()?, no_content, |msg, aad| content_key.decrypt(&iv, Payload { msg, aad }))
        .map(Zeroizing::new)?;
    ContentCode::from_slice(&opened).ok_or(EnvelopeError::Structure)
}

/// The ephemeral key of the only form of recipient that there is.
fn ephemeral_of(recipient: &CoseRecipient) -> Result<PublicKey, EnvelopeError> {
    let header = &recipient.protected.header;
    let is_plain = recipient.unprotected.is_empty()
        && recipient.recipients.is_empty()
        && recipient.ciphertext.as_ref().is_none_or(Vec::is_empty)
        && header.alg == Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ECDH_ES_HKDF_256))
        && header.crit.is_empty()
        && header.iv.is_empty();
    let [(label, value)] = header.rest.as_slice() else { return Err(EnvelopeError::Structure) };
    if !is_plain || *label != ephemeral_label() {
        return Err(EnvelopeError::Structure);
    }
    let key = CoseKey::from_cbor_value(value.clone()).map_err(|_| EnvelopeError::Structure)?;
    let coordinate = |parameter: iana::Ec2KeyParameter| {
        let found = key.params.iter().find(|(label, _)| *label == Label::Int(parameter.to_i64()));
        found.and_then(|(_, value)| value.as_bytes()).cloned().unwrap_or_default()
    };
    let (x, y) = (coordinate(iana::Ec2KeyParameter::X), coordinate(iana::Ec2KeyParameter::Y));
    let point = [vec![4], x, y].concat();
    let public = PublicKey::from_point(&point).map_err(|_| EnvelopeError::Structure)?;
    // One form only: what else stands in the key is refused.
    if cose_key(&public)? == key { Ok(public) } else { Err(EnvelopeError::Structure) }
}

fn ephemeral_label() -> Label {
    Label::Int(HeaderAlgorithmParameter::EphemeralKey.to_i64())
}

fn cose_key(key: &PublicKey) -> Result<CoseKey, EnvelopeError> {
    let point = key.to_point();
    let (x, y) = point.get(1..).and_then(|rest| rest.split_at_checked(32)).ok_or(EnvelopeError::Encode)?;
    Ok(CoseKeyBuilder::new_ec2_pub_key(iana::EllipticCurve::P_256, x.to_vec(), y.to_vec()).build())
}

/// The key by which the content key is encrypted (RFC 9053 section 5.2: the KDF's context). The recipient's protected header, with its
/// fresh key, is part of it.
fn derive(secret: &SharedSecret, protected: &Header) -> Result<ContentKey, EnvelopeError> {
    let about = SuppPubInfoBuilder::new().key_data_length(KEY_BITS).protected(protected.clone()).build();
    let context = CoseKdfContextBuilder::new().algorithm(iana::Algorithm::A256GCM).supp_pub_info(about).build();
    let context = context.to_vec().map_err(|_| EnvelopeError::Encode)?;
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret.as_slice())
        .expand(&context, key.as_mut_slice())
        .map_err(|_| EnvelopeError::Encode)?;
    Ok(ContentKey::A256(key))
}

#[cfg(test)]
mod tests;
