#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::testing::{Counting, NOW, later, pump};
use core::time::Duration;
use proptest::prelude::*;
use std::collections::BTreeSet;
use wardlink_crypto::x509::{Holder, RootCa, Validity};

const SITE: &str = "St. Elsewhere";

fn draft(number: u64) -> Draft {
    let actor = match number % 4 {
        0 => Actor::System,
        1 => Actor::Person { name: "Ada".into(), role: Role::Administrator },
        2 => Actor::Device { device: pump(1), key: KeyFingerprint([7; 32]) },
        _ => Actor::Rule { name: "accept pumps of ward 3".into() },
    };
    Draft {
        actor,
        act: Act::ALL[usize::try_from(number).unwrap() % Act::ALL.len()],
        subject: format!("infusion-pump/p-{number}"),
        detail: "battery \"swollen\"".into(),
        outcome: Outcome::Done,
    }
}

fn log(length: u64) -> (Head, Vec<Record>, Vec<Head>) {
    let beginning = Head::beginning(SITE).unwrap();
    let (mut head, mut records, mut heads) = (beginning, Vec::new(), Vec::new());
    for number in 0..length {
        let (record, next) = head.append(draft(number), later(number)).unwrap();
        records.push(record);
        heads.push(next);
        head = next;
    }
    (beginning, records, heads)
}

#[test]
fn a_log_that_nobody_touched_holds_in_whole_and_in_runs() {
    let (beginning, records, heads) = log(9);
    assert_eq!(verify(beginning, &records, &heads), Ok(heads[8]));
    assert_eq!(verify(heads[3], &records[4..], &heads[4..]), Ok(heads[8]));
    assert_eq!(verify(beginning, [], &[]), Ok(beginning));
}

#[test]
fn a_removed_a_repeated_and_a_reordered_entry_are_found() {
    let (beginning, records, _) = log(6);
    for gone in 0..5_usize {
        let mut rest = records.clone();
        rest.remove(gone);
        let (expected, found) = (gone as u64 + 1, gone as u64 + 2);
        assert_eq!(verify(beginning, &rest, &[]), Err(AuditError::Sequence { expected, found }));
    }
    let mut swapped = records.clone();
    swapped.swap(2, 3);
    assert_eq!(verify(beginning, &swapped, &[]), Err(AuditError::Sequence { expected: 3, found: 4 }));
    let mut twice = records;
    twice.insert(2, twice[1].clone());
    assert_eq!(verify(beginning, &twice, &[]), Err(AuditError::Sequence { expected: 3, found: 2 }));
}

#[test]
fn a_changed_entry_is_found_whatever_was_changed() {
    let (beginning, records, _) = log(4);
    let edits: [fn(&mut Record); 7] = [
        |record| record.entry.at = UnixMillis(0),
        |record| record.entry.actor = Actor::Rule { name: "nobody".into() },
        |record| record.entry.act = Act::SignedIn,
        |record| record.entry.subject.push('x'),
        |record| record.entry.detail.clear(),
        |record| record.entry.outcome = Outcome::Refused,
        |record| record.hash.0[0] ^= 1,
    ];
    for edit in edits {
        let mut changed = records.clone();
        edit(&mut changed[1]);
        assert_eq!(verify(beginning, &changed, &[]), Err(AuditError::Altered(2)));
    }
}

#[test]
fn a_log_that_was_cut_or_written_anew_is_found_by_a_signed_head() {
    let (beginning, records, heads) = log(6);
    let cut = &records[..4];
    assert!(verify(beginning, cut, &heads[..4]).is_ok());
    assert_eq!(verify(beginning, cut, &heads[5..]), Err(AuditError::Truncated { end: 4, signed: 6 }));
    let mut head = beginning;
    let rewritten: Vec<_> = (0..6)
        .map(|number| {
            let (record, next) = head.append(draft(number + 1), NOW).unwrap();
            head = next;
            record
        })
        .collect();
    assert!(verify(beginning, &rewritten, &[]).is_ok());
    assert_eq!(verify(beginning, &rewritten, &heads[2..3]), Err(AuditError::Rewritten(3)));
}

#[test]
fn the_logs_of_two_sites_do_not_fit_together() {
    let (_, records, _) = log(1);
    let other = Head::beginning("St. Eligius").unwrap();
    assert_eq!(verify(other, &records, &[]), Err(AuditError::Altered(1)));
}

#[test]
fn texts_are_cut_and_cleaned_and_the_entry_is_kept() {
    let head = Head::beginning(SITE).unwrap();
    let long = "\u{e4}".repeat(1_000);
    let draft = Draft { detail: long.clone(), subject: "a\nb\u{7}c".into(), ..draft(0) };
    let (record, _) = head.append(draft, NOW).unwrap();
    assert_eq!(record.entry.subject, "a b c");
    assert!(record.entry.detail.len() <= MAX_DETAIL_BYTES && record.entry.detail.ends_with('\u{2026}'));
    let draft = Draft { actor: Actor::Person { name: long, role: Role::Nurse }, ..self::draft(0) };
    let (record, _) = head.append(draft, NOW).unwrap();
    assert!(record.entry.actor.to_string().len() <= MAX_SUBJECT_BYTES);
    let end = Head { sequence: u64::MAX, hash: head.hash };
    assert_eq!(end.append(self::draft(0), NOW).err(), Some(AuditError::UsedUp));
}

