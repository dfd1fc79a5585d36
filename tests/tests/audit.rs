//! Every act is in the log, and the log shows whether it was tampered with; the list of revoked certificates is there for everybody.

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;
use wardlink_crypto::x509::{Certificate, RevocationList};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{AuditPage, ProblemKind, Role};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::refusal;
use wardlink_tests::pump::another;
use wardlink_tests::scene;
use wardlink_tests::ward::{Ward, device};
use wardlink_trust::audit::{Head, Record, SignedHead, verify};

#[test]
fn what_people_and_devices_do_is_chained_and_an_export_can_be_verified() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (_, auditor) = ward.administrator.add_person("otto", Role::Auditor)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        ward.type_code(&pairing, &another(&code, 1))?;
        ward.type_code(&pairing, &code)?;
        ward.wait_until_paired(&mut pump, "ip-1")?;
        ward.administrator.revoke(&[device("ip-1")?])?;

        assert_eq!(refusal(ward.nurse.get::<AuditPage>("audit"))?, ProblemKind::Forbidden);
        let page: AuditPage = auditor.get("audit")?;
        let acts: Vec<&str> = page.entries.iter().rev().map(|entry| entry.act.as_str()).collect();
        let expected = [
            "person-added",
            "secret-shown",
            "pairing-requested",
            "pairing-accepted",
            "pairing-attempted",
            "pairing-verified",
            "pairing-finished",
            "device-revoked",
        ];
        let mut rest = acts.iter();
        for act in expected {
            ensure!(rest.any(|found| *found == act), "{act} is missing or out of order: {acts:?}");
        }
        let found: AuditPage = auditor.get("audit?act=device-revoked&find=IP-1")?;
        ensure!(found.entries.len() == 1 && found.entries[0].actor == "ada", "{found:?}");
        assert_eq!(refusal(auditor.get::<AuditPage>("audit?act=nothing-like-this"))?, ProblemKind::BadRequest);

        let export = String::from_utf8(auditor.bytes("audit/export")?)?;
        let (entries, end) = export.trim_end().rsplit_once('\n').context("entries and their end")?;
        let end: serde_json::Value = serde_json::from_str(end)?;
        let site = end["site"].as_str().context("the site")?;
        let signed = BASE64.decode(end["signed_head"].as_str().context("a signed head")?.as_bytes())?;
        let root = ward.provisioning.cert_ca_sha256.context("the root's hash")?;
        assert_eq!(site, root.to_string(), "the site is named by its root");
        let head = SignedHead::open(&signed, site, &root)?;
        let records = entries.lines().map(Record::from_line).collect::<Result<Vec<_>, _>>()?;
        verify(Head::beginning(site)?, &records, &[head.head()])?;
        for tampered in [1, records.len() / 2] {
            let mut shorter = records.clone();
            shorter.remove(tampered);
            ensure!(verify(Head::beginning(site)?, &shorter, &[head.head()]).is_err(), "a removal is not seen");
        }
        let mut rewritten = records.clone();
        rewritten[0].hash = Sha256([0; 32]);
        ensure!(verify(Head::beginning(site)?, &rewritten, &[]).is_err(), "a change is not seen");
        let cut = &records[..records.len() - 1];
        ensure!(verify(Head::beginning(site)?, cut, &[head.head()]).is_err(), "a cut is not seen");
        Ok(())
    })
}

#[test]
fn the_list_of_revoked_certificates_grows_with_each_revocation_and_is_signed_by_the_sites_ca() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        pump.kill();
        let (issuing, mine) = wardlink_tests::impostor::certificates(&pump, &device("ip-1")?)?;
        let (issuing, mine) = (Certificate::parse(&issuing)?, Certificate::parse(&mine)?);
        let nobody = ward.worker.api();
        let now = UnixMillis(u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?);
        let before = RevocationList::parse(&nobody.bytes("crl")?)?;
        before.verify(&issuing, None, now)?;
        before.check(&mine)?;
        ward.administrator.revoke(&[device("ip-1")?])?;
        let after = RevocationList::parse(&nobody.bytes("crl")?)?;
        after.verify(&issuing, Some(before.number()), now)?;
        ensure!(after.number() > before.number(), "a new list has a higher number");
        ensure!(after.check(&mine).is_err(), "the revoked certificate is not on the list");
        ensure!(before.verify(&issuing, Some(after.number()), now).is_err(), "an older list is taken for the newest");
        assert_eq!(nobody.bytes("crl")?, after.der(), "it stays the same until something changes");
        Ok(())
    })
}
