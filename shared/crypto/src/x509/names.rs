//! Distinguished names: of a device, OU is the class and CN the identifier; of everything else, CN is the name.

use const_oid::db::rfc4519::{COMMON_NAME, ORGANIZATION_NAME, ORGANIZATIONAL_UNIT_NAME};
use der::asn1::{Any, SetOfVec};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Tag, Tagged};
use wardlink_protocol::Device;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use super::X509Error;

/// The longest common name (RFC 5280 appendix A, ub-common-name-length).
const MAX_COMMON_NAME_CHARS: usize = 64;

pub(super) fn device_name(device: &Device) -> Result<Name, X509Error> {
    name(&[(ORGANIZATIONAL_UNIT_NAME, device.client.as_str()), (COMMON_NAME, device.identifier.as_str())])
}

pub(super) fn common_name(text: &str) -> Result<Name, X509Error> {
    name(&[(COMMON_NAME, text)])
}

fn name(parts: &[(ObjectIdentifier, &str)]) -> Result<Name, X509Error> {
    let mut sequence = RdnSequence::default();
    for (oid, text) in parts {
        if text.is_empty() || text.chars().count() > MAX_COMMON_NAME_CHARS {
            return Err(X509Error::Encode);
        }
        let value = Any::new(Tag::Utf8String, text.as_bytes()).map_err(|_| X509Error::Encode)?;
        let attribute = AttributeTypeAndValue { oid: *oid, value };
        let set = SetOfVec::try_from(vec![attribute]).map_err(|_| X509Error::Encode)?;
        sequence.push(RelativeDistinguishedName::from(set));
    }
    let der = sequence.to_der().map_err(|_| X509Error::Encode)?;
    Name::from_der(&der).map_err(|_| X509Error::Encode)
}

/// The device that a name means, where it has the form of a device's name.
pub(super) fn device_of(subject: &Name) -> Option<Device> {
    let mut parts = subject.iter_rdn().map(|part| match part.as_ref().as_slice() {
        [attribute] => text(attribute),
        _ => None,
    });
    let (client, identifier) = (parts.next()??, parts.next()??);
    let of_device = client.0 == ORGANIZATIONAL_UNIT_NAME && identifier.0 == COMMON_NAME && parts.next().is_none();
    if !of_device {
        return None;
    }
    Some(Device { client: client.1.parse().ok()?, identifier: identifier.1.parse().ok()? })
}

/// The name that a common name alone gives.
pub(super) fn text_of(subject: &Name) -> Option<String> {
    let mut attributes = subject.iter();
    let (oid, text) = text(attributes.next()?)?;
    (oid == COMMON_NAME && attributes.next().is_none()).then(|| text.to_owned())
}

/// Organization, unit and common name, in the order in which they stand; of a CA outside they may be of several kinds of text.
pub(super) fn readable(subject: &Name) -> String {
    let shown = |attribute: &&AttributeTypeAndValue| {
        let is_text = matches!(attribute.value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
        is_text && [COMMON_NAME, ORGANIZATION_NAME, ORGANIZATIONAL_UNIT_NAME].contains(&attribute.oid)
    };
    let parts = subject.iter().filter(shown).filter_map(|attribute| core::str::from_utf8(attribute.value.value()).ok());
    parts.collect::<Vec<_>>().join(", ")
}

fn text(attribute: &AttributeTypeAndValue) -> Option<(ObjectIdentifier, &str)> {
    if attribute.value.tag() != Tag::Utf8String {
        return None;
    }
    Some((attribute.oid, core::str::from_utf8(attribute.value.value()).ok()?))
}
