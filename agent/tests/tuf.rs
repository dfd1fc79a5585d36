//! `wardlink tuf` and the Python reference implementation of TUF (`tuf`, `securesystemslib`): each follows the other's repository.
//!
//! They need `python3` with its module `venv`; the packages are installed once, by the versions in `tuf/requirements.txt`, into the
//! cache folder that `cargo xtask` keeps its tools in.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "tuf/conformance.rs"]
mod conformance;
mod reference;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use reference::{Server, reference, succeeded};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use wardlink_test_repository::{Repository, path};
use wardlink_update::json::Json;
use wardlink_update::metadata::{Expires, Target};

/// `wardlink tuf` with a folder of its own.
struct Wardlink(TempDir);

impl Wardlink {
    fn begin(root: &Path) -> Self {
        let wardlink = Self(tempfile::tempdir().unwrap());
        fs::create_dir(wardlink.targets()).unwrap();
        let output = wardlink.command().arg("init").arg(root).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        wardlink
    }

    fn metadata(&self) -> PathBuf {
        self.0.path().join("metadata")
    }

    fn targets(&self) -> PathBuf {
        self.0.path().join("targets")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
        command.arg("tuf").arg("--metadata-dir").arg(self.metadata());
        command
    }

    fn download(&self, server: &Server, target: &str) -> Result<Vec<u8>, String> {
        let mut command = self.command();
        command.args(["--metadata-url", &format!("{}/metadata", server.url), "--target-name", target]);
        command.args(["--target-base-url", &format!("{}/targets", server.url), "--target-dir"]).arg(self.targets());
        let output = command.arg("download").output().unwrap();
        if output.status.success() {
            return Ok(fs::read(self.targets().join(target.replace('/', "%2F"))).unwrap());
        }
        assert_eq!(output.status.code(), Some(1));
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        Err(line)
    }
}

#[test]
fn wardlink_follows_a_repository_of_the_reference_implementation_through_rotations() {
    let folder = tempfile::tempdir().unwrap();
    succeeded(
        &mut reference(&["make", folder.path().to_str().unwrap()]),
        "the reference implementation makes no repository",
    );
    let wardlink = Wardlink::begin(&folder.path().join("1/metadata/1.root.json"));
    let late = Wardlink::begin(&folder.path().join("1/metadata/1.root.json"));

    let first = Server::start(&folder.path().join("1"));
    assert_eq!(wardlink.download(&first, "readme.txt").unwrap(), b"top level");
    let refusal = wardlink.download(&first, "pumps/one-2.bin").unwrap_err();
    assert!(refusal.contains("step 5.7.2"), "{refusal}");

    let second = Server::start(&folder.path().join("2"));
    assert_eq!(wardlink.download(&second, "pumps/one-2.bin").unwrap(), b"\0program".repeat(1000));

    let third = Server::start(&folder.path().join("3"));
    for client in [&wardlink, &late] {
        assert_eq!(client.download(&third, "pumps/two.bin").unwrap(), b"another");
        let kept = fs::read(client.metadata().join("root.json")).unwrap();
        assert_eq!(kept, fs::read(folder.path().join("3/metadata/3.root.json")).unwrap());
    }
    // An older state of the same repository is a rollback.
    let refusal = wardlink.download(&second, "readme.txt").unwrap_err();
    assert!(refusal.contains("step 5.4.2"), "{refusal}");
}

#[test]
fn a_target_that_is_not_the_listed_one_is_refused_and_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, target) = our_repository();
    write(&repository, &target, folder.path());
    let place = folder.path().join("targets").join(target.file_name(&path("pump.bin")));
    let right = fs::read(&place).unwrap();
    let wardlink = Wardlink::begin(&folder.path().join("metadata/1.root.json"));
    let server = Server::start(folder.path());
    let endless = [right.as_slice(), &vec![0; 100_000]].concat();
    for wrong in [&right[1..], &[b"X", &right[1..]].concat(), &endless] {
        fs::write(&place, wrong).unwrap();
        let refusal = wardlink.download(&server, "pump.bin").unwrap_err();
        assert!(refusal.contains("step 5.7.3"), "{refusal}");
        assert_eq!(fs::read_dir(wardlink.targets()).unwrap().count(), 0);
    }
    fs::write(&place, &right).unwrap();
    assert_eq!(wardlink.download(&server, "pump.bin").unwrap(), right);
}