#[test]
fn an_export_can_be_verified_by_anybody() {
    let (beginning, records, heads) = log(8);
    let lines: Vec<String> = records.iter().map(|record| record.to_line().unwrap()).collect();
    assert!(lines.iter().all(|line| !line.contains('\n') && line.len() <= MAX_LINE_BYTES));
    let read: Vec<_> = lines.iter().map(|line| Record::from_line(line).unwrap()).collect();
    assert_eq!(read, records);
    assert_eq!(verify(beginning, &read, &heads), Ok(heads[7]));
    for bad in ["", "{}", "[1]", &lines[0][1..], &format!("{} {}", lines[0], lines[1]), &"x".repeat(MAX_LINE_BYTES + 1)]
    {
        assert_eq!(Record::from_line(bad).err(), Some(AuditError::Line));
    }
    let extra = lines[0].replacen('{', "{\"more\":1,", 1);
    assert_eq!(Record::from_line(&extra).err(), Some(AuditError::Line));
}

#[test]
fn every_act_has_its_own_word() {
    let words: BTreeSet<_> = Act::ALL.iter().map(|act| act.word()).collect();
    assert_eq!(words.len(), Act::ALL.len());
    for act in Act::ALL {
        assert_eq!(serde_json::to_value(act).unwrap(), act.word());
        assert!(act.word().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    }
}

struct Signing {
    key: PrivateKey,
    chain: Vec<ByteBuf>,
    root: Sha256,
    other: (PrivateKey, Vec<ByteBuf>),
}

fn signing() -> Signing {
    let mut rng = Counting(3);
    let validity = Validity { not_before: NOW, not_after: NOW.after(Duration::from_hours(24)) };
    let root = RootCa::make("Root", validity, &mut rng).unwrap();
    let ca = root.make_issuing_ca("CA", validity, &mut rng).unwrap();
    let mut made = |holder: &Holder| {
        let key = PrivateKey::make(&mut rng);
        let certificate = ca.issue(holder, &key.public(), validity, &mut rng).unwrap();
        (key, [vec![certificate.to_bytes()], ca.chain()].concat())
    };
    let (key, chain) = made(&Holder::ControlUnit(SITE.into()));
    let other = made(&Holder::Service("records".into()));
    Signing { key, chain, root: root.certificate().sha256(), other }
}

#[test]
fn a_signed_head_says_how_long_the_log_was() {
    let signing = signing();
    let (beginning, records, heads) = log(5);
    let signed = SignedHead::sign(heads[4], SITE, &signing.key, &signing.chain, later(60)).unwrap();
    assert!(signed.len() <= MAX_HEAD_BYTES);
    let opened = SignedHead::open(&signed, SITE, &signing.root).unwrap();
    assert_eq!((opened.head(), opened.signed_at), (heads[4], later(60)));
    let refused = verify(beginning, &records[..3], &[opened.head()]);
    assert_eq!(refused, Err(AuditError::Truncated { end: 3, signed: 5 }));
}

#[test]
fn a_head_that_the_control_unit_of_this_site_did_not_sign_is_refused() {
    let signing = signing();
    let (.., heads) = log(2);
    let sign = |key, chain, at| SignedHead::sign(heads[1], SITE, key, chain, at).unwrap();
    let open = |bytes: &[u8]| SignedHead::open(bytes, SITE, &signing.root);
    let genuine = sign(&signing.key, &signing.chain, NOW);
    assert_eq!(SignedHead::open(&genuine, "elsewhere", &signing.root), Err(AuditError::Header));
    assert_eq!(SignedHead::open(&genuine, SITE, &Sha256([0; 32])), Err(ChainError::Root.into()));
    let (other_key, other_chain) = &signing.other;
    assert_eq!(open(&sign(other_key, other_chain, NOW)), Err(ChainError::Purpose.into()));
    let wrong_key = sign(other_key, &signing.chain, NOW);
    assert_eq!(open(&wrong_key), Err(EnvelopeError::Authentication.into()));
    let expired = sign(&signing.key, &signing.chain, NOW.after(Duration::from_hours(25)));
    assert_eq!(open(&expired), Err(ChainError::Expired.into()));
    for index in (0..genuine.len()).step_by(7) {
        let mut changed = genuine.clone();
        changed[index] ^= 1;
        assert!(open(&changed).is_err(), "byte {index}");
    }
}

proptest! {
    #[test]
    fn whatever_is_left_out_moved_or_changed_is_found(
        length in 2..20_u64,
        what in 0..3_u8,
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let (beginning, records, heads) = log(length);
        let mut changed = records.clone();
        let (at, other) = (at.index(changed.len()), other.index(changed.len()));
        match what {
            0 => drop(changed.remove(at)),
            1 => changed.swap(at, other),
            _ => changed[at].entry.detail.push('!'),
        }
        let end = heads.last().copied().into_iter().collect::<Vec<_>>();
        prop_assert_eq!(verify(beginning, &changed, &end).is_ok(), changed == records);
    }

    #[test]
    fn any_text_makes_an_entry_that_an_export_carries(subject in ".{0,300}", detail in any::<String>()) {
        let head = Head::beginning(SITE).unwrap();
        let (record, next) = head.append(Draft { subject, detail, ..draft(1) }, NOW).unwrap();
        let line = record.to_line().unwrap();
        prop_assert!(line.len() <= MAX_LINE_BYTES);
        let read = Record::from_line(&line).unwrap();
        prop_assert_eq!(verify(head, [&read], &[]), Ok(next));
    }
}
