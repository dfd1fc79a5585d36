//! Attacks as folders: `expected.json`, the client's `trusted/` files, and the `repository/`'s.
//!
//! A gateway has both for `director/` and `images/`, and `bound.json`; a device has `bedside.json` and what it is handed, or
//! `provisioned.json`, `seen.json` and what it is handed when keys are rotated; an image that is not the listed one lies there as `image.bin`.

use crate::attacks::{ATTACKS, Attack};
use crate::device_attacks::{Bedside, DELIVERED, DEVICE_ATTACKS, ROTATION_ATTACKS, RotationAttack};
use crate::gateway_attacks::GATEWAY_ATTACKS;
use crate::hospital::{self, Hospital};
use crate::{Disk, NOW, Repository};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};
use wardlink_protocol::identity::{Device, KeyFingerprint};
use wardlink_update::client::Stored;
use wardlink_update::metadata::{Hashes, Target};
use wardlink_update::report::State;
use wardlink_update::uptane::{Bound, Corrupt, Provisioned, Seen};

/// What has to happen.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The fixed time of the update, seconds since 1970.
    pub now: u64,
    /// The target that is looked for.
    pub target: String,
    /// The step that refuses.
    pub step: String,
    /// The file that is refused.
    pub file: String,
}

type Files = BTreeMap<String, Vec<u8>>;

/// A frozen attack.
pub struct Frozen {
    pub expected: Expected,
    pub disk: Disk,
    pub repository: Repository,
}

impl Frozen {
    /// Reads an attack's folder.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let expected = serde_json::from_slice(&fs::read(folder.join("expected.json"))?)?;
        let (disk, repository) = read_both(folder)?;
        Ok(Self { expected, disk, repository })
    }
}

/// What a client trusts, and what its repository answers.
fn read_both(folder: &Path) -> io::Result<(Disk, Repository)> {
    let mut trusted = read_files(&folder.join("trusted"))?;
    let mut stored = Stored { root: trusted.remove("root.json").unwrap_or_default(), ..Stored::default() };
    stored.timestamp = trusted.remove("timestamp.json");
    stored.snapshot = trusted.remove("snapshot.json");
    for (name, bytes) in trusted {
        stored.targets.insert(crate::role(name.trim_end_matches(".json")), bytes);
    }
    let mut repository = Repository::new();
    repository.files = read_files(&folder.join("repository"))?;
    Ok((Disk(stored), repository))
}

fn write_both(folder: &Path, disk: &Disk, repository: &Repository) -> io::Result<()> {
    write_files(&folder.join("trusted"), &trusted(disk))?;
    write_files(&folder.join("repository"), &repository.files)
}

/// Writes every attack's folder.
pub fn write_all(folder: &Path) -> io::Result<()> {
    for attack in ATTACKS {
        write(&attack, &folder.join(attack.name))?;
    }
    for attack in GATEWAY_ATTACKS {
        write_gateway(&attack.make(), attack.step, attack.repository, &folder.join(attack.name))?;
    }
    for attack in DEVICE_ATTACKS {
        write_device(&attack.make(), attack.step, attack.repository, &folder.join(attack.name))?;
    }
    for attack in ROTATION_ATTACKS {
        Rotation::of(&attack).write(attack.step, &folder.join(attack.name))?;
    }
    for delivered in DELIVERED {
        write_delivered(&delivered.make(), delivered.corrupt, &folder.join(delivered.name))?;
    }
    Ok(())
}

fn anew(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
}

fn write_json<T: Serialize>(file: &Path, value: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    fs::write(file, bytes)
}

fn read_json<T: DeserializeOwned>(file: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// What has to happen to a gateway or a device.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The fixed time of the update, seconds since 1970.
    pub now: u64,
    /// The step of Uptane 2.1 that refuses.
    pub step: String,
    /// Whose metadata is refused.
    pub repository: String,
}

impl Refusal {
    /// At this step.
    pub fn at(step: &str, repository: &str) -> Self {
        Self { now: NOW, step: step.to_owned(), repository: repository.to_owned() }
    }
}

/// What a gateway is bound to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct BoundFile {
    gateway: Device,
    key: Option<KeyFingerprint>,
    present: Vec<State>,
}

fn write_gateway(hospital: &Hospital, step: &str, repository: &str, folder: &Path) -> io::Result<()> {
    anew(folder)?;
    write_json(&folder.join("expected.json"), &Refusal::at(step, repository))?;
    let Bound { gateway, key, present } = hospital.bound.clone();
    write_json(&folder.join("bound.json"), &BoundFile { gateway, key, present })?;
    write_both(&folder.join("director"), &hospital.known_director, &hospital.director)?;
    write_both(&folder.join("images"), &hospital.known_images, &hospital.images)
}

/// Reads an attack on a gateway.
pub fn read_gateway(folder: &Path) -> io::Result<(Refusal, Hospital)> {
    let BoundFile { gateway, key, present } = read_json(&folder.join("bound.json"))?;
    let mut hospital = Hospital::new();
    hospital.bound = Bound { gateway, key, present };
    (hospital.known_director, hospital.director) = read_both(&folder.join("director"))?;
    (hospital.known_images, hospital.images) = read_both(&folder.join("images"))?;
    Ok((read_json(&folder.join("expected.json"))?, hospital))
}

