//! A client of MQTT 3.1.1, and a pump that pairs over it.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use mqtt_protocol_core::mqtt::connection::RawPacket;
use mqtt_protocol_core::mqtt::packet::{Qos, SubEntry, SubOpts, v3_1_1};
use mqtt_protocol_core::mqtt::result_code::MqttError;
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::token::{self, Purpose, Shown};
use wardlink_pairing::device::{Credential, DevicePairing, Display, Provisioned, Refusal};
use wardlink_protocol::Device;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_protocol::topic::Topic;

use crate::impostor::{information, provisioned};
use crate::mqtt::rng;
use crate::raw::{Raw, host_of};
use crate::wait;

/// How long a client lets pass without a packet.
const KEEP_ALIVE_SECS: u16 = 60;
/// SUBACK's word for a refusal (section 3.9.3).
const FAILURE: u8 = 0x80;

/// A token for a device, by its bare key or its certificate.
pub fn token(
    broker: &str,
    device: &Device,
    key: &PrivateKey,
    certificate: Option<&[u8]>,
    client_id: &str,
) -> Result<String> {
    let purpose = Purpose { host: host_of(broker), client_id, now: wardlink_agent::clock::now() };
    let chain: Vec<ByteBuf> = certificate.into_iter().map(ByteBuf::from).collect();
    let shown = if chain.is_empty() { Shown::BareKey } else { Shown::Certificate(&chain) };
    Ok(token::make(shown, device, purpose, key, &mut rng())?)
}

/// A connection of MQTT 3.1.1.
pub struct Older {
    /// The WebSocket.
    pub raw: Raw,
    messages: VecDeque<v3_1_1::Publish>,
    next_id: u16,
}

impl Older {
    /// Connects with a password; says CONNACK's code where the bridge refuses.
    pub fn connect(broker: &str, client_id: &str, password: &str) -> Result<Result<Self, u8>> {
        let mut raw = Raw::dial(broker)?;
        raw.send(&connect(client_id, password)?);
        let packet = raw.next_packet()?.context("the bridge closed the connection without a word")?;
        ensure!(packet.packet_type() == 2, "no CONNACK but a packet of type {}", packet.packet_type());
        match *packet.data_as_slice() {
            [_, 0] => Ok(Ok(Self { raw, messages: VecDeque::new(), next_id: 1 })),
            [_, code] => {
                ensure!(raw.next_packet()?.is_none(), "the bridge says more after its refusal");
                Ok(Err(code))
            }
            _ => bail!("this is no CONNACK of MQTT 3.1.1"),
        }
    }

    /// Subscribes with QoS 1; says whether the bridge grants it.
    pub fn subscribe(&mut self, filter: &str) -> Result<bool> {
        let packet = subscribe(filter, self.take_id())?;
        self.raw.send(&packet);
        let suback = self.wait_for(9)?.context("no SUBACK")?;
        Ok(suback.data_as_slice().last().is_some_and(|code| *code != FAILURE))
    }

    /// Publishes with QoS 1; says whether the bridge has stored it. Where it has not, the connection has ended.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<bool> {
        let packet = publish(topic, payload, self.take_id())?;
        Ok(self.raw.send(&packet) && self.wait_for(4)?.is_some())
    }

    /// Waits for the next message, and acknowledges it; none when the connection has ended.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>> {
        while self.messages.is_empty() {
            let Some(packet) = self.raw.next_packet()? else { return Ok(None) };
            self.keep(&packet)?;
        }
        let Some(message) = self.messages.pop_front() else { return Ok(None) };
        if let Some(id) = message.packet_id() {
            let puback = v3_1_1::Puback::builder().packet_id(id).build().map_err(malformed)?;
            self.raw.send(&puback.to_continuous_buffer());
        }
        Ok(Some(message.payload().as_slice().to_vec()))
    }

    /// Takes leave.
    pub fn leave(mut self) {
        self.raw.send(&v3_1_1::Disconnect::new().to_continuous_buffer());
    }

    fn take_id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    fn keep(&mut self, packet: &RawPacket) -> Result<()> {
        if packet.is_publish() {
            let (publish, _) =
                v3_1_1::Publish::parse(packet.flags(), packet.data_as_slice().into()).map_err(malformed)?;
            self.messages.push_back(publish);
        }
        Ok(())
    }

    /// The next packet of a type; messages before it are kept.
    fn wait_for(&mut self, packet_type: u8) -> Result<Option<RawPacket>> {
        while let Some(packet) = self.raw.next_packet()? {
            if packet.packet_type() == packet_type {
                return Ok(Some(packet));
            }
            self.keep(&packet)?;
        }
        Ok(None)
    }
}

/// CONNECT with a password and an empty user name.
pub fn connect(client_id: &str, password: &str) -> Result<Vec<u8>> {
    let builder = v3_1_1::Connect::builder().client_id(client_id).map_err(malformed)?;
    let builder = builder.clean_session(true).keep_alive(KEEP_ALIVE_SECS).user_name("").map_err(malformed)?;
    let builder = builder.password(password.as_bytes().to_vec()).map_err(malformed)?;
    Ok(builder.build().map_err(malformed)?.to_continuous_buffer())
}

