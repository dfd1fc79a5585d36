//! A manufacturer's desk: the real `wardlink release`, its keys and its repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::{KeepConfidential, MadePublishingToken, ManufacturerView, NewManufacturer};

use crate::api::Api;
use crate::process::Process;
use crate::{Scene, artifacts};

const PASSPHRASE: &str = "correct horse battery staple";
/// One key signs for all top-level roles here, another one for the manufacturer.
const KEYS: [&str; 2] = ["house", "desk"];

/// A manufacturer with a published repository that delegates its pumps of the model PM2 to itself.
#[derive(Debug)]
pub struct Manufacturer<'s> {
    scene: &'s Scene,
    name: String,
    folder: PathBuf,
}

impl<'s> Manufacturer<'s> {
    /// Makes keys and a repository.
    pub fn found(scene: &'s Scene, name: &str) -> Result<Self> {
        let manufacturer = Self { scene, name: name.to_owned(), folder: scene.path(&format!("manufacturer-{name}")) };
        fs::create_dir_all(&manufacturer.folder).context("cannot make a folder")?;
        for key in KEYS {
            manufacturer.release(&["key", "new", &manufacturer.key(key)])?;
        }
        let house = format!("{}.pub", manufacturer.key("house"));
        let mut init = vec!["init"];
        for flag in ["--root-key", "--targets-key", "--snapshot-key", "--timestamp-key"] {
            init.extend([flag, house.as_str()]);
        }
        manufacturer.release(&init)?;
        manufacturer.sign()?;
        let desk = format!("{}.pub", manufacturer.key("desk"));
        manufacturer.release(&["--yes", "delegate", name, "--model", "infusion-pump/PM2", "--key", &desk])?;
        manufacturer.sign()?;
        Ok(manufacturer)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file or folder of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its repository's folder.
    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    fn key(&self, name: &str) -> String {
        self.path(&format!("{name}.key")).display().to_string()
    }

    /// Signs what waits, with every key; it is published here then.
    pub fn sign(&self) -> Result<()> {
        let keys = KEYS.map(|name| self.key(name));
        let arguments = ["--yes", "sign", "--key", &keys[0], "--key", &keys[1]];
        // A key that may sign nothing of what waits is refused: the first time only one of them is needed.
        if self.run(&arguments)?.status.success() {
            return Ok(());
        }
        self.release(&["--yes", "sign", "--key", &keys[0]]).map(drop)
    }

    /// A new key signs the root, too: a rotation, which is signed and published here.
    pub fn rotate(&self, name: &str) -> Result<()> {
        self.release(&["key", "new", &self.key(name)])?;
        self.release(&["--yes", "rotate", "root", "--add", &format!("{}.pub", self.key(name))])?;
        self.sign()
    }

    /// Makes and signs an inventory of these devices (a JSON array of records); the inventory.
    pub fn inventory(&self, devices: &serde_json::Value) -> Result<serde_json::Value> {
        let file = self.path("devices.json");
        fs::write(&file, devices.to_string()).context("cannot write the devices")?;
        self.release(&["inventory", &self.name, "--devices", &file.display().to_string()])?;
        self.release(&["--yes", "sign", "--key", &self.key("desk")])?;
        let folder = fs::read_dir(self.repository().join("inventory")).context("cannot look into a folder")?;
        let file = folder.into_iter().next().context("there is an inventory")??.path();
        let inventory = fs::read(file).context("cannot read the inventory")?;
        serde_json::from_slice(&inventory).context("an inventory is JSON")
    }

    /// Adds a program for pumps of the model PM2 and hardware PM2-B, and signs it.
    pub fn add(&self, from: &str, revision: &str, program: &[u8], more: &[&str]) -> Result<()> {
        self.add_for(("infusion-pump", "PM2", "PM2-B"), (from, revision), program, more)?;
        self.sign()
    }

    /// Adds a program for devices of a type, a model and its hardware, from one revision to another. It has yet to be signed.
    pub fn add_for(
        &self,
        (kind, model, hardware): (&str, &str, &str),
        (from, revision): (&str, &str),
        program: &[u8],
        more: &[&str],
    ) -> Result<()> {
        let folder = self.path(model);
        fs::create_dir_all(&folder).context("cannot make a folder")?;
        let file = folder.join(format!("{revision}.bin"));
        fs::write(&file, program).context("cannot write a program")?;
        let file = file.display().to_string();
        let mut arguments = vec!["add", &file, "--manufacturer", &self.name, "--type", kind, "--model", model];
        arguments.extend(["--from", from, "--revision", revision, "--hardware", hardware]);
        arguments.extend(["--feature-set", "spring 2027"]);
        arguments.extend(more);
        self.release(&arguments).map(drop)
    }

    /// Lets its desk sign for these models, given as `type/model`, and for no others.
    pub fn delegate(&self, models: &[&str]) -> Result<()> {
        let models = models.iter().flat_map(|model| ["--model", model]);
        self.release(&["--yes", "delegate", &self.name].into_iter().chain(models).collect::<Vec<_>>())?;
        self.sign()
    }

    /// Has the server keep its packages confidential, or make them public again.
    pub fn keep_confidential(&self, api: &Api, confidential: bool) -> Result<ManufacturerView> {
        api.post(&format!("manufacturers/{}/confidential", self.name), &KeepConfidential { confidential })
    }

    /// The path of a program in the repository.
    pub fn program(&self, revision: &str) -> String {
        format!("{}/infusion-pump/PM2/{revision}.bin", self.name)
    }

    /// Runs `wardlink release`, which has to succeed; what it says.
    pub fn release(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).context("it prints text")
    }

