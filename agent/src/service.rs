//! A server application, as far as whatever it does: its directory, its enrolment, the keys that it asks for.

mod event;
mod keys;
mod settings;
mod site;

pub use event::{Event, Format, Printer};
pub(crate) use keys::Keys;
pub use settings::{ServiceArgs, Settings};
pub(crate) use site::Site;
pub use site::SiteError;

use crate::clock;
use crate::link::{EndpointError, Identity};
use crate::state::{Record, StateDirectory, StateError};
use std::time::Duration;
use tokio::time::sleep;
use wardlink_crypto::key::{KeyError, PrivateKey};
use wardlink_crypto::x509::{Certificate, X509Error};
use wardlink_pairing::enrolment::renewal::Renewing;
use wardlink_pairing::enrolment::{Enrolled, Enrolling, EnrolmentError};
use wardlink_pairing::renewal::renews_at;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::limits::MAX_RECORDS_FED_BYTES;
use wardlink_protocol::order::InvalidOrder;
use wardlink_protocol::{ClientClass, Device, UnixMillis};
use wardlink_records::outlet::Fed;
use wardlink_trust::SealError;
use wardlink_trust::wrap::WrapError;
use zeroize::Zeroizing;

/// The pause before the control unit is asked again, when it cannot be reached.
const RETRY: Duration = Duration::from_secs(1);

