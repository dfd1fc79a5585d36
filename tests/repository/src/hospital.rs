//! A hospital: a gateway and two pumps, the manufacturer's image repository, the server's director repository, and what the gateway
//! has stored of both.

use crate::{DAY, Disk, NOW, Repository, key, path, public, role};
use serde_json::Value;
use wardlink_protocol::identity::{Device, KeyFingerprint};
use wardlink_update::catalog::{Associations, Releases};
use wardlink_update::director::{Directive, Ends, Files, Order, When, publish};
use wardlink_update::inventory::Characteristics;
use wardlink_update::metadata::{Draft, Expires, MetadataFile, Snapshot, Timestamp};
use wardlink_update::package::{BoundFile, Delta, DeltaFormat, ModelFolder, Package, Release, ReleaseCounter};
use wardlink_update::package::{Manufacturer, RevisionRange};
use wardlink_update::report::{Configuration, Image, State};
use wardlink_update::uptane::{Bound, Delegated, Full, Next, Provisioned, Refused, Source, Transaction, Trust};

/// The key of the manufacturer's role.
pub const MANUFACTURER_KEY: u8 = 6;
/// The key of the director's root.
pub const DIRECTOR_ROOT_KEY: u8 = 11;
/// The server's key.
pub const SERVER_KEY: u8 = 12;
/// The image of the pumps, before the update.
pub const OLD_IMAGE: &[u8] = b"the program of a pump, revision 1A, as it came from the factory";

#[derive(Clone)]
pub struct Hospital {
    /// Who makes the pumps.
    pub maker: Manufacturer,
    pub images: Repository,
    pub director: Repository,
    pub bound: Bound,
    pub associations: Associations,
    /// The version of the directive.
    pub version: u64,
    pub known_images: Disk,
    pub known_director: Disk,
}

pub fn manufacturer() -> Manufacturer {
    "acme".parse().unwrap()
}

pub fn device(text: &str) -> Device {
    text.parse().unwrap()
}

pub fn gateway() -> Device {
    device("gateway/ward-3")
}

/// The gateway's key.
pub const GATEWAY_KEY: KeyFingerprint = KeyFingerprint([7; 32]);

pub fn state(name: &str, model: &str, revision: &str) -> State {
    let device = device(name);
    let characteristics = Characteristics {
        serial_number: format!("S-{}", device.identifier).parse().unwrap(),
        device,
        manufacturer: manufacturer(),
        model: model.parse().unwrap(),
        revision: revision.parse().unwrap(),
        hardware: "B".parse().unwrap(),
    };
    let BoundFile { length, sha256, .. } = BoundFile::of(path("x"), OLD_IMAGE);
    let image = Some(Image { length, sha256 });
    State { characteristics, image, release_counter: ReleaseCounter::new(1), attack: None }
}

/// A pump's update from 1A to 1B.
pub fn pump_package() -> Package {
    Package {
        manufacturer: manufacturer(),
        device_type: "infusion-pump".parse().unwrap(),
        model: "PM2".parse().unwrap(),
        pre_revision: RevisionRange::single("1A".parse().unwrap()),
        post_revision: "1B".parse().unwrap(),
        hardware: vec!["B".parse().unwrap()],
        release_counter: ReleaseCounter::new(2).unwrap(),
        feature_set: "spring".parse().unwrap(),
        atomic: Vec::new(),
        sbom: None,
        provenance: None,
        accepts: Vec::new(),
        during_therapy: false,
        downgrade: None,
        recalled: None,
    }
}

/// The gateway's own update, of the same feature set.
pub fn gateway_package() -> Package {
    Package {
        device_type: "gateway".parse().unwrap(),
        model: "RP".parse().unwrap(),
        pre_revision: RevisionRange::single("1A".parse().unwrap()),
        ..pump_package()
    }
}

/// Both, so that neither is installed without the other.
pub fn atomic_pair() -> [Package; 2] {
    let (mut pump, mut gateway) = (pump_package(), gateway_package());
    pump.atomic = vec![gateway.member()];
    gateway.atomic = vec![pump.member()];
    [pump, gateway]
}

pub fn image(package: &Package) -> Vec<u8> {
    format!(
        "the program of {}, revision {}, as release {}",
        package.folder(),
        package.post_revision,
        package.release_counter
    )
    .into_bytes()
}

impl Hospital {
    /// The pumps' update is released; the director has said once that there is nothing to do, and the gateway knows all of it.
    pub fn new() -> Self {
        Self::of(&pump_package(), &gateway_package())
    }

