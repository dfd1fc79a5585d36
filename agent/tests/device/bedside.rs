//! A pump beside a desk: what the manufacturer has exported lies in its service port, and beside it what a server directs.

use crate::desk::Desk;
use rand::RngExt as _;
use serde_bytes::ByteBuf;
use serde_json::Value;
use std::cell::Cell;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wardlink_agent::device::disk::Folder;
use wardlink_agent::device::factory::Factory;
use wardlink_agent::device::{Device, Identity, Tested};
use wardlink_agent::firmware::Firmware;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::distribution::DirectorRoot;
use wardlink_test_repository::{key, keys_of, known, public, signed};
use wardlink_update::catalog::Associations;
use wardlink_update::director::{Assignment, Directive, Ends, Order, When, publish};
use wardlink_update::metadata::{Expires, Role as _, Root, Signed, Target, Targets, TopLevel};
use wardlink_update::package::Release;

pub(crate) const OLD: &str = "1A";
pub(crate) const NEW: &str = "1B";
/// The key of the director's root, and the server's.
const DIRECTOR_KEYS: [u8; 2] = [11, 12];
const DAY: u64 = 86_400;
const PATIENCE: Duration = Duration::from_mins(1);
/// Where ports are looked for: below those that Linux and macOS give to outgoing connections, any of which could take the port before
/// it is listened on.
const PORTS: Range<u16> = 10_240..32_768;
/// How many ports are tried.
const PORT_TRIALS: usize = 100;

pub(crate) struct Bedside {
    pub(crate) desk: Desk,
    /// The version of the newest directive.
    version: Cell<u64>,
}

