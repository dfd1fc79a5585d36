//! A gateway's own broker, as a device of the same site sees it: which gateways count, and TLS by their certificates.
//!
//! The gateway shows the same certificate twice, in TLS and in MQTT's enhanced authentication, and has to hold its key both times: so nobody
//! stands between, not even another gateway of the site. A host's name counts for nothing.

use super::dangerous::{self, Judge};
use crate::clock;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde_bytes::ByteBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wardlink_crypto::key::PublicKey;
use wardlink_crypto::x509::{Certificate, Chain, ChainError, CrlError, RevocationList};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::{KeyFingerprint, Purpose, Sha256};

/// The newest revocation list that a device knows of its site. Copies share it.
#[derive(Clone, Default)]
pub(crate) struct Revoked(Arc<Mutex<Option<RevocationList>>>);

impl Revoked {
    fn list(&self) -> MutexGuard<'_, Option<RevocationList>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a list. It counts only where it is signed by the CA that has issued the certificate in question.
    pub(crate) fn learn(&self, list: RevocationList) {
        *self.list() = Some(list);
    }

    /// Whether the list that is known names this certificate. One that has ended since still names what it names.
    fn names(&self, certificate: &Certificate, issuer: &Certificate, now: UnixMillis) -> bool {
        let list = self.list();
        let Some(list) = list.as_ref() else { return false };
        let is_signed = list.verify(issuer, None, now.min(list.next_update())).is_ok();
        is_signed && matches!(list.check(certificate), Err(CrlError::Revoked(_)))
    }
}

/// Why a gateway does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGateway {
    /// Its certificates are not those of a gateway of the site.
    #[error("it is no gateway of this site: {0}")]
    Chain(#[from] ChainError),
    /// Its certificate is revoked.
    #[error("the gateway's certificate is revoked")]
    Revoked,
}

/// Which gateways count: those of one site that are not revoked, as far as the device knows.
#[derive(Clone)]
pub struct SiteGateways {
    root: Sha256,
    revoked: Revoked,
}

impl SiteGateways {
    /// The gateways of the site whose root has this hash.
    pub fn of(root: Sha256) -> Self {
        Self { root, revoked: Revoked::default() }
    }

    /// The same, with what is known of revoked ones.
    pub(crate) fn with(root: Sha256, revoked: Revoked) -> Self {
        Self { root, revoked }
    }

    /// The root's hash.
    pub(super) const fn root(&self) -> &Sha256 {
        &self.root
    }

    /// The key of a gateway with these certificates, its own first and the root last.
    pub(crate) fn key_of(&self, chain: &[ByteBuf], now: UnixMillis) -> Result<PublicKey, NoGateway> {
        Ok(*self.verified(&Chain::parse(chain)?, now)?.key())
    }

    /// Verifies the certificates of a gateway, its own first and the root last; says which key it has.
    fn verify(&self, chain: &Chain, now: UnixMillis) -> Result<KeyFingerprint, NoGateway> {
        Ok(self.verified(chain, now)?.fingerprint().map_err(ChainError::from)?)
    }

    fn verified<'a>(&self, chain: &'a Chain, now: UnixMillis) -> Result<&'a Certificate, NoGateway> {
        let certificate = chain.verify(&self.root, Purpose::Gateway, now)?;
        if let Some(issuer) = chain.certificates().get(1)
            && self.revoked.names(certificate, issuer, now)
        {
            return Err(NoGateway::Revoked);
        }
        Ok(certificate)
    }
}

/// Judges the certificates that one server shows in TLS.
pub(super) struct SiteGateway {
    gateways: SiteGateways,
    shown: Mutex<Option<KeyFingerprint>>,
}

impl core::fmt::Debug for SiteGateway {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SiteGateway")
    }
}

impl SiteGateway {
    /// For one connection.
    pub(super) fn of(gateways: &SiteGateways) -> Self {
        Self { gateways: gateways.clone(), shown: Mutex::new(None) }
    }

