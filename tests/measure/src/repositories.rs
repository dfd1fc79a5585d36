//! A new gateway with ten devices that reads both repositories in full.

use crate::NotMeasured;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wardlink_protocol::Device;
use wardlink_update::client::{Fetched, Stored};
use wardlink_update::inventory::Characteristics;
use wardlink_update::package::{BoundFile, ReleaseCounter};
use wardlink_update::report::{Image, State};
use wardlink_update::uptane::{Bound, Full, Next, Repository};

/// The devices of the new gateway.
pub const DEVICES: usize = 10;
/// The gateway.
pub const GATEWAY: &str = "gateway/ward-3";
/// The manufacturer whose images they run.
pub const MANUFACTURER: &str = "acme";

/// Both repositories, as texts by their names.
#[derive(Serialize, Deserialize)]
pub struct Repositories {
    /// The manufacturer's.
    pub images: BTreeMap<String, String>,
    /// The server's, for this gateway.
    pub director: BTreeMap<String, String>,
    /// The time, in seconds since 1970.
    pub now: u64,
}

impl Repositories {
    /// Reads both repositories in full, with what may be installed for everybody; returns how many bytes were read.
    pub fn verify(&self) -> Result<usize, NotMeasured> {
        let (director, images) = (root(&self.director)?, root(&self.images)?);
        let mut bytes = director.root.len().saturating_add(images.root.len());
        let images = [(MANUFACTURER.parse().map_err(NotMeasured::new)?, images)].into();
        let gateway: Device = GATEWAY.parse().map_err(NotMeasured::new)?;
        let bound = Bound { gateway, key: None, present: present()? };
        let mut full = Full::start(bound, director, images, self.now).map_err(NotMeasured::new)?;
        loop {
            match full.next() {
                Next::Fetch(of, wanted) => {
                    let files = if of == Repository::Director { &self.director } else { &self.images };
                    let fetched = files.get(&wanted.name()).map(|text| text.clone().into_bytes());
                    bytes = bytes.saturating_add(fetched.as_ref().map_or(0, Vec::len));
                    full.receive(fetched.map_or(Fetched::Missing, Fetched::Bytes)).map_err(NotMeasured::new)?;
                }
                Next::Verified(transactions) => {
                    let installs: usize = transactions.iter().map(|transaction| transaction.installs.len()).sum();
                    if installs != DEVICES + 1 {
                        return Err(NotMeasured::new(format!("not everybody is given something: {installs}")));
                    }
                    return Ok(bytes);
                }
                Next::Refused => return Err(NotMeasured::new("the repositories are refused")),
            }
        }
    }
}

fn root(files: &BTreeMap<String, String>) -> Result<Stored, NotMeasured> {
    let root = files.get("1.root.json").ok_or_else(|| NotMeasured::new("no root"))?.clone().into_bytes();
    Ok(Stored { root, ..Stored::default() })
}

/// The gateway and its devices, each with the first release.
pub fn present() -> Result<Vec<State>, NotMeasured> {
    let pump = |number: usize| state(&format!("infusion-pump/p{number}"), "PM2");
    core::iter::once(state(GATEWAY, "RP")).chain((0..DEVICES).map(pump)).collect()
}

fn state(device: &str, model: &str) -> Result<State, NotMeasured> {
    let device: Device = device.parse().map_err(NotMeasured::new)?;
    let characteristics = Characteristics {
        serial_number: device.identifier.to_string().parse().map_err(NotMeasured::new)?,
        device,
        manufacturer: "acme".parse().map_err(NotMeasured::new)?,
        model: model.parse().map_err(NotMeasured::new)?,
        revision: "1A".parse().map_err(NotMeasured::new)?,
        hardware: "B".parse().map_err(NotMeasured::new)?,
    };
    let path = "acme/infusion-pump/PM2/1A.bin".to_owned().try_into().map_err(NotMeasured::new)?;
    let BoundFile { length, sha256, .. } = BoundFile::of(path, b"1A.bin");
    let counter = ReleaseCounter::new(1).ok_or_else(|| NotMeasured::new("a counter"))?;
    let image = Some(Image { length, sha256 });
    Ok(State { characteristics, image, release_counter: Some(counter), attack: None })
}