/// A pump under power.
pub(crate) struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<Value>,
    display: Option<u16>,
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn wardlink(line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wardlink")).args(line).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn succeed(line: &[&str]) {
    let output = wardlink(line);
    assert!(output.status.success(), "{line:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

impl Bedside {
    pub(crate) fn new() -> Self {
        Self::made(&[], 1, &[])
    }

    /// The new release may be installed while a therapy runs.
    pub(crate) fn during_therapy() -> Self {
        Self::made(&[], 1, &["--during-therapy"])
    }

    /// The new release is made with these flags.
    pub(crate) fn with(flags: &[&str]) -> Self {
        Self::made(flags, 1, &[])
    }

    /// The pump leaves the factory with this release counter.
    pub(crate) fn with_factory_counter(counter: u32) -> Self {
        Self::made(&[], counter, &[])
    }

    fn made(flags: &[&str], counter: u32, of_release: &[&str]) -> Self {
        let desk = Desk::published();
        desk.delegate_acme();
        let path = |name: &str| desk.path(name).to_str().unwrap().to_owned();
        let counter = counter.to_string();
        succeed(&["pump", "image", &path("1A.bin"), "--revision", OLD, "--release-counter", &counter]);
        let new = ["pump", "image", &path("1B.bin"), "--revision", NEW, "--release-counter", "1"];
        succeed(&[&new[..], &["--greeting", "Spring 2027", "--program-bytes", "2000000"], flags].concat());
        let of_release = of_release.iter().map(|flag| (*flag).to_owned()).collect();
        desk.succeed(&[Desk::add_arguments(NEW, &desk.path("1B.bin")), of_release].concat());
        desk.publish(&["acme", "targets", "snapshot", "timestamp"]);
        desk.succeed(&["export", &path("stick")]);
        let factory = ["pump", "factory", "--repository", &path("stick"), "--manufacturer", "acme"];
        succeed(&[&factory[..], &[&path("factory.json")]].concat());
        let bedside = Self { desk, version: Cell::new(1) };
        bedside.introduce_director();
        bedside
    }

    fn software(&self) -> PathBuf {
        self.desk.path("pump/software")
    }

    /// The site's director, as the pairing would bring it.
    fn introduce_director(&self) {
        let factory = Factory::parse(&fs::read(self.desk.path("factory.json")).unwrap()).unwrap();
        let bytes = fs::read(self.desk.path("1A.bin")).unwrap();
        let image = Firmware::parse(&bytes).unwrap().factory_image(bytes);
        let identity = Identity {
            device: "infusion-pump/p1".parse().unwrap(),
            manufacturer: "acme".parse().unwrap(),
            model: "PM2".parse().unwrap(),
            serial_number: "45457".parse().unwrap(),
            hardware: "PM2-B".parse().unwrap(),
        };
        fs::create_dir(self.desk.path("pump")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(self.desk.path("pump"), mode).unwrap();
        let disk = Folder::open(&self.software()).unwrap();
        let device = identity.device.clone();
        let mut pump = Device::open(disk, identity, Some(&factory), image, |_, _| Tested::Passed).unwrap();
        let [root, server] = DIRECTOR_KEYS;
        let roles = TopLevel {
            root: keys_of(&[root], 1),
            timestamp: keys_of(&[server], 1),
            snapshot: keys_of(&[server], 1),
            targets: keys_of(&[server], 1),
        };
        let root = signed(&Root::new(1, Expires::at(now() + DAY), known(DIRECTOR_KEYS), roles), &[root]);
        let root = DirectorRoot { device, issued_at: UnixMillis::from_secs(now()), root: ByteBuf::from(root) };
        pump.directed_by(&root).unwrap();
    }

    /// What the manufacturer has published for the pump.
    fn order(&self) -> Order {
        let metadata = self.desk.path("stick/metadata");
        let names = fs::read_dir(metadata).unwrap().map(|entry| entry.unwrap().path());
        let release = names.filter(|path| path.to_str().unwrap().ends_with(".acme.json")).max().unwrap();
        let targets = Signed::<Targets>::parse(&fs::read(release).unwrap()).unwrap().role;
        assert!(targets.version() > 0);
        let (path, target, package) = targets
            .targets
            .into_iter()
            .find_map(|(path, target)| match Release::of(&path, &target).unwrap() {
                Some(Release::Package(package)) => Some((path, target, package)),
                _ => None,
            })
            .unwrap();
        let assignment = Assignment {
            device: "infusion-pump/p1".parse().unwrap(),
            serial_number: "45457".parse().unwrap(),
            hardware: "PM2-B".parse().unwrap(),
            release_counter: package.release_counter,
            delta: None,
            added: Vec::new(),
            when: When::AtOnce,
        };
        let target = Target { custom: None, ..target };
        Order { path, target, package: *package, assignments: vec![assignment], encrypted: None }
    }

    /// The server directs the update.
    pub(crate) fn direct(&self, change: impl FnOnce(&mut Order)) {
        self.direct_until(now() + DAY, change);
    }

    /// The same, with its end.
    pub(crate) fn direct_until(&self, until: u64, change: impl FnOnce(&mut Order)) {
        self.publish(until, DIRECTOR_KEYS[1], change);
    }

    /// The same, with another key.
    pub(crate) fn direct_with_key(&self, number: u8) {
        assert_ne!(public(number), public(DIRECTOR_KEYS[1]));
        self.publish(now() + DAY, number, |_| ());
    }

    fn publish(&self, until: u64, signer: u8, change: impl FnOnce(&mut Order)) {
        let mut order = self.order();
        change(&mut order);
        let gateway = "gateway/ward-3".parse().unwrap();
        let mut associations = Associations::default();
        associations.associate("infusion-pump/p1".parse().unwrap(), "gateway/ward-3".parse().unwrap());
        self.version.set(self.version.get() + 1);
        let expires = Expires::at(until);
        let directive = Directive::new(self.version.get(), expires, &gateway, &[order], &associations).unwrap();
        let ends = Ends { snapshot: expires, timestamp: expires };
        let files = publish(&directive, ends, &key(signer)).unwrap();
        fs::write(self.desk.path("stick/directive.json"), files.targets).unwrap();
    }

    /// An image as the manufacturer has made it.
    pub(crate) fn image(&self, revision: &str) -> Vec<u8> {
        fs::read(self.desk.path(&format!("{revision}.bin"))).unwrap()
    }

    /// One byte of the image is another one on the stick.
    pub(crate) fn alter_image(&self) {
        let folder = self.desk.path("stick/targets/acme/infusion-pump/PM2");
        let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let path = files.find(|path| path.to_str().unwrap().ends_with(".1B.bin")).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[200_000] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// What lies in the pump's software folder.
    pub(crate) fn slots(&self) -> Vec<String> {
        let entries = fs::read_dir(self.software()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) fn slot_b(&self) -> Vec<u8> {
        fs::read(self.software().join("slot-b")).unwrap()
    }

    /// Waits until more than this lies in slot B, and says how much.
    pub(crate) fn until_slot_is_longer_than(&self, length: u64) -> u64 {
        let begun = Instant::now();
        loop {
            let now = fs::metadata(self.software().join("slot-b")).map_or(0, |metadata| metadata.len());
            if now > length {
                return now;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is written");
            std::thread::yield_now();
        }
    }

    pub(crate) fn power(&self) -> Running {
        self.start(None)
    }

    pub(crate) fn power_with_display(&self) -> Running {
        let mut random = wardlink_agent::clock::rng();
        for port in (0..PORT_TRIALS).map(|_| random.random_range(PORTS)) {
            if TcpListener::bind(("127.0.0.1", port)).is_err() {
                continue;
            }
            let mut pump = self.start(Some(port));
            // It ends before it says anything where somebody else has taken the port meanwhile.
            if let Some(first) = pump.next_line() {
                assert_eq!(first["event"], "starting");
                return pump;
            }
        }
        panic!("no port is free");
    }

    /// A pump that pairs by itself, with its gateway on the network.
    pub(crate) fn power_at_gateway(&self, provisioning: &str, gateway: &str) -> Running {
        let path = |name: &str| self.desk.path(name).to_str().unwrap().to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
        command.args(["pump", "--json", "--serial", "45457", "--provisioning", provisioning, "--gateway", gateway]);
        command.args(["--state", &path("pump"), "--factory", &path("factory.json")]);
        command.args(["--factory-image", &path("1A.bin")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Running { child, lines, display: None }
    }

    fn start(&self, display: Option<u16>) -> Running {
        let path = |name: &str| self.desk.path(name).to_str().unwrap().to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
        command.args(["pump", "--json", "--start", "manual", "--identifier", "p1", "--serial", "45457"]);
        command.args(["--broker", "ws://127.0.0.1:1/mqtt", "--secret-id", "hospital"]);
        command.args(["--state", &path("pump"), "--factory", &path("factory.json")]);
        command.args(["--factory-image", &path("1A.bin"), "--service-port", &path("stick")]);
        command.env("WARDLINK_SECRET", "AAECAwQFBgcICQoLDA0ODw");
        if let Some(port) = display {
            command.args(["--display", &format!("127.0.0.1:{port}")]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Running { child, lines, display }
    }
}

/// What a pump says, line by line, until it ends.
fn lines(out: ChildStdout) -> std::sync::mpsc::Receiver<Value> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Ok(line) = serde_json::from_str(&line)
                && sender.send(line).is_err()
            {
                return;
            }
        }
    });
    lines
}

impl Running {
    /// The next line; none when it has ended.
    pub(crate) fn next_line(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("the pump says nothing"),
        }
    }

    /// The next line about an event; none when it ended before.
    pub(crate) fn next_line_of(&mut self, event: &str) -> Option<Value> {
        loop {
            let line = self.next_line()?;
            if line["event"] == event {
                return Some(line);
            }
        }
    }

    /// The next line about an event.
    pub(crate) fn until(&mut self, event: &str) -> Value {
        self.next_line_of(event).expect("the pump has ended")
    }

    /// Waits until it ends by itself, as a pump does whose software takes it down; false where it comes to an outcome first.
    pub(crate) fn ends(&mut self) -> bool {
        while let Some(line) = self.next_line() {
            if line["event"] == "update" {
                return false;
            }
        }
        assert!(!self.child.wait().unwrap().success());
        true
    }

    /// Kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn request(&self, text: &str) -> (u16, String) {
        let port = self.display.expect("it has a display");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = format!("{text}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// What its display shows.
    pub(crate) fn view(&self) -> Value {
        let (status, body) = self.request("GET /state?lang=en HTTP/1.1");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// Presses a button of its display, from its own page or another one.
    pub(crate) fn press(&self, button: &str, is_own_page: bool) -> u16 {
        let site = if is_own_page { "same-origin" } else { "cross-site" };
        self.request(&format!("POST /{button} HTTP/1.1\r\nContent-Length: 0\r\nSec-Fetch-Site: {site}")).0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
