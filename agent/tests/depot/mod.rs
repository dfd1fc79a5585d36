//! A distribution server in one process: real sessions, real HTTP, real signatures; only the hospital behind it is in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod fault;
mod http;
pub(crate) mod records;
mod session;

use records::Archive;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wardlink_agent::clock;
use wardlink_agent::gateway::settings::{GatewayArgs, Settings};
use wardlink_agent::gateway::store::{Store, StoreError};
use wardlink_agent::gateway::{Gateway, GatewayError, Handle};
use wardlink_agent::link::{Endpoint, Identity, TlsTrust};
use wardlink_agent::pump::{MemberKeys, Membership};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::package::{ContentCode, Encoder, Sealed, seal_key};
use wardlink_crypto::x509::{Holder, IssuingCa, RootCa, Validity};
use wardlink_protocol::api::Held;
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::distribution::{Answer, AssociatedDevice, FromServer, Numbered};
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_test_repository::hospital::{Hospital, gateway, image, pump_package};
use wardlink_trust::associated::{self, ChannelKeys};
use wardlink_trust::epochs::{Epoch, Line, LineId, Retired};
use wardlink_trust::wrap::WrapKey;
use wardlink_update::package::{BoundFile, Encrypted, Encryption, Package, SealedKey};
use wardlink_update::report::Configuration;
use wardlink_update::uptane::{Notification, Outcome};

pub(crate) const TICKET: [u8; 32] = [9; 32];
/// The gateway's.
const WRAP_KEY: WrapKey = WrapKey::new([3; 32]);

/// The server, while it runs.
pub(crate) struct Depot {
    pub(crate) inner: Arc<Mutex<Inner>>,
    pub(crate) address: String,
    task: JoinHandle<()>,
    folder: tempfile::TempDir,
    key: PrivateKey,
}

impl Drop for Depot {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            let faults = self.with(|inner| std::mem::take(&mut inner.faults));
            assert_eq!(faults, [""; 0], "what no gateway should say");
        }
    }
}

/// A request that is answered later.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    /// What its path has in it.
    pub(crate) path: &'static str,
    /// Which of those that were held.
    pub(crate) number: usize,
    /// So many bytes of the file come before; none: not even the answer's head.
    pub(crate) after: usize,
}

