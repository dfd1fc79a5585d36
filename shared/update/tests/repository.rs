//! A whole repository: what is accepted of it, and at which step it is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use wardlink_test_repository::hospital::{Hospital, atomic_pair, manufacturer};
use wardlink_test_repository::{NOW, Repository, path};
use wardlink_update::client::{Fetched, File};
use wardlink_update::metadata::Expires;
use wardlink_update::package::Manufacturer;
use wardlink_update::repository::{self, Kept, NotAccepted, Reader};

fn read(
    images: &mut Repository,
    trusted: Kept,
    of: Option<Manufacturer>,
) -> Result<repository::Repository, NotAccepted> {
    let mut reader = Reader::start(trusted, of, NOW)?;
    while let Some(wanted) = reader.wanted()? {
        reader.receive(images.fetch(&wanted))?;
    }
    reader.finish()
}

fn root(images: &Repository) -> Kept {
    Kept::from([(File::Root, images.root())])
}

/// At which step the manufacturer's repository is refused after a change.
#[track_caller]
fn refused(change: impl FnOnce(&mut Repository)) -> (&'static str, String) {
    let mut images = Hospital::new().images;
    change(&mut images);
    images.bump();
    let trusted = root(&images);
    match read(&mut images, trusted, Some(manufacturer())).map(drop).unwrap_err() {
        NotAccepted::Client(refusal) => (refusal.step.0, refusal.to_string()),
        NotAccepted::Step { step, why } => (step, why),
    }
}

#[test]
fn everything_that_a_repository_holds_is_read() {
    let mut hospital = Hospital::new();
    for package in atomic_pair() {
        hospital.release(&package);
    }
    hospital.images.bump();
    let trusted = root(&hospital.images);
    let read = read(&mut hospital.images, trusted, Some(manufacturer())).unwrap();
    let packages: Vec<_> = read.releases.packages().iter().map(|listed| listed.release.model.to_string()).collect();
    assert_eq!(packages, ["RP", "PM2"]);
    let authors = &hospital.images.authors;
    let named: usize = authors.values().map(|author| author.files.len()).sum();
    assert_eq!(read.targets().count(), named);
    assert_eq!(read.roles.keys().cloned().collect::<Vec<_>>(), authors.keys().cloned().collect::<Vec<_>>());
    let kept: Vec<_> = read.kept.keys().map(File::name).collect();
    assert_eq!(kept, ["root.json", "timestamp.json", "snapshot.json", "acme.json", "targets.json"]);
    let published: Vec<_> = read.kept.keys().map(|file| read.published_name(file)).collect();
    assert!(published.iter().all(|name| hospital.images.files.contains_key(name)), "{published:?}");
    assert!(read.roots.is_empty(), "the root was known");
}

#[test]
fn it_counts_until_the_first_of_its_roles_ends() {
    let ends: [fn(&mut Repository, Expires); 5] = [
        |images, at| images.root_expires = at,
        |images, at| images.timestamp_expires = at,
        |images, at| images.snapshot_expires = at,
        |images, at| images.author("targets").expires = at,
        |images, at| images.author("acme").expires = at,
    ];
    for (soon, end) in (1..).zip(ends) {
        let mut images = Hospital::new().images;
        end(&mut images, Expires::at(NOW + soon));
        images.bump_root();
        images.bump();
        let trusted = root(&images);
        assert_eq!(read(&mut images, trusted, None).unwrap().ends_at(), NOW + soon);
    }
}

#[test]
fn who_knows_an_earlier_state_goes_on_from_there_and_back_to_none_before_it() {
    let mut images = Hospital::new().images;
    let before = images.clone();
    let trusted = root(&images);
    let earlier = read(&mut images, trusted, None).unwrap().kept;
    images.bump_root();
    images.bump();
    let now = read(&mut images, earlier, None).unwrap();
    assert_eq!(now.roots.iter().map(|(version, _)| *version).collect::<Vec<_>>(), [2]);
    let refused = read(&mut before.clone(), now.kept, None).map(drop).unwrap_err();
    assert!(matches!(refused, NotAccepted::Client(_)), "{refused}");
}

#[test]
fn what_was_not_read_to_its_end_is_nothing() {
    let mut images = Hospital::new().images;
    let mut reader = Reader::start(root(&images), None, NOW).unwrap();
    for _ in 0..3 {
        let wanted = reader.wanted().unwrap().unwrap();
        reader.receive(images.fetch(&wanted)).unwrap();
    }
    assert!(matches!(reader.finish(), Err(NotAccepted::Step { step: "files", .. })));
}

#[test]
fn a_file_that_is_not_there_is_refused_with_the_clients_step() {
    let mut images = Hospital::new().images;
    let mut reader = Reader::start(root(&images), None, NOW).unwrap();
    let refusal = loop {
        let wanted = reader.wanted().unwrap().unwrap();
        let fetched = if wanted.file == File::Snapshot { Fetched::Missing } else { images.fetch(&wanted) };
        if let Err(NotAccepted::Client(refusal)) = reader.receive(fetched) {
            break refusal;
        }
    };
    assert!(refusal.step.0.starts_with("5.5"), "{refusal}");
}

#[test]
fn nothing_wider_than_the_manufacturers_own_models_is_accepted() {
    let pattern = "globex/infusion-pump/PM2/*";
    assert_eq!(refused(|images| images.delegate("targets", "acme-2", 31, pattern, true)).0, "delegations");
    assert_eq!(refused(|images| images.delegate("targets", "wide", 31, "*", true)).0, "delegations");
    let foreign = refused(|images| images.delegate("targets", "globex", 31, pattern, true));
    assert_eq!(foreign, ("manufacturer", "it delegates to globex".to_owned()));
    let further = refused(|images| images.delegate("acme", "helper", 31, "acme/infusion-pump/PM2/*", true));
    assert_eq!(further, ("delegations", "acme delegates further".to_owned()));
}

#[test]
fn what_no_client_comes_to_is_refused() {
    let elsewhere = path("acme/infusion-pump/PM9/1B-2.bin");
    let (step, why) = refused(|images| {
        images.author("acme").files.insert(elsewhere.clone(), b"a program".to_vec());
    });
    assert_eq!((step, why), ("5.6.7", format!("acme names {elsewhere}, but is not trusted for it")));
}

#[test]
fn a_package_that_contradicts_itself_is_refused() {
    let (step, _) = refused(|images| {
        let customs = &mut images.author("acme").customs;
        let custom = customs.values_mut().next().unwrap();
        custom.as_object_mut().unwrap().insert("surprise".to_owned(), true.into());
    });
    assert_eq!(step, "packages");
}
