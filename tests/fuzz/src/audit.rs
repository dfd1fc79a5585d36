//! The audit log: lines of an export, and signed heads. Only what was written verifies.

use wardlink_trust::audit::{self, Act, Actor, Draft, Head, MAX_LINE_BYTES, Outcome, Record, SignedHead};

use crate::site::{NOW, site};
use crate::vectors::Vectors;
use crate::{select, selected};

const SITE: &str = "St. Elsewhere";

/// The lines of the frozen log.
fn frozen() -> Vec<String> {
    (0..4).map(|number| Vectors::trust().json(&format!("/audit/entries/{number}/line"))).collect()
}

fn beginning() -> Head {
    let hash = Vectors::trust().text("/audit/beginning").parse().expect("a hash");
    Head { sequence: 0, hash }
}

fn signed() -> Vec<u8> {
    let site = site();
    SignedHead::sign(beginning(), SITE, &site.signer, &site.chain, NOW).expect("a signed head")
}

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    match selector % 3 {
        0 => export(bytes),
        1 => {
            let opened = SignedHead::open(bytes, SITE, &site().cert_ca());
            assert!(opened.is_err() || bytes == signed(), "a foreign head counts");
        }
        _ => entry(bytes),
    }
}

/// Lines of an export, each ended by a line feed.
fn export(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(records) = text.lines().map(Record::from_line).collect::<Result<Vec<_>, _>>() else { return };
    for record in &records {
        let line = record.to_line().expect("what was read can be written");
        assert_eq!(Record::from_line(&line).as_ref(), Ok(record));
    }
    if audit::verify(beginning(), &records, &[]).is_ok() {
        let known: Vec<Record> = frozen().iter().map(|line| Record::from_line(line).expect("an entry")).collect();
        assert!(known.starts_with(&records), "a log that nobody wrote holds");
    }
}

/// Any text becomes an entry that holds.
fn entry(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (act, outcome) = (Act::ALL[bytes.len() % Act::ALL.len()], Outcome::Done);
    let actor = Actor::Rule { name: text.clone().into_owned() };
    let draft = Draft { actor, act, subject: text.clone().into_owned(), detail: text.into_owned(), outcome };
    let (record, end) = beginning().append(draft, NOW).expect("an entry");
    let line = record.to_line().expect("a line");
    assert!(line.len() <= MAX_LINE_BYTES && !line.contains('\n'));
    assert_eq!(audit::verify(beginning(), [&record], &[end]), Ok(end));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        select(0, frozen().join("\n").as_bytes()),
        select(0, frozen()[0].as_bytes()),
        select(1, &signed()),
        select(2, b"device \"lost\""),
    ]
}