    /// The same with other packages, which are of one manufacturer.
    pub fn of(pump: &Package, own: &Package) -> Self {
        let mut images = Repository::new();
        let (maker, model) = (pump.manufacturer.clone(), pump.model.to_string());
        let patterns = [pump, own].map(|package| package.folder().pattern().unwrap());
        let patterns: Vec<_> = patterns.iter().map(wardlink_update::metadata::PathPattern::as_str).collect();
        images.delegate_all("targets", maker.as_str(), MANUFACTURER_KEY, &patterns, true);
        let director = Repository::with_keys([DIRECTOR_ROOT_KEY, SERVER_KEY, SERVER_KEY, SERVER_KEY]);
        let mut present = vec![
            state("gateway/ward-3", own.model.as_str(), "1A"),
            state("infusion-pump/p1", &model, "1A"),
            state("infusion-pump/p2", &model, "1A"),
        ];
        for state in &mut present {
            state.characteristics.manufacturer = maker.clone();
        }
        let mut associations = Associations::default();
        for pump in ["infusion-pump/p1", "infusion-pump/p2"] {
            associations.associate(device(pump), gateway());
        }
        let (known_images, known_director) = (Disk::new(images.root()), Disk::new(director.root()));
        let bound = Bound { gateway: gateway(), key: Some(GATEWAY_KEY), present };
        let mut hospital =
            Self { maker, images, director, bound, associations, version: 1, known_images, known_director };
        hospital.release(pump);
        hospital.images.bump();
        hospital.direct(&[]);
        assert_eq!(hospital.run().unwrap(), []);
        let package = hospital.path_of(pump).to_string();
        hospital.known_images.find(&mut hospital.images, &package).unwrap().unwrap();
        hospital
    }

    pub fn path_of(&self, package: &Package) -> wardlink_update::metadata::TargetPath {
        package.folder().path(&format!("{}-{}.bin", package.post_revision, package.release_counter)).unwrap()
    }

    /// The manufacturer signs a package; `images.bump()` publishes it.
    pub fn release(&mut self, package: &Package) {
        let path = self.path_of(package);
        let custom = serde_json::to_value(Release::Package(Box::new(package.clone()))).unwrap();
        let author = self.images.author(self.maker.as_str());
        author.files.insert(path.clone(), image(package));
        author.customs.insert(path, custom);
        author.version += 1;
    }

    /// The manufacturer signs a delta from the old image to a package.
    pub fn release_delta(&mut self, to: &Package) {
        let folder: ModelFolder = to.folder();
        let source = BoundFile::of(folder.path("1A-1.bin").unwrap(), OLD_IMAGE);
        let delta = Delta { format: DeltaFormat::Bsdiff, source, result: BoundFile::of(self.path_of(to), &image(to)) };
        let path = folder.path("1A-1B.delta").unwrap();
        let author = self.images.author("acme");
        author.files.insert(path.clone(), b"a delta".to_vec());
        author.customs.insert(path, serde_json::to_value(Release::Delta(delta)).unwrap());
    }

    /// What the server would order: what matches.
    pub fn orders(&mut self) -> Vec<Order> {
        self.orders_of(|_| ())
    }

    /// The same, if the image repository were another one.
    pub fn orders_of(&mut self, change: impl FnOnce(&mut Repository)) -> Vec<Order> {
        let mut images = self.images.clone();
        change(&mut images);
        let releases = Releases::of([(&self.maker, &images.roles())]).unwrap();
        let mut present = self.bound.present.iter().cloned();
        let (counter, gateway) = (1, present.next().unwrap());
        let configuration = Configuration {
            counter,
            gateway,
            devices: present.map(|state| (state, None)).collect(),
            unchanged: Vec::new(),
            left_out: Vec::new(),
        };
        let picks = releases.pick(&configuration, &self.associations);
        Order::of(&picks.picks, |_| (When::NextSafeMoment, Vec::new()))
    }

    pub fn directive(&self, orders: &[Order]) -> Directive {
        let expires = Expires::at(NOW + DAY);
        Directive::new(self.version, expires, &self.bound.gateway, orders, &self.associations).unwrap()
    }

    fn serve(&mut self, Files { targets, snapshot, timestamp }: Files) {
        let version = self.version;
        self.director.files.insert(format!("{version}.targets.json"), targets);
        self.director.files.insert(format!("{version}.snapshot.json"), snapshot);
        self.director.files.insert("timestamp.json".to_owned(), timestamp);
    }

