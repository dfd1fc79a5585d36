//! `wardlink release sign`: signatures, of one signer or of several on several machines, and the publication when all are there.

use super::ask::{PassphraseArgs, confirm};
use super::keys::Signer;
use super::repository::Repository;
use super::work::{Item, Work};
use super::{ReleaseError, request, summary};
use clap::Args;
use std::path::{Path, PathBuf};
use wardlink_update::key::KeyId;
use wardlink_update::metadata::RoleName;

/// What to sign, and with which keys.
#[derive(Args, Debug)]
pub(super) struct SignArgs {
    /// A key to sign with; may stand there several times.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Begin a new version of a role that says the same for longer; may stand there several times.
    #[arg(long, value_name = "ROLE")]
    renew: Vec<String>,
    /// Take the signatures of a file that came back from another machine.
    #[arg(long, value_name = "FILE")]
    merge: Option<PathBuf>,
    /// Write a file that another machine can sign.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign a file from another machine, instead of the repository; it is changed in place.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["renew", "merge", "out"])]
    request: Option<PathBuf>,
    /// With --request: a root that you trust, of your own.
    #[arg(long, value_name = "ROOT", requires = "request")]
    trusted_root: Option<PathBuf>,
    /// With --request: the repository begins. Nothing vouches for its first root but what you know of it.
    #[arg(long, requires = "request", conflicts_with = "trusted_root")]
    first_root: bool,
}

/// Runs the command.
pub(super) fn run(folder: &Path, yes: bool, args: &SignArgs) -> Result<(), ReleaseError> {
    match &args.request {
        Some(path) => countersign(path, yes, args),
        None => sign(folder, yes, args),
    }
}

fn sign(folder: &Path, yes: bool, args: &SignArgs) -> Result<(), ReleaseError> {
    let mut repository = Repository::open(folder)?;
    let settings = repository.settings;
    for role in &args.renew {
        let item = item_of(role)?;
        repository.work.renew(&item, settings.expires(&item))?;
    }
    if let Some(path) = &args.merge {
        let other = request::read(path)?;
        let mut merged = 0_usize;
        for (item, bytes) in &other.drafts {
            merged = merged.saturating_add(repository.work.merge(item, bytes)?);
        }
        println!("{merged} new signatures from {}", path.display());
    }
    let signers = open(args)?;
    if repository.work.drafts.is_empty() {
        return Err(ReleaseError::NothingToSign);
    }
    if !signers.is_empty() {
        check_allowed(&repository.work, &signers)?;
        print!("{}", summary::of_drafts(&repository.work)?);
        confirm(yes, "Sign this")?;
    }
    let signed = repository.work.advance(&signers, |item| settings.expires(item))?;
    tell(&signed);
    repository.save()?;
    for item in repository.publish_inventories()? {
        println!("published {}", item.name());
        repository.save()?;
    }
    if repository.work.is_publishable()? {
        repository.publish()?;
        println!("published; next: wardlink release verify");
    } else {
        print!("{}", summary::waiting(&repository.work)?);
    }
    if let Some(path) = &args.out {
        request::write(path, &repository.work)?;
        println!("{} is ready to be signed elsewhere", path.display());
    }
    Ok(())
}

fn countersign(path: &Path, yes: bool, args: &SignArgs) -> Result<(), ReleaseError> {
    let mut work = request::read(path)?;
    request::check(&mut work, args.trusted_root.as_deref(), args.first_root)?;
    let signers = open(args)?;
    if signers.is_empty() {
        return Err(ReleaseError::usage("name a key to sign with: --key FILE"));
    }
    if work.drafts.is_empty() {
        return Err(ReleaseError::NothingToSign);
    }
    check_allowed(&work, &signers)?;
    print!("{}", summary::of_drafts(&work)?);
    let step = if args.first_root { "Sign this, a first root that nothing vouches for" } else { "Sign this" };
    confirm(yes, step)?;
    let mut signed = Vec::new();
    for item in work.drafts.keys().cloned().collect::<Vec<_>>() {
        for signer in &signers {
            // What is only signed here must not be made anew.
            if work.id_for(&item, signer.fingerprint)?.is_some() && work.sign(&item, signer)? {
                signed.push((item.clone(), signer.id.clone()));
            }
        }
    }
    tell(&signed);
    request::write(path, &work)?;
    print!("{}", summary::waiting(&work)?);
    Ok(())
}

fn open(args: &SignArgs) -> Result<Vec<Signer>, ReleaseError> {
    args.key.iter().map(|path| Signer::open(path, &args.passphrase)).collect()
}

/// Every key has to be of a role that a draft waits for, now or when the others have signed.
fn check_allowed(work: &Work, signers: &[Signer]) -> Result<(), ReleaseError> {
    let mut items: Vec<Item> = work.drafts.keys().cloned().collect();
    if !work.contents().is_empty() || work.drafts.contains_key(&Item::Snapshot) {
        items.extend([Item::Snapshot, Item::Timestamp]);
    }
    for role in work.unsigned_roles()? {
        items.push(Item::Targets(role));
    }
    for signer in signers {
        let mut is_allowed = false;
        for item in &items {
            is_allowed |= work.id_for(item, signer.fingerprint)?.is_some();
        }
        if !is_allowed {
            let what = items.iter().map(Item::name).collect::<Vec<_>>().join(", ");
            return Err(ReleaseError::NotAllowed { key: signer.id.to_string(), what });
        }
    }
    Ok(())
}

fn tell(signed: &[(Item, KeyId)]) {
    for (item, key) in signed {
        println!("signed {} with key {key}", item.name());
    }
}

/// The role of this name.
pub(super) fn item_of(role: &str) -> Result<Item, ReleaseError> {
    Ok(match role {
        "root" => Item::Root,
        "timestamp" => Item::Timestamp,
        "snapshot" => Item::Snapshot,
        _ => Item::Targets(role_of(role)?),
    })
}

/// The targets role of this name.
pub(super) fn role_of(role: &str) -> Result<RoleName, ReleaseError> {
    RoleName::try_from(role.to_owned()).map_err(|_| ReleaseError::usage(format!("{role:?} is no name of a role")))
}