/// What it has and what it has seen.
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Inner {
    pub(crate) hospital: Hospital,
    /// Whose sessions it serves: a gateway's, or those of a device that does without one.
    pub(crate) me: Device,
    pub(crate) ca: Arc<IssuingCa>,
    pub(crate) chain: Vec<ByteBuf>,
    pub(crate) server_key: PrivateKey,
    pub(crate) gateway_key: PrivateKey,
    host: String,
    pub(crate) reports: Vec<Configuration>,
    pub(crate) outcomes: Vec<Notification>,
    pub(crate) asked: usize,
    pub(crate) sessions: usize,
    pub(crate) requests: Vec<Requested>,
    /// What the gateway has answered.
    pub(crate) answers: Vec<Answer>,
    /// What the gateway has said that no gateway should.
    pub(crate) faults: Vec<String>,
    /// Reports are taken, and answered when they are released.
    pub(crate) holds_reports: bool,
    /// The answers that wait for that.
    pub(crate) held_answers: Vec<Answer>,
    /// It names a manufacturer whose name is none.
    pub(crate) names_nobody: bool,
    /// The next request of this kind is answered when it is released.
    pub(crate) hold: Option<Hold>,
    /// How many requests were to be held.
    pub(crate) holds: usize,
    /// How many of them may be answered.
    pub(crate) released: usize,
    /// Connections that nobody has answered.
    pub(crate) turned_away: usize,
    live: Vec<mpsc::UnboundedSender<FromServer>>,
    next_number: u64,
    /// Who showed itself in the newest session.
    shown: Option<wardlink_crypto::key::PublicKey>,
    /// Where connections to the bridge go on.
    pub(crate) bridge: Option<String>,
    /// Nobody is let in, and whoever is in is thrown out.
    pub(crate) is_down: bool,
    /// Outcomes are taken, and their answers get lost.
    pub(crate) loses_answers: bool,
    /// Images of these names come with a flipped bit.
    pub(crate) corrupt: bool,
    /// An image's download is cut off after so many bytes, once.
    pub(crate) cut_after: Option<usize>,
    /// The mirror answers every request for an image with this; and whether it says how long that is.
    pub(crate) mirror_says: Option<(&'static [u8], bool)>,
    /// Images are not here at all.
    pub(crate) has_no_images: bool,
    /// Devices that are not associated with the gateway any more.
    pub(crate) hides: Vec<Device>,
    /// The keys of those of its devices that sign for themselves.
    pub(crate) keys: BTreeMap<Device, ByteBuf>,
    /// What the gateway says that it holds.
    pub(crate) held: Vec<Held>,
    /// The keys of their channel to the gateway.
    pub(crate) channels: BTreeMap<Device, ChannelKey>,
    /// What it has of their stored data.
    pub(crate) archive: Archive,
    /// Receipts get lost.
    pub(crate) loses_receipts: bool,
    /// Receipts are signed by this one instead.
    pub(crate) forger: Option<Archive>,
    /// What the server adds, by path.
    pub(crate) added: BTreeMap<String, Vec<u8>>,
    /// The ticket that counts.
    pub(crate) ticket: [u8; 32],
    /// How long a ticket counts.
    pub(crate) ticket_lasts: Duration,
    /// The time that its files come with is so far behind; none: it tells no time.
    pub(crate) behind: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requested {
    pub(crate) path: String,
    pub(crate) bearer: bool,
    pub(crate) conditional: bool,
    pub(crate) from: Option<usize>,
    pub(crate) status: u16,
}

pub(crate) fn validity() -> Validity {
    let now = clock::now();
    Validity { not_before: UnixMillis(now.0 - 60_000), not_after: UnixMillis(now.0 + 3_600_000) }
}

/// A line of keys with this one.
fn line(key: &ChannelKey, device: &Device) -> Line {
    #[derive(serde::Serialize)]
    struct Stored {
        id: LineId,
        highest: u64,
        epochs: Vec<Epoch>,
        retired: Vec<Retired>,
    }
    let epochs = vec![Epoch { key: key.clone(), made_at: clock::now(), accepted_until: None }];
    let stored = Stored { id: LineId::of(&key.channel, device), highest: key.epoch, epochs, retired: Vec::new() };
    cbor::decode(&cbor::encode(&stored).unwrap(), 4096).unwrap()
}

impl Inner {
    /// A device, as the server says it to its gateway.
    pub(crate) fn associated(&self, device: &Device) -> AssociatedDevice {
        let key = self.keys.get(device).cloned();
        let channel = self.channels.get(device).map(|key| {
            let (lines, name, keys) = ([line(key, device)], &key.channel.name, WRAP_KEY.keys(&self.me).unwrap());
            let sealed = associated::seal(&lines, device, name, &self.me, &keys, clock::now(), &mut clock::rng());
            ByteBuf::from(sealed.unwrap().unwrap())
        });
        AssociatedDevice { updates: key.is_none(), device: device.clone(), key, channel }
    }
}

impl Depot {
    pub(crate) async fn open() -> Self {
        let mut rng = clock::rng();
        let root = RootCa::make("Test root", validity(), &mut rng).unwrap();
        let ca = root.make_issuing_ca("Test CA", validity(), &mut rng).unwrap();
        let server_key = PrivateKey::make(&mut rng);
        let holder = Holder::ControlUnit("Test hospital".into());
        let certificate = ca.issue(&holder, &server_key.public(), validity(), &mut rng).unwrap();
        let chain = [vec![certificate.to_bytes()], ca.chain()].concat();
        Self::of(Arc::new(ca), chain, server_key).await
    }

    /// The server of a site.
    pub(crate) async fn of(ca: Arc<IssuingCa>, chain: Vec<ByteBuf>, server_key: PrivateKey) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let mut rng = clock::rng();
        let key = PrivateKey::make(&mut rng);
        let mut hospital = Hospital::new();
        // The gateway's own characteristics, as it is started here.
        hospital.bound.present.remove(0);
        let inner = Arc::new(Mutex::new(Inner {
            hospital,
            me: gateway(),
            ca,
            archive: Archive::new(server_key.clone(), chain.clone()),
            keys: BTreeMap::new(),
            held: Vec::new(),
            channels: BTreeMap::new(),
            loses_receipts: false,
            forger: None,
            chain,
            server_key,
            gateway_key: key.clone(),
            host: host.clone(),
            reports: Vec::new(),
            outcomes: Vec::new(),
            asked: 0,
            sessions: 0,
            requests: Vec::new(),
            answers: Vec::new(),
            faults: Vec::new(),
            holds_reports: false,
            held_answers: Vec::new(),
            names_nobody: false,
            hold: None,
            holds: 0,
            released: 0,
            turned_away: 0,
            live: Vec::new(),
            next_number: 1,
            shown: None,
            bridge: None,
            is_down: false,
            loses_answers: false,
            corrupt: false,
            cut_after: None,
            mirror_says: None,
            has_no_images: false,
            hides: Vec::new(),
            added: BTreeMap::new(),
            ticket: TICKET,
            ticket_lasts: Duration::from_hours(1),
            behind: None,
        }));
        let task = tokio::spawn(accept(listener, Arc::clone(&inner)));
        let depot = Self { inner, address: host, task, folder: tempfile::tempdir().unwrap(), key };
        depot.configure(&["infusion-pump/p1", "infusion-pump/p2"]);
        depot
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap())
    }

    /// The file of devices: those of the hospital, each with a folder of its own.
    pub(crate) fn configure(&self, devices: &[&str]) {
        let states = self.with(|inner| inner.hospital.bound.present.clone());
        let line = |name: &&str| {
            let state = states.iter().find(|state| state.characteristics.device.to_string() == **name).unwrap();
            let mut line = serde_json::to_value(&state.characteristics).unwrap();
            line["release_counter"] = serde_json::to_value(state.release_counter).unwrap();
            std::fs::create_dir_all(self.device_folder(name)).unwrap();
            line["directory"] = self.device_folder(name).to_str().unwrap().into();
            line
        };
        let lines: Vec<_> = devices.iter().map(line).collect();
        std::fs::write(self.path("devices.json"), serde_json::to_vec(&lines).unwrap()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn device_folder(&self, name: &str) -> PathBuf {
        self.path(&name.replace('/', "-"))
    }

    /// Who the gateway is at this site.
    pub(crate) fn member(&self) -> Membership {
        self.with(|inner| {
            let device = inner.me.clone();
            let holder = if device.is_gateway() { Holder::Gateway } else { Holder::Device };
            let holder = holder(device.clone());
            let certificate = inner.ca.issue(&holder, &self.key.public(), validity(), &mut clock::rng()).unwrap();
            let (certificate, root) = (Some(certificate.der().to_vec()), Some(inner.ca.root().sha256()));
            let identity = Identity { key: self.key.clone(), device, certificate, root };
            let address = format!("ws://{}/mqtt", self.address);
            let endpoint = Endpoint::new(&address, &TlsTrust::default()).unwrap();
            let keys = MemberKeys { wrap: vec![WRAP_KEY], update: ChannelKeys::default() };
            Membership { identity: identity.into(), endpoint: endpoint.into(), keys }
        })
    }

    pub(crate) fn settings(&self, more: &[&str]) -> Settings {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            gateway: GatewayArgs,
        }
        let (state, devices) = (self.path("state"), self.path("devices.json"));
        std::fs::create_dir_all(&state).unwrap();
        let broker = format!("ws://{}/mqtt", self.address);
        let line = [
            "gateway",
            "--identifier",
            "ward-3",
            "--broker",
            &broker,
            "--secret-id",
            "hospital",
            "--secret",
            "AAECAwQFBgcICQoLDA0ODw",
            "--state",
            state.to_str().unwrap(),
            "--devices",
            devices.to_str().unwrap(),
        ];
        let line: Line = clap::Parser::try_parse_from([&line[..], more].concat()).unwrap();
        let (_, mut settings) = line.gateway.settings().unwrap();
        settings.reconnect = (Duration::from_millis(20), Duration::from_millis(200));
        settings
    }

    /// Switches the gateway on.
    pub(crate) fn power(&self, more: &[&str]) -> Running {
        let settings = self.settings(more);
        let (gateway, handle) = Gateway::open(settings).unwrap();
        self.run(gateway, handle)
    }

    /// The same on another store; none where another process has it.
    pub(crate) fn power_on(
        &self,
        opener: impl FnMut() -> Result<Store, StoreError> + Send + 'static,
    ) -> Option<Running> {
        self.power_with(&[], opener)
    }

    /// The same with more on its command line.
    pub(crate) fn power_with(
        &self,
        more: &[&str],
        opener: impl FnMut() -> Result<Store, StoreError> + Send + 'static,
    ) -> Option<Running> {
        let (gateway, handle) = Gateway::on(self.settings(more), opener).ok()?;
        Some(self.run(gateway, handle))
    }

    pub(crate) fn run(&self, gateway: Gateway, handle: Handle) -> Running {
        let (stop, stopped) = watch::channel(false);
        let (member, membership) = watch::channel(Some(self.member()));
        let task = tokio::spawn(gateway.run(membership, stopped));
        Running { handle, stop, member, task }
    }

    /// Releases an update of the pumps, and directs it to both.
    pub(crate) fn direct(&self, package: &Package) {
        self.with(|inner| inner.direct(package));
    }

    pub(crate) fn push(&self, message: impl FnOnce(u64) -> FromServer) {
        self.with(|inner| inner.push(message));
    }

    /// Another manufacturer and model than usual.
    pub(crate) fn made_by(&self, pump: &Package, own: &Package) {
        self.with(|inner| {
            inner.hospital = Hospital::of(pump, own);
            inner.hospital.bound.present.remove(0);
        });
        self.configure(&["infusion-pump/p1", "infusion-pump/p2"]);
    }

    /// Waits until the request has come that is held.
    pub(crate) async fn holds(&self) {
        self.until("the request that is held", |inner| inner.hold.is_none().then_some(())).await;
    }

    /// What was held is answered.
    pub(crate) fn release(&self) {
        self.with(|inner| {
            (inner.released, inner.holds_reports) = (inner.holds, false);
            for answer in std::mem::take(&mut inner.held_answers) {
                inner.push(|_| FromServer::Answer(answer));
            }
        });
    }

    /// Waits until it is so.
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn(&mut Inner) -> Option<T>) -> T {
        for _ in 0..2_000 {
            if let Some(found) = self.with(&look) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.with(|inner| panic!("waited in vain for {what}: {:?} {:?}", inner.outcomes, inner.requests));
        unreachable!()
    }

    /// The device is busy as long as this file is there.
    pub(crate) fn busy(&self, device: &str) -> PathBuf {
        let folder = self.device_folder(device);
        std::fs::create_dir_all(&folder).unwrap();
        let busy = folder.join("busy");
        std::fs::write(&busy, "").unwrap();
        busy
    }

    /// Waits until two devices are told to have failed.
    pub(crate) async fn both_failed(&self) {
        self.until("two failures", |inner| {
            let failed = inner.outcomes.iter().filter(|told| matches!(&told.outcome, Outcome::Failed { .. }));
            (failed.count() == 2).then_some(())
        })
        .await;
    }

    /// Directs everything anew, and waits until both pumps have it.
    pub(crate) async fn direct_anew(&self) {
        self.with(|inner| {
            inner.direct_all();
            inner.push_directive();
        });
        for pump in pumps() {
            self.installed(&pump.to_string(), "1B").await;
        }
    }

    /// Waits until this device is told to be installed, and reported so.
    pub(crate) async fn installed(&self, device: &str, revision: &str) {
        self.until(&format!("{device} at {revision}"), |inner| {
            let told = inner.outcomes.iter().any(|told| {
                told.device.to_string() == device
                    && matches!(&told.outcome, Outcome::Installed { revision: is, .. } if is.to_string() == revision)
            });
            let reported = inner.reports.last()?.devices.iter().any(|(state, _)| {
                let is = &state.characteristics;
                is.device.to_string() == device && is.revision.to_string() == revision
            });
            (told && reported).then_some(())
        })
        .await;
    }

    /// The image that a device runs; none where it never got one.
    pub(crate) fn runs(&self, device: &str) -> Option<Vec<u8>> {
        let folder = self.device_folder(device);
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("record.json")).ok()?).unwrap();
        let slot = format!("slot-{}", record["slot"].as_str().unwrap());
        std::fs::read(folder.join(slot).join("image.bin")).ok()
    }

    /// The files of the gateway's cache.
    pub(crate) fn cached(&self) -> BTreeSet<String> {
        let names = std::fs::read_dir(self.path("state").join("packages")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A folder of the manufacturer's packages, as on a stick.
    pub(crate) fn stick(&self) -> PathBuf {
        let folder = self.path("stick");
        for (name, bytes) in self.with(|inner| inner.images()) {
            let maker = self.with(|inner| inner.hospital.maker.to_string());
            let file = folder.join(maker).join("targets").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
        folder
    }
}

impl Inner {
    pub(crate) fn direct(&mut self, package: &Package) {
        self.hospital.release(package);
        self.hospital.images.bump();
        self.direct_all();
    }

    /// The same with another image.
    pub(crate) fn direct_image(&mut self, package: &Package, image: &[u8]) {
        self.hospital.release(package);
        let (path, maker) = (self.hospital.path_of(package), self.hospital.maker.clone());
        self.hospital.images.author(maker.as_str()).files.insert(path, image.to_vec());
        self.hospital.images.bump();
        self.direct_all();
    }

    /// Directs what matches.
    pub(crate) fn direct_all(&mut self) {
        let orders = self.orders();
        self.hospital.direct(&orders);
    }

    pub(crate) fn orders(&mut self) -> Vec<wardlink_update::director::Order> {
        // The maker of orders takes the first state for the gateway's.
        let reported = self.reports.last().map(|report| report.gateway.clone());
        let state =
            reported.unwrap_or_else(|| wardlink_test_repository::hospital::state("gateway/ward-3", "gateway", "1A"));
        self.hospital.bound.present.insert(0, state);
        let orders = self.hospital.orders();
        self.hospital.bound.present.remove(0);
        orders
    }

    /// Directs the pumps' update, encrypted as is said to the gateway, and really to this key; the manufacturer's own is nowhere to be had.
    pub(crate) fn direct_encrypted(&mut self, key: &PublicKey, change: impl FnOnce(&mut Vec<u8>)) {
        self.has_no_images = true;
        self.hospital.release(&pump_package());
        self.hospital.images.bump();
        let image = image_of(&pump_package());
        let code = ContentCode::new([5; 16]);
        let mut encoder = Encoder::new(&code, [6; 16]).unwrap();
        let mut file = [encoder.push(&image).unwrap(), encoder.finish().unwrap()].concat();
        change(&mut file);
        let path = pump_package().folder().path("1B.enc").unwrap();
        let mut orders = if self.me.is_gateway() { self.orders() } else { self.hospital.orders() };
        let order = &mut orders[0];
        let of = Sealed {
            gateway: &self.me,
            path: order.path.as_str(),
            sha256: order.target.hashes.0["sha256"].parse().unwrap(),
        };
        let sealed = seal_key(&code, key, of, &mut clock::rng()).unwrap();
        order.encrypted = Some(Encrypted {
            gateway: self.me.clone(),
            recipient: self.gateway_key.public().fingerprint().unwrap(),
            method: Encryption::Aes128Gcm,
            file: BoundFile::of(path.clone(), &file),
            key: SealedKey::new(sealed).unwrap(),
        });
        let bound = BoundFile::of(path.clone(), &file);
        self.added.insert(bound.target().file_name(&path), file);
        self.hospital.direct(&orders);
    }

    pub(crate) fn push(&mut self, message: impl FnOnce(u64) -> FromServer) {
        let message = message(self.next_number);
        self.next_number += 1;
        self.live.retain(|live| live.send(message.clone()).is_ok());
    }

    /// Whose key was shown in the newest session.
    pub(crate) const fn shown_key(&self) -> Option<wardlink_crypto::key::PublicKey> {
        self.shown
    }

    /// Tells whoever is connected that there is a directive.
    pub(crate) fn push_directive(&mut self) {
        let message = self.hospital.version;
        self.push(|number| FromServer::Directive(Numbered { number, message }));
    }

    /// The next request whose path has this in it is answered when it is released.
    pub(crate) fn hold(&mut self, path: &'static str, after: usize) {
        self.holds += 1;
        self.hold = Some(Hold { path, number: self.holds, after });
    }

    pub(crate) fn go_down(&mut self) {
        self.is_down = true;
        self.live.clear();
    }

    /// The images, by the names under which they are served.
    pub(crate) fn images(&self) -> BTreeMap<String, Vec<u8>> {
        let mut images = BTreeMap::new();
        for author in self.hospital.images.authors.values() {
            for (path, target) in author.targets() {
                images.insert(target.file_name(&path), author.files[&path].clone());
            }
        }
        images
    }

    /// From which byte images were asked for, in the order of the requests.
    pub(crate) fn asked_from(&self) -> Vec<Option<usize>> {
        self.requests.iter().filter(|request| request.path.contains("/targets/")).map(|request| request.from).collect()
    }

    pub(crate) fn outcomes_of(&self, device: &str) -> Vec<Outcome> {
        let of = |told: &&Notification| told.device.to_string() == device;
        self.outcomes.iter().filter(of).map(|told| told.outcome.clone()).collect()
    }
}

async fn accept(listener: TcpListener, inner: Arc<Mutex<Inner>>) {
    while let Ok((stream, _)) = listener.accept().await {
        if inner.lock().unwrap().is_down {
            inner.lock().unwrap().turned_away += 1;
        } else {
            tokio::spawn(connection(stream, Arc::clone(&inner)));
        }
    }
}

async fn connection(stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let mut head = [0; 256];
    let Ok(length) = stream.peek(&mut head).await else { return };
    let line = String::from_utf8_lossy(&head[..length]).into_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let bridge = inner.lock().unwrap().bridge.clone().filter(|_| path == "/mqtt");
    if let Some(bridge) = bridge {
        let (mut stream, mut there) = (stream, TcpStream::connect(bridge).await.unwrap());
        drop(tokio::io::copy_bidirectional(&mut stream, &mut there).await);
    } else if path.ends_with("/session") {
        session::serve(stream, inner, &path).await;
    } else {
        http::serve(stream, inner).await;
    }
}

/// A gateway that is switched on.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) member: watch::Sender<Option<Membership>>,
    pub(crate) task: JoinHandle<Result<(), GatewayError>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap();
    }

    /// Cuts the power.
    pub(crate) async fn cut(self) {
        self.task.abort();
        drop(self.task.await);
    }

    /// Waits until something is shown.
    pub(crate) async fn until(&mut self, what: &str, fits: impl Fn(&wardlink_agent::gateway::status::Status) -> bool) {
        let waited = self.handle.status.wait_for(|status| fits(status));
        let shown = tokio::time::timeout(Duration::from_secs(20), waited).await.is_ok();
        assert!(shown, "waited in vain for {what}: {:?}", self.handle.status.borrow());
    }

    pub(crate) async fn trouble(&mut self, text: &str) {
        self.until(text, |status| status.troubles.iter().any(|trouble| trouble.why.contains(text))).await;
    }
}

pub(crate) fn image_of(package: &Package) -> Vec<u8> {
    image(package)
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

pub(crate) fn pumps() -> [Device; 2] {
    ["infusion-pump/p1".parse().unwrap(), "infusion-pump/p2".parse().unwrap()]
}
