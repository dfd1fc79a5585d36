//! `wardlink tuf` as the public conformance suite of TUF looks at clients: by exit codes, by what is asked for, and by what lies in the
//! folders of metadata and of targets.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::SystemTime;
use tempfile::TempDir;
use wardlink_test_repository::{Repository, keys_of, path, role, signed};
use wardlink_update::metadata::{Expires, Hashes, MetadataFile, Root, Signed, Snapshot, Timestamp};

/// A time that no test comes to.
const LATE: Expires = Expires::at(4_000_000_000);

/// What a server has, by the path in the request line exactly as it was sent, and what it was asked for.
#[derive(Default)]
struct Served {
    files: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
    /// The paths where it breaks.
    broken: Vec<String>,
    /// The path where it does not answer.
    silent: Option<String>,
}

/// The same for all connections; whoever waits is told of each question.
#[derive(Default)]
struct Shared(Mutex<Served>, Condvar);

/// A repository over HTTP, and a client.
struct Stage {
    repository: Repository,
    shared: Arc<Shared>,
    url: String,
    folder: TempDir,
}

/// Percent-encoding of everything but what RFC 3986 calls unreserved.
fn quoted(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn answer(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let asked = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let mut served = shared.0.lock().unwrap();
    let is_silent = served.silent.as_ref() == Some(&asked);
    let (status, body) = match served.files.get(&asked) {
        _ if served.broken.contains(&asked) => ("500 Internal Server Error", Vec::new()),
        Some(bytes) => ("200 OK", bytes.clone()),
        None => ("404 Not Found", Vec::new()),
    };
    served.asked.push(asked);
    drop(served);
    shared.1.notify_all();
    if is_silent {
        // Until the client is gone.
        return reader.read(&mut [0]).map(drop);
    }
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

impl Stage {
    /// A repository that does not end while we look at it, and a client that has not begun.
    fn new() -> Self {
        let mut repository = Repository::new();
        repository.root_expires = LATE;
        repository.timestamp_expires = LATE;
        repository.snapshot_expires = LATE;
        repository.author("targets").expires = LATE;
        repository.publish_root();
        repository.publish();
        let shared = Arc::new(Shared::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let of_server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_server);
                // A client that is gone asks for nothing.
                std::thread::spawn(move || drop(answer(&shared, stream)));
            }
        });
        let stage = Self { repository, shared, url, folder: tempfile::tempdir().unwrap() };
        stage.publish();
        stage
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.shared.0.lock().unwrap()
    }

    /// Serves what the repository has now, and nothing else.
    fn publish(&self) {
        let place = |(name, bytes): (&String, &Vec<u8>)| (format!("/metadata/{}", quoted(name)), bytes.clone());
        self.served().files.retain(|path, _| path.starts_with("/targets/"));
        self.serve(self.repository.files.iter().map(place));
    }

    fn serve(&self, files: impl IntoIterator<Item = (String, Vec<u8>)>) {
        self.served().files.extend(files);
    }

    /// What was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.served().asked)
    }

    fn metadata(&self) -> PathBuf {
        self.folder.path().join("client/metadata")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
        command.arg("tuf").arg("--metadata-dir").arg(self.metadata());
        command
    }

    fn init_with(&self, root: &[u8]) -> Output {
        let file = self.folder.path().join("initial_root.json");
        fs::write(&file, root).unwrap();
        self.command().arg("init").arg(file).output().unwrap()
    }

    fn init(&self) {
        assert_eq!(self.init_with(&self.repository.root()).status.code(), Some(0));
    }

    /// The last line of what a refused run says, or nothing.
    fn outcome(output: &Output) -> Result<(), String> {
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        match output.status.code() {
            Some(0) => Ok(()),
            Some(1) if said.lines().count() == 1 => Err(said),
            code => panic!("{code:?}: {said}"),
        }
    }

    fn refresh(&self) -> Result<(), String> {
        // The flags before the subcommand, and a slash after the URL.
        let url = format!("{}/metadata/", self.url);
        Self::outcome(&self.command().args(["--metadata-url", &url, "refresh"]).output().unwrap())
    }

    fn download(&self, target: &str) -> Result<(), String> {
        let (metadata, targets) = (format!("{}/metadata/", self.url), format!("{}/targets/", self.url));
        let mut command = self.command();
        command.args(["--metadata-url", &metadata, "--target-name", target, "--target-dir"]).arg(self.downloads());
        Self::outcome(&command.args(["--target-base-url", &targets, "download"]).output().unwrap())
    }

    fn downloads(&self) -> PathBuf {
        self.folder.path().join("client/targets")
    }

    /// The files that were downloaded.
    fn downloaded(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.downloads()) else { return Vec::new() };
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
    }

    /// The trusted files and their versions.
    fn trusted(&self) -> Vec<(String, u64)> {
        let Ok(entries) = fs::read_dir(self.metadata()) else { return Vec::new() };
        let mut trusted: Vec<_> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                let json: serde_json::Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
                (entry.file_name().into_string().unwrap(), json["signed"]["version"].as_u64().unwrap())
            })
            .collect();
        trusted.sort();
        trusted
    }

    fn assert_trusted(&self, expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected.iter().map(|(role, version)| (format!("{role}.json"), *version)).collect();
        assert_eq!(self.trusted(), expected);
    }

    /// Puts a target into the top-level role and onto the server.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.repository.author("targets").files.insert(path(name), bytes.to_vec());
        self.repository.bump();
        self.publish();
        let hash = Hashes::of(bytes).0["sha256"].clone();
        self.serve([(format!("/targets/{}", path(name).with_hash(&hash)), bytes.to_vec())]);
    }
}

