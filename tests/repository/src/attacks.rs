//! Attacks: each begins with a client that knows the repository, and changes what the repository answers next.

use crate::{DAY, Disk, NOW, Repository, keys_of, role};
use wardlink_update::metadata::{Draft, Expires, MetadataFile, Snapshot};

/// An attack, and where it has to fail.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// The step of TUF 1.0.34 that refuses it.
    pub step: &'static str,
    /// The file that is refused.
    pub file: &'static str,
    /// What it does.
    make: fn(&mut Repository),
}

const fn attack(name: &'static str, step: &'static str, file: &'static str, make: fn(&mut Repository)) -> Attack {
    Attack { name, step, file, make }
}

/// Every attack that is frozen.
pub const ATTACKS: [Attack; 42] = [
    attack("root-endless", "5.3.3", "root.json", |repository| {
        repository.bump_root();
        lengthen(repository, "2.root.json", 512_000);
    }),
    attack("root-without-the-old-keys", "5.3.4", "root.json", |repository| rotate_root(repository, &[5])),
    attack("root-without-its-own-keys", "5.3.4", "root.json", |repository| rotate_root(repository, &[1])),
    attack("root-without-signatures", "5.3.4", "root.json", |repository| rotate_root(repository, &[])),
    attack("root-of-a-later-version", "5.3.5", "root.json", |repository| {
        repository.root_version = 3;
        repository.publish_root();
        rename(repository, "3.root.json", "2.root.json");
    }),
    attack("root-of-an-earlier-version", "5.3.5", "root.json", |repository| {
        let first = repository.root();
        repository.files.insert("2.root.json".to_owned(), first);
    }),
    attack("root-expired", "5.3.10", "root.json", |repository| {
        repository.root_expires = Expires::at(NOW);
        repository.bump_root();
    }),
    attack("timestamp-missing", "5.4.1", "timestamp.json", |repository| remove(repository, "timestamp.json")),
    attack("timestamp-endless", "5.4.1", "timestamp.json", |repository| lengthen(repository, "timestamp.json", 16_384)),
    attack("timestamp-of-the-wrong-key", "5.4.2", "timestamp.json", |repository| {
        repository.timestamp_signers = vec![3];
        repository.bump();
    }),
    attack("timestamp-of-a-revoked-key", "5.4.2", "timestamp.json", |repository| {
        repository.keys.push(5);
        repository.roles.timestamp = keys_of(&[5], 1);
        repository.bump_root();
        repository.bump();
    }),
    attack("timestamp-below-the-threshold", "5.4.2", "timestamp.json", |repository| {
        repository.keys.push(5);
        repository.roles.timestamp = keys_of(&[2, 5], 2);
        repository.bump_root();
        repository.bump();
    }),
    attack("timestamp-signed-twice-by-one-key", "5.4.2", "timestamp.json", |repository| {
        repository.bump();
        rewrite(repository, "timestamp.json", |text| {
            let start = text.find('[').unwrap() + 1;
            let end = text.find(']').unwrap();
            let signature = text.get(start..end).unwrap();
            text.replacen(signature, &format!("{signature},{signature}"), 1)
        });
    }),
    attack("timestamp-with-a-member-twice", "5.4.2", "timestamp.json", |repository| {
        repository.bump();
        rewrite(repository, "timestamp.json", |text| text.replacen("\"version\":3", "\"version\":9,\"version\":3", 1));
    }),
    attack("timestamp-with-a-huge-number", "5.4.2", "timestamp.json", |repository| {
        repository.bump();
        rewrite(repository, "timestamp.json", |text| text.replacen(":3", ":99999999999999999999", 1));
    }),
    attack("timestamp-nested-deeply", "5.4.2", "timestamp.json", |repository| {
        repository.bump();
        let nested = format!("{{\"x\":{}{},", "[".repeat(4_000), "]".repeat(4_000));
        rewrite(repository, "timestamp.json", |text| text.replacen('{', &nested, 1));
    }),
    attack("timestamp-rolled-back", "5.4.3.1", "timestamp.json", |repository| {
        repository.timestamp_version = 1;
        repository.timestamp_expires = Expires::at(NOW + DAY + 1);
        repository.publish();
    }),
    attack("timestamp-lists-an-older-snapshot", "5.4.3.2", "timestamp.json", |repository| {
        repository.timestamp_version += 1;
        repository.snapshot_version = 1;
        repository.publish();
    }),
    attack("timestamp-frozen", "5.4.4", "timestamp.json", |repository| {
        repository.timestamp_expires = Expires::at(NOW);
        repository.bump();
    }),
    attack("snapshot-missing", "5.5.1", "snapshot.json", |repository| {
        repository.bump();
        remove(repository, "3.snapshot.json");
    }),
    attack("snapshot-longer-than-listed", "5.5.1", "snapshot.json", |repository| {
        repository.bump();
        lengthen(repository, "3.snapshot.json", 1);
    }),
    attack("snapshot-altered", "5.5.2", "snapshot.json", |repository| {
        repository.bump();
        rewrite(repository, "3.snapshot.json", |text| text.replacen("\"version\":3", "\"version\":4", 1));
    }),
    attack("snapshot-of-the-wrong-key", "5.5.3", "snapshot.json", |repository| {
        repository.snapshot_signers = vec![2];
        repository.bump();
    }),
    attack("snapshot-mixed-in", "5.5.4", "snapshot.json", |repository| {
        repository.bump();
        repository.timestamp_version += 1;
        repository.publish_timestamp(MetadataFile { version: 4, length: None, hashes: None });
        rename(repository, "3.snapshot.json", "4.snapshot.json");
    }),
    attack("snapshot-forgets-a-role", "5.5.5", "snapshot.json", |repository| {
        repository.authors.remove(&role("pumps")).unwrap();
        repository.bump();
    }),
    attack("snapshot-lists-older-targets", "5.5.5", "snapshot.json", |repository| {
        repository.author("targets").version = 0;
        repository.bump();
    }),
    attack("snapshot-without-targets", "5.5.5", "snapshot.json", |repository| {
        repository.bump();
        let pumps = MetadataFile { version: 1, length: None, hashes: None };
        let meta = [("pumps.json".to_owned(), pumps)].into();
        repository.publish_snapshot(&Snapshot::new(repository.snapshot_version, repository.snapshot_expires, meta));
    }),
    attack("snapshot-expired", "5.5.6", "snapshot.json", |repository| {
        repository.snapshot_expires = Expires::at(NOW);
        repository.bump();
    }),
    attack("targets-missing", "5.6.1", "targets.json", |repository| {
        repository.bump();
        remove(repository, "3.targets.json");
    }),
    attack("targets-longer-than-listed", "5.6.1", "targets.json", |repository| {
        repository.bump();
        lengthen(repository, "3.targets.json", 1);
    }),
    attack("targets-altered", "5.6.2", "targets.json", |repository| {
        repository.bump();
        rewrite(repository, "3.targets.json", |text| text.replacen("\"version\":3", "\"version\":4", 1));
    }),
    attack("targets-of-the-wrong-key", "5.6.3", "targets.json", |repository| {
        repository.author("targets").signers = vec![3];
        repository.bump();
    }),
    attack("targets-with-a-path-upwards", "5.6.3", "targets.json", |repository| {
        forge_targets(repository, |signed| signed["targets"]["../../etc/passwd"] = any_target());
    }),
    attack("targets-with-an-absolute-path", "5.6.3", "targets.json", |repository| {
        forge_targets(repository, |signed| signed["targets"]["/etc/passwd"] = any_target());
    }),
    attack("targets-delegating-to-a-top-level-role", "5.6.3", "targets.json", |repository| {
        forge_targets(repository, |signed| signed["delegations"]["roles"][0]["name"] = "snapshot".into());
    }),
    attack("targets-delegating-to-a-name-with-control-characters", "5.6.3", "targets.json", |repository| {
        forge_targets(repository, |signed| signed["delegations"]["roles"][0]["name"] = "pumps\0.json/..".into());
    }),
    attack("targets-mixed-in", "5.6.4", "targets.json", |repository| {
        repository.bump();
        repository.timestamp_version += 1;
        repository.snapshot_version += 1;
        let any = |version| MetadataFile { version, length: None, hashes: None };
        let meta = [("targets.json".to_owned(), any(4)), ("pumps.json".to_owned(), any(1))].into();
        repository.publish_snapshot(&Snapshot::new(repository.snapshot_version, repository.snapshot_expires, meta));
        rename(repository, "3.targets.json", "4.targets.json");
    }),
    attack("targets-expired", "5.6.5", "targets.json", |repository| {
        repository.author("targets").expires = Expires::at(NOW);
        repository.bump();
    }),
    attack("delegated-targets-missing", "5.6.7.1", "pumps.json", |repository| {
        repository.author("pumps").version = 2;
        repository.bump();
        remove(repository, "2.pumps.json");
    }),
    attack("delegated-targets-altered", "5.6.7.1", "pumps.json", |repository| {
        repository.author("pumps").version = 2;
        repository.bump();
        rewrite(repository, "2.pumps.json", |text| text.replacen("pump.bin", "pomp.bin", 1));
    }),
    attack("delegated-targets-expired", "5.6.7.1", "pumps.json", |repository| {
        repository.author("pumps").version = 2;
        repository.author("pumps").expires = Expires::at(NOW);
        repository.bump();
    }),
    attack("delegated-targets-of-the-wrong-key", "5.6.7.1", "pumps.json", |repository| {
        repository.author("pumps").signers = vec![4];
        repository.author("pumps").version = 2;
        repository.bump();
    }),
];

