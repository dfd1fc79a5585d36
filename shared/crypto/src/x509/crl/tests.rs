#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::key::PrivateKey;
use crate::x509::{Holder, RootCa, Validity};
use core::time::Duration;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_hours(24);

struct Site {
    ca: IssuingCa,
    certificate: Certificate,
}

fn site(seed: u64) -> Site {
    let mut rng = StdRng::seed_from_u64(seed);
    let validity = Validity { not_before: UnixMillis::from_secs(1_700_000_000), not_after: NOW.after(100 * DAY) };
    let root = RootCa::make("Root", validity, &mut rng).unwrap();
    let ca = root.make_issuing_ca("Issuing", validity, &mut rng).unwrap();
    let key = PrivateKey::make(&mut rng);
    let holder = Holder::Device("infusion-pump/pump-1".parse().unwrap());
    let certificate = ca.issue(&holder, &key.public(), validity, &mut rng).unwrap();
    Site { ca, certificate }
}

fn revoked(
    serials: impl IntoIterator<Item = (CertificateSerial, RevocationReason)>,
) -> BTreeMap<CertificateSerial, Revocation> {
    serials.into_iter().map(|(serial, reason)| (serial, Revocation { revoked_at: NOW, reason })).collect()
}

fn serial(number: u32) -> CertificateSerial {
    let mut bytes = [0x40; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    CertificateSerial(bytes)
}

impl Site {
    fn list(&self, number: u64, revoked: &BTreeMap<CertificateSerial, Revocation>) -> RevocationList {
        self.ca.issue_crl(number, revoked, NOW, NOW.after(DAY)).unwrap()
    }
}

#[test]
fn a_revoked_certificate_is_refused_with_time_and_reason_and_another_one_is_not() {
    let site = site(1);
    let empty = site.list(1, &BTreeMap::new());
    assert_eq!(empty.verify(site.ca.certificate(), None, NOW), Ok(()));
    assert_eq!(empty.check(&site.certificate), Ok(()));
    for reason in [
        RevocationReason::Unspecified,
        RevocationReason::KeyCompromise,
        RevocationReason::Superseded,
        RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn,
    ] {
        let list = site.list(2, &revoked([(site.certificate.serial(), reason)]));
        assert_eq!(list.verify(site.ca.certificate(), Some(1), NOW), Ok(()));
        assert_eq!(list.check(&site.certificate), Err(CrlError::Revoked(Revocation { revoked_at: NOW, reason })));
        assert_eq!(RevocationList::parse(list.der()).unwrap(), list);
    }
    assert_eq!(site.list(3, &revoked([(serial(1), RevocationReason::KeyCompromise)])).check(&site.certificate), Ok(()));
}

#[test]
fn a_list_counts_from_its_making_to_its_next_update() {
    let site = site(1);
    let list = site.list(1, &BTreeMap::new());
    let at = |now| list.verify(site.ca.certificate(), None, now);
    assert_eq!((list.this_update(), list.next_update()), (NOW, NOW.after(DAY)));
    assert_eq!(at(UnixMillis(NOW.0 - 60_000)), Ok(()));
    assert_eq!(at(UnixMillis(NOW.0 - 61_000)), Err(CrlError::NotYetValid));
    assert_eq!(at(NOW.after(DAY)), Ok(()));
    assert_eq!(at(UnixMillis(NOW.after(DAY).0 + 1)), Err(CrlError::Stale));
    assert_eq!(at(NOW.after(101 * DAY)), Err(ChainError::Expired.into()));
}

#[test]
fn a_list_of_another_issuer_or_with_a_lower_number_is_refused() {
    let (site, other) = (site(1), self::site(2));
    let list = site.list(5, &BTreeMap::new());
    assert_eq!(list.verify(other.ca.certificate(), None, NOW), Err(ChainError::Issuer.into()));
    assert_eq!(list.verify(site.ca.root(), None, NOW), Err(ChainError::Issuer.into()));
    assert_eq!(list.verify(&site.certificate, None, NOW), Err(ChainError::NotAnAuthority.into()));
    assert_eq!(list.check(&other.certificate), Err(ChainError::Issuer.into()));
    assert_eq!(list.verify(site.ca.certificate(), Some(5), NOW), Ok(()));
    assert_eq!(list.verify(site.ca.certificate(), Some(6), NOW), Err(CrlError::NumberFalls));
}

#[test]
fn numbers_of_every_length_survive() {
    let site = site(1);
    for number in [0, 1, 127, 128, 255, 256, 1 << 31, 1 << 63, u64::MAX] {
        assert_eq!(site.list(number, &BTreeMap::new()).number(), number);
    }
}

#[test]
fn as_many_as_the_limit_fit_and_one_more_does_not() {
    let site = site(1);
    let many = |count: usize| {
        let count = u32::try_from(count).unwrap();
        revoked((0..count).map(|number| (serial(number), RevocationReason::KeyCompromise)))
    };
    let full = site.list(1, &many(MAX_CRL_ENTRIES));
    assert!(full.der().len() <= MAX_CRL_BYTES && full.revoked().len() == MAX_CRL_ENTRIES);
    let more = site.ca.issue_crl(2, &many(MAX_CRL_ENTRIES + 1), NOW, NOW.after(DAY));
    assert!(more.is_err());
    assert_eq!(RevocationList::parse(&vec![0x30; MAX_CRL_BYTES + 1]), Err(X509Error::Malformed));
}

/// A list that the CA signed after `change` worked on it.
fn forged(site: &Site, change: impl FnOnce(&mut TbsCertList)) -> Vec<u8> {
    let list = site.list(1, &revoked([(serial(1), RevocationReason::KeyCompromise)]));
    let mut list = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(list.der()).unwrap();
    change(&mut list.tbs_cert_list);
    let signature: DerSignature = site.ca.key().try_sign(&list.tbs_cert_list.to_der().unwrap()).unwrap();
    list.signature = signature.to_bitstring().unwrap();
    list.to_der().unwrap()
}

#[test]
fn a_list_outside_the_profile_is_refused_even_where_it_is_signed() {
    let site = site(1);
    assert!(RevocationList::parse(&forged(&site, |_| {})).is_ok());
    let changes: [fn(&mut TbsCertList); 10] = [
        |tbs| tbs.next_update = None,
        |tbs| tbs.next_update = Some(tbs.this_update),
        |tbs| tbs.crl_extensions = None,
        |tbs| tbs.crl_extensions.as_mut().unwrap().truncate(1),
        |tbs| tbs.crl_extensions.as_mut().unwrap()[0].critical = true,
        |tbs| {
            let extensions = tbs.crl_extensions.as_mut().unwrap();
            extensions.push(extensions[0].clone());
        },
        |tbs| tbs.crl_extensions.as_mut().unwrap()[1].extn_id = const_oid::db::rfc5280::ID_CE_DELTA_CRL_INDICATOR,
        |tbs| tbs.revoked_certificates = Some(Vec::new()),
        |tbs| {
            let revoked = tbs.revoked_certificates.as_mut().unwrap();
            revoked.push(revoked[0].clone());
        },
        |tbs| tbs.revoked_certificates.as_mut().unwrap()[0].crl_entry_extensions.as_mut().unwrap()[0].critical = true,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert!(RevocationList::parse(&forged(&site, change)).is_err(), "change {number}");
    }
    for code in [CrlReason::Unspecified, CrlReason::CertificateHold, CrlReason::RemoveFromCRL] {
        let list = forged(&site, |tbs| {
            let issuer = tbs.issuer.clone();
            let extension = (false, &code).to_extension(&issuer, &[]).unwrap();
            tbs.revoked_certificates.as_mut().unwrap()[0].crl_entry_extensions = Some(vec![extension]);
        });
        assert_eq!(RevocationList::parse(&list), Err(X509Error::Profile));
    }
    let short = forged(&site, |tbs| {
        tbs.revoked_certificates.as_mut().unwrap()[0].serial_number = SerialNumber::new(&[1]).unwrap();
    });
    assert_eq!(RevocationList::parse(&short), Err(X509Error::Profile));
}

#[test]
fn a_list_that_somebody_else_signed_is_refused() {
    let (site, other) = (site(1), self::site(2));
    let list = site.list(1, &BTreeMap::new());
    let mut forged = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(list.der()).unwrap();
    let signature: DerSignature = other.ca.key().try_sign(&forged.tbs_cert_list.to_der().unwrap()).unwrap();
    forged.signature = signature.to_bitstring().unwrap();
    let forged = RevocationList::parse(&forged.to_der().unwrap()).unwrap();
    assert_eq!(forged.verify(site.ca.certificate(), None, NOW), Err(ChainError::Signature.into()));
}

proptest! {
    #[test]
    fn whatever_was_listed_is_found(numbers in prop::collection::btree_set(any::<u32>(), 0..40)) {
        let site = site(1);
        let expected = revoked(numbers.into_iter().map(|number| (serial(number), RevocationReason::Superseded)));
        let list = site.list(1, &expected);
        prop_assert_eq!(list.revoked(), &expected);
    }

    #[test]
    fn a_changed_byte_never_verifies(position in any::<prop::sample::Index>(), change in 1_u8..) {
        let site = site(1);
        let mut der = site.list(1, &revoked([(serial(1), RevocationReason::KeyCompromise)])).der().to_vec();
        let position = position.index(der.len());
        der[position] ^= change;
        let verified = RevocationList::parse(&der).is_ok_and(|list| list.verify(site.ca.certificate(), None, NOW).is_ok());
        prop_assert!(!verified);
    }
}
