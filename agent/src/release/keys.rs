//! Key files: encrypted PKCS#8 (RFC 5958, PBES2 of RFC 8018 with scrypt and AES-256), and public keys beside them.

use super::ask::PassphraseArgs;
use super::{ReleaseError, files};
use crate::clock;
use clap::{Args, Subcommand};
use p256::ecdsa::{SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey};
use pkcs8::der::SecretDocument;
use pkcs8::pkcs5::pbes2::{self, Kdf};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef};
use rand_core::Rng;
use serde_json::json;
use std::path::{Path, PathBuf};
use wardlink_update::key::{Fingerprint, Key, KeyId, Verifier};
use zeroize::Zeroizing;

/// The longest key file, in bytes.
const MAX_KEY_BYTES: u64 = 16_384;
/// The cost of scrypt: 2^14 blocks of 1 KiB (16 MiB), five times. What OpenSSL opens too, and no cheaper to guess than 2^17 once.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);
/// The most memory that a key file may ask for to be opened, in bytes.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// The most work that a key file may ask for to be opened: scrypt's passes, and PBKDF2's iterations.
const MAX_SCRYPT_PARALLEL: u16 = 64;
const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;

/// The label of an encrypted key in PEM.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// The label of a key in PEM that is not encrypted.
const PLAIN: &str = "PRIVATE KEY";

/// What is done with key files.
#[derive(Subcommand, Debug)]
pub(super) enum KeyCommand {
    /// Makes a P-256 key: FILE is encrypted, FILE.pub is its public part.
    New(NewArgs),
    /// Takes a P-256 key from PKCS#8 in PEM, encrypted or not; FILE is encrypted, FILE.pub is its public part.
    Import(ImportArgs),
    /// Shows the public part of a key and its id.
    Show(ShowArgs),
}

/// A new key.
#[derive(Args, Debug)]
pub(super) struct NewArgs {
    /// Where to put it; must not be there yet.
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A key from elsewhere.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// Where to put it; must not be there yet.
    file: PathBuf,
    /// The PEM file to take it from.
    #[arg(long, value_name = "PEM")]
    from: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// The file with the passphrase of the PEM file, where that one is encrypted and has another.
    #[arg(long, value_name = "FILE")]
    from_passphrase_file: Option<PathBuf>,
}

/// What to show.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The key, or its public part.
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(command: &KeyCommand) -> Result<(), ReleaseError> {
    match command {
        KeyCommand::New(args) => {
            let key = SigningKey::generate_from_rng(&mut clock::rng());
            store(&args.file, &key, &args.passphrase)
        }
        KeyCommand::Import(args) => {
            let key = import(args)?;
            store(&args.file, &key, &args.passphrase)
        }
        KeyCommand::Show(args) => show(args),
    }
}

/// A key that signs, by the name that metadata has for it. Its secret is wiped when it is dropped.
pub(super) struct Signer {
    pub(super) key: SigningKey,
    pub(super) id: KeyId,
    pub(super) fingerprint: Fingerprint,
}

impl Signer {
    /// Opens an encrypted key.
    pub(super) fn open(path: &Path, passphrase: &PassphraseArgs) -> Result<Self, ReleaseError> {
        let pem = Zeroizing::new(files::read(path, MAX_KEY_BYTES)?);
        let key = decrypt(path, &pem, passphrase)?;
        let public = public_of(&key)?;
        let fingerprint = Verifier::EcdsaP256(*key.verifying_key()).fingerprint();
        Ok(Self { id: public.id(), key, fingerprint })
    }
}

/// Reads the public part of a key, in PEM.
pub(super) fn read_public(path: &Path) -> Result<Key, ReleaseError> {
    let pem = files::read(path, MAX_KEY_BYTES)?;
    let wrong = |why| ReleaseError::Key { path: path.to_owned(), why };
    let pem = std::str::from_utf8(&pem).map_err(|_| wrong("it is no PEM"))?;
    if pem.contains(PLAIN) {
        return Err(wrong("it is a secret key; give the file that ends with .pub"));
    }
    let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| wrong("it is no public P-256 key in PEM"))?;
    Key::ecdsa_p256(&key).map_err(|_| ReleaseError::Encoding("a key"))
}

/// The public part of a secret key.
fn public_of(key: &SigningKey) -> Result<Key, ReleaseError> {
    Key::ecdsa_p256(key.verifying_key()).map_err(|_| ReleaseError::Encoding("a key"))
}

/// Where the public part of a key file is.
fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn store(path: &Path, key: &SigningKey, passphrase: &PassphraseArgs) -> Result<(), ReleaseError> {
    let public = public_path(path);
    for path in [path, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(ReleaseError::Exists(path.to_owned()));
        }
    }
    let passphrase = passphrase.choose(path)?;
    let pem = encrypt(key, passphrase.as_bytes())?;
    let described = public_of(key)?;
    // The public part first: an interruption leaves no secret without it.
    files::write_new(&public, described.keyval.public.as_bytes(), false)?;
    files::write_new(path, pem.as_bytes(), true)?;
    println!("{}: key {}", path.display(), described.id());
    println!("Keep this file and its passphrase apart, and a copy in a safe. Give {} to others.", public.display());
    Ok(())
}

