//! Where packages lie: a manufacturer's role is trusted for its own models' folders, and for nothing else.

use super::{InvalidPackage, Manufacturer, Model};
use crate::metadata::{Delegation, PathPattern, TargetPath};
use core::fmt;
use core::str::FromStr;
use wardlink_protocol::identity::ClientClass;

/// The folder of a model, `<manufacturer>/<device type>/<model>`, in which its packages, deltas and documents lie.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelFolder {
    /// The manufacturer, and the name of its role.
    pub manufacturer: Manufacturer,
    /// The device type.
    pub device_type: ClientClass,
    /// The model.
    pub model: Model,
}

impl ModelFolder {
    /// The folder in which a target lies: its path has exactly four parts.
    pub fn of(path: &TargetPath) -> Result<Self, InvalidPackage> {
        Self::parse(path.as_str(), |_| true)
    }

    fn parse(text: &str, is_last: impl Fn(&str) -> bool) -> Result<Self, InvalidPackage> {
        let form = || InvalidPackage::Form(text.to_owned());
        let mut parts = text.split('/');
        let (Some(manufacturer), Some(device_type), Some(model), Some(last), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        if !is_last(last) {
            return Err(form());
        }
        Ok(Self {
            manufacturer: manufacturer.parse().map_err(|_| form())?,
            device_type: ClientClass::from_str(device_type).map_err(|_| form())?,
            model: model.parse().map_err(|_| form())?,
        })
    }

    /// Whether the target lies in this folder.
    pub fn contains(&self, path: &TargetPath) -> bool {
        Self::of(path).is_ok_and(|folder| folder == *self)
    }

    /// The path of a file in this folder.
    pub fn path(&self, file: &str) -> Result<TargetPath, InvalidPackage> {
        let form = || InvalidPackage::Form(file.to_owned());
        let path: TargetPath = format!("{self}/{file}").try_into().map_err(|_| form())?;
        if self.contains(&path) { Ok(path) } else { Err(form()) }
    }

    /// The pattern by which a role is trusted for this folder. No name has a character that a pattern reads otherwise.
    pub fn pattern(&self) -> Result<PathPattern, InvalidPackage> {
        let text = format!("{self}/*");
        text.clone().try_into().map_err(|_| InvalidPackage::Form(text))
    }

    /// The models that a delegation is limited to: every pattern is a model's folder of the manufacturer that gives the role its
    /// name. Anything wider is refused.
    pub fn of_delegation(delegation: &Delegation) -> Result<Vec<Self>, InvalidPackage> {
        let patterns = delegation.paths.patterns();
        let read = |pattern: &PathPattern| Self::parse(pattern.as_str(), |last| last == "*");
        let folders: Vec<_> = patterns.iter().filter_map(|pattern| read(pattern).ok()).collect();
        let is_own = |folder: &Self| folder.manufacturer.as_str() == delegation.name.as_str();
        if !folders.is_empty() && folders.len() == patterns.len() && folders.iter().all(is_own) {
            Ok(folders)
        } else {
            Err(InvalidPackage::Delegation(delegation.name.clone()))
        }
    }
}

impl fmt::Display for ModelFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.manufacturer, self.device_type, self.model)
    }
}
