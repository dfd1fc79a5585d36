#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::cbor::{self, CborError};
use crate::channel::default_channels;
use crate::identity::KeyId;
use crate::limits::MAX_PAIRING_MESSAGE_BYTES;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

fn survives<T: Serialize + DeserializeOwned + PartialEq>(message: &T) -> Result<(), TestCaseError> {
    let bytes = cbor::encode(message).unwrap();
    let decoded: T = cbor::decode(&bytes, MAX_PAIRING_MESSAGE_BYTES).unwrap();
    prop_assert!(decoded == *message);
    // Nothing but the very bytes is accepted.
    prop_assert!(cbor::decode::<T>(&[&bytes[..], &[0]].concat(), MAX_PAIRING_MESSAGE_BYTES).is_err());
    prop_assert!(cbor::decode::<T>(&bytes[..bytes.len() - 1], MAX_PAIRING_MESSAGE_BYTES).is_err());
    prop_assert_eq!(cbor::decode::<T>(&bytes, bytes.len() - 1).err(), Some(CborError::TooLong));
    Ok(())
}

fn bytes(most: usize) -> impl Strategy<Value = ByteBuf> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(ByteBuf::from)
}

fn hash() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::PairingSimple), Just(Mode::PairingCode), Just(Mode::PairingQrcode)]
}

fn information() -> impl Strategy<Value = DeviceInformation> {
    ("\\PC{0,20}", "\\PC{0,20}", "\\PC{0,20}", any::<[bool; 3]>()).prop_map(|(one, two, three, display)| {
        DeviceInformation {
            device_type: one.clone(),
            family: two.clone(),
            model: three.clone(),
            serial_number: one,
            firmware_version: two,
            hardware_id: three,
            display: DisplayAbilities { code: display[0], qr: display[1], digit_entry: display[2] },
        }
    })
}

proptest! {
    #[test]
    fn every_request_survives(
        information in information(),
        csr in bytes(400),
        ephemeral in bytes(65),
        commitment in hash(),
        attestation in prop::collection::vec(bytes(100), 0..4),
        needs_answer in any::<bool>(),
    ) {
        let status = Status::PairingRequest;
        survives(&PairingRequest { status, information, csr, ephemeral, commitment, attestation, needs_answer })?;
    }

    #[test]
    fn every_command_survives(
        mode in mode(),
        code_beside in any::<bool>(),
        request_hash in hash(),
        certificate in bytes(400),
        chain in prop::collection::vec(bytes(100), 0..4),
        text in "\\PC{0,30}",
        expires_at in any::<u64>(),
    ) {
        survives(&PairingCommand {
            status: mode.into(),
            code_beside,
            ephemeral: certificate.clone(),
            request_hash,
            certificate: certificate.clone(),
            chain: chain.clone(),
            cert_ca: certificate,
            tls_anchors: chain,
            web_pki: code_beside,
            broker_host: text.clone(),
            web_origin: text,
            expires_at: UnixMillis(expires_at),
        })?;
    }

    #[test]
    fn every_answer_and_every_end_survives(mode in mode(), nonce in hash(), mac in hash(), session in any::<[u8; 16]>(), note in "\\PC{0,60}") {
        survives(&PairingVerified { status: Status::PairingVerified, mode, nonce, mac })?;
        survives(&PairingFinished { status: Status::PairingFinished, mac })?;
        let reason = RefusalReason::WrongCode;
        survives(&PairingRefused { status: Status::PairingRefused, session: SessionId(session), reason, note })?;
    }

    #[test]
    fn every_confirmation_and_announcement_survives(certificate in bytes(400), key in any::<[u8; 32]>(), count in 1usize..7) {
        let channels = default_channels().into_iter().take(count)
            .map(|channel| ChannelKey { channel, kid: KeyId([1; 8]), epoch: 7, key })
            .collect();
        let trust = TrustLevel::Full;
        survives(&PairingConfirmed { status: Status::PairingConfirmed, certificate: certificate.clone(), trust, channels })?;
        let device = "infusion-pump/pump-1".parse().unwrap();
        survives(&DevicePaired { status: Status::DevicePaired, device, certificate, purpose: Purpose::Device, trust })?;
    }
}

#[test]
fn a_message_of_one_kind_is_none_of_another() {
    let finished = PairingFinished { status: Status::PairingFinished, mac: Sha256([1; 32]) };
    let bytes = cbor::encode(&finished).unwrap();
    assert!(cbor::decode::<PairingVerified>(&bytes, 1024).is_err());
    assert!(cbor::decode::<PairingRefused>(&bytes, 1024).is_err());
}

#[test]
fn modes_order_by_strength() {
    assert!(Mode::PairingSimple < Mode::PairingCode && Mode::PairingCode < Mode::PairingQrcode);
}

#[test]
fn statuses_have_the_patents_names() {
    let text = |status: Status| serde_json::to_string(&status).unwrap();
    assert_eq!(text(Status::PairingQrcode), "\"pairing_qrcode\"");
    assert_eq!(text(Mode::PairingCode.into()), "\"pairing_code\"");
    assert_eq!(text(Mode::PairingSimple.into()), "\"pairing_simple\"");
}
