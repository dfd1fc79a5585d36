//! Devices that are not what they should be: made by hand, or with what was stolen from a pump.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_bytes::ByteBuf;
use tempfile::TempDir;
use wardlink_agent::pump::kept_channels;
use wardlink_agent::state::{Record, StateDirectory};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_pairing::device::{Credential, DevicePairing, Pairing, Provisioned};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::{KeyFingerprint, SessionId};
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities};
use wardlink_protocol::provisioning::Provisioning;
use wardlink_protocol::report::{Content, Report};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::{Receiver, Sender};

use crate::mqtt::{Credentials, rng};
use crate::pump::Pump;

/// A device that asks to join once, and does nothing more.
pub struct Asker {
    /// Its bare key.
    pub credentials: Credentials,
    /// The topic of its request.
    pub topic: String,
    /// Its request, as it stands on the wire.
    pub request: Vec<u8>,
}

impl Asker {
    /// Makes a device with a valid request.
    pub fn new(provisioning: &Provisioning, device: &Device, now: UnixMillis) -> Result<Self> {
        let key = PrivateKey::make(&mut rng());
        let provisioned = provisioned(provisioning, device, &key);
        let pairing = DevicePairing::start(provisioned, information(device), Vec::new(), now, &mut rng())?;
        let (topic, request) = pairing.plan().publish.context("a new pairing asks")?;
        let (topic, request) = (topic.to_string(), request.to_vec());
        Ok(Self { credentials: Credentials::bare_key(key, device)?, topic, request })
    }
}

/// A device with two different requests of one session, both of them its own.
pub struct Twin {
    /// Its bare key.
    pub credentials: Credentials,
    /// The topic of its requests.
    pub topic: String,
    /// One request.
    pub first: Vec<u8>,
    /// Another one.
    pub second: Vec<u8>,
}

impl Twin {
    /// Makes a device and its requests.
    pub fn new(provisioning: &Provisioning, device: &Device, now: UnixMillis) -> Result<Self> {
        let key = PrivateKey::make(&mut rng());
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("no randomness")?;
        let mut requests = Vec::new();
        for model in ["F 1", "F 2"] {
            let information = DeviceInformation { model: model.to_owned(), ..information(device) };
            // The same random numbers: the same session.
            let random = &mut StdRng::from_seed(seed);
            let pairing =
                DevicePairing::start(provisioned(provisioning, device, &key), information, Vec::new(), now, random)?;
            let (topic, request) = pairing.plan().publish.context("a new pairing asks")?;
            requests.push((topic.to_string(), request.to_vec()));
        }
        let [(topic, first), (_, second)] = <[_; 2]>::try_from(requests).ok().context("two requests")?;
        Ok(Self { credentials: Credentials::bare_key(key, device)?, topic, first, second })
    }
}

pub(crate) fn provisioned<'a>(
    provisioning: &'a Provisioning,
    device: &'a Device,
    key: &'a PrivateKey,
) -> Provisioned<'a> {
    Provisioned {
        device,
        key,
        secret_id: &provisioning.secret_id,
        secret: &provisioning.secret,
        cert_ca: provisioning.cert_ca_sha256,
        simple_without_cert_ca: false,
    }
}

/// The first words to a bridge of a new key that claims any names at all.
pub fn hello_of(client: &str, identifier: &str, host: &str) -> Result<Vec<u8>> {
    let spki = ByteBuf::from(PrivateKey::make(&mut rng()).public().to_spki()?);
    let device = Names { client, identifier };
    let hello = Hello { identity: Identity::BareKey { spki, device }, nonce: ByteBuf::from([1; 32]), host };
    Ok(cbor::encode(&hello)?)
}

/// As `wardlink_protocol::authentication::Hello`, but with names that are not checked.
#[derive(Serialize)]
struct Hello<'a> {
    identity: Identity<'a>,
    nonce: ByteBuf,
    host: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Identity<'a> {
    BareKey { spki: ByteBuf, device: Names<'a> },
}

#[derive(Serialize)]
struct Names<'a> {
    client: &'a str,
    identifier: &'a str,
}

/// What a thief finds in a pump's state.
pub struct Stolen {
    /// The pairing session that it is in.
    pub session: Option<SessionId>,
    /// Its static key.
    pub fingerprint: KeyFingerprint,
    /// That key alone.
    pub bare_key: Credentials,
    /// The key with the certificate that the pump would show now.
    pub certificate: Option<Credentials>,
    /// What it keeps of a pairing that was confirmed.
    pub pairing: Option<Pairing>,
    /// The channels whose keys it has.
    pub channels: Vec<ChannelName>,
}