fn encrypt(key: &SigningKey, passphrase: &[u8]) -> Result<Zeroizing<String>, ReleaseError> {
    let failed = || ReleaseError::Encoding("a key");
    let mut salt = [0; 16];
    let mut iv = [0; 16];
    clock::rng().fill_bytes(&mut salt);
    clock::rng().fill_bytes(&mut iv);
    let (log_n, r, p) = SCRYPT;
    let cost = scrypt::Params::new(log_n, r, p).map_err(|_| failed())?;
    let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(|_| failed())?;
    let plain: SecretDocument = key.to_pkcs8_der().map_err(|_| failed())?;
    let plain = PrivateKeyInfoRef::try_from(plain.as_bytes()).map_err(|_| failed())?;
    let encrypted = plain.encrypt_with_params(parameters, passphrase).map_err(|_| failed())?;
    encrypted.to_pem(ENCRYPTED, LineEnding::LF).map_err(|_| failed())
}

fn decrypt(path: &Path, pem: &[u8], passphrase: &PassphraseArgs) -> Result<SigningKey, ReleaseError> {
    let wrong = |why| ReleaseError::Key { path: path.to_owned(), why };
    let text = std::str::from_utf8(pem).map_err(|_| wrong("it is no PEM"))?;
    let (label, document) = SecretDocument::from_pem(text).map_err(|_| wrong("it is no PEM"))?;
    match label {
        ENCRYPTED => {}
        PLAIN => return Err(wrong("it is not encrypted; import it first with: wardlink release key import")),
        _ => return Err(wrong("it is no encrypted key")),
    }
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes());
    let encrypted = encrypted.map_err(|_| wrong("it is no encrypted PKCS#8"))?;
    check_cost(&encrypted).map_err(wrong)?;
    let plain = encrypted.decrypt(passphrase.open(path)?.as_bytes());
    let plain = plain.map_err(|_| ReleaseError::Passphrase(path.to_owned()))?;
    // A wrong passphrase can come through the padding, but not through the key's own form.
    SigningKey::from_pkcs8_der(plain.as_bytes()).map_err(|_| ReleaseError::Passphrase(path.to_owned()))
}

/// A key file from elsewhere must not be able to occupy the machine.
fn check_cost(encrypted: &EncryptedPrivateKeyInfoRef<'_>) -> Result<(), &'static str> {
    let Some(parameters) = encrypted.encryption_algorithm.pbes2() else { return Err("it is not encrypted by PBES2") };
    let is_modest = match &parameters.kdf {
        Kdf::Scrypt(scrypt) => {
            let bytes = scrypt.cost_parameter.checked_mul(u64::from(scrypt.block_size) * 128);
            scrypt.parallelization <= MAX_SCRYPT_PARALLEL && bytes.is_some_and(|bytes| bytes <= MAX_SCRYPT_BYTES)
        }
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count <= MAX_PBKDF2_ITERATIONS,
        _ => false,
    };
    if is_modest { Ok(()) } else { Err("it asks for too much work to be opened") }
}

fn import(args: &ImportArgs) -> Result<SigningKey, ReleaseError> {
    let path = &args.from;
    let pem = Zeroizing::new(files::read(path, MAX_KEY_BYTES)?);
    let is_plain = pem.windows(27).any(|line| line == b"-----BEGIN PRIVATE KEY-----");
    if !is_plain {
        let own = PassphraseArgs::from_file(args.from_passphrase_file.clone());
        return decrypt(path, &pem, if args.from_passphrase_file.is_some() { &own } else { &args.passphrase });
    }
    let wrong = ReleaseError::Key { path: path.clone(), why: "it is no P-256 key in PKCS#8 and PEM" };
    let Ok(text) = std::str::from_utf8(&pem) else { return Err(wrong) };
    SigningKey::from_pkcs8_pem(text).map_err(|_| wrong)
}

fn show(args: &ShowArgs) -> Result<(), ReleaseError> {
    let pem = Zeroizing::new(files::read(&args.file, MAX_KEY_BYTES)?);
    let is_public = pem.windows(10).any(|line| line == b"PUBLIC KEY");
    let key =
        if is_public { read_public(&args.file)? } else { public_of(&decrypt(&args.file, &pem, &args.passphrase)?)? };
    if args.json {
        println!("{}", json!({ "keyid": key.id(), "scheme": key.scheme, "public": key.keyval.public }));
    } else {
        println!("key {}\n{}\n{}", key.id(), key.scheme, key.keyval.public.trim_end());
    }
    Ok(())
}