    pub fn publish(&mut self, directive: &Directive, signer: u8) {
        let ends = Ends { snapshot: Expires::at(NOW + DAY), timestamp: Expires::at(NOW + DAY) };
        let files = publish(directive, ends, &key(signer)).unwrap();
        self.serve(files);
    }

    /// The server directs the next version.
    pub fn direct(&mut self, orders: &[Order]) {
        self.version += 1;
        self.publish(&self.directive(orders), SERVER_KEY);
    }

    /// Somebody with the server's key directs what the server never would.
    pub fn direct_forged(&mut self, orders: &[Order], change: impl FnOnce(&mut Value)) {
        self.direct(orders);
        let name = format!("{}.targets.json", self.version);
        let mut envelope: Value = serde_json::from_slice(&self.director.files[&name]).unwrap();
        change(&mut envelope["signed"]);
        envelope["signatures"] = Value::Array(Vec::new());
        let mut draft = Draft::parse(&serde_json::to_vec(&envelope).unwrap()).unwrap();
        draft.sign(public(SERVER_KEY).id(), &key(SERVER_KEY));
        let (version, expires) = (self.version, Expires::at(NOW + DAY));
        let targets = draft.to_bytes();
        let meta = [("targets.json".to_owned(), MetadataFile::of(version, &targets))].into();
        let snapshot = crate::signed(&Snapshot::new(version, expires, meta), &[SERVER_KEY]);
        let listed = MetadataFile::of(version, &snapshot);
        let timestamp = crate::signed(&Timestamp::new(version, expires, listed), &[SERVER_KEY]);
        self.serve(Files { targets, snapshot, timestamp });
    }

    /// The same for one order, which is the pumps' update: its `custom` and the whole of it.
    pub fn direct_forged_order(&mut self, change: impl FnOnce(&mut Value)) {
        let orders = self.orders();
        let path = orders[0].path.to_string();
        self.direct_forged(&orders, |signed| change(&mut signed["targets"][path.as_str()]));
    }

    /// The gateway verifies, and stores what it is told to.
    pub fn run(&mut self) -> Result<Vec<Transaction>, Refused> {
        self.verify().map(|(_, transactions)| transactions)
    }

    /// The same, with the run that has ended.
    pub fn verify(&mut self) -> Result<(Full, Vec<Transaction>), Refused> {
        let images = [(self.maker.clone(), self.known_images.0.clone())].into();
        let mut full = Full::start(self.bound.clone(), self.known_director.0.clone(), images, NOW)?;
        loop {
            use wardlink_update::uptane::Repository as Of;
            match full.next() {
                Next::Fetch(of, wanted) => {
                    let fetched = match of {
                        Of::Director => self.director.fetch(&wanted),
                        Of::Image(_) => self.images.fetch(&wanted),
                    };
                    let received = full.receive(fetched);
                    assert!(received.is_ok() || full.next() == Next::Refused);
                    let (of, commands) = received?;
                    let disk = match of {
                        Of::Director => &mut self.known_director,
                        Of::Image(_) => &mut self.known_images,
                    };
                    for command in commands {
                        disk.carry_out(command);
                    }
                }
                Next::Verified(transactions) => return Ok((full, transactions)),
                Next::Refused => panic!("a run that was not refused is over"),
            }
        }
    }

    /// The first pump.
    pub fn pump(&self) -> &State {
        &self.bound.present[1]
    }

    /// What the pumps were given at the factory.
    pub fn provisioned(&self, trust: Trust) -> Provisioned {
        let keys = |number: u8| [(public(number).id(), public(number))].into();
        let source = |number: u8| Some(Source { role: crate::keys_of(&[number], 1), keys: keys(number) });
        Provisioned {
            trust,
            server: source(SERVER_KEY),
            manufacturer: manufacturer(),
            signer: source(MANUFACTURER_KEY),
            delegated: source(4).map(|by| Delegated { version: 1, by }),
        }
    }

    /// The directive, as the gateway hands it on.
    pub fn handed_server(&self) -> Vec<u8> {
        self.director.files[&format!("{}.targets.json", self.version)].clone()
    }

    /// The image repository's top-level targets, as the gateway hands them on.
    pub fn handed_delegator(&self) -> Vec<u8> {
        let version = self.images.authors[&role("targets")].version;
        self.images.files[&format!("{version}.targets.json")].clone()
    }

    /// The metadata of the manufacturer's role, as the gateway hands it on.
    pub fn handed_manufacturer(&self) -> Vec<u8> {
        let version = self.images.authors[&role("acme")].version;
        self.images.files[&format!("{version}.acme.json")].clone()
    }
}
