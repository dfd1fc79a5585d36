//! A manufacturer's desk: keys, a repository, and the command.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

pub(crate) const PASSPHRASE: &str = "correct horse battery staple";
const KEYS: [&str; 6] = ["root", "second root", "targets", "snapshot", "timestamp", "acme"];

pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    /// With keys, and nothing else. To make and encrypt them takes its time: all desks but strangers' have the same ones.
    pub(crate) fn new() -> Self {
        static KEYS: OnceLock<Desk> = OnceLock::new();
        Self::copy_of(KEYS.get_or_init(Self::with_own_keys))
    }

    fn with_own_keys() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        for name in KEYS {
            desk.key(name);
        }
        desk
    }

    /// Of another manufacturer, with a published repository.
    pub(crate) fn stranger() -> Self {
        Self::with_own_keys().and_published()
    }

    /// With a repository that is published, without packages. Two keys of root have to sign.
    pub(crate) fn published() -> Self {
        Self::new().and_published()
    }

    fn and_published(self) -> Self {
        self.init();
        self.publish(&["root", "second root", "targets", "snapshot", "timestamp"]);
        assert!(self.is_published("timestamp.json"));
        self
    }

    /// Another desk with everything that this one has.
    pub(crate) fn copy_of(other: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(other.folder.path(), folder.path());
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn key_file(&self, name: &str) -> String {
        self.path(&format!("{name}.key")).to_str().unwrap().to_owned()
    }

    pub(crate) fn public(&self, name: &str) -> String {
        self.key_file(name) + ".pub"
    }

    pub(crate) fn key(&self, name: &str) {
        self.succeed(&["key", "new", &self.key_file(name)]);
    }

    pub(crate) fn key_id(&self, name: &str) -> String {
        let shown = self.succeed(&["key", "show", "--json", &self.public(name)]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["keyid"].as_str().unwrap().to_owned()
    }

    pub(crate) fn init_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["init".to_owned(), "--root-threshold".to_owned(), "2".to_owned()];
        for (flag, name) in [
            ("--root-key", "root"),
            ("--root-key", "second root"),
            ("--targets-key", "targets"),
            ("--snapshot-key", "snapshot"),
            ("--timestamp-key", "timestamp"),
        ] {
            arguments.extend([flag.to_owned(), self.public(name)]);
        }
        arguments
    }

    pub(crate) fn init(&self) {
        self.succeed(&self.init_arguments().iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// The arguments that sign with these keys.
    pub(crate) fn sign(&self, keys: &[&str]) -> Vec<String> {
        let mut arguments = vec!["--yes".to_owned(), "sign".to_owned()];
        arguments.extend(keys.iter().flat_map(|name| ["--key".to_owned(), self.key_file(name)]));
        arguments
    }

    /// Signs with these keys; everything is published then.
    pub(crate) fn publish(&self, keys: &[&str]) {
        let said = self.succeed(&self.sign(keys));
        assert!(said.contains("published"), "{said}");
    }

    pub(crate) fn is_published(&self, name: &str) -> bool {
        self.path("repository/metadata").join(name).exists()
    }

    pub(crate) fn first_timestamp(&self) -> Vec<u8> {
        fs::read(self.path("first timestamp")).unwrap()
    }

    pub(crate) fn delegate_acme(&self) {
        let public = self.public("acme");
        self.succeed(&["--yes", "delegate", "acme", "--model", "infusion-pump/PM2", "--key", &public]);
    }

    pub(crate) fn add_arguments(revision: &str, file: &Path) -> Vec<String> {
        let file = file.to_str().unwrap();
        let before = if revision == "1B" { "1A" } else { "1B" };
        let text = [
            "add",
            file,
            "--manufacturer",
            "acme",
            "--type",
            "infusion-pump",
            "--model",
            "PM2",
            "--from",
            before,
            "--revision",
            revision,
            "--hardware",
            "PM2-B",
            "--hardware",
            "PM2-A",
            "--feature-set",
            "spring 2027",
        ];
        text.map(str::to_owned).into()
    }

    pub(crate) fn add_program(&self, revision: &str, program: &[u8]) {
        let file = self.write(&format!("{revision}.bin"), program);
        self.succeed(&Self::add_arguments(revision, &file));
    }

    /// Where a file of acme's pumps is, of which there is one with this name.
    pub(crate) fn target_file(&self, name: &str) -> PathBuf {
        let folder = self.path("repository/targets/acme/infusion-pump/PM2");
        let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.to_str().unwrap().ends_with(&format!(".{name}"))).unwrap()
    }

    pub(crate) fn command<S: AsRef<str>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
        command.arg("release").args(arguments.iter().map(AsRef::as_ref));
        command.arg("--repository").arg(self.path("repository")).current_dir(self.folder.path());
        command.env("WARDLINK_PASSPHRASE", PASSPHRASE).stdin(Stdio::null());
        command
    }

    /// Runs a command that has to succeed; gives what it says.
    #[track_caller]
    pub(crate) fn succeed<S: AsRef<str>>(&self, arguments: &[S]) -> String {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let output = self.command(&arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
        self.remember_first_timestamp();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that has to be refused; gives the reason.
    #[track_caller]
    pub(crate) fn refuse<S: AsRef<str>>(&self, arguments: &[S]) -> String {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        refused(&self.command(&arguments).output().unwrap())
    }

    fn remember_first_timestamp(&self) {
        let (from, to) = (self.path("repository/metadata/timestamp.json"), self.path("first timestamp"));
        if from.exists() && !to.exists() {
            fs::copy(from, to).unwrap();
        }
    }

    /// Everything in the repository's folder, by path.
    pub(crate) fn state(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.path("repository"), &mut files);
        files.sort();
        files
    }
}

/// The reason of a refusal: exit code 1, and a line that begins with the command's name.
#[track_caller]
pub(crate) fn refused(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.lines().last().unwrap().starts_with("wardlink: "), "{text}");
    assert!(!text.contains(PASSPHRASE) && !text.contains("panicked"), "{text}");
    text
}

/// Runs a command with this as its input.
pub(crate) fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The command may end without reading it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