/// A repository of ours that does not end while we look at it, with a delegated target `pump.bin`.
fn our_repository() -> (Repository, Target) {
    const LATE: Expires = Expires::at(4_000_000_000);
    let mut repository = Repository::new();
    repository.root_expires = LATE;
    repository.timestamp_expires = LATE;
    repository.snapshot_expires = LATE;
    repository.publish_root();
    repository.delegate("targets", "pümps \"1\"", 6, "pump*", true);
    repository.author("pümps \"1\"").files.insert(path("pump.bin"), b"our program".to_vec());
    for author in repository.authors.values_mut() {
        author.expires = LATE;
    }
    repository.bump();
    let target = Target { length: 11, hashes: wardlink_update::metadata::Hashes::of(b"our program"), custom: None };
    (repository, target)
}

fn write(repository: &Repository, target: &Target, folder: &Path) {
    for name in ["metadata", "targets"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for (name, bytes) in &repository.files {
        fs::write(folder.join("metadata").join(name), bytes).unwrap();
    }
    fs::write(folder.join("targets").join(target.file_name(&path("pump.bin"))), b"our program").unwrap();
}

#[test]
fn the_reference_implementation_follows_a_repository_of_ours_through_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let (mut repository, target) = our_repository();
    let client = tempfile::tempdir().unwrap();
    for name in ["metadata", "targets"] {
        fs::create_dir(client.path().join(name)).unwrap();
    }
    fs::write(client.path().join("root.json"), repository.root()).unwrap();
    let follow = |server: &Server| {
        let place = client.path().to_str().unwrap();
        succeeded(&mut reference(&["follow", place, &server.url, "pump.bin"]), "the reference implementation refuses");
        assert_eq!(fs::read(client.path().join("targets/pump.bin")).unwrap(), b"our program");
    };
    write(&repository, &target, folder.path());
    let server = Server::start(folder.path());
    follow(&server);

    repository.keys.extend([7, 8]);
    repository.roles.root = wardlink_test_repository::keys_of(&[7, 8], 2);
    repository.roles.timestamp = wardlink_test_repository::keys_of(&[8], 1);
    repository.root_signers = vec![1, 7, 8];
    repository.timestamp_signers = vec![8];
    repository.bump_root();
    repository.bump();
    write(&repository, &target, folder.path());
    follow(&server);
    let wardlink = Wardlink::begin(&folder.path().join("metadata/1.root.json"));
    assert_eq!(wardlink.download(&server, "pump.bin").unwrap(), b"our program");
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Boolean),
        any::<i64>().prop_map(Json::Integer),
        any::<String>().prop_map(Json::Text),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Json::Object),
        ]
    })
}

#[test]
fn canonical_json_is_that_of_the_reference_implementation() {
    let mut runner = TestRunner::deterministic();
    let values: Vec<Json> = (0..1_000).map(|_| json().new_tree(&mut runner).unwrap().current()).collect();
    let mut child = reference(&["canonical"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<Vec<u8>> = values.iter().map(Json::to_json).collect();
    let writer = std::thread::spawn(move || {
        for line in lines {
            input.write_all(&line).unwrap();
            input.write_all(b"\n").unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let theirs: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert_eq!(theirs.len(), values.len());
    for (value, theirs) in values.iter().zip(theirs) {
        let ours = String::from_utf8(value.to_canonical()).unwrap();
        let theirs: String = serde_json::from_str(theirs).unwrap();
        assert_eq!(ours, theirs, "{value:?}");
    }
}
