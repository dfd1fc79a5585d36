//! A gateway as the broker of its devices, over real sockets: a device hands over its data there, and nobody else gets anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod depot;
mod site;

use depot::records::heart_rate;
use depot::{Depot, Inner, Running, validity};
use rand_core::Rng as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use serde_bytes::ByteBuf;
use site::Site;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wardlink_agent::clock;
use wardlink_agent::device::disk::Folder;
use wardlink_agent::device::handover::{Handover, PortWay, new_chain};
use wardlink_agent::device::hub::Hub;
use wardlink_agent::device::records::{Recorded, Records, STORED_BYTES};
use wardlink_agent::gateway::Gateway;
use wardlink_agent::link::{
    Endpoint, Identity, Link, LinkError, LinkEvent, LinkOptions, SESSION, SiteGateways, TlsTrust,
};
use wardlink_agent::pump::{MemberKeys, Membership, kept_channels, kept_membership};
use wardlink_agent::state::StateDirectory;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Holder, IssuingCa, RootCa};
use wardlink_protocol::Device;
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::channel::{ChannelKey, Qos, UPDATE_CHANNEL, default_channels};
use wardlink_protocol::distribution::{AssociatedDevice, FromServer, Numbered};
use wardlink_protocol::identity::{KeyId, Sha256};
use wardlink_protocol::keys::AcceptedKey;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_protocol::topic::Topic;
use wardlink_records::sending::{Plan, Trigger};
use wardlink_trust::associated::ChannelKeys;

fn pump(name: &str) -> Device {
    format!("infusion-pump/{name}").parse().unwrap()
}

/// A key of the channel between device and gateway.
fn channel_key(epoch: u64, key: [u8; 32]) -> ChannelKey {
    let channel = default_channels().into_iter().find(|row| row.name.as_str() == UPDATE_CHANNEL).unwrap();
    ChannelKey { channel, kid: KeyId([key[0]; 8]), epoch, key }
}

/// A device of the hospital, with its key and certificate.
struct Member {
    device: Device,
    key: PrivateKey,
    root: Sha256,
    membership: Membership,
}

impl Member {
    /// A device that the server knows and associates with the gateway.
    fn associated(depot: &Depot, name: &str) -> Self {
        let member = Self::new(depot, name);
        depot.with(|inner| {
            let spki = ByteBuf::from(member.key.public().to_spki().unwrap());
            inner.keys.insert(member.device.clone(), spki);
            inner.channels.extend(member.channel());
            inner.archive.knows(&member.key.public(), &member.device);
        });
        member
    }

    fn new(depot: &Depot, name: &str) -> Self {
        let ca = depot.with(|inner| Arc::clone(&inner.ca));
        Self::of(depot, name, &ca)
    }

    fn of(depot: &Depot, name: &str, ca: &IssuingCa) -> Self {
        let (device, key, root) = (pump(name), PrivateKey::make(&mut clock::rng()), ca.root().sha256());
        let holder = Holder::Device(device.clone());
        let certificate = ca.issue(&holder, &key.public(), validity(), &mut clock::rng()).unwrap();
        let certificate = Some(certificate.der().to_vec());
        let identity = Identity { key: key.clone(), device: device.clone(), certificate, root: Some(root) };
        let endpoint = Endpoint::new(&format!("ws://{}/mqtt", depot.address), &TlsTrust::default()).unwrap();
        let mut secret = [0; 32];
        clock::rng().fill_bytes(&mut secret);
        let update = ChannelKeys::new(vec![AcceptedKey { key: channel_key(1, secret), until: None }]);
        let keys = MemberKeys { wrap: Vec::new(), update };
        Self {
            device,
            key,
            root,
            membership: Membership { identity: identity.into(), endpoint: endpoint.into(), keys },
        }
    }

    /// The key of its channel to the gateway, as the site gives it to both.
    fn channel(&self) -> Option<(Device, ChannelKey)> {
        Some((self.device.clone(), self.membership.keys.update.current()?.clone()))
    }

