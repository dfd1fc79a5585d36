#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use wardlink_update::package::BoundFile;

fn bound(bytes: &[u8]) -> (Sha256, Target) {
    let file = BoundFile::of("acme/a/b/c".to_owned().try_into().unwrap(), bytes);
    (file.sha256, file.target())
}

fn cache() -> (tempfile::TempDir, Store, Packages) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let packages = Packages::open(folder.path().join("packages")).unwrap();
    (folder, store, packages)
}

/// Where an image lies that has come whole.
fn put(packages: &Packages, store: &Store, bytes: &[u8]) -> PathBuf {
    let (sha256, target) = bound(bytes);
    let mut partial = packages.partial(&sha256).unwrap();
    partial.write(bytes).unwrap();
    packages.finish(store, &partial, &sha256, &target).unwrap().unwrap()
}

#[test]
fn an_image_counts_when_it_is_whole_and_the_listed_one() {
    let (_folder, store, packages) = cache();
    let (sha256, target) = bound(b"an image");
    packages.partial(&sha256).unwrap().write(b"an im").unwrap();
    assert_eq!(packages.find(&store, &sha256).unwrap(), None);
    // After a power loss it goes on where it was.
    let mut partial = packages.partial(&sha256).unwrap();
    assert_eq!(partial.length, 5);
    partial.write(b"age").unwrap();
    let path = packages.finish(&store, &partial, &sha256, &target).unwrap().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"an image");
    assert_eq!(packages.find(&store, &sha256).unwrap(), Some(path));

    for wrong in [&b"an imago"[..], b"an image and more", b"an"] {
        let (sha256, target) = bound(b"another one");
        let mut partial = packages.partial(&sha256).unwrap();
        partial.restart().unwrap();
        partial.write(wrong).unwrap();
        packages.finish(&store, &partial, &sha256, &target).unwrap().unwrap_err();
        assert_eq!(packages.find(&store, &sha256).unwrap(), None);
        assert_eq!(packages.partial(&sha256).unwrap().length, 0, "it is thrown away");
    }
}

#[test]
fn what_nobody_needs_is_deleted() {
    let (folder, store, packages) = cache();
    let [old, new] = [b"old", b"new"].map(|bytes| {
        put(&packages, &store, bytes);
        bound(bytes).0
    });
    let (waiting, _) = bound(b"on its way");
    packages.partial(&waiting).unwrap().write(b"on").unwrap();
    fs::write(folder.path().join("packages/stray"), b"x").unwrap();
    packages.keep_only(&store, &BTreeSet::from([new, waiting])).unwrap();
    assert_eq!((packages.find(&store, &old).unwrap(), packages.find(&store, &new).unwrap().is_some()), (None, true));
    assert_eq!(fs::read_dir(folder.path().join("packages")).unwrap().count(), 2);
    assert_eq!(packages.partial(&waiting).unwrap().length, 2);
}

#[test]
fn what_is_made_here_leaves_what_has_come_of_an_image() {
    let (folder, store, packages) = cache();
    let (sha256, target) = bound(b"an image");
    packages.partial(&sha256).unwrap().write(b"an im").unwrap();
    packages.make().unwrap().write(b"something").unwrap();
    assert_eq!(packages.partial(&sha256).unwrap().length, 5);
    assert_eq!(fs::read_dir(folder.path().join("packages")).unwrap().count(), 1, "what was not finished is gone");
    let mut made = packages.make().unwrap();
    made.write(b"an image").unwrap();
    let path = packages.finish(&store, &made, &sha256, &target).unwrap().unwrap();
    drop(made);
    assert_eq!((fs::read(path).unwrap(), packages.partial(&sha256).unwrap().length), (b"an image".to_vec(), 5));
}

#[test]
fn what_is_no_file_is_neither_read_nor_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (_, target) = bound(b"an image");
    let path = |name: &str| folder.path().join(name);
    crate::files::tests::put_no_files([&path("pipe"), &path("folder"), &path("link")]);
    for name in ["pipe", "folder", "link"] {
        assert!(check(&path(name), &target).is_err() && is_damaged(&path(name), &target), "{name}");
    }
}

#[test]
fn an_image_that_was_damaged_in_the_cache_is_forgotten_and_no_other() {
    let (_folder, store, packages) = cache();
    let (sha256, target) = bound(b"an image");
    assert!(!packages.forget_if_damaged(&store, &target).unwrap(), "there is none");
    let path = put(&packages, &store, b"an image");
    assert!(!packages.forget_if_damaged(&store, &target).unwrap());
    for damaged in [b"an imagf".as_slice(), b"an", b"an image!"] {
        fs::write(&path, damaged).unwrap();
        assert!(packages.forget_if_damaged(&store, &target).unwrap());
        assert_eq!(packages.find(&store, &sha256).unwrap(), None);
        put(&packages, &store, b"an image");
    }
}

#[test]
fn there_is_room_for_what_fits_beside_what_is_kept_free() {
    let (folder, _store, packages) = cache();
    assert!(packages.has_room(0).unwrap());
    assert!(!packages.has_room(u64::MAX).unwrap() && !packages.has_room(1 << 60).unwrap());
    let (sha256, _) = bound(b"on its way");
    packages.partial(&sha256).unwrap().write(b"on").unwrap();
    packages.forget_part(&sha256).unwrap();
    packages.forget_part(&sha256).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("packages")).unwrap().count(), 0);
}
