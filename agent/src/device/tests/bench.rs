//! A pump on a bench: a hospital that offers updates, and a disk in memory.

use crate::device::disk::Disk;
use crate::device::disk::model::Model;
use crate::device::factory::{FACTORY_VERSION, Factory};
use crate::device::slots::Installed;
use crate::device::trusted::News;
use crate::device::{Device, DeviceError, Doing, FactoryImage, Identity, Offer, Offered, Tested};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::distribution::DirectorRoot;
use wardlink_protocol::identity::Sha256;
use wardlink_test_repository::NOW;
use wardlink_test_repository::hospital::{Hospital, OLD_IMAGE, device, image, manufacturer, pump_package};
use wardlink_update::director::{Added, Order, When};
use wardlink_update::package::{AddedKind, BoundFile, DrugLibrary, ModelFolder, Package, SiteSettings};
use wardlink_update::uptane::{Circumstances, Handed, Outcome, Trust};

pub(super) struct Bench {
    pub(super) hospital: Hospital,
    /// What the pump is given of added data.
    pub(super) added: BTreeMap<Sha256, Vec<u8>>,
    pub(super) trust: Trust,
    /// What the factory knew.
    factory: Factory,
    director_root: Vec<u8>,
}

pub(super) fn identity() -> Identity {
    Identity {
        device: device("infusion-pump/p1"),
        manufacturer: manufacturer(),
        model: "PM2".parse().unwrap(),
        serial_number: "S-p1".parse().unwrap(),
        hardware: "B".parse().unwrap(),
    }
}

pub(super) fn factory_image() -> FactoryImage {
    let release_counter = wardlink_update::package::ReleaseCounter::new(1);
    FactoryImage { bytes: OLD_IMAGE.to_vec(), revision: "1A".parse().unwrap(), release_counter }
}

/// Nothing runs, and nobody minds.
pub(super) fn calm() -> Circumstances {
    Circumstances { now: NOW, therapy_runs: false, is_safe: true, is_confirmed: false }
}

pub(super) fn works(_: &[u8], _: &Installed) -> Tested {
    Tested::Passed
}

pub(super) fn settings(version: u32) -> Vec<u8> {
    let settings = SiteSettings {
        version: version.try_into().unwrap(),
        language: "de".parse().unwrap(),
        time_zone: "Europe/Berlin".parse().unwrap(),
        ward: "Ward 3".parse().unwrap(),
        alarm_volume_percent: 70,
    };
    settings.to_bytes().unwrap()
}

pub(super) fn drugs() -> Vec<u8> {
    let drug = wardlink_update::package::Drug {
        name: "Heparin".parse().unwrap(),
        concentration_ug_per_ml: 500.try_into().unwrap(),
        least_rate_ul_per_h: 1,
        most_rate_ul_per_h: 2,
        most_volume_ul: 3,
    };
    DrugLibrary { version: 1.try_into().unwrap(), drugs: vec![drug] }.to_bytes().unwrap()
}

impl Bench {
    /// The server has directed the pumps' update.
    pub(super) fn new() -> Self {
        Self::with(&pump_package(), |_| ())
    }

    /// A package instead of the usual one, and what the server says of it.
    pub(super) fn with(package: &Package, change: impl Fn(&mut Order)) -> Self {
        let mut hospital = Hospital::new();
        hospital.release(package);
        hospital.images.bump();
        let json = |bytes: &[u8]| Some(serde_json::from_slice(bytes).unwrap());
        let factory = Factory {
            version: FACTORY_VERSION,
            trust: Trust::Both,
            manufacturer: manufacturer(),
            device_type: "infusion-pump".parse().unwrap(),
            model: "PM2".parse().unwrap(),
            root: json(&hospital.images.root()),
            targets: json(&hospital.handed_delegator()),
        };
        let (added, director_root) = (BTreeMap::new(), hospital.director.root());
        let mut bench = Self { hospital, added, trust: Trust::Both, factory, director_root };
        bench.direct(change);
        bench
    }