    /// Its bare connection to a hub.
    fn link(&self, address: &str) -> (Link, mpsc::Receiver<LinkEvent>) {
        Link::start(LinkOptions {
            endpoint: Arc::new(Endpoint::of_gateway(address, SiteGateways::of(self.root)).unwrap()),
            identity: Arc::clone(&self.membership.identity),
            client_id: "test".into(),
            session: SESSION,
        })
    }

    /// Why no connection comes about.
    async fn refusal(&self, address: &str) -> LinkError {
        let (_link, mut events) = self.link(address);
        match next(&mut events).await {
            LinkEvent::Disconnected { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }
}

async fn next(events: &mut mpsc::Receiver<LinkEvent>) -> LinkEvent {
    tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("nothing happens").unwrap()
}

/// A pump's own part: its store, its end of the way, and whoever carries there.
struct Bedside {
    member: Member,
    folder: PathBuf,
    letters: PathBuf,
    address: String,
    made: u64,
    carrying: Option<(watch::Sender<Option<Membership>>, JoinHandle<()>)>,
}

impl Bedside {
    fn new(depot: &Depot, member: Member, address: &str) -> Self {
        let (folder, letters) = (depot.path("bedside"), depot.path("bedside-gateway"));
        Self { member, folder, letters, address: address.to_owned(), made: 0, carrying: None }
    }

    fn carry(&mut self) {
        let hub = Hub::prepare(self.letters.clone(), self.address.clone(), true).unwrap();
        let (member, membership) = watch::channel(Some(self.member.membership.clone()));
        self.carrying = Some((member, tokio::spawn(hub.run(membership))));
    }

    async fn stop_carrying(&mut self) {
        let (_, task) = self.carrying.take().unwrap();
        task.abort();
        drop(task.await);
    }

    fn open(&self) -> (Handover<Folder>, PortWay) {
        let (disk, device) = (Folder::open(&self.folder).unwrap(), self.member.device.clone());
        let records = Records::open(disk, device.clone(), self.member.key.clone(), STORED_BYTES, new_chain()).unwrap();
        let plan = Plan { every_secs: None, at_batches: None };
        (Handover::new(records, plan, clock::now()), PortWay::new(&self.letters, device))
    }

    /// Records values, and hands over what it can in between.
    async fn record(&mut self, count: u64) {
        let (mut handover, mut way) = self.open();
        for _ in 0..count {
            let now = clock::now();
            assert_eq!(handover.records.record(heart_rate(now, self.made % 200), now).unwrap(), Recorded::Kept);
            self.made += 1;
            // A few batches: a pump makes one in many minutes, and looks at its folder four times a second.
            if self.made.is_multiple_of(10) {
                handover.ask(Trigger::OwnInitiative);
            }
            way.exchange(&mut handover, &self.member.root, now).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Talks until the server has everything, and has said so.
    async fn finish(&mut self, depot: &Depot) {
        let (mut handover, mut way) = self.open();
        handover.ask(Trigger::OwnInitiative);
        for round in 0..6_000 {
            if round % 50 == 0 {
                depot.push(|number| FromServer::Send(Numbered { number, message: None }));
            }
            way.exchange(&mut handover, &self.member.root, clock::now()).unwrap();
            if handover.is_done() && handover.records.stored() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} values stay at the pump", handover.records.stored());
    }
}

fn power(depot: &Depot, address: &str, more: &[&str]) -> Running {
    let line = ["--hub", address, "--collect-secs", "1"];
    depot.power(&[&line[..], more].concat())
}

/// Where the hub is, once it listens and knows its devices.
async fn listening(gateway: &mut Running) -> String {
    let listens = |status: &wardlink_agent::gateway::status::Status| {
        status.is_connected && status.hub.as_ref().is_some_and(|hub| hub.address.is_some())
    };
    gateway.until("a hub that listens", listens).await;
    let address = gateway.handle.status.borrow().hub.clone().unwrap().address.unwrap();
    format!("wss://{address}")
}

/// An address that is free at this moment.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn arrived(depot: &Depot, device: &Device, count: u64) {
    depot.with(|inner| {
        let expected: Vec<String> = (0..count).map(|number| (number % 200).to_string()).collect();
        assert_eq!(inner.archive.values(device), expected, "{:?}", inner.archive.refused);
    });
}

#[tokio::test]
async fn values_of_a_pump_reach_the_server_over_the_network_and_go_with_its_receipts() {
    let depot = Depot::open().await;
    let member = Member::associated(&depot, "p1");
    let mut gateway = power(&depot, "127.0.0.1:0", &[]);
    let address = listening(&mut gateway).await;
    let mut bedside = Bedside::new(&depot, member, &address);
    bedside.carry();
    bedside.record(30).await;
    gateway.until("its device", |status| status.hub.as_ref().unwrap().listening == [pump("p1")]).await;
    bedside.finish(&depot).await;
    arrived(&depot, &pump("p1"), 30);
    bedside.stop_carrying().await;
    gateway.until("nobody", |status| status.hub.as_ref().unwrap().listening.is_empty()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_where_either_side_is_switched_off_in_between() {
    let depot = Depot::open().await;
    let member = Member::associated(&depot, "p1");
    let address = free_address().await.to_string();
    let mut gateway = power(&depot, &address, &[]);
    let mut bedside = Bedside::new(&depot, member, &listening(&mut gateway).await);
    bedside.carry();
    for round in 0..3 {
        bedside.record(20).await;
        // One after the other: the gateway in the middle of it, then the pump.
        gateway.cut().await;
        bedside.record(5).await;
        if round == 1 {
            bedside.stop_carrying().await;
        }
        gateway = power(&depot, &address, &[]);
        listening(&mut gateway).await;
        if round == 1 {
            bedside.carry();
        }
    }
    bedside.finish(&depot).await;
    arrived(&depot, &pump("p1"), 75);
    gateway.stop().await;
}

#[tokio::test]
async fn a_device_that_is_not_associated_is_not_let_in_and_one_that_was_is_cut() {
    let depot = Depot::open().await;
    let associated = Member::associated(&depot, "p1");
    let mut gateway = power(&depot, "127.0.0.1:0", &[]);
    let address = listening(&mut gateway).await;
    // Nobody's device, a device of another hospital, and a key that is not the one of its name.
    let root = RootCa::make("Other", validity(), &mut clock::rng()).unwrap();
    let foreign = root.make_issuing_ca("Other", validity(), &mut clock::rng()).unwrap();
    let foreign = Member { root: associated.root, ..Member::of(&depot, "p1", &foreign) };
    for stranger in [Member::new(&depot, "p2"), foreign, Member::new(&depot, "p1")] {
        let error = stranger.refusal(&address).await;
        assert!(error.is_refusal(), "{error}");
    }
    let (link, mut events) = associated.link(&address);
    assert!(matches!(next(&mut events).await, LinkEvent::Connected));
    link.subscribe("ais/ctl/update/infusion-pump/p1".parse::<Topic>().unwrap());
    assert!(matches!(next(&mut events).await, LinkEvent::Subscribed { .. }));
    // The server says that it is not this gateway's any more, as also after its revocation.
    let other = AssociatedDevice { device: pump("p2"), key: None, updates: true, channel: None };
    depot.push(|number| FromServer::Devices(Numbered { number, message: vec![other] }));
    match next(&mut events).await {
        LinkEvent::Disconnected { error, .. } => assert!(error.is_refusal(), "{error}"),
        other => panic!("{other:?}"),
    }
    let error = associated.refusal(&address).await;
    assert!(error.is_refusal(), "{error}");
    gateway.stop().await;
}

/// A connection from this address that says nothing.
async fn silent(from: &str, hub: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(hub).await.unwrap()
}

/// Whether the hub ends a connection at once.
async fn is_ended(mut connection: TcpStream) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(500), connection.read(&mut byte));
    matches!(read.await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn who_opens_connections_and_proves_nothing_keeps_only_himself_out() {
    let depot = Depot::open().await;
    let member = Member::associated(&depot, "p1");
    let mut gateway = power(&depot, "127.0.0.1:0", &[]);
    let address = listening(&mut gateway).await;
    let hub: SocketAddr = address.strip_prefix("wss://").unwrap().parse().unwrap();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(silent("127.0.0.2", hub).await);
    }
    assert!(is_ended(silent("127.0.0.2", hub).await).await);
    let (_link, mut events) = member.link(&address);
    assert!(matches!(next(&mut events).await, LinkEvent::Connected));
    // When they have gone, another one is listened to.
    drop(open);
    while is_ended(silent("127.0.0.2", hub).await).await {}
    gateway.stop().await;
}

#[tokio::test]
async fn a_device_has_its_own_topics_of_the_update_channel_and_no_other() {
    let depot = Depot::open().await;
    let [first, second] = ["p1", "p2"].map(|name| Member::associated(&depot, name));
    let mut gateway = power(&depot, "127.0.0.1:0", &[]);
    let address = listening(&mut gateway).await;
    let (mut link, mut events) = first.link(&address);
    assert!(matches!(next(&mut events).await, LinkEvent::Connected));
    let (_other, mut others) = second.link(&address);
    assert!(matches!(next(&mut others).await, LinkEvent::Connected));
    for topic in
        ["ais/data/update/infusion-pump/p2", "ais/data/alarm/infusion-pump/p1", "ais/ctl/update/infusion-pump/p2"]
    {
        let sent = link.publish(topic.parse().unwrap(), b"x".to_vec(), Qos::AtLeastOnce);
        match next(&mut events).await {
            LinkEvent::Refused { ticket, .. } => assert_eq!(ticket, sent, "{topic}"),
            other => panic!("{topic}: {other:?}"),
        }
    }
    for topic in ["ais/ctl/update/infusion-pump/p2", "ais/meta/infusion-pump", "ais/infusion-pump/p1"] {
        link.subscribe(topic.parse::<Topic>().unwrap());
        assert!(matches!(next(&mut events).await, LinkEvent::SubscriptionRefused { .. }), "{topic}");
        link.forget(topic.parse::<Topic>().unwrap());
    }
    let sent = link.publish("ais/data/update/infusion-pump/p1".parse().unwrap(), b"x".to_vec(), Qos::AtLeastOnce);
    loop {
        match next(&mut events).await {
            LinkEvent::Delivered { ticket, .. } => break assert_eq!(ticket, sent),
            LinkEvent::SubscriptionRefused { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn without_the_server_everything_goes_on_for_a_while_and_is_then_denied() {
    let depot = Depot::open().await;
    let member = Member::associated(&depot, "p1");
    let mut settings = depot.settings(&["--hub", "127.0.0.1:0", "--collect-secs", "1"]);
    settings.hub.as_mut().unwrap().offline = Duration::from_secs(15);
    settings.poll_every = Duration::from_secs(1);
    let (opened, handle) = Gateway::open(settings).unwrap();
    let mut gateway = depot.run(opened, handle);
    let address = listening(&mut gateway).await;
    depot.with(Inner::go_down);
    gateway.until("no session", |status| !status.is_connected).await;
    let mut bedside = Bedside::new(&depot, member, &address);
    bedside.carry();
    bedside.record(10).await;
    let (mut handover, mut way) = bedside.open();
    handover.ask(Trigger::OwnInitiative);
    while !gateway.handle.status.borrow().hub.as_ref().unwrap().is_overdue {
        way.exchange(&mut handover, &bedside.member.root, clock::now()).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop((handover, way));
    let held = gateway.handle.status.borrow().stored.records;
    assert_eq!(held, 10, "what came in time is here");
    gateway.trouble("no device is let in").await;
    gateway.until("nobody", |status| status.hub.as_ref().unwrap().listening.is_empty()).await;
    let error = bedside.member.refusal(&address).await;
    assert!(error.is_refusal(), "{error}");
    // The server is back: so are the rights.
    depot.with(|inner| inner.is_down = false);
    gateway.until("rights", |status| !status.hub.as_ref().unwrap().is_overdue).await;
    bedside.finish(&depot).await;
    arrived(&depot, &pump("p1"), 10);
    gateway.stop().await;
}

/// Takes whatever certificate is shown, as no device does.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Somebody between device and hub, who ends TLS with this certificate and goes on to the hub.
async fn between(depot: &Depot, holder: &Holder, hub: SocketAddr) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("wss://{}", listener.local_addr().unwrap());
    (address, relay(depot, holder, hub, listener))
}

fn relay(depot: &Depot, holder: &Holder, hub: SocketAddr, listener: TcpListener) -> JoinHandle<()> {
    let ca = depot.with(|inner| Arc::clone(&inner.ca));
    let key = PrivateKey::make(&mut clock::rng());
    let own = ca.issue(holder, &key.public(), validity(), &mut clock::rng()).unwrap();
    let chain = [vec![own.to_bytes()], ca.chain()].concat();
    let chain = chain.into_iter().map(|der| CertificateDer::from(der.into_vec())).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_pkcs8().unwrap().to_vec()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut near) = acceptor.accept(stream).await else { continue };
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let mut far = connector.connect(name, TcpStream::connect(hub).await.unwrap()).await.unwrap();
            drop(copy_bidirectional(&mut near, &mut far).await);
        }
    })
}

#[tokio::test]
async fn a_device_believes_nobody_but_the_gateway_that_it_has_reached() {
    let depot = Depot::open().await;
    let member = Member::associated(&depot, "p1");
    let names = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = names.local_addr().unwrap().to_string();
    let mut gateway = power(&depot, "127.0.0.1:0", &["--hub-name", &name]);
    let address = listening(&mut gateway).await;
    let hub: SocketAddr = address.strip_prefix("wss://").unwrap().parse().unwrap();
    // Under a name that is not the hub's, nobody gets as far as MQTT, whoever he is.
    let error = member.refusal(&address).await;
    assert!(error.to_string().contains("421"), "{error}");
    // A device of the site is no gateway.
    let (pretended, task) = between(&depot, &Holder::Device(pump("p2")), hub).await;
    let error = member.refusal(&pretended).await;
    assert!(error.to_string().contains("no gateway of this site"), "{error}");
    task.abort();
    // Another gateway of the site, which passes everything on under the hub's own name.
    let task = relay(&depot, &Holder::Gateway("gateway/other".parse().unwrap()), hub, names);
    let error = member.refusal(&format!("wss://{name}")).await;
    assert!(matches!(error, LinkError::Between), "{error}");
    task.abort();
    // And a gateway of another hospital.
    let elsewhere = Member { root: Sha256([7; 32]), ..Member::associated(&depot, "p2") };
    let error = elsewhere.refusal(&address).await;
    assert!(error.to_string().contains("no gateway of this site"), "{error}");
    gateway.stop().await;
}

struct Process {
    child: Child,
    events: mpsc::UnboundedReceiver<serde_json::Value>,
}

impl Drop for Process {
    /// `kill -9`.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    /// The real pump, with its gateway at this address.
    fn run(folder: &Path, gateway: SocketAddr) -> Self {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
        command.args(["pump", "--json", "--provisioning", &path("pump.json"), "--state", &path("pump")]);
        command.args(["--gateway", &format!("wss://{gateway}"), "--record-ms", "50"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                drop(sender.send(serde_json::from_str(&line).unwrap()));
            }
        });
        Self { child, events }
    }

    /// Waits for an event.
    async fn until(&mut self, what: &str, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        loop {
            let event = tokio::time::timeout(Duration::from_mins(1), self.events.recv()).await;
            let event = event.expect(what).expect(what);
            if fits(&event) {
                return event;
            }
        }
    }
}

/// Waits until the server has so many values, and looks that none is missing and none came twice.
async fn whole(depot: &Depot, device: &Device, least: usize) -> usize {
    for round in 0..6_000 {
        if depot.with(|inner| inner.archive.values(device).len() >= least) {
            break;
        }
        if round % 50 == 0 {
            depot.push(|number| FromServer::Send(Numbered { number, message: None }));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    depot.with(|inner| {
        let of = |row: &&(Device, wardlink_records::record::RecordId, _, _)| row.0 == *device;
        let mut numbers: Vec<_> = inner.archive.records.iter().filter(of).map(|(_, id, ..)| *id).collect();
        numbers.sort_unstable();
        assert!(numbers.len() >= least, "{} of {least}: {:?}", numbers.len(), inner.archive.refused);
        assert!(numbers.iter().enumerate().all(|(place, id)| id.sequence == place as u64 + 1), "one chain, no gap");
        numbers.len()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_pump_pairs_records_and_hands_over_at_its_gateway_through_deaths_of_both() {
    let site = Site::open().await;
    let (ca, chain, key) = site.authority().await;
    let depot = Depot::of(ca, chain, key).await;
    let provisioning = Provisioning { identifier: Some("p1".parse().unwrap()), ..site.provisioning() };
    std::fs::write(depot.path("pump.json"), serde_json::to_vec(&provisioning).unwrap()).unwrap();
    let (folder, address, device) = (depot.path(""), free_address().await, pump("p1"));
    // There is no gateway yet: the pump pairs and records.
    let mut process = Process::run(&folder, address);
    site.accept().await;
    let shown = process.until("a code", |event| event["event"] == "code").await;
    assert_eq!(site.verify(shown["code"].as_str().unwrap()).await, VerifyResult::Verified);
    process.until("a pairing", |event| event["event"] == "paired").await;
    let kept = || kept_membership(&StateDirectory::to_look_at(&folder.join("pump")), None).ok().flatten();
    let member = loop {
        match kept() {
            Some(member) => break member,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    depot.with(|inner| {
        let public = member.identity.key.public();
        inner.keys.insert(device.clone(), ByteBuf::from(public.to_spki().unwrap()));
        let channels = kept_channels(&StateDirectory::to_look_at(&folder.join("pump"))).unwrap();
        let channel = channels.into_iter().find(|key| key.channel.name.as_str() == UPDATE_CHANNEL).unwrap();
        inner.channels.insert(device.clone(), channel);
        inner.archive.knows(&public, &device);
    });
    let gateway = power(&depot, &address.to_string(), &[]);
    let first = whole(&depot, &device, 20).await;
    process.until("a receipt", |event| event["event"] == "handed" && event["is_at_server"] == true).await;
    drop(process);
    let process = Process::run(&folder, address);
    let second = whole(&depot, &device, first + 20).await;
    gateway.cut().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let gateway = power(&depot, &address.to_string(), &[]);
    whole(&depot, &device, second + 20).await;
    depot.with(|inner| assert_eq!(inner.archive.refused, [""; 0]));
    drop(process);
    gateway.stop().await;
}

#[tokio::test]
async fn what_an_earlier_ca_of_the_site_has_issued_counts_on_both_sides_until_it_ends() {
    let root = RootCa::make("Test root", validity(), &mut clock::rng()).unwrap();
    let issue = |holder: &Holder, ca: &IssuingCa| {
        let key = PrivateKey::make(&mut clock::rng());
        let certificate = ca.issue(holder, &key.public(), validity(), &mut clock::rng()).unwrap();
        (key, [vec![certificate.to_bytes()], ca.chain()].concat())
    };
    let server = Holder::ControlUnit("Test hospital".into());
    let [first, second] =
        ["First", "Second"].map(|name| Arc::new(root.make_issuing_ca(name, validity(), &mut clock::rng()).unwrap()));
    let (key, chain) = issue(&server, &first);
    let depot = Depot::of(Arc::clone(&first), chain, key).await;
    let earlier = Member::associated(&depot, "p1");
    let mut gateway = power(&depot, "127.0.0.1:0", &[]);
    let address = listening(&mut gateway).await;
    // The site issues under another CA from now on; the gateway's own certificate is the one from before.
    let (key, chain) = issue(&server, &second);
    depot.with(|inner| {
        (inner.server_key, inner.chain) = (key, chain);
        inner.go_down();
    });
    gateway.until("no session", |status| !status.is_connected).await;
    let later = Member::of(&depot, "p2", &second);
    depot.with(|inner| {
        inner.keys.insert(later.device.clone(), ByteBuf::from(later.key.public().to_spki().unwrap()));
        inner.is_down = false;
    });
    listening(&mut gateway).await;
    for member in [earlier, later] {
        let (_link, mut events) = member.link(&address);
        let event = next(&mut events).await;
        assert!(matches!(event, LinkEvent::Connected), "{}: {event:?}", member.device);
    }
    gateway.stop().await;
}