impl Attack {
    /// The target that the client looks for: one that the delegated role may name.
    pub const TARGET: &'static str = "pump.bin";

    /// What the client knows before the attack, and what the repository answers then.
    pub fn make(&self) -> (Disk, Repository) {
        let mut repository = Repository::new();
        repository.delegate("targets", "pumps", 6, "*", false);
        repository.author("pumps").files.insert(crate::path(Self::TARGET), b"a program".to_vec());
        repository.bump();
        let mut disk = Disk::new(repository.root());
        disk.find(&mut repository, Self::TARGET).unwrap();
        (self.make)(&mut repository);
        (disk, repository)
    }
}

fn any_target() -> serde_json::Value {
    serde_json::json!({"length": 1, "hashes": {"sha256": "0".repeat(64)}})
}

/// Somebody with the key of targets says what our own tools would not.
fn forge_targets(repository: &mut Repository, change: impl FnOnce(&mut serde_json::Value)) {
    repository.bump();
    let name = format!("{}.targets.json", repository.author("targets").version);
    let mut envelope: serde_json::Value = serde_json::from_slice(&repository.files[&name]).unwrap();
    change(&mut envelope["signed"]);
    let mut draft = Draft::parse(&serde_json::to_vec(&envelope).unwrap()).unwrap();
    draft.sign(crate::public(4).id(), &crate::key(4));
    let targets = draft.to_bytes();
    let versions = [("targets", repository.author("targets").version), ("pumps", repository.author("pumps").version)];
    let file = |(role, version): (&str, u64)| {
        let bytes = if role == "targets" { &targets } else { &repository.files[&format!("{version}.{role}.json")] };
        (format!("{role}.json"), MetadataFile::of(version, bytes))
    };
    let snapshot = Snapshot::new(repository.snapshot_version, repository.snapshot_expires, versions.map(file).into());
    repository.publish_snapshot(&snapshot);
    repository.files.insert(name, targets);
}

fn rotate_root(repository: &mut Repository, signers: &[u8]) {
    repository.keys.push(5);
    repository.roles.root = keys_of(&[5], 1);
    repository.root_signers = signers.to_vec();
    repository.bump_root();
}

fn remove(repository: &mut Repository, name: &str) {
    repository.files.remove(name).unwrap();
}

fn rename(repository: &mut Repository, from: &str, to: &str) {
    let file = repository.files.remove(from).unwrap();
    repository.files.insert(to.to_owned(), file);
}

fn lengthen(repository: &mut Repository, name: &str, by: usize) {
    repository.files.get_mut(name).unwrap().extend(std::iter::repeat_n(b' ', by));
}

fn rewrite(repository: &mut Repository, name: &str, change: impl FnOnce(&str) -> String) {
    let bytes = repository.files.get_mut(name).unwrap();
    let changed = change(std::str::from_utf8(bytes).unwrap());
    assert_ne!(changed.as_bytes(), bytes.as_slice());
    *bytes = changed.into_bytes();
}
