//! What the unit tests of stored data share: a site with its control unit, a gateway and a device.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::clock;
use crate::records_archive::Archive;
use serde_bytes::ByteBuf;
use std::time::Duration;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Holder, IssuingCa, RootCa, Validity};
use wardlink_protocol::identity::{RecordChain, Sha256};
use wardlink_protocol::{Device, UnixMillis};

/// When the tests happen.
pub(crate) const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);

/// So many seconds later.
pub(crate) fn later(secs: u64) -> UnixMillis {
    NOW.after(Duration::from_secs(secs))
}

pub(crate) fn pump() -> Device {
    "infusion-pump/p1".parse().unwrap()
}

pub(crate) const fn chain(number: u8) -> RecordChain {
    RecordChain([number; 16])
}

/// A hospital.
pub(crate) struct Site {
    ca: IssuingCa,
    pub(crate) root: Sha256,
    pub(crate) archive: Archive,
}

impl Site {
    pub(crate) fn open() -> Self {
        let mut rng = clock::rng();
        let ca =
            RootCa::make("Root", validity(), &mut rng).unwrap().make_issuing_ca("CA", validity(), &mut rng).unwrap();
        let root = ca.root().sha256();
        let (key, certificates) = issue(&ca, &Holder::ControlUnit("St. Elsewhere".into()));
        Self { ca, root, archive: Archive::new(key, certificates) }
    }

    /// Somebody of the site: a key and the certificates.
    pub(crate) fn member(&self, holder: &Holder) -> (PrivateKey, Vec<ByteBuf>) {
        issue(&self.ca, holder)
    }

    pub(crate) fn gateway(&self) -> (PrivateKey, Vec<ByteBuf>) {
        self.member(&Holder::Gateway("gateway/ward-3".parse().unwrap()))
    }
}

fn validity() -> Validity {
    Validity { not_before: NOW, not_after: NOW.after(Duration::from_hours(24 * 365)) }
}

fn issue(ca: &IssuingCa, holder: &Holder) -> (PrivateKey, Vec<ByteBuf>) {
    let mut rng = clock::rng();
    let key = PrivateKey::make(&mut rng);
    let certificate = ca.issue(holder, &key.public(), validity(), &mut rng).unwrap();
    (key, [vec![certificate.to_bytes()], ca.chain()].concat())
}
