//! Devices behind a real reverse proxy: which network they come over, and the certificate that they show in TLS.

use anyhow::{Context as _, Result};
use wardlink_protocol::api::{PairingPhase, VerificationProof};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::nginx::Proxied;
use wardlink_tests::pump::Pump;
use wardlink_tests::{scene, wait};

#[test]
fn a_pump_pairs_through_nginx_and_shows_its_certificate_in_tls() -> Result<()> {
    scene(|scene| {
        let proxied = Proxied::start(scene, "proxy")?;
        let administrator = proxied.nginx.api().bootstrap()?;
        let mut pump = Pump::start(scene, &administrator.provisioning()?, "ip-1")?;
        let waiting = administrator.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        assert_eq!(waiting.address, Some("127.0.0.1".parse()?));
        administrator.accept(waiting.session, Mode::PairingCode)?;
        let code = pump.code()?;
        administrator.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        administrator.verify(waiting.session, VerificationProof::Code(code))?;
        pump.wait_for("paired")?;
        pump.wait_for("sent")?;

        pump.kill();
        let subject = "CN=ip-1,OU=infusion-pump";
        wait::until("nginx has seen the certificate", || Ok(proxied.nginx.has_seen(subject)?.then_some(())))
            .context("the pump showed none in TLS")
    })
}