#[test]
fn each_file_is_asked_for_once_and_stored_as_it_was_received() {
    let mut stage = Stage::new();
    stage.init();
    let spaced = [stage.repository.files["timestamp.json"].as_slice(), b" "].concat();
    stage.repository.files.insert("timestamp.json".to_owned(), spaced.clone());
    stage.publish();
    assert_eq!(stage.refresh(), Ok(()));
    let names = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(stage.asked(), names.map(|name| format!("/metadata/{name}")));
    stage.assert_trusted(&[("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 1)]);
    assert_eq!(fs::read(stage.metadata().join("timestamp.json")).unwrap(), spaced);
}

#[test]
fn without_a_trusted_root_nothing_is_asked_for() {
    let stage = Stage::new();
    let refusal = stage.refresh().unwrap_err();
    assert!(refusal.contains("step 5.2") && refusal.contains("init ROOT"), "{refusal}");
    let root = String::from_utf8(stage.repository.root()).unwrap();
    let unsigned = root.replacen("\"sig\":\"30", "\"sig\":\"31", 1);
    for wrong in [unsigned, root.replacen("\"version\":1", "\"versions\":1", 1), String::new()] {
        assert_ne!(wrong, root);
        let refusal = Stage::outcome(&stage.init_with(wrong.as_bytes())).unwrap_err();
        assert!(refusal.contains("step 5.2"), "{refusal}");
        assert!(stage.refresh().is_err());
    }
    assert_eq!((stage.asked(), stage.trusted()), (vec![], vec![]));
}

#[test]
fn a_download_brings_the_metadata_up_to_date_first() {
    let stage = Stage::new();
    stage.init();
    let refusal = stage.download("nonexistent artifact").unwrap_err();
    assert!(refusal.contains("step 5.7.2"), "{refusal}");
    stage.assert_trusted(&[("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 1)]);
}

#[test]
fn each_role_is_stored_as_soon_as_it_is_verified() {
    let cases = [
        ("root", "step 5.3.4", &[("root", 1)][..]),
        ("timestamp", "step 5.4.2", &[("root", 2)]),
        ("snapshot", "step 5.5.3", &[("root", 2), ("timestamp", 2)]),
        ("targets", "step 5.6.3", &[("root", 2), ("snapshot", 2), ("timestamp", 2)]),
    ];
    for (role, step, expected) in cases {
        let mut stage = Stage::new();
        match role {
            "root" => stage.repository.root_signers.clear(),
            "timestamp" => stage.repository.timestamp_signers.clear(),
            "snapshot" => stage.repository.snapshot_signers.clear(),
            _ => stage.repository.author("targets").signers.clear(),
        }
        stage.repository.bump_root();
        stage.repository.bump();
        stage.publish();
        stage.init();
        let refusal = stage.refresh().unwrap_err();
        assert!(refusal.contains(step) && refusal.contains(&format!("{role}.json")), "{refusal}");
        stage.assert_trusted(expected);
    }
}

#[test]
fn a_run_that_is_killed_leaves_whole_files_of_what_was_verified() {
    let trusted = [("root", 2), ("snapshot", 2), ("targets", 2), ("timestamp", 2)];
    let names = [("/metadata/timestamp.json", 1), ("/metadata/2.snapshot.json", 2), ("/metadata/2.targets.json", 3)];
    for (silent, count) in names {
        let mut stage = Stage::new();
        stage.init();
        stage.repository.bump_root();
        stage.repository.bump();
        stage.publish();
        stage.served().silent = Some(silent.to_owned());
        let url = format!("{}/metadata", stage.url);
        let mut child = stage.command().args(["--metadata-url", &url, "refresh"]).spawn().unwrap();
        let is_asked = |served: &mut Served| !served.asked.iter().any(|asked| asked == silent);
        drop(stage.shared.1.wait_while(stage.served(), is_asked).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let order = ["root", "timestamp", "snapshot"];
        let mut expected: Vec<_> = order.iter().take(count).map(|role| (*role, 2)).collect();
        expected.sort_unstable();
        stage.assert_trusted(&expected);
        stage.served().silent = None;
        assert_eq!(stage.refresh(), Ok(()));
        stage.assert_trusted(&trusted);
    }
}

#[test]
fn a_file_that_is_missing_or_cannot_be_had_is_named_with_its_step() {
    let cases = [("timestamp.json", "5.4.1"), ("1.snapshot.json", "5.5.1"), ("1.targets.json", "5.6.1")];
    for (name, step) in cases {
        let stage = Stage::new();
        stage.init();
        let place = format!("/metadata/{name}");
        stage.served().broken.push(place.clone());
        let refusal = stage.refresh().unwrap_err();
        assert!(refusal.contains(&format!("step {step}: ")) && refusal.contains("500"), "{refusal}");
        {
            let mut served = stage.served();
            served.broken.clear();
            served.files.remove(&place).unwrap();
        }
        let refusal = stage.refresh().unwrap_err();
        assert!(refusal.contains(&format!("step {step}, ")), "{refusal}");
        assert_eq!(stage.asked().last(), Some(&place));
    }
    // Nobody is there.
    let stage = Stage::new();
    stage.init();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}/metadata");
    let output = stage.command().args(["--metadata-url", &url, "refresh"]).output().unwrap();
    let refusal = Stage::outcome(&output).unwrap_err();
    assert!(refusal.contains("step 5.3.3: "), "{refusal}");
}

#[test]
fn the_same_timestamp_version_with_another_content_changes_nothing() {
    let mut stage = Stage::new();
    stage.init();
    assert_eq!(stage.refresh(), Ok(()));
    let before = fs::read(stage.metadata().join("timestamp.json")).unwrap();
    stage.repository.publish_timestamp(MetadataFile { version: 100, length: None, hashes: None });
    stage.publish();
    stage.asked();
    assert_eq!(stage.refresh(), Ok(()));
    assert_eq!(stage.asked().last().unwrap(), "/metadata/timestamp.json");
    assert_eq!(fs::read(stage.metadata().join("timestamp.json")).unwrap(), before);
}

#[test]
fn metadata_without_lengths_and_hashes_is_followed() {
    let mut stage = Stage::new();
    stage.init();
    let plain = |version| MetadataFile { version, length: None, hashes: None };
    for version in 2..4 {
        stage.repository.bump();
        let meta = [("targets.json".to_owned(), plain(version))].into();
        let snapshot = signed(&Snapshot::new(version, LATE, meta), &[3]);
        stage.repository.files.insert(format!("{version}.snapshot.json"), snapshot);
        stage.repository.publish_timestamp(plain(version));
        stage.publish();
        assert_eq!(stage.refresh(), Ok(()));
        stage.assert_trusted(&[("root", 1), ("snapshot", version), ("targets", version), ("timestamp", version)]);
    }
}

#[test]
fn keys_that_were_lost_make_versions_begin_anew() {
    let mut stage = Stage::new();
    stage.init();
    stage.repository.timestamp_version = 99;
    stage.repository.snapshot_version = 99;
    stage.repository.publish();
    stage.publish();
    assert_eq!(stage.refresh(), Ok(()));
    stage.repository.keys.extend([7, 8]);
    stage.repository.roles.timestamp = keys_of(&[7], 1);
    stage.repository.roles.snapshot = keys_of(&[8], 1);
    stage.repository.timestamp_signers = vec![7];
    stage.repository.snapshot_signers = vec![8];
    stage.repository.timestamp_version = 1;
    stage.repository.snapshot_version = 1;
    stage.repository.bump_root();
    stage.repository.publish();
    stage.publish();
    assert_eq!(stage.refresh(), Ok(()));
    stage.assert_trusted(&[("root", 2), ("snapshot", 1), ("targets", 1), ("timestamp", 1)]);
}

#[test]
fn names_of_roles_are_quoted_in_urls_and_file_names() {
    for name in ["?", "#", "/delegatedrole", "../delegatedrole", "..", "a%2Fb", "ä b"] {
        let mut stage = Stage::new();
        stage.repository.delegate("targets", name, 6, "*", false);
        stage.repository.author(name).expires = LATE;
        stage.repository.bump();
        stage.publish();
        stage.init();
        let refusal = stage.download("nonexistent target").unwrap_err();
        assert!(refusal.contains("step 5.7.2"), "{name:?}: {refusal}");
        assert_eq!(stage.asked().last().unwrap(), &format!("/metadata/1.{}.json", quoted(name)));
        let place = stage.metadata().join(format!("{}.json", quoted(name)));
        assert_eq!(fs::read(place).unwrap(), stage.repository.files[&format!("1.{}", role(name).file())]);
        assert_eq!(stage.trusted().len(), 5, "{name:?}");
        // It is found again.
        assert!(stage.download("nonexistent target").is_err());
        let asked = stage.asked();
        assert_eq!(asked, ["/metadata/2.root.json", "/metadata/timestamp.json"], "{name:?}");
    }
}

#[test]
fn a_target_that_is_there_is_not_downloaded_again_and_a_changed_one_takes_its_place() {
    let mut stage = Stage::new();
    stage.init();
    let name = "path/to/a/target_file.txt";
    stage.add(name, b"target file contents");
    for _ in 0..2 {
        assert_eq!(stage.download(name), Ok(()));
        assert_eq!(stage.downloaded(), [b"target file contents"]);
    }
    let of_targets = |asked: Vec<String>| asked.into_iter().filter(|path| path.starts_with("/targets/")).count();
    assert_eq!(of_targets(stage.asked()), 1);
    stage.add(name, b"other contents");
    assert_eq!(stage.download(name), Ok(()));
    assert_eq!(stage.downloaded(), [b"other contents"]);
    // What was damaged on the disk is downloaded anew; what the server puts in its place is not taken.
    fs::write(stage.downloads().join(quoted(name)), b"damaged").unwrap();
    let hash = Hashes::of(b"other contents").0["sha256"].clone();
    stage.serve([(format!("/targets/{}", path(name).with_hash(&hash)), b"malicious data".to_vec())]);
    let refusal = stage.download(name).unwrap_err();
    assert!(refusal.contains("step 5.7.3"), "{refusal}");
    stage.serve([(format!("/targets/{}", path(name).with_hash(&hash)), b"other contents".to_vec())]);
    assert_eq!(stage.download(name), Ok(()));
    assert_eq!(stage.downloaded(), [b"other contents"]);
}

/// A stage with one target that is listed with these hashes only.
fn with_hashes(algorithms: &[(&str, &str)]) -> Stage {
    let mut stage = Stage::new();
    stage.repository.author("targets").files.insert(path("file.txt"), b"abc".to_vec());
    stage.repository.author("targets").version += 1;
    let mut targets = stage.repository.author("targets").says();
    let hashes = algorithms.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect();
    targets.targets.get_mut(&path("file.txt")).unwrap().hashes = Hashes(hashes);
    let bytes = signed(&targets, &[4]);
    let meta = [("targets.json".to_owned(), MetadataFile::of(2, &bytes))].into();
    let snapshot = signed(&Snapshot::new(2, LATE, meta), &[3]);
    let timestamp = signed(&Timestamp::new(2, LATE, MetadataFile::of(2, &snapshot)), &[2]);
    let files = [("2.targets.json", bytes), ("2.snapshot.json", snapshot), ("timestamp.json", timestamp)];
    stage.repository.files.extend(files.map(|(name, bytes)| (name.to_owned(), bytes)));
    stage.publish();
    stage.serve(algorithms.iter().map(|(_, hash)| (format!("/targets/{hash}.file.txt"), b"abc".to_vec())));
    stage.init();
    stage
}

/// Of "abc", as FIPS 180-4's examples have them.
const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const SHA512: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

#[test]
fn each_hash_that_is_known_is_checked_and_one_has_to_be() {
    for right in [&[("sha256", SHA256)][..], &[("sha512", SHA512)], &[("sha256", SHA256), ("sha512", SHA512)]] {
        let stage = with_hashes(right);
        assert_eq!(stage.download("file.txt"), Ok(()), "{right:?}");
        assert_eq!(stage.downloaded(), [b"abc"]);
    }
    let other = "0".repeat(128);
    for wrong in [&[("unknown-hash", SHA512)][..], &[("sha256", SHA256), ("sha512", &other)]] {
        let stage = with_hashes(wrong);
        let refusal = stage.download("file.txt").unwrap_err();
        assert!(refusal.contains("step 5.7.3"), "{refusal}");
        assert_eq!(stage.downloaded(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn without_consistent_snapshots_names_are_plain() {
    let mut stage = Stage::new();
    stage.add("a/b.txt", b"plain");
    let mut root: Root = Signed::parse(&stage.repository.root()).unwrap().role;
    root.consistent_snapshot = false;
    let root = signed(&root, &[1]);
    let plain = |(name, bytes): (&String, &Vec<u8>)| {
        let plain = name.strip_prefix("2.").unwrap_or(name);
        (format!("/metadata/{plain}"), bytes.clone())
    };
    let files: Vec<_> = stage.repository.files.iter().map(plain).collect();
    stage.served().files.clear();
    stage.serve(files);
    stage.serve([("/targets/a/b.txt".to_owned(), b"plain".to_vec())]);
    assert_eq!(Stage::outcome(&stage.init_with(&root)), Ok(()));
    assert_eq!(stage.download("a/b.txt"), Ok(()));
    assert_eq!(stage.downloaded(), [b"plain"]);
    let metadata = ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"];
    let asked: Vec<_> =
        metadata.iter().map(|name| format!("/metadata/{name}")).chain(["/targets/a/b.txt".to_owned()]).collect();
    assert_eq!(stage.asked(), asked);
}

#[test]
fn the_time_is_the_systems() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut stage = Stage::new();
    stage.init();
    stage.repository.timestamp_expires = Expires::at(now.as_secs() - 3_600);
    stage.repository.bump();
    stage.publish();
    let refusal = stage.refresh().unwrap_err();
    assert!(refusal.contains("step 5.4.4"), "{refusal}");
    stage.repository.timestamp_expires = Expires::at(now.as_secs() + 3_600);
    stage.repository.bump();
    stage.publish();
    assert_eq!(stage.refresh(), Ok(()));
}
