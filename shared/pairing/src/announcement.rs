//! What the control unit tells everybody on T4 of a device whose trust has ended. That of one that was paired is told by the pairing.

use wardlink_protocol::pairing::Status;
use wardlink_protocol::service::DeviceRevoked;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

use crate::message::{self, MessageError, Signer};

/// Announces that a device is trusted no longer: DEVICE_REVOKED, to be published on the topic. Whoever keeps certificates or keys of
/// the class asks for them anew.
pub fn revoked(signer: Signer<'_>, device: &Device, revoked_at: UnixMillis) -> Result<(Topic, Vec<u8>), MessageError> {
    let topic = Topic::Meta(device.client.clone());
    let announcement = DeviceRevoked { status: Status::DeviceRevoked, device: device.clone(), revoked_at };
    let payload = message::sign(signer, None, &topic, &announcement)?;
    Ok((topic, payload))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::tests::site::{START, Site};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_revocation_is_announced_under_the_control_units_signature() {
        let site = Site::new(&mut StdRng::seed_from_u64(8));
        let device: Device = "infusion-pump/pump-1".parse().unwrap();
        let signer = Signer { key: &site.key, chain: &site.chain };
        let (topic, payload) = revoked(signer, &device, START).unwrap();
        assert_eq!(topic.to_string(), "ais/meta/infusion-pump");
        let verified = message::verify(&payload, None, &topic, Some(&site.cert_ca()), START).unwrap();
        let said: DeviceRevoked = verified.decode().unwrap();
        assert_eq!(said, DeviceRevoked { status: Status::DeviceRevoked, device, revoked_at: START });
    }
}
