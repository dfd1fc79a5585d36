//! The device's certificate in TLS (Coupling, S5: it connects anew with its certificate).

use super::session::Identity;
use crate::clock;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;
use wardlink_crypto::x509::Certificate;

/// What the device offers to a server that asks for a certificate in TLS. A bare key has none.
///
/// An expired one is not offered: a proxy would refuse the connection, while the bridge still lets the device renew it. Only the
/// certificate itself goes out: whoever believes it knows its issuer, and a proxy that does not is not to judge its purpose.
pub(super) fn offer(identity: &Identity) -> Result<Option<Arc<dyn ResolvesClientCert>>, rustls::Error> {
    let Some(der) = &identity.certificate else { return Ok(None) };
    let holds = Certificate::parse(der).is_ok_and(|certificate| certificate.check_time(clock::now()).is_ok());
    if !holds {
        return Ok(None);
    }
    let key = identity.key.to_pkcs8().map_err(|error| rustls::Error::General(error.to_string()))?;
    let key = any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_slice())))?;
    let certified = CertifiedKey::new(vec![CertificateDer::from(der.clone())], key);
    Ok(Some(Arc::new(SingleCertAndKey::from(certified))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use wardlink_crypto::key::PrivateKey;
    use wardlink_crypto::x509::{Holder, RootCa, Validity};
    use wardlink_protocol::UnixMillis;

    fn identity(validity: Option<Validity>) -> Identity {
        let mut rng = clock::rng();
        let key = PrivateKey::make(&mut rng);
        let device: wardlink_protocol::Device = "infusion-pump/pump-1".parse().unwrap();
        let certificate = validity.map(|validity| {
            let now = clock::now();
            let of_ca =
                Validity { not_before: UnixMillis(now.0 - 7_200_000), not_after: UnixMillis(now.0 + 7_200_000) };
            let root = RootCa::make("Test root", of_ca, &mut rng).unwrap();
            let issuing = root.make_issuing_ca("Test CA", of_ca, &mut rng).unwrap();
            issuing.issue(&Holder::Device(device.clone()), &key.public(), validity, &mut rng).unwrap().der().to_vec()
        });
        Identity { key, device, certificate, root: None }
    }

    #[test]
    fn a_certificate_is_offered_with_its_key_while_it_holds() {
        let hour = 3_600_000;
        let now = clock::now();
        let holding =
            identity(Some(Validity { not_before: UnixMillis(now.0 - hour), not_after: UnixMillis(now.0 + hour) }));
        let offered = offer(&holding).unwrap().unwrap();
        let schemes = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
        let certified = offered.resolve(&[], &schemes).unwrap();
        assert_eq!(certified.cert.iter().map(|der| der.to_vec()).collect::<Vec<_>>(), [holding.certificate.unwrap()]);
        certified.keys_match().unwrap();

        let expired = Validity { not_before: UnixMillis(now.0 - 2 * hour), not_after: UnixMillis(now.0 - hour) };
        assert!(offer(&identity(Some(expired))).unwrap().is_none());
        assert!(offer(&identity(None)).unwrap().is_none());
    }
}
