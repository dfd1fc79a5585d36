//! Revocation lists: what is accepted has one encoding, and only what the CA signed is believed.

use std::collections::BTreeMap;
use wardlink_crypto::x509::{Certificate, Revocation, RevocationList, RevocationReason};
use wardlink_protocol::UnixMillis;

use crate::site::{NOW, site};

fn lists() -> Vec<RevocationList> {
    let site = site();
    let next = UnixMillis(NOW.0 + 86_400_000);
    let revoked = |certificate: &[u8], reason| {
        let serial = Certificate::parse(certificate).expect("a certificate").serial();
        (serial, Revocation { revoked_at: NOW, reason })
    };
    let entries = [
        revoked(&site.issued[0], RevocationReason::KeyCompromise),
        revoked(&site.issued[1], RevocationReason::Unspecified),
    ];
    let issue = |number, entries: &BTreeMap<_, _>| site.ca.issue_crl(number, entries, NOW, next).expect("a list");
    vec![issue(1, &BTreeMap::new()), issue(u64::MAX, &BTreeMap::from(entries))]
}

pub(crate) fn run(der: &[u8]) {
    let Ok(list) = RevocationList::parse(der) else { return };
    assert_eq!(list.der(), der);
    let site = site();
    if list.verify(site.ca.certificate(), None, NOW).is_ok() {
        // ECDSA is malleable: the same list under a second signature says the same.
        let said = |list: &RevocationList| (list.number(), list.next_update(), list.revoked().clone());
        assert!(lists().iter().any(|known| said(known) == said(&list)), "a forged list is believed");
    }
    for issued in &site.issued {
        let _ = list.check(&Certificate::parse(issued).expect("a certificate"));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    lists().iter().map(|list| list.der().to_vec()).collect()
}
