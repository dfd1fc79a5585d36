//! TLS towards servers whose certificates are judged otherwise than by roots and names. Whoever is let in, it has to hold the key that it shows.

use core::fmt::Debug;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use std::sync::Arc;

/// Says whether the certificates that a server shows are to be believed.
pub(super) trait Judge: Debug + Send + Sync + 'static {
    /// Looks at the server's own certificate, and at those that it sends along.
    fn judge(&self, end_entity: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Result<(), rustls::Error>;
}

/// Takes whatever certificate a server shows.
///
/// A device that was given nothing to check a server by uses it while it pairs, and at no other time: from the command on it
/// connects by the anchors that the command names, and a person closes the circle with the answer (`docs/threat-model.md`).
#[derive(Debug)]
pub(super) struct DangerousAnyServer;

impl Judge for DangerousAnyServer {
    fn judge(&self, _end_entity: &CertificateDer<'_>, _above: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        Ok(())
    }
}

/// How a client of these versions of TLS connects by that judge; it shows no certificate of its own.
pub(super) fn client_config(
    judge: Arc<dyn Judge>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Judged { judge, provider }))
        .with_no_client_auth())
}

/// Has servers judged.
#[derive(Debug)]
struct Judged {
    judge: Arc<dyn Judge>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judged {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