impl Stolen {
    /// Reads the state of a pump that does not run, or a copy of it.
    pub fn from(state: &Path, device: &Device) -> Result<Self> {
        let state = StateDirectory::open(state, device)?;
        let key = PrivateKey::from_pkcs8(&state.read(Record::StaticKey)?.context("the pump has a key")?)?;
        let snapshot = state.read(Record::Pairing)?;
        let pairing = snapshot.map(|snapshot| DevicePairing::restore(&snapshot)).transpose()?;
        let certificate = pairing.as_ref().and_then(|pairing| match pairing.plan().credential {
            Credential::Certificate(certificate) => Some(Credentials::certificate(key.clone(), certificate)),
            Credential::BareKey => None,
        });
        Ok(Self {
            session: pairing.as_ref().map(DevicePairing::session),
            fingerprint: key.public().fingerprint()?,
            bare_key: Credentials::bare_key(key, device)?,
            certificate,
            pairing: pairing.as_ref().and_then(DevicePairing::pairing).cloned(),
            channels: kept_channels(&state)?.iter().map(|key| key.channel.name.clone()).collect(),
        })
    }
}

/// Copies the state of a pump, which may go on meanwhile: each of its files is replaced whole.
pub fn copy_of(state: &Path) -> Result<TempDir> {
    let own = fs::Permissions::from_mode(0o700);
    let copy = tempfile::Builder::new().permissions(own).tempdir().context("cannot make a folder")?;
    for entry in fs::read_dir(state).context("cannot read the pump's state")? {
        let entry = entry.context("cannot read the pump's state")?;
        // What is being written at this moment has another ending.
        if entry.path().extension().is_some_and(|ending| ending == "cbor") {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).context("cannot copy the pump's state")?;
        }
    }
    Ok(copy)
}

/// What a thief takes out of a pump that is not paired yet and no longer runs: its bare key.
pub fn steal_bare_key(pump: &Pump<'_>, device: &Device) -> Result<Credentials> {
    let key = StateDirectory::open(&pump.state(), device)?.read(Record::StaticKey)?.context("the pump has a key")?;
    Credentials::bare_key(PrivateKey::from_pkcs8(&key)?, device)
}

/// What a thief takes out of a paired pump that no longer runs: its certificate with its key, and its bare key.
pub fn steal(pump: &Pump<'_>, device: &Device) -> Result<(Credentials, Credentials)> {
    let state = StateDirectory::open(&pump.state(), device)?;
    let key = state.read(Record::StaticKey)?.context("the pump has a key")?;
    let snapshot = state.read(Record::Pairing)?.context("the pump is paired")?;
    let pairing = DevicePairing::restore(&snapshot)?;
    let certificate = &pairing.pairing().context("the pump is paired")?.certificate;
    let key = || PrivateKey::from_pkcs8(&key);
    Ok((Credentials::certificate(key()?, certificate), Credentials::bare_key(key()?, device)?))
}

/// A report on a channel as only the pump itself can make it: signed and encrypted with what a paired pump that no longer runs has
/// stored. Returns its topic, too.
pub fn report(pump: &Pump<'_>, device: &Device, channel: &str, content: Content) -> Result<(String, Vec<u8>)> {
    let state = StateDirectory::open(&pump.state(), device)?;
    let key = PrivateKey::from_pkcs8(&state.read(Record::StaticKey)?.context("the pump has a key")?)?;
    let kept = kept_channels(&state)?;
    let channel = kept.iter().find(|kept| kept.channel.name.as_str() == channel).context("the pump has the channel")?;
    let topic = Topic::Data(channel.channel.name.clone(), device.clone());
    let mut sender = Sender::begin(channel, topic.clone(), state.next_boot()?, &mut rng())?;
    let report = Report { measured_at: UnixMillis(0), content };
    Ok((topic.to_string(), sender.seal(&cbor::encode(&report)?, &key)?))
}

/// Opens a message that was sent down to a paired pump that no longer runs, with the keys that it has stored.
pub fn open(pump: &Pump<'_>, device: &Device, topic: &str, sender: &PublicKey, message: &[u8]) -> Result<Vec<u8>> {
    let kept = kept_channels(&StateDirectory::open(&pump.state(), device)?)?;
    let topic = topic.parse().context("a topic")?;
    let opened = Receiver::default().open_certified(&kept, &topic, message, |_| Ok(*sender))?;
    Ok(opened.plaintext.to_vec())
}

/// The certificate of the site's issuing CA and the device's own, DER, as a paired pump that no longer runs has stored them.
pub fn certificates(pump: &Pump<'_>, device: &Device) -> Result<(Vec<u8>, Vec<u8>)> {
    let snapshot = StateDirectory::open(&pump.state(), device)?.read(Record::Pairing)?.context("the pump is paired")?;
    let pairing = DevicePairing::restore(&snapshot)?;
    let pairing = pairing.pairing().context("the pump is paired")?;
    let issuing = pairing.network.chain.first().context("the issuing CA")?;
    Ok((issuing.to_vec(), pairing.certificate.to_vec()))
}

pub(crate) fn information(device: &Device) -> DeviceInformation {
    DeviceInformation {
        device_type: "Infusion pump".to_owned(),
        family: "Forgery".to_owned(),
        model: "F 1".to_owned(),
        serial_number: device.identifier.as_str().to_owned(),
        firmware_version: "1.0".to_owned(),
        hardware_id: "A".to_owned(),
        display: DisplayAbilities { code: true, qr: true, digit_entry: false },
    }
}