    /// The server directs what fits.
    pub(super) fn direct(&mut self, change: impl Fn(&mut Order)) {
        let mut orders = self.hospital.orders();
        orders.iter_mut().for_each(change);
        self.hospital.direct(&orders);
    }

    /// The package takes both kinds of data, and the server adds these.
    pub(super) fn with_added(files: &[(AddedKind, Vec<u8>)]) -> Self {
        let package = Package { accepts: AddedKind::ALL.to_vec(), ..pump_package() };
        let folder: ModelFolder = package.folder();
        let file = |(kind, bytes): &(AddedKind, Vec<u8>)| Added {
            kind: *kind,
            file: BoundFile::of(folder.path(&format!("{kind:?}.json")).unwrap(), bytes),
        };
        let listed: Vec<_> = files.iter().map(file).collect();
        let mut bench = Self::with(&package, |order| {
            order.assignments.iter_mut().for_each(|assignment| assignment.added.clone_from(&listed));
        });
        bench.added = listed.iter().zip(files).map(|(added, (_, bytes))| (added.file.sha256, bytes.clone())).collect();
        bench
    }

    pub(super) fn when(when: When) -> Self {
        Self::with(&pump_package(), |order| {
            order.assignments.iter_mut().for_each(|assignment| assignment.when = when);
        })
    }

    fn factory(&self) -> Factory {
        Factory { trust: self.trust, ..self.factory.clone() }
    }

    pub(super) fn director_root(&self, issued_at: u64) -> DirectorRoot {
        let root = ByteBuf::from(self.director_root.clone());
        DirectorRoot { device: identity().device, issued_at: UnixMillis::from_secs(issued_at), root }
    }

    pub(super) fn open<D: Disk>(
        &self,
        disk: D,
        test: impl FnMut(&[u8], &Installed) -> Tested,
    ) -> Result<Device<D>, DeviceError> {
        Device::open(disk, identity(), Some(&self.factory()), factory_image(), test)
    }

    /// A pump that knows its site.
    pub(super) fn pump(&self) -> Device<Model> {
        let mut pump = self.open(Model::default(), works).unwrap();
        if self.trust != Trust::Manufacturer {
            pump.directed_by(&self.director_root(NOW)).unwrap();
        }
        pump
    }

    /// What the gateway hands on.
    pub(super) fn offer_to<D: Disk>(&self, pump: &mut Device<D>, now: u64) -> Result<Offered, DeviceError> {
        let (server, manufacturer) = (self.hospital.handed_server(), self.hospital.handed_manufacturer());
        let delegator = self.hospital.handed_delegator();
        let path = self.hospital.path_of(&pump_package());
        let path = (self.trust == Trust::Manufacturer).then_some(&path);
        let handed = Handed { server: Some(&server), manufacturer: Some(&manufacturer), path };
        pump.offer(&Offer { news: News { delegator: Some(&delegator), ..News::default() }, handed }, now)
    }

    /// The image, from the repository.
    pub(super) fn bytes<D: Disk>(pump: &Device<D>) -> Vec<u8> {
        image(&pump.job().unwrap().package)
    }

    /// Gives the pump whatever it wants, in pieces of ten bytes, until it wants nothing any more.
    pub(super) fn serve<D: Disk>(&self, pump: &mut Device<D>, at: &Circumstances) -> Result<Doing, DeviceError> {
        loop {
            match pump.go_on(at)? {
                Doing::WantsImage { position, .. } => {
                    let (image, start) = (Self::bytes(pump), usize::try_from(position).unwrap());
                    let end = image.len().min(start + 10);
                    pump.take_image(position, &image[start..end], at.now)?;
                }
                Doing::WantsAdded(added) => {
                    pump.take_added(added.file.sha256, &self.added[&added.file.sha256], at.now)?;
                }
                other => return Ok(other),
            }
        }
    }
}

pub(super) fn reason<D: Disk>(pump: &Device<D>) -> String {
    match &pump.outcomes().last().expect("an outcome").outcome {
        Outcome::Failed { reason } => reason.to_string(),
        Outcome::Refused { step, reason } => format!("{step}: {reason}"),
        other => panic!("{other:?}"),
    }
}
