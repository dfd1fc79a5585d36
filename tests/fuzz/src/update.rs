//! Metadata of updates: what is accepted has one canonical form, and a hostile repository makes nobody trust anything.

use std::sync::LazyLock;
use wardlink_test_repository::attacks::{ATTACKS, Attack};
use wardlink_test_repository::{Disk, NOW, Repository, path};
use wardlink_update::client::{Client, Fetched, Next, Stored};
use wardlink_update::json::Json;
use wardlink_update::metadata::{Draft, Role, Root, Signed, Snapshot, Targets, Timestamp};

use crate::{select, selected};

/// How many files a client may ask for, at most: every root that it follows, three top-level roles, every delegation.
const MOST_FILES: usize = 256 + 1 + 3 + 33;

fn json(bytes: &[u8]) {
    let Ok(value) = Json::parse(bytes) else { return };
    let again = Json::parse(&value.to_json()).expect("what was read can be written");
    assert_eq!(again, value);
    assert_eq!(again.to_canonical(), value.to_canonical());
}

fn role<T: Role>(bytes: &[u8]) {
    let Ok(signed) = Signed::<T>::parse(bytes) else { return };
    assert!(signed.role.version() > 0);
    let draft = Draft::parse(bytes).expect("metadata is a draft that is signed");
    assert_eq!(draft.signed().to_canonical(), signed.canonical());
    let again = Signed::<T>::parse(&draft.to_bytes()).expect("a draft can be written");
    assert_eq!(again.canonical(), signed.canonical());
    assert_eq!(again.signatures(), signed.signatures());
}

/// Every attack, made once.
static MADE: LazyLock<Vec<(Disk, Repository)>> = LazyLock::new(|| ATTACKS.iter().map(Attack::make).collect());

const READERS: [fn(&[u8]); 5] = [json, role::<Root>, role::<Timestamp>, role::<Snapshot>, role::<Targets>];

pub(crate) fn metadata(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    if let Some(reader) = READERS.get(usize::from(selector) % READERS.len()) {
        reader(bytes);
    }
}

pub(crate) fn metadata_seeds() -> Vec<Vec<u8>> {
    let (_, repository) = &MADE[0];
    let selector = |name: &str| match name {
        name if name.ends_with("root.json") => 1,
        "timestamp.json" => 2,
        name if name.ends_with("snapshot.json") => 3,
        _ => 4,
    };
    let files = repository.files.iter().map(|(name, bytes)| select(selector(name), bytes));
    files.chain([select(0, br#"{"a":[1,-2,null,true],"\u00e9":"\n"}"#)]).collect()
}

/// The first byte says which answer is the input's rest; all others are those of an honest repository, whose signatures nobody has
/// who makes the input. So nothing new is ever trusted because of it.
pub(crate) fn repository(input: &[u8]) {
    let Some((selector, answer)) = selected(input) else { return };
    let (known, mut repository) = MADE[usize::from(selector / 16) % MADE.len()].clone();
    let forged = usize::from(selector % 16);
    let mut stored = known.0.clone();
    // What was stored may be damaged as well.
    match forged {
        12 => stored.timestamp = Some(answer.to_vec()),
        13 => stored.snapshot = Some(answer.to_vec()),
        14 => stored.targets.values_mut().for_each(|bytes| *bytes = answer.to_vec()),
        15 => stored = Stored { root: answer.to_vec(), ..stored },
        _ => {}
    }
    let Ok(mut client) = Client::start(stored, NOW) else { return };
    let mut searched = false;
    for asked in 0..=MOST_FILES {
        let wanted = match client.next() {
            Next::Fetch(wanted) => wanted,
            Next::Ready if !searched => {
                searched = true;
                if client.search(path(Attack::TARGET)).is_err() {
                    return;
                }
                continue;
            }
            Next::Ready | Next::Found(_) => return,
        };
        let honest = repository.fetch(&wanted);
        let fetched = if asked == forged { Fetched::Bytes(answer.to_vec()) } else { honest.clone() };
        let is_honest = fetched == honest;
        match client.receive(fetched) {
            Ok(commands) => {
                let is_signed = |bytes: &Vec<u8>| repository.files.values().any(|file| signed(file) == signed(bytes));
                for command in commands {
                    if let wardlink_update::client::Command::Store(_, bytes) = command {
                        assert!(is_honest || is_signed(&bytes), "forged metadata is stored");
                    }
                }
            }
            Err(_) => return,
        }
    }
    panic!("the client asks without end");
}

/// What the signatures are about: white space and further signatures change nothing.
fn signed(bytes: &[u8]) -> Option<Vec<u8>> {
    Json::parse(bytes).ok()?.member("signed").map(Json::to_canonical)
}

pub(crate) fn repository_seeds() -> Vec<Vec<u8>> {
    let (_, repository) = &MADE[0];
    repository.files.values().enumerate().map(|(number, bytes)| select(number % 16, bytes)).collect()
}
