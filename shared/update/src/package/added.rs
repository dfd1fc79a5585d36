//! Data that the server adds to an update (figure 5B, 125), typed.

use super::{InvalidPackage, Note, check_list};
use crate::json::Json;
use core::num::NonZeroU32;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest file of added data, in bytes.
pub const MAX_ADDED_BYTES: u64 = 1_000_000;
/// The most drugs of a library.
pub const MAX_DRUGS: usize = 4_096;

/// The kinds of added data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddedKind {
    /// [`DrugLibrary`].
    DrugLibrary,
    /// [`SiteSettings`].
    SiteSettings,
}

impl AddedKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::DrugLibrary, Self::SiteSettings];

    /// Its name, as packages and directives write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DrugLibrary => "drug_library",
            Self::SiteSettings => "site_settings",
        }
    }
}

/// Why bytes are not the added data that they should be. The server's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAdded {
    /// They are too long.
    #[error("added data is longer than {MAX_ADDED_BYTES} bytes")]
    Length,
    /// They are not the file that the directive names.
    #[error("added data has another length or hash than listed")]
    Hash,
    /// They cannot be read, or contradict themselves.
    #[error("added data cannot be used: {0}")]
    Content(#[from] InvalidPackage),
}

/// What a hospital sets for its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSettings {
    /// Rises with every change.
    pub version: NonZeroU32,
    /// The language of the display, a tag such as `de` (RFC 5646).
    pub language: Note,
    /// The time zone, such as `Europe/Berlin`.
    pub time_zone: Note,
    /// The ward, as the display names it.
    pub ward: Note,
    /// The volume of alarms, per cent; 1 to 100, since an alarm is never silent.
    pub alarm_volume_percent: u8,
}

/// The drugs that a pump knows, and their limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrugLibrary {
    /// Rises with every change.
    pub version: NonZeroU32,
    /// The drugs, in ascending order of their names; at most [`MAX_DRUGS`].
    pub drugs: Vec<Drug>,
}

/// A drug in one concentration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drug {
    /// Its name, as the pump shows it.
    pub name: Note,
    /// Its concentration, micrograms per millilitre.
    pub concentration_ug_per_ml: NonZeroU32,
    /// The least rate, microlitres per hour.
    pub least_rate_ul_per_h: u32,
    /// The highest rate, microlitres per hour.
    pub most_rate_ul_per_h: u32,
    /// The most volume of one infusion, microlitres.
    pub most_volume_ul: u32,
}

impl SiteSettings {
    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidAdded> {
        let settings: Self = read(bytes)?;
        settings.check()?;
        Ok(settings)
    }

    /// The file's bytes: canonical JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, InvalidAdded> {
        self.check()?;
        write(self)
    }

    fn check(&self) -> Result<(), InvalidPackage> {
        if (1..=100).contains(&self.alarm_volume_percent) {
            Ok(())
        } else {
            Err(InvalidPackage::Contradiction("an alarm's volume is 1 to 100 per cent"))
        }
    }
}

impl DrugLibrary {
    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidAdded> {
        let library: Self = read(bytes)?;
        library.check()?;
        Ok(library)
    }

    /// The file's bytes: canonical JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, InvalidAdded> {
        self.check()?;
        write(self)
    }

    fn check(&self) -> Result<(), InvalidPackage> {
        let names: Vec<_> = self.drugs.iter().map(|drug| (&drug.name, drug.concentration_ug_per_ml)).collect();
        check_list(&names, 1, MAX_DRUGS, "drugs")?;
        let is_empty = |drug: &Drug| drug.least_rate_ul_per_h > drug.most_rate_ul_per_h || drug.most_volume_ul == 0;
        if self.drugs.iter().any(is_empty) {
            return Err(InvalidPackage::Contradiction("a drug's limits leave nothing"));
        }
        Ok(())
    }
}

impl AddedKind {
    /// Whether the bytes are acceptable data of this kind.
    pub fn check(self, bytes: &[u8]) -> Result<(), InvalidAdded> {
        match self {
            Self::DrugLibrary => DrugLibrary::parse(bytes).map(drop),
            Self::SiteSettings => SiteSettings::parse(bytes).map(drop),
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InvalidAdded> {
    if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_ADDED_BYTES) {
        return Err(InvalidAdded::Length);
    }
    let json = Json::parse(bytes).map_err(InvalidPackage::json)?;
    let value: serde_json::Value = serde_json::from_slice(&json.to_json()).map_err(InvalidPackage::json)?;
    Ok(T::deserialize(&value).map_err(InvalidPackage::json)?)
}

fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, InvalidAdded> {
    let bytes = serde_json::to_vec(value).map_err(InvalidPackage::json)?;
    Ok(Json::parse(&bytes).map_err(InvalidPackage::json)?.to_json())
}