/// Why a service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The site's address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The control unit does not answer, or refuses.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The enrolment could not be begun, or its answer does not count.
    #[error("the service cannot be enrolled: {0}")]
    Enrolment(#[from] EnrolmentError),
    /// The stored static key.
    #[error("the stored key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The stored or enrolled certificate.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] X509Error),
    /// A question for keys could not be asked.
    #[error("the keys cannot be asked for: {0}")]
    Keys(#[from] WrapError),
    /// A message could not be protected.
    #[error("the order cannot be sent: {0}")]
    Seal(#[from] SealError),
    /// The caller's fault: no order of this form.
    #[error("{0}")]
    Order(#[from] InvalidOrder),
    /// The caller's fault, or a person's who made the service: it may not do this.
    #[error("this service is not granted to send on {channel} to {client}; make one that is")]
    NotGranted {
        /// The channel.
        channel: ChannelName,
        /// The class.
        client: ClientClass,
    },
    /// The caller's fault: there is no such device, or it is trusted no longer.
    #[error("{0} is not paired at this site, or not trusted any more")]
    NoDevice(Device),
    /// An order could not be encoded.
    #[error("the order cannot be encoded: {0}")]
    Encode(#[from] CborError),
    /// The caller's fault: nothing is enrolled in this directory yet.
    #[error("nothing is enrolled in this directory; give the enrolment text of the web app with --enrol")]
    NotEnrolled,
    /// The caller's fault: another service is enrolled there.
    #[error("{0} is enrolled in this directory; choose another one for a new service")]
    EnrolledAlready(Device),
    /// The caller's fault: a device lives there.
    #[error("this is the directory of {0}, which is no service; choose another one")]
    Foreign(Device),
    /// The caller's fault: nobody reads what is printed.
    #[error("nobody reads what is printed any more; the last message comes again at the next start")]
    Unread,
    /// The site has revoked the service, or its certificate has ended.
    #[error("the control unit does not let this service in any more: it is revoked, or its certificate has ended")]
    Ended,
    /// Our fault: a task that broke.
    #[error("a task broke")]
    Broken,
}

/// An enrolled service.
pub(crate) struct Service {
    /// Its directory.
    pub(crate) state: StateDirectory,
    /// What it is told on the command line.
    pub(crate) settings: Settings,
    /// Its static key.
    pub(crate) key: PrivateKey,
    /// What it was enrolled with.
    pub(crate) enrolled: Enrolled,
    /// What it knows of devices.
    pub(crate) keys: Keys,
    site: Site,
}

impl Service {
    /// Opens the service's state, and enrols it where that was not done before.
    pub(crate) async fn open(settings: Settings, printer: &mut Printer) -> Result<Self, ServiceError> {
        let state = StateDirectory::lock(&settings.data)?;
        if let Some(owner) = state.owner()?.filter(|owner| !owner.is_service()) {
            return Err(ServiceError::Foreign(owner));
        }
        let site = Site::new(&settings);
        let mut stored: Option<Enrolled> = state.read_value(Record::Service)?;
        if let (Some(enrolled), Some(ticket)) = (&stored, &settings.ticket) {
            if ticket.name != enrolled.name {
                return Err(ServiceError::EnrolledAlready(Device::service(enrolled.name.clone())));
            }
            // Another text for the same name: a person has made the service anew, and what it had is worth nothing.
            if ticket.id != enrolled.id {
                state.remove(Record::Service)?;
                stored = None;
            }
        }
        let (key, enrolled) = match stored {
            Some(enrolled) => {
                let missing = || StateError::Damaged {
                    path: state.file(Record::StaticKey),
                    reason: "it is missing, while the service is enrolled with it",
                };
                let key = state.read(Record::StaticKey)?.ok_or_else(missing)?;
                (PrivateKey::from_pkcs8(&key)?, enrolled)
            }
            None => enrol(&state, &settings, &site, printer).await?,
        };
        let keys = Keys::new(&enrolled)?;
        let mut service = Self { state, settings, key, enrolled, keys, site };
        service.renew(printer).await?;
        Ok(service)
    }

    /// When its certificate is to be renewed.
    pub(crate) fn renews_at(&self) -> Result<UnixMillis, ServiceError> {
        Ok(renews_at(&Certificate::parse(&self.enrolled.certificate)?))
    }

    /// Whether its certificate has ended: whoever refuses it now says nothing of the service.
    pub(crate) fn has_ended(&self, now: UnixMillis) -> Result<bool, ServiceError> {
        Ok(Certificate::parse(&self.enrolled.certificate)?.validity().not_after <= now)
    }

    /// Renews the certificate where that is due, also after it has ended; whether there is a new one. While the site gives no answer that
    /// counts, the old one serves as long as it holds.
    pub(crate) async fn renew(&mut self, printer: &mut Printer) -> Result<bool, ServiceError> {
        let now = clock::now();
        if now < self.renews_at()? {
            return Ok(false);
        }
        let begun: Option<Renewing> = self.state.read_value(Record::Renewing)?;
        let begun = if let Some(begun) = begun.filter(|begun| begun.is_of(&self.enrolled)) {
            begun
        } else {
            // It is stored before it is sent, so that the same one can be sent again.
            let begun = Renewing::begin(&self.enrolled, &self.key, &mut clock::rng())?;
            self.state.write_value(Record::Renewing, &begun)?;
            begun
        };
        let has_ended = self.has_ended(now)?;
        let answer = match self.site.renew(begun.request().to_vec()).await {
            Ok(answer) => answer,
            Err(SiteError::Refused { status: 403, .. }) if has_ended => return Err(ServiceError::Ended),
            Err(error) => {
                tracing::warn!(%error, "the certificate is renewed later");
                return Ok(false);
            }
        };
        let enrolled = match begun.finish(&self.enrolled, &self.key, &answer, now) {
            Ok(enrolled) => enrolled,
            Err(error) => {
                tracing::warn!(%error, "an answer of the control unit does not count: the certificate is renewed later");
                // The same question has the same answer: the next one is another.
                self.state.remove(Record::Renewing)?;
                return Ok(false);
            }
        };
        self.state.write_value(Record::Service, &enrolled)?;
        self.state.remove(Record::Renewing)?;
        self.keys = Keys::new(&enrolled)?;
        self.enrolled = enrolled;
        let certificate = Certificate::parse(&self.enrolled.certificate)?;
        printer.print(&Event::Renewed {
            service: self.enrolled.name.clone(),
            certificate: certificate.serial(),
            ends_at: certificate.validity().not_after,
        });
        Ok(true)
    }

    /// Its name among devices.
    pub(crate) fn device(&self) -> Device {
        Device::service(self.enrolled.name.clone())
    }

    /// Who it is towards the bridge.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            key: self.key.clone(),
            device: self.device(),
            certificate: Some(self.enrolled.certificate.to_vec()),
            root: Some(self.enrolled.root),
        }
    }

    /// Knows the keys of a channel of a device; whether they were asked for just now. While the site gives no answer that counts, it is
    /// asked again.
    pub(crate) async fn know(&mut self, channel: &ChannelName, device: &Device) -> Result<bool, ServiceError> {
        if self.keys.knows(channel, device) {
            return Ok(false);
        }
        loop {
            let question = self.keys.ask(channel, device)?;
            match self.site.keys(question.clone()).await {
                Ok(answer) => match self.keys.learn(channel, device, &question, &answer) {
                    Ok(()) => return Ok(true),
                    Err(error) => {
                        tracing::warn!(%error, "an answer does not count: the control unit is asked for keys again");
                    }
                },
                Err(SiteError::Refused { status: 403, .. }) => return Err(ServiceError::Ended),
                Err(error) => tracing::warn!(%error, "the control unit is asked for keys again"),
            }
            sleep(RETRY).await;
        }
    }
}

impl Service {
    /// Stored data after a position.
    pub(crate) async fn records(&self, after: u64) -> Result<Fed, ServiceError> {
        let question = self.keys.ask_for_records(after)?;
        match self.site.records(question.clone()).await {
            Ok(answer) => Ok(cbor::decode(&self.keys.open_records(&answer, &question)?, MAX_RECORDS_FED_BYTES)?),
            Err(SiteError::Refused { status: 403, .. }) => Err(ServiceError::Ended),
            Err(error) => Err(error.into()),
        }
    }
}

/// Enrols the service: the request is stored before it is sent, so that the same one can be sent again.
async fn enrol(
    state: &StateDirectory,
    settings: &Settings,
    site: &Site,
    printer: &mut Printer,
) -> Result<(PrivateKey, Enrolled), ServiceError> {
    let begun: Option<Enrolling> = state.read_value(Record::Enrolment)?;
    let begun = begun.filter(|begun| settings.ticket.as_ref().is_none_or(|ticket| ticket.id == begun.id()));
    let (key, begun) = match (begun, &settings.ticket) {
        (Some(begun), _) => (PrivateKey::from_pkcs8(&state.static_key(Zeroizing::default)?)?, begun),
        (None, Some(ticket)) => {
            let mut rng = clock::rng();
            let key = PrivateKey::make(&mut rng);
            let begun = Enrolling::begin(ticket, &key, &mut rng)?;
            state.write_value(Record::Device, &Device::service(ticket.name.clone()))?;
            state.write(Record::StaticKey, &key.to_pkcs8()?)?;
            state.write_value(Record::Enrolment, &begun)?;
            (key, begun)
        }
        (None, None) => return Err(ServiceError::NotEnrolled),
    };
    let answer = site.enrol(begun.request().to_vec()).await?;
    let enrolled = begun.finish(&key, &answer, clock::now())?;
    state.write_value(Record::Service, &enrolled)?;
    state.remove(Record::Enrolment)?;
    let certificate = Certificate::parse(&enrolled.certificate)?;
    printer.print(&Event::Enrolled {
        service: enrolled.name.clone(),
        certificate: certificate.serial(),
        ends_at: certificate.validity().not_after,
    });
    Ok((key, enrolled))
}

#[cfg(test)]
mod tests;