    /// Runs `wardlink release`, which has to be refused; the reason.
    pub fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{arguments:?} ends with {:?}: {errors}", output.status.code());
        Ok(errors)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)?.output().context("wardlink release cannot be run")
    }

    /// The command, to be run otherwise.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(artifacts::agent()?);
        command.arg("release").args(arguments).arg("--repository").arg(self.repository());
        command.env("WARDLINK_PASSPHRASE", PASSPHRASE).stdin(Stdio::null()).current_dir(&self.folder);
        Ok(command)
    }

    /// An administrator makes the manufacturer known, and it gets a token.
    pub fn onboard(&self, administrator: &Api) -> Result<ManufacturerView> {
        let known = self.make_known(administrator)?;
        let made: MadePublishingToken = administrator.post(&format!("manufacturers/{}/tokens", self.name), &())?;
        self.take_token(&made.token)?;
        Ok(known)
    }

    /// An administrator makes the manufacturer known by its first root.
    pub fn make_known(&self, administrator: &Api) -> Result<ManufacturerView> {
        let root = fs::read_to_string(self.first_root()).context("cannot read the root")?;
        administrator.post("manufacturers", &NewManufacturer { manufacturer: self.name.clone(), root })
    }

    /// The root that devices begin with.
    pub fn first_root(&self) -> PathBuf {
        self.repository().join("metadata/1.root.json")
    }

    /// Publishes under this token from now on.
    pub fn take_token(&self, token: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.path("token");
        fs::write(&file, token).context("cannot write the token")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).context("cannot protect the token")
    }

    /// The arguments that publish at a server.
    pub fn publishing(&self, server: &str) -> Vec<String> {
        let token = self.path("token").display().to_string();
        ["publish", "--json", "--server", server, "--token-file", &token].map(str::to_owned).into()
    }

    /// Publishes at a server; what the command says.
    pub fn publish(&self, server: &str) -> Result<serde_json::Value> {
        let arguments = self.publishing(server);
        let said = self.release(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        serde_json::from_str(&said).context("it prints JSON")
    }

    /// Publishes at a server that has to refuse; the reason.
    pub fn publish_refused(&self, server: &str) -> Result<String> {
        let arguments = self.publishing(server);
        self.refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Begins to publish, and goes on with the test.
    pub fn start_publishing(&self, server: &str) -> Result<Process> {
        let arguments = self.publishing(server);
        let mut command = self.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        Process::spawn(self.scene, "publish", &mut command)
    }

    /// A copy of the desk, such as a thief's or a damaged one.
    pub fn copy(&self, name: &str) -> Result<Self> {
        let folder = self.scene.path(&format!("manufacturer-{name}"));
        copy(&self.folder, &folder)?;
        Ok(Self { scene: self.scene, name: self.name.clone(), folder })
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).context("cannot make a folder")?;
    for entry in fs::read_dir(from).context("cannot look into a folder")? {
        let entry = entry.context("cannot look into a folder")?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).context("cannot copy a file")?;
        }
    }
    Ok(())
}
