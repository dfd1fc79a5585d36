//! What a paired pump does about trust: it takes in later epochs of its keys, renews its certificate, and wipes itself when it is
//! told to. Whatever arrives is stored durably before it is used or acknowledged.

use super::journal::Event;
use super::membership::MemberKeys;
use super::{Outcome, Pump, PumpError};
use crate::clock;
use crate::display::{Notice, Phase};
use crate::link::Ticket;
use crate::state::{Record, StateDirectory, StateError};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::time::Duration;
use wardlink_crypto::x509::Certificate;
use wardlink_pairing::decommission::{self, ALWAYS_WIPED, Obeyed};
use wardlink_pairing::device::{DevicePairing, NetworkAccess};
use wardlink_pairing::renewal::{DeviceRenewal, RenewingDevice, renews_at};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::{ChannelKey, ChannelName, Qos, UPDATE_CHANNEL};
use wardlink_protocol::identity::{SessionId, Sha256};
use wardlink_protocol::topic::Topic;
use wardlink_trust::wrap::{self, Keychain, Taken, WrapError, WrapKey};
use zeroize::Zeroize as _;

/// The pause before a renewal that the bridge or the control unit refused is tried again.
const RENEWAL_PAUSE: Duration = Duration::from_mins(1);

/// What a paired pump keeps beside its pairing: the record [`Record::Trust`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trust {
    /// The pairing that it belongs to.
    session: SessionId,
    /// The channels with their keys.
    keychain: Keychain,
    /// The certificate in force, DER.
    certificate: ByteBuf,
    wrap_key: WrapKey,
    /// A renewal on its way, as its snapshot; it holds secrets, and is here only to be stored or taken up.
    renewal: Option<ByteBuf>,
    /// Channels that have a new key while what was kept under the one before is not yet protected anew, each with the time from which
    /// the one before did not count any more. Stored with the key, so that a power loss in between loses no report.
    #[serde(default)]
    stale: BTreeMap<ChannelName, UnixMillis>,
    /// Whether the control unit was told in this run what the pump holds.
    #[serde(skip)]
    announced: bool,
}

/// A renewal on its way.
pub(super) struct Renewing {
    renewal: DeviceRenewal,
    /// What was handed to the link, and whether the bridge has stored it.
    published: Option<(Ticket, Vec<u8>)>,
}

/// A pump that was told to wipe itself: the record [`Record::Decommission`], all that is left of it but the static key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leaving {
    order: Obeyed,
    certificate: ByteBuf,
    network: NetworkAccess,
    root: Sha256,
    /// The signed receipt, once everything else was erased.
    receipt: Option<ByteBuf>,
    #[serde(skip)]
    ticket: Option<Ticket>,
}

/// The channels with their keys that a pump that does not run has stored, in their order.
pub fn kept_channels(state: &StateDirectory) -> Result<Vec<ChannelKey>, StateError> {
    let trust: Option<Trust> = state.read_value(Record::Trust)?;
    Ok(trust.map(|trust| trust.keychain.channels().into_iter().cloned().collect()).unwrap_or_default())
}

/// The certificate in force that a device has stored, where it is another one than its pairing brought; DER.
pub(super) fn kept_certificate(state: &StateDirectory) -> Result<Option<Vec<u8>>, StateError> {
    let trust: Option<Trust> = state.read_value(Record::Trust)?;
    Ok(trust.map(|trust| trust.certificate.to_vec()))
}

impl Leaving {
    /// Whether the receipt was delivered, so that the static key is gone.
    pub(super) fn is_over(&self, state: &StateDirectory) -> Result<bool, StateError> {
        Ok(self.receipt.is_some() && state.read(Record::StaticKey)?.is_none())
    }
}

impl Trust {
    /// The channels with their keys.
    pub(super) const fn keychain(&self) -> &Keychain {
        &self.keychain
    }

    /// What a pairing brought; none where its keys were erased, because the record has them.
    fn of(pairing: &DevicePairing) -> Option<Self> {
        let kept = pairing.pairing().filter(|kept| !kept.channels.is_empty())?;
        Some(Self {
            session: pairing.session(),
            keychain: Keychain::from_pairing(&kept.channels),
            certificate: kept.certificate.clone(),
            wrap_key: WrapKey::new(kept.wrap_key),
            renewal: None,
            stale: BTreeMap::new(),
            // PAIRING_FINISHED says it.
            announced: true,
        })
    }
}

impl Pump {
    /// The channels with the keys in force.
    pub(super) fn channels(&self) -> Vec<ChannelKey> {
        self.trust.as_ref().map(|trust| trust.keychain.channels().into_iter().cloned().collect()).unwrap_or_default()
    }

