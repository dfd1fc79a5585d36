//! What a model's devices are given at the factory: whom they trust. It is a file, the same for every device of a model.
//!
//! It holds the manufacturer's root and top-level targets verbatim, so that nothing is copied out of them by hand. They are trusted as
//! they lie there, also when their time is over: a device can stand in a store for years before it follows newer ones.

use super::trusted::Trusted;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wardlink_protocol::ClientClass;
use wardlink_update::json::{InvalidJson, Json};
use wardlink_update::metadata::{InvalidMetadata, Root, Signed};
use wardlink_update::package::{Manufacturer, Model, ModelFolder};
use wardlink_update::uptane::{Delegated, Provisioned, Refused, Seen, Source, Trust, follow_delegation};

/// The version of the file's format.
pub const FACTORY_VERSION: u32 = 1;
/// The longest factory file, in bytes: a root, and top-level targets.
pub const MAX_FACTORY_BYTES: u64 = 6_000_000;

/// The factory file of a model, JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factory {
    /// The format's version: [`FACTORY_VERSION`].
    pub version: u32,
    /// Which sources count; left out: both.
    #[serde(default)]
    pub trust: Trust,
    /// Who makes the model.
    pub manufacturer: Manufacturer,
    /// The class under which its devices pair.
    pub device_type: ClientClass,
    /// The model.
    pub model: Model,
    /// A root of the manufacturer's repository, as it was published; needed where the manufacturer is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Value>,
    /// The top-level targets that trust the manufacturer's role for the model, as they were published; needed where the manufacturer
    /// is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Value>,
}

/// Why a factory file is of no use. The manufacturer's fault.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFactory {
    /// It is no JSON, or has a member twice.
    #[error("it is no factory file: {0}")]
    Json(#[from] InvalidJson),
    /// It has not the members that a factory file has.
    #[error("it is no factory file: {0}")]
    Members(#[from] serde_json::Error),
    /// It is longer than [`MAX_FACTORY_BYTES`].
    #[error("it is longer than {MAX_FACTORY_BYTES} bytes")]
    TooLong,
    /// Another version of the format.
    #[error("it has version {0}, and this program knows version {FACTORY_VERSION}")]
    Version(u32),
    /// The manufacturer is trusted, and its root or its targets are missing.
    #[error("it says to trust the manufacturer, and has no {0}")]
    Missing(&'static str),
    /// Its root cannot be read.
    #[error("its root: {0}")]
    Root(#[from] InvalidMetadata),
    /// Its root is not signed by its own keys.
    #[error("its root is not signed by enough of its own keys")]
    RootSignatures,
    /// Its targets are not those that its root vouches for.
    #[error("its targets: {0}")]
    Targets(#[from] Refused),
    /// Its targets trust nobody for the model.
    #[error("its targets trust no role {0} for the model")]
    NotDelegated(Manufacturer),
}

impl Factory {
    /// Reads a factory file.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidFactory> {
        if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_FACTORY_BYTES) {
            return Err(InvalidFactory::TooLong);
        }
        let factory: Self = serde_json::from_slice(&Json::parse(bytes)?.to_json())?;
        if factory.version != FACTORY_VERSION {
            return Err(InvalidFactory::Version(factory.version));
        }
        factory.trusted()?;
        Ok(factory)
    }

    /// The model's folder in repositories.
    pub fn folder(&self) -> ModelFolder {
        let (manufacturer, device_type, model) =
            (self.manufacturer.clone(), self.device_type.clone(), self.model.clone());
        ModelFolder { manufacturer, device_type, model }
    }

    /// What a device trusts that has seen nothing yet.
    pub fn trusted(&self) -> Result<Trusted, InvalidFactory> {
        let (trust, manufacturer) = (self.trust, self.manufacturer.clone());
        let bare = Provisioned { trust, server: None, manufacturer, signer: None, delegated: None };
        if trust == Trust::Server {
            return Ok(Trusted::new(bare, Seen::default(), None));
        }
        let root = self.root.as_ref().ok_or(InvalidFactory::Missing("root"))?;
        let targets = self.targets.as_ref().ok_or(InvalidFactory::Missing("targets"))?;
        let root = serde_json::to_string(root)?;
        let signed: Signed<Root> = Signed::parse(root.as_bytes())?;
        if !signed.is_signed_by(&signed.role.roles.root, &signed.role.keys) {
            return Err(InvalidFactory::RootSignatures);
        }
        let by = Source::of(&signed.role);
        // Version 0 is older than any: what lies here is the first that is seen. It counts whatever the time is.
        let start = Provisioned { delegated: Some(Delegated { version: 0, by: by.clone() }), ..bare };
        let rotated =
            follow_delegation(&start, Seen::default(), &self.folder(), &by, &serde_json::to_vec(targets)?, 0)?;
        if rotated.provisioned.signer.is_none() {
            return Err(InvalidFactory::NotDelegated(self.manufacturer.clone()));
        }
        Ok(Trusted::new(rotated.provisioned, Seen::default(), Some(root)))
    }
}

#[cfg(test)]
mod tests;
