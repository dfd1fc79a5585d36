//! Key files and passphrases.

use crate::desk::{Desk, PASSPHRASE, refused, with_input};
use p256::ecdsa::SigningKey;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use pkcs8::der::SecretDocument;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use wardlink_update::key::Key;

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_key_is_encrypted_and_for_its_owner_only() {
    let desk = Desk::new();
    let file = desk.key_file("root");
    assert_eq!(mode(&file), 0o600);
    let pem = fs::read_to_string(&file).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{pem}");
    let public = fs::read_to_string(desk.public("root")).unwrap();
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    // The id is the one that metadata will have.
    let shown = desk.succeed(&["key", "show", "--json", &file]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["keyid"], desk.key_id("root"));
    assert_eq!(shown["public"], public);
    // It is not overwritten, and no two are the same.
    let refusal = desk.refuse(&["key", "new", &file]);
    assert!(refusal.contains("is there already"), "{refusal}");
    assert_eq!(fs::read_to_string(&file).unwrap(), pem);
    assert_ne!(desk.key_id("root"), desk.key_id("second root"));
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let desk = Desk::published();
    desk.succeed(&["--yes", "sign", "--renew", "timestamp"]);
    let before = desk.state();
    for wrong in ["", "correct horse battery stapl", "Correct horse battery staple"] {
        let mut command = desk.command(&desk.sign(&["timestamp"]));
        let refusal = refused(&command.env("WARDLINK_PASSPHRASE", wrong).output().unwrap());
        assert!(refusal.contains("the passphrase is wrong, or the file is damaged"), "{refusal}");
    }
    let mut command = desk.command(&desk.sign(&["timestamp"]));
    let refusal = refused(&command.env_remove("WARDLINK_PASSPHRASE").output().unwrap());
    assert!(refusal.contains("no passphrase"), "{refusal}");
    // What is typed into a pipe is no passphrase.
    let mut command = desk.command(&desk.sign(&["timestamp"]));
    let piped = with_input(command.env_remove("WARDLINK_PASSPHRASE"), format!("{PASSPHRASE}\n").as_bytes());
    assert!(refused(&piped).contains("no passphrase"));
    assert_eq!(desk.state(), before);
}

#[test]
fn a_passphrase_file_is_for_its_owner_only() {
    let desk = Desk::new();
    let file = desk.write("passphrase", format!("{PASSPHRASE}\nnot this\n").as_bytes());
    let show = ["key", "show", &desk.key_file("root"), "--passphrase-file", file.to_str().unwrap()];
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refusal = refused(&desk.command(&show).env_remove("WARDLINK_PASSPHRASE").output().unwrap());
    assert!(refusal.contains("can be read by others"), "{refusal}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(desk.command(&show).env_remove("WARDLINK_PASSPHRASE").output().unwrap().status.success());
}

#[test]
fn a_passphrase_for_a_new_key_is_long_enough() {
    let desk = Desk::new();
    let file = desk.key_file("new");
    let mut command = desk.command(&["key", "new", &file]);
    let refusal = refused(&command.env("WARDLINK_PASSPHRASE", "eleven char").output().unwrap());
    assert!(refusal.contains("at least 12 characters"), "{refusal}");
    assert!(!desk.path("new.key").exists() && !desk.path("new.key.pub").exists());
}

#[test]
fn keys_from_elsewhere_are_imported() {
    let desk = Desk::new();
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let id = Key::ecdsa_p256(key.verifying_key()).unwrap().id().to_string();
    let plain = desk.write("plain.pem", key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes());
    desk.succeed(&["key", "import", &desk.key_file("plain"), "--from", plain.to_str().unwrap()]);
    assert_eq!(desk.key_id("plain"), id);
    assert_eq!(mode(&desk.key_file("plain")), 0o600);

    // PBKDF2, as most tools write it, under a passphrase of its own.
    let der = key.to_pkcs8_der().unwrap();
    let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(2_000, b"salt and salt", [9; 16]).unwrap();
    let encrypted = PrivateKeyInfoRef::try_from(der.as_bytes()).unwrap().encrypt_with_params(parameters, b"theirs");
    let pem = encrypted.unwrap().to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap();
    let encrypted = desk.write("encrypted.pem", pem.as_bytes());
    let theirs = desk.write("theirs", b"theirs\n");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
    let file = desk.key_file("encrypted");
    let mut import = vec!["key", "import", &file, "--from", encrypted.to_str().unwrap()];
    let refusal = desk.refuse(&import);
    assert!(refusal.contains("the passphrase is wrong"), "{refusal}");
    import.extend(["--from-passphrase-file", theirs.to_str().unwrap()]);
    desk.succeed(&import);
    assert_eq!(desk.key_id("encrypted"), id);
}

#[test]
fn what_is_no_p256_key_is_not_used() {
    let desk = Desk::new();
    let import = |name: &str, bytes: &[u8]| {
        let from = desk.write("from.pem", bytes);
        let refusal = desk.refuse(&["key", "import", &desk.key_file(name), "--from", from.to_str().unwrap()]);
        assert!(!desk.path(&format!("{name}.key")).exists());
        refusal
    };
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
    for wrong in
        [&b""[..], b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", &pem.as_bytes()[..100]]
    {
        assert!(import("wrong", wrong).contains("holds no usable key"));
    }
    assert!(import("long", &vec![b'-'; 20_000]).contains("longer than"));
    // A key file that would occupy the machine.
    let mut parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(1_000, b"salt and salt", [9; 16]).unwrap();
    let Kdf::Pbkdf2(kdf) = &mut parameters.kdf else { panic!("it is PBKDF2") };
    kdf.iteration_count = 100_000_000;
    let encrypted_data = OctetStringRef::new(&[0; 160]).unwrap();
    let costly = EncryptedPrivateKeyInfoRef { encryption_algorithm: parameters.into(), encrypted_data };
    let pem = SecretDocument::try_from(costly).unwrap().to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap();
    let refusal = import("costly", pem.as_bytes());
    assert!(refusal.contains("asks for too much work"), "{refusal}");
    // A secret key is not taken for a public one, and a plain one does not sign.
    let file = desk.key_file("root");
    let mut init = desk.init_arguments();
    let at = init.iter().position(|argument| *argument == desk.public("targets")).unwrap();
    init[at] = file;
    assert!(desk.refuse(&init).contains("it is a secret key"));
    assert!(!desk.path("repository").exists());
    let plain = desk.write("plain.pem", pem_of(&key).as_bytes());
    desk.init();
    let refusal = desk.refuse(&["--yes", "sign", "--key", plain.to_str().unwrap()]);
    assert!(refusal.contains("it is not encrypted"), "{refusal}");
}

fn pem_of(key: &SigningKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}