    /// TLS for this connection. No certificate of the device: it proves itself in MQTT.
    pub(super) fn client_config(self: &Arc<Self>) -> Result<ClientConfig, rustls::Error> {
        let judge = Arc::clone(self) as Arc<dyn Judge>;
        let mut config = dangerous::client_config(judge, &[&rustls::version::TLS13])?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    /// The key that the server has shown, and holds once the handshake is over.
    pub(super) fn shown(&self) -> Option<KeyFingerprint> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judge for SiteGateway {
    fn judge(&self, end_entity: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let refused = |why: NoGateway| rustls::Error::General(why.to_string());
        let chain = core::iter::once(end_entity).chain(above).map(|der| ByteBuf::from(der.to_vec()));
        let chain = Chain::parse(&chain.collect::<Vec<_>>()).map_err(|error| refused(error.into()))?;
        let key = self.gateways.verify(&chain, clock::now()).map_err(refused)?;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::link::{Endpoint, EndpointError};
    use std::time::Duration;
    use wardlink_crypto::key::PrivateKey;
    use wardlink_crypto::x509::{Holder, IssuingCa, Revocation, RevocationReason, RootCa, Validity};

    const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);

    fn ca() -> IssuingCa {
        let validity = Validity { not_before: NOW, not_after: NOW.after(Duration::from_hours(24 * 365)) };
        let root = RootCa::make("Root", validity, &mut clock::rng()).unwrap();
        root.make_issuing_ca("CA", validity, &mut clock::rng()).unwrap()
    }

    fn issue(ca: &IssuingCa, holder: &Holder) -> Certificate {
        let validity = Validity { not_before: NOW, not_after: NOW.after(Duration::from_hours(24)) };
        let key = PrivateKey::make(&mut clock::rng()).public();
        ca.issue(holder, &key, validity, &mut clock::rng()).unwrap()
    }

    fn chain(ca: &IssuingCa, certificate: &Certificate) -> Chain {
        Chain::parse(&[vec![certificate.to_bytes()], ca.chain()].concat()).unwrap()
    }

    #[test]
    fn only_a_gateway_of_the_site_counts_and_only_until_it_is_revoked() {
        let (ca, gateway) = (ca(), Holder::Gateway("gateway/ward-3".parse().unwrap()));
        let revoked = Revoked::default();
        let gateways = SiteGateways::with(ca.root().sha256(), revoked.clone());
        let [first, second] = [issue(&ca, &gateway), issue(&ca, &gateway)];
        for certificate in [&first, &second] {
            let key = gateways.verify(&chain(&ca, certificate), NOW).unwrap();
            assert_eq!(key, certificate.fingerprint().unwrap());
        }
        for other in [Holder::ControlUnit("Site".into()), Holder::Device("scale/s1".parse().unwrap())] {
            let refused = gateways.verify(&chain(&ca, &issue(&ca, &other)), NOW);
            assert!(matches!(refused, Err(NoGateway::Chain(_))), "{refused:?}");
        }
        let elsewhere = self::ca();
        assert!(gateways.verify(&chain(&elsewhere, &issue(&elsewhere, &gateway)), NOW).is_err());
        // The list of another CA says nothing; the site's own says it, also when no newer one could be had.
        for (signer, at, expected) in [
            (&elsewhere, NOW, None),
            (&ca, NOW, Some(NoGateway::Revoked)),
            (&ca, NOW.after(Duration::from_hours(10)), Some(NoGateway::Revoked)),
        ] {
            let entry = Revocation { revoked_at: NOW, reason: RevocationReason::KeyCompromise };
            let entries = [(first.serial(), entry)].into();
            let list = signer.issue_crl(1, &entries, NOW, NOW.after(Duration::from_hours(2))).unwrap();
            revoked.learn(list);
            assert_eq!(gateways.verify(&chain(&ca, &first), at).err(), expected);
            assert!(gateways.verify(&chain(&ca, &second), at).is_ok());
        }
    }

    #[test]
    fn a_gateway_is_dialled_over_tls_only() {
        let root = Sha256([0; Sha256::LENGTH]);
        let of = |address| Endpoint::of_gateway(address, SiteGateways::of(root));
        let endpoint = of("wss://gateway.ward.example:8884").unwrap();
        assert_eq!((endpoint.host(), endpoint.path()), ("gateway.ward.example:8884", "/mqtt"));
        for wrong in ["ws://127.0.0.1:1", "wss://gateway/elsewhere", "gateway:8884", "wss://", "wss://a@b"] {
            let refused = of(wrong).err();
            assert!(matches!(refused, Some(EndpointError::Gateway(_) | EndpointError::Address(_))), "{wrong}");
        }
    }
}
