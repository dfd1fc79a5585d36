//! Metadata in the making: signed by one signer after another, also on different machines.

use super::{InvalidMetadata, Role, Signature};
use crate::json::{InvalidJson, Json};
use crate::key::KeyId;
use data_encoding::HEXLOWER;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use serde::{Deserialize, Serialize};

/// The version of the specification that our metadata follows.
const SPECIFICATION: &str = "1.0.34";

/// An envelope that is not yet signed, or not by everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    signed: Json,
    signatures: Vec<Signature>,
}

#[derive(Serialize)]
struct Body<'a, T> {
    #[serde(rename = "_type")]
    kind: &'static str,
    spec_version: &'static str,
    #[serde(flatten)]
    role: &'a T,
}

#[derive(Deserialize)]
struct Signatures {
    signatures: Vec<Signature>,
}

impl Draft {
    /// Begins with what the role says.
    pub fn new<T: Role + Serialize>(role: &T) -> Result<Self, InvalidMetadata> {
        role.check()?;
        let body = Body { kind: T::TYPE, spec_version: SPECIFICATION, role };
        let bytes = serde_json::to_vec(&body).map_err(InvalidJson::new)?;
        Ok(Self { signed: Json::parse(&bytes)?, signatures: Vec::new() })
    }

    /// Goes on with an envelope that others have signed; what it says and their signatures stay as they are.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidMetadata> {
        let Json::Object(mut members) = Json::parse(bytes)? else {
            return Err(InvalidMetadata::Contradiction("it is no envelope"));
        };
        let signed = members.remove("signed").ok_or(InvalidMetadata::Contradiction("it has no member \"signed\""))?;
        let Signatures { signatures } = serde_json::from_slice(bytes).map_err(InvalidJson::new)?;
        Ok(Self { signed, signatures })
    }

    /// Adds a signature, in place of an earlier one of the same key.
    pub fn sign(&mut self, keyid: KeyId, key: &SigningKey) {
        let signature: DerSignature = key.sign(&self.signed.to_canonical());
        self.add(Signature { keyid, sig: HEXLOWER.encode(signature.as_bytes()) });
    }

    /// Adds a signature that was made elsewhere, in place of an earlier one of the same key. Whether it counts says only
    /// [`super::Signed::is_signed_by`].
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|earlier| earlier.keyid != signature.keyid);
        self.signatures.push(signature);
    }

    /// What is signed.
    pub const fn signed(&self) -> &Json {
        &self.signed
    }

    /// The signatures so far.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The envelope's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |text: &str| Json::Text(text.to_owned());
        let signature = |signature: &Signature| {
            let members = [("keyid", text(&signature.keyid.0)), ("sig", text(&signature.sig))];
            Json::Object(members.map(|(name, value)| (name.to_owned(), value)).into())
        };
        let signatures = Json::Array(self.signatures.iter().map(signature).collect());
        let members = [("signatures", signatures), ("signed", self.signed.clone())];
        Json::Object(members.map(|(name, value)| (name.to_owned(), value)).into()).to_json()
    }
}
