//! What the tests of this crate share.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::key::PrivateKey;
use crate::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Sha256;

/// When the tests happen.
pub(crate) const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);
/// After the end of every certificate of a [`Site`].
pub(crate) const LATE: UnixMillis = UnixMillis::from_secs(1_900_000_001);
/// Where the control unit is.
pub(crate) const HOST: &str = "wardlink.example";

/// A site: its CA, and its control unit's key and chain, the root last.
pub(crate) struct Site {
    pub(crate) ca: IssuingCa,
    pub(crate) key: PrivateKey,
    pub(crate) chain: Vec<ByteBuf>,
    pub(crate) rng: StdRng,
}

impl Site {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let validity = Validity { not_before: UnixMillis(0), not_after: UnixMillis::from_secs(1_900_000_000) };
        let root = RootCa::make("Root", validity, &mut rng).unwrap();
        let ca = root.make_issuing_ca("Issuing", validity, &mut rng).unwrap();
        let key = PrivateKey::make(&mut rng);
        let own = ca.issue(&Holder::ControlUnit("Site".into()), &key.public(), validity, &mut rng).unwrap();
        let chain = [vec![own.to_bytes()], ca.chain()].concat();
        Self { ca, key, chain, rng }
    }

    /// Somebody of the site.
    pub(crate) fn holder(&mut self, holder: &Holder) -> (PrivateKey, Certificate) {
        let key = PrivateKey::make(&mut self.rng);
        let validity = self.ca.certificate().validity();
        let certificate = self.ca.issue(holder, &key.public(), validity, &mut self.rng).unwrap();
        (key, certificate)
    }

    pub(crate) fn root(&self) -> Sha256 {
        self.ca.root().sha256()
    }
}