/// How things stand at a device.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct BedsideFile {
    state: State,
    provisioned: Provisioned,
    seen: Seen,
}

fn write_device(bedside: &Bedside, step: &str, repository: &str, folder: &Path) -> io::Result<()> {
    anew(folder)?;
    write_json(&folder.join("expected.json"), &Refusal::at(step, repository))?;
    let Bedside { state, provisioned, seen, server, manufacturer } = bedside.clone();
    write_json(&folder.join("bedside.json"), &BedsideFile { state, provisioned, seen })?;
    for (name, bytes) in [("server.json", server), ("manufacturer.json", manufacturer)] {
        if let Some(bytes) = bytes {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

/// Reads an attack on a device.
pub fn read_device(folder: &Path) -> io::Result<(Refusal, Bedside)> {
    let BedsideFile { state, provisioned, seen } = read_json(&folder.join("bedside.json"))?;
    let handed = |name| match fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (server, manufacturer) = (handed("server.json")?, handed("manufacturer.json")?);
    Ok((read_json(&folder.join("expected.json"))?, Bedside { state, provisioned, seen, server, manufacturer }))
}

/// A device that follows rotated keys, and what it is handed.
#[derive(Debug, PartialEq)]
pub struct Rotation {
    pub provisioned: Provisioned,
    pub seen: Seen,
    /// The trusted root of the image repository.
    pub root: Vec<u8>,
    /// Its top-level targets, as they are handed on.
    pub targets: Vec<u8>,
}

impl Rotation {
    /// What the attack makes.
    pub fn of(attack: &RotationAttack) -> Self {
        let (hospital, Bedside { provisioned, seen, .. }) = attack.make();
        Self { provisioned, seen, root: hospital.images.root(), targets: hospital.handed_delegator() }
    }

    fn write(&self, step: &str, folder: &Path) -> io::Result<()> {
        anew(folder)?;
        write_json(&folder.join("expected.json"), &Refusal::at(step, "images of acme"))?;
        write_json(&folder.join("provisioned.json"), &self.provisioned)?;
        write_json(&folder.join("seen.json"), &self.seen)?;
        fs::write(folder.join("root.json"), &self.root)?;
        fs::write(folder.join("targets.json"), &self.targets)
    }

    /// Reads an attack on a rotation.
    pub fn read(folder: &Path) -> io::Result<(Refusal, Self)> {
        let (provisioned, seen) = (read_json(&folder.join("provisioned.json"))?, read_json(&folder.join("seen.json"))?);
        let (root, targets) = (fs::read(folder.join("root.json"))?, fs::read(folder.join("targets.json"))?);
        Ok((read_json(&folder.join("expected.json"))?, Self { provisioned, seen, root, targets }))
    }
}

/// The listed image, and what is wrong with the one that arrives.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// What is listed.
    pub target: Target,
    /// How the other one is refused.
    pub corrupt: String,
}

impl Listed {
    /// The pumps' update.
    pub fn but(corrupt: Corrupt) -> Self {
        let bytes = hospital::image(&hospital::pump_package());
        let length = bytes.len().try_into().unwrap();
        Self { target: Target { length, hashes: Hashes::of(&bytes), custom: None }, corrupt: corrupt.to_string() }
    }
}

fn write_delivered(bytes: &[u8], corrupt: Corrupt, folder: &Path) -> io::Result<()> {
    anew(folder)?;
    write_json(&folder.join("expected.json"), &Listed::but(corrupt))?;
    fs::write(folder.join("image.bin"), bytes)
}

/// Reads an image that is not the listed one.
pub fn read_delivered(folder: &Path) -> io::Result<(Listed, Vec<u8>)> {
    Ok((read_json(&folder.join("expected.json"))?, fs::read(folder.join("image.bin"))?))
}

fn write(attack: &Attack, folder: &Path) -> io::Result<()> {
    anew(folder)?;
    let (disk, repository) = attack.make();
    write_both(folder, &disk, &repository)?;
    write_json(&folder.join("expected.json"), &expected(attack))
}

/// What has to happen in an attack.
pub fn expected(attack: &Attack) -> Expected {
    let (step, file) = (attack.step.to_owned(), attack.file.to_owned());
    Expected { now: NOW, target: Attack::TARGET.to_owned(), step, file }
}

/// The client's files by name.
pub fn trusted(disk: &Disk) -> Files {
    let stored = &disk.0;
    let mut files = Files::from([("root.json".to_owned(), stored.root.clone())]);
    files.extend(stored.timestamp.clone().map(|bytes| ("timestamp.json".to_owned(), bytes)));
    files.extend(stored.snapshot.clone().map(|bytes| ("snapshot.json".to_owned(), bytes)));
    files.extend(stored.targets.iter().map(|(role, bytes)| (role.file(), bytes.clone())));
    files
}

fn read_files(folder: &Path) -> io::Result<Files> {
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?))
    };
    fs::read_dir(folder)?.map(read).collect()
}

fn write_files(folder: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
}