    /// What the device was given, for whatever else speaks in its name.
    pub(super) fn member_keys(&self) -> MemberKeys {
        let Some(trust) = &self.trust else { return MemberKeys::default() };
        let update = UPDATE_CHANNEL.parse().map(|channel| trust.keychain.keys(&channel)).unwrap_or_default();
        MemberKeys { wrap: self.wrap_keys(trust), update }
    }

    /// Those that count: the newest first.
    fn wrap_keys(&self, trust: &Trust) -> Vec<WrapKey> {
        let renewed = self.renewing.as_ref().and_then(|renewing| renewing.renewal.renewed());
        let newer = renewed.map(|renewed| WrapKey::new(renewed.wrap_key));
        newer.into_iter().chain([trust.wrap_key.clone()]).collect()
    }

    /// The certificate that the pump connects with, where it is another one than its pairing brought.
    pub(super) fn renewed_certificate(&self) -> Option<Vec<u8>> {
        let renewed = self.renewing.as_ref().and_then(|renewing| renewing.renewal.renewed());
        let certificate = renewed.map(|renewed| &renewed.certificate);
        certificate.or(self.trust.as_ref().map(|trust| &trust.certificate)).map(|der| der.to_vec())
    }

    /// Begins, or goes on, with what was kept; forgets what belongs to an earlier pairing.
    pub(super) fn begin_trust(&mut self) -> Result<(), PumpError> {
        let Some(pairing) = self.pairing.as_ref().filter(|pairing| pairing.pairing().is_some()) else {
            self.renewing = None;
            // Another pairing begins: what the last one knew is of no use, and not to be found.
            self.trust = None;
            return Ok(self.state.remove(Record::Trust)?);
        };
        if self.trust.as_ref().is_some_and(|trust| trust.session == pairing.session()) {
            return Ok(());
        }
        let stored: Option<Trust> = self.state.read_value(Record::Trust)?;
        let stored = stored.filter(|stored| stored.session == pairing.session());
        let known = stored.is_some();
        let missing = || {
            let reason = "it is missing, while a pairing is stored whose keys it had";
            StateError::Damaged { path: self.state.file(Record::Trust), reason }
        };
        let mut trust = stored.or_else(|| Trust::of(pairing)).ok_or_else(missing)?;
        self.renewing = None;
        if let Some(mut snapshot) = trust.renewal.take() {
            let renewal = DeviceRenewal::restore(&snapshot);
            snapshot.zeroize();
            self.renewing = Some(Renewing { renewal: renewal?, published: None });
        }
        self.trust = Some(trust);
        if !known {
            self.store_trust()?;
        }
        self.plan_renewal(None);
        Ok(())
    }

    /// The keys that the pairing brought lie in the trust's record now, which alone follows their epochs.
    pub(super) fn erase_paired_keys(&mut self) -> Result<(), PumpError> {
        let erased = self.trust.is_some() && self.pairing.as_mut().is_some_and(DevicePairing::erase_keys);
        if erased { self.store() } else { Ok(()) }
    }

    /// Stores what the pump knows: when this returns, it survives a power loss.
    fn store_trust(&mut self) -> Result<(), PumpError> {
        let snapshot = self.renewing.as_ref().map(|renewing| renewing.renewal.snapshot()).transpose()?;
        let Some(trust) = &mut self.trust else { return Ok(()) };
        trust.renewal = snapshot.map(|snapshot| ByteBuf::from(snapshot.to_vec()));
        let stored = self.state.write_value(Record::Trust, trust);
        if let Some(mut snapshot) = trust.renewal.take() {
            snapshot.zeroize();
        }
        stored?;
        // Who else speaks in the device's name goes by what is stored.
        self.tell_membership();
        Ok(())
    }

    /// The channels whose reports are to be protected anew.
    pub(super) fn stale_channels(&self) -> BTreeMap<ChannelName, UnixMillis> {
        self.trust.as_ref().map(|trust| trust.stale.clone()).unwrap_or_default()
    }

    /// Everything kept is protected under keys that count, and stored.
    pub(super) fn forget_stale_channels(&mut self) -> Result<(), PumpError> {
        match &mut self.trust {
            Some(trust) if !trust.stale.is_empty() => {
                trust.stale.clear();
                self.store_trust()
            }
            _ => Ok(()),
        }
    }