/// PUBLISH with QoS 1.
pub fn publish(topic: &str, payload: &[u8], id: u16) -> Result<Vec<u8>> {
    let builder = v3_1_1::Publish::builder().topic_name(topic).map_err(malformed)?;
    let packet = builder.payload(payload).qos(Qos::AtLeastOnce).packet_id(id).build().map_err(malformed)?;
    Ok(packet.to_continuous_buffer())
}

/// SUBSCRIBE with QoS 1.
pub fn subscribe(filter: &str, id: u16) -> Result<Vec<u8>> {
    let entry = SubEntry::new(filter, SubOpts::new().set_qos(Qos::AtLeastOnce)).map_err(malformed)?;
    let packet = v3_1_1::Subscribe::builder().packet_id(id).entries(vec![entry]).build().map_err(malformed)?;
    Ok(packet.to_continuous_buffer())
}

fn malformed(error: MqttError) -> anyhow::Error {
    anyhow!("the test made a malformed packet: {error:?}")
}

/// A pump that pairs over MQTT 3.1.1: for each change of its credential it connects anew, with a new token.
pub struct OlderPump<'a> {
    broker: String,
    provisioning: &'a Provisioning,
    device: Device,
    /// Its static key.
    pub key: PrivateKey,
    pairing: DevicePairing,
}

impl<'a> OlderPump<'a> {
    /// A pump with a new key, which has not asked yet.
    pub fn new(broker: String, provisioning: &'a Provisioning, device: Device) -> Result<Self> {
        let key = PrivateKey::make(&mut rng());
        let now = wardlink_agent::clock::now();
        let given = provisioned(provisioning, &device, &key);
        let pairing = DevicePairing::start(given, information(&device), Vec::new(), now, &mut rng())?;
        Ok(Self { broker, provisioning, device, key, pairing })
    }

    /// A token for what the pump has to show now.
    pub fn token(&self, client_id: &str) -> Result<String> {
        let certificate = match self.pairing.plan().credential {
            Credential::BareKey => None,
            Credential::Certificate(certificate) => Some(certificate),
        };
        token(&self.broker, &self.device, &self.key, certificate, client_id)
    }

    /// Connects as whom it has to, and publishes what it has to.
    pub fn publish(&mut self) -> Result<Older> {
        let client_id = format!("older-{}", self.device.identifier.as_str());
        let token = self.token(&client_id)?;
        let mut link = Older::connect(&self.broker, &client_id, &token)?
            .map_err(|code| anyhow!("the bridge refuses the pump with {code}"))?;
        let publish = self.pairing.plan().publish.map(|(topic, payload)| (topic, payload.to_vec()));
        if let Some((topic, payload)) = publish {
            ensure!(link.publish(&topic.to_string(), &payload)?, "the bridge does not take {topic}");
            self.pairing.delivered(&topic, &payload);
        }
        Ok(link)
    }

    /// Listens to T2, which exists from acceptance on.
    fn listen(&self, link: &mut Older) -> Result<()> {
        let t2 = Topic::Device(self.device.clone()).to_string();
        wait::until("T2", || Ok(link.subscribe(&t2)?.then_some(())))
    }

    /// Takes the command on the connection on which it asked; returns the code that a person is to type.
    pub fn take_command(&mut self, mut link: Older) -> Result<String> {
        self.listen(&mut link)?;
        self.receive(&mut link, |pairing| pairing.plan().network.is_some())?;
        link.leave();
        match self.pairing.display()? {
            Display::Verifying { code: Some(code), .. } => Ok(code.to_string()),
            _ => bail!("the pump shows no code"),
        }
    }

    /// Takes the confirmation, and finishes.
    pub fn finish(&mut self, mut link: Older) -> Result<()> {
        self.listen(&mut link)?;
        self.receive(&mut link, |pairing| pairing.pairing().is_some())?;
        link.leave();
        self.publish()?.leave();
        ensure!(self.pairing.is_paired(), "the pump is not paired");
        Ok(())
    }

    /// The certificate that it got, DER; none before.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.pairing.pairing().map(|pairing| pairing.certificate.as_slice())
    }

    fn receive(&mut self, link: &mut Older, is_done: impl Fn(&DevicePairing) -> bool) -> Result<()> {
        while !is_done(&self.pairing) {
            let payload = link.next_message()?.context("the bridge closed the connection")?;
            let given: Provisioned<'_> = provisioned(self.provisioning, &self.device, &self.key);
            match self.pairing.receive(given, &payload, wardlink_agent::clock::now(), &mut rng()) {
                // What was on T2 before is sent again, too.
                Ok(()) | Err(Refusal::OutOfPlace) => {}
                Err(refusal) => bail!("the pump refuses what the bridge brings: {refusal}"),
            }
        }
        Ok(())
    }
}