    /// Takes a message on T2 that is not the pairing's. Returns whether it was one.
    pub(super) fn receive_about_trust(&mut self, payload: &[u8]) -> Result<bool, PumpError> {
        if wrap::is_update(payload) {
            self.take_key(payload)?;
        } else if self.renewing.as_ref().is_some_and(|renewing| renewing.renewal.is_answer(payload)) {
            self.take_certificate(payload)?;
        } else if decommission::is_order(payload) {
            self.obey(payload)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// A new epoch, or a channel that is withdrawn: stored, acknowledged, then used.
    fn take_key(&mut self, payload: &[u8]) -> Result<(), PumpError> {
        // The answer goes under the key under which the update came.
        let Some(wrap_keys) = self.trust.as_ref().map(|trust| self.wrap_keys(trust)) else { return Ok(()) };
        let Some(trust) = &mut self.trust else { return Ok(()) };
        let taken = trust.keychain.receive(&self.settings.device, &wrap_keys, payload, clock::now());
        let channel = match &taken {
            Ok(taken) => taken.channel().clone(),
            // The control unit learns what the pump holds.
            Err(WrapError::EpochFalls) => match Keychain::channel_of(payload) {
                Some(channel) => channel,
                None => return Ok(()),
            },
            Err(error) => {
                self.tell(Event::Error { message: format!("a key of the control unit was refused: {error}") });
                return Ok(());
            }
        };
        if let Ok(Taken::Installed { channel, previous_until }) = &taken {
            let earlier = trust.stale.entry(channel.clone()).or_insert(*previous_until);
            *earlier = (*earlier).min(*previous_until);
        }
        if matches!(taken, Ok(Taken::Installed { .. } | Taken::Withdrawn(_))) {
            self.store_trust()?;
        }
        self.answer(&channel, payload, &wrap_keys)?;
        match taken {
            Ok(Taken::Installed { channel, .. }) => self.use_key(&channel),
            Ok(Taken::Withdrawn(channel)) => {
                self.hear_no_more(&channel);
                self.end_channel(&channel)?;
                self.tell(Event::ChannelWithdrawn { channel });
                Ok(())
            }
            Ok(Taken::Known(_)) | Err(_) => Ok(()),
        }
    }

    /// Tells the control unit what is stored: KEYS_UPDATED.
    fn answer(&mut self, channel: &ChannelName, update: &[u8], wrap_keys: &[WrapKey]) -> Result<(), PumpError> {
        let held = self.trust.as_ref().and_then(|trust| trust.keychain.held(channel));
        let (Some(held), Some((link, _))) = (held, &mut self.link) else { return Ok(()) };
        let device = &self.settings.device;
        for wrap_key in wrap_keys {
            let keys = wrap_key.keys(device).map_err(WrapError::from)?;
            if wrap::is_under(update, &keys) {
                let answer = wrap::answer(vec![held], device, &keys, &mut clock::rng())?;
                link.publish(Topic::Command(device.client.clone()), answer, Qos::AtLeastOnce);
                break;
            }
        }
        Ok(())
    }

    /// Once in each run: what the pump holds. Whoever restored it from an earlier state has not told the control unit. While a renewal
    /// ends, the control unit may know either K_wrap: it waits.
    pub(super) fn announce(&mut self) -> Result<(), PumpError> {
        let paired = self.pairing.as_ref().is_some_and(DevicePairing::is_paired);
        if self.renewing.as_ref().is_some_and(|renewing| renewing.renewal.renewed().is_some()) {
            return Ok(());
        }
        let (Some(trust), Some((link, _))) = (&mut self.trust, &mut self.link) else { return Ok(()) };
        let held = trust.keychain.all_held();
        if trust.announced || !paired || held.is_empty() {
            return Ok(());
        }
        trust.announced = true;
        let device = &self.settings.device;
        let keys = trust.wrap_key.keys(device).map_err(WrapError::from)?;
        let answer = wrap::answer(held, device, &keys, &mut clock::rng())?;
        link.publish(Topic::Command(device.client.clone()), answer, Qos::AtLeastOnce);
        Ok(())
    }

    /// Messages on this channel go under the new epoch; what does not count under the one before goes once more.
    fn use_key(&mut self, channel: &ChannelName) -> Result<(), PumpError> {
        let key = self.channels().into_iter().find(|key| key.channel.name == *channel);
        let Some(key) = key else { return Ok(()) };
        self.tell(Event::KeyUpdated { channel: channel.clone(), epoch: key.epoch });
        self.reopen(&key)
    }

    /// Erases earlier epochs whose time is over.
    pub(super) fn erase_keys(&mut self) -> Result<(), PumpError> {
        let changed = self.trust.as_mut().is_some_and(|trust| trust.keychain.tick(clock::now()));
        if changed { self.store_trust() } else { Ok(()) }
    }

    /// When an earlier epoch is to be erased.
    pub(super) fn erases_at(&self) -> Option<UnixMillis> {
        self.trust.as_ref().and_then(|trust| trust.keychain.erases_at())
    }

    /// Sets the time for the next step of a renewal; `at` is a new try.
    fn plan_renewal(&mut self, at: Option<UnixMillis>) {
        let deadline = self.renewing.as_ref().and_then(|renewing| renewing.renewal.deadline());
        let due = || {
            let certificate = Certificate::parse(&self.trust.as_ref()?.certificate).ok()?;
            Some(renews_at(&certificate))
        };
        self.times.renew = at.or_else(|| if self.renewing.is_some() { deadline } else { due() });
    }

    /// It is time to ask for a new certificate, or to ask anew because no answer came.
    pub(super) fn renew(&mut self) -> Result<(), PumpError> {
        self.times.renew = None;
        let finished = self.pairing.as_ref().is_some_and(DevicePairing::is_paired);
        let waits = self.renewing.as_ref().and_then(|renewing| renewing.renewal.deadline());
        let answered = self.renewing.is_some() && waits.is_none();
        if self.leaving.is_some() {
            return self.leave();
        }
        if !finished {
            self.plan_renewal(Some(clock::now().after(RENEWAL_PAUSE)));
            return Ok(());
        }
        if answered {
            self.publish_renewal();
            return Ok(());
        }
        if waits.is_none_or(|deadline| clock::now() >= deadline) {
            let Some(root) = self.root() else { return Ok(()) };
            let Some(trust) = &self.trust else { return Ok(()) };
            let (device, key) = (&self.settings.device, &self.key);
            let renewing = RenewingDevice { device, key, certificate: &trust.certificate, cert_ca: &root };
            let renewal = DeviceRenewal::begin(renewing, clock::now(), &mut clock::rng())?;
            self.renewing = Some(Renewing { renewal, published: None });
            self.store_trust()?;
        }
        self.plan_renewal(None);
        self.publish_renewal();
        Ok(())
    }

    /// SHA-256 of the site's root.
    pub(super) fn root(&self) -> Option<Sha256> {
        self.pairing.as_ref().and_then(DevicePairing::pairing).map(|pairing| pairing.cert_ca)
    }

    /// Hands the renewal's present message to the link, unless it has it already.
    pub(super) fn publish_renewal(&mut self) {
        let (Some(renewing), Some((link, _))) = (&mut self.renewing, &mut self.link) else { return };
        let Some(payload) = renewing.renewal.publishes() else { return };
        if renewing.published.as_ref().is_some_and(|(_, published)| published == payload) {
            return;
        }
        let payload = payload.to_vec();
        let topic = Topic::Renew(self.settings.device.client.clone());
        let ticket = link.publish(topic, payload.clone(), Qos::AtLeastOnce);
        renewing.published = Some((ticket, payload));
    }

    /// CERTIFICATE_RENEWED: stored; then the pump connects with the new certificate and confirms.
    fn take_certificate(&mut self, payload: &[u8]) -> Result<(), PumpError> {
        let root = self.root();
        let (Some(renewing), Some(trust), Some(root)) = (&mut self.renewing, &self.trust, root) else { return Ok(()) };
        let (device, key) = (&self.settings.device, &self.key);
        let context = RenewingDevice { device, key, certificate: &trust.certificate, cert_ca: &root };
        if let Err(error) = renewing.renewal.receive(context, payload, clock::now(), &mut clock::rng()) {
            self.tell(Event::Error { message: format!("a new certificate was refused: {error}") });
            return Ok(());
        }
        self.store_trust()?;
        self.times.renew = None;
        self.follow()?;
        self.tell_membership();
        self.publish_renewal();
        Ok(())
    }

    /// The bridge has stored a message of the renewal. Returns whether it was one.
    pub(super) fn renewal_delivered(&mut self, ticket: Ticket) -> Result<bool, PumpError> {
        let Some(renewing) = &mut self.renewing else { return Ok(false) };
        let Some((_, payload)) = renewing.published.as_ref().filter(|(published, _)| *published == ticket) else {
            return Ok(false);
        };
        let payload = payload.clone();
        if !renewing.renewal.delivered(&payload) {
            return Ok(true);
        }
        // The old certificate and the old K_wrap are not needed any more.
        let renewed = renewing.renewal.renewed().cloned();
        self.renewing = None;
        if let (Some(trust), Some(renewed)) = (&mut self.trust, renewed) {
            trust.certificate = renewed.certificate.clone();
            trust.wrap_key = WrapKey::new(renewed.wrap_key);
        }
        self.store_trust()?;
        self.plan_renewal(None);
        let ends = self.trust.as_ref().and_then(|trust| Certificate::parse(&trust.certificate).ok());
        if let Some(certificate) = ends {
            let (serial, ends_at) = (certificate.serial(), certificate.validity().not_after);
            self.tell(Event::Renewed { serial, ends_at });
        }
        self.announce()?;
        Ok(true)
    }

    /// The bridge has refused a message of the renewal: it goes again after a while. Returns whether it was one.
    pub(super) fn renewal_refused(&mut self, ticket: Ticket) -> bool {
        let Some(renewing) = &mut self.renewing else { return false };
        if renewing.published.as_ref().is_none_or(|(published, _)| *published != ticket) {
            return false;
        }
        renewing.published = None;
        self.plan_renewal(Some(clock::now().after(RENEWAL_PAUSE)));
        true
    }

    /// DECOMMISSION: the order is stored, so that it is obeyed whatever happens; then everything is erased.
    fn obey(&mut self, payload: &[u8]) -> Result<(), PumpError> {
        let pairing = self.pairing.as_ref().and_then(DevicePairing::pairing);
        let (Some(pairing), Some(certificate)) = (pairing, self.renewed_certificate()) else { return Ok(()) };
        let (network, root) = (pairing.network.clone(), pairing.cert_ca);
        let order = match decommission::obey(payload, &self.settings.device, &self.key, &root, clock::now()) {
            Ok(order) => order,
            Err(error) => {
                self.tell(Event::Error { message: format!("an order to wipe was refused: {error}") });
                return Ok(());
            }
        };
        let certificate = ByteBuf::from(certificate);
        let leaving = Leaving { order, certificate, network, root, receipt: None, ticket: None };
        self.state.write_value(Record::Decommission, &leaving)?;
        self.leaving = Some(leaving);
        self.leave()
    }

    /// Goes on with the end: erases, signs the receipt, publishes it.
    pub(super) fn leave(&mut self) -> Result<(), PumpError> {
        let Some(mut leaving) = self.leaving.take() else { return Ok(()) };
        (self.pairing, self.trust, self.renewing, self.reporter) = (None, None, None, None);
        self.ordered = None;
        self.published = None;
        self.tell_membership();
        self.leave_directing_site()?;
        self.erase_records()?;
        self.stored.clear();
        for record in [Record::Trust, Record::Orders, Record::Outbox, Record::Pairing] {
            self.state.remove(record)?;
        }
        let receipt = if let Some(receipt) = leaving.receipt.take() {
            receipt
        } else {
            let wiped = ALWAYS_WIPED.to_vec();
            ByteBuf::from(leaving.order.receipt(&self.settings.device, &self.key, wiped, clock::now())?)
        };
        leaving.receipt = Some(receipt.clone());
        self.state.write_value(Record::Decommission, &leaving)?;
        self.screen.send_modify(|screen| {
            screen.phase = Phase::Idle;
            screen.infusion = None;
            screen.notice = Notice::default();
        });
        let (certificate, network) = (leaving.certificate.to_vec(), leaving.network.clone());
        if self.link.is_none() {
            self.connect(Some(certificate), Some(network), Some(leaving.root))?;
        }
        if let Some((link, _)) = &mut self.link {
            let topic = Topic::Command(self.settings.device.client.clone());
            leaving.ticket = Some(link.publish(topic, receipt.to_vec(), Qos::AtLeastOnce));
        }
        self.leaving = Some(leaving);
        Ok(())
    }

    /// The bridge has refused the receipt: it goes again after a while. Returns whether it was the receipt.
    pub(super) fn receipt_refused(&mut self, ticket: Ticket) -> bool {
        let refused = self.leaving.as_ref().is_some_and(|leaving| leaving.ticket == Some(ticket));
        if refused {
            self.times.renew = Some(clock::now().after(RENEWAL_PAUSE));
        }
        refused
    }

    /// The receipt is delivered: the static key and its certificate go, too. Returns whether it was the receipt.
    pub(super) fn receipt_delivered(&mut self, ticket: Ticket) -> Result<bool, PumpError> {
        if self.leaving.as_ref().is_none_or(|leaving| leaving.ticket != Some(ticket)) {
            return Ok(false);
        }
        self.state.remove(Record::StaticKey)?;
        self.gone()?;
        Ok(true)
    }

    /// Nothing is left but the record that says so: it goes last, so that a power loss before it changes nothing.
    pub(super) fn gone(&mut self) -> Result<(), PumpError> {
        self.state.remove(Record::Decommission)?;
        self.leaving = None;
        self.tell(Event::Decommissioned);
        self.outcome = Some(Outcome::Decommissioned);
        Ok(())
    }
}
