//! Who may sign: `init`, `delegate` and `rotate`.

use super::ask::confirm;
use super::keys::read_public;
use super::repository::Repository;
use super::settings::Settings;
use super::sign::{item_of, role_of};
use super::work::{Item, Work};
use super::{ReleaseError, summary};
use clap::Args;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use wardlink_protocol::identity::ClientClass;
use wardlink_update::key::{Key, KeyId};
use wardlink_update::metadata::{DelegatedPaths, Delegation, Delegations, RoleKeys, RoleName, Root, Targets, TopLevel};
use wardlink_update::package::{Manufacturer, Model, ModelFolder};

/// The most keys of a role.
const MAX_KEYS: usize = 16;

/// The keys of a new repository.
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// A public key of root; may stand there several times.
    #[arg(long, value_name = "PUB", required = true)]
    root_key: Vec<PathBuf>,
    /// How many keys of root have to sign.
    #[arg(long, value_name = "N", default_value = "1")]
    root_threshold: NonZeroUsize,
    /// A public key of the top-level targets.
    #[arg(long, value_name = "PUB", required = true)]
    targets_key: Vec<PathBuf>,
    /// How many keys of targets have to sign.
    #[arg(long, value_name = "N", default_value = "1")]
    targets_threshold: NonZeroUsize,
    /// A public key of snapshot.
    #[arg(long, value_name = "PUB", required = true)]
    snapshot_key: Vec<PathBuf>,
    /// How many keys of snapshot have to sign.
    #[arg(long, value_name = "N", default_value = "1")]
    snapshot_threshold: NonZeroUsize,
    /// A public key of timestamp.
    #[arg(long, value_name = "PUB", required = true)]
    timestamp_key: Vec<PathBuf>,
    /// How many keys of timestamp have to sign.
    #[arg(long, value_name = "N", default_value = "1")]
    timestamp_threshold: NonZeroUsize,
    #[command(flatten)]
    settings: Settings,
}

/// A role for a manufacturer's own models.
#[derive(Args, Debug)]
pub(super) struct DelegateArgs {
    /// The manufacturer; also the name of its role.
    manufacturer: Manufacturer,
    /// A model that it may release for, as `<device type>/<model>`; may stand there several times.
    #[arg(long, value_name = "TYPE/MODEL", required = true)]
    model: Vec<String>,
    /// A public key of the role; needed for a new role, may stand there several times.
    #[arg(long, value_name = "PUB")]
    key: Vec<PathBuf>,
    /// How many keys of the role have to sign.
    #[arg(long, value_name = "N", default_value = "1")]
    threshold: NonZeroUsize,
}

/// A change of a role's keys.
#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    /// The role: root, targets, snapshot, timestamp, or a manufacturer.
    role: String,
    /// A public key that counts from now on; may stand there several times.
    #[arg(long, value_name = "PUB")]
    add: Vec<PathBuf>,
    /// The id of a key that counts no longer; may stand there several times.
    #[arg(long, value_name = "KEYID")]
    remove: Vec<String>,
    /// How many keys have to sign from now on.
    #[arg(long, value_name = "N")]
    threshold: Option<NonZeroUsize>,
}

/// Makes a repository's folder with unsigned drafts.
pub(super) fn init(folder: &Path, args: &InitArgs) -> Result<(), ReleaseError> {
    let mut keys = BTreeMap::new();
    let mut role = |name: &str, files: &[PathBuf], threshold| new_role(name, files, threshold, &mut keys);
    let roles = TopLevel {
        root: role("root", &args.root_key, args.root_threshold)?,
        timestamp: role("timestamp", &args.timestamp_key, args.timestamp_threshold)?,
        snapshot: role("snapshot", &args.snapshot_key, args.snapshot_threshold)?,
        targets: role("targets", &args.targets_key, args.targets_threshold)?,
    };
    let settings = args.settings;
    let mut work = Work::default();
    work.put_role(Item::Root, &Root::new(1, settings.expires(&Item::Root), keys, roles))?;
    let targets = Targets::new(1, settings.expires(&Item::targets()), BTreeMap::new(), None);
    work.put_role(Item::targets(), &targets)?;
    let repository = Repository::create(folder, work, settings)?;
    print!("{}", summary::of_drafts(&repository.work)?);
    println!("Nothing is signed yet; next: wardlink release sign --key FILE");
    Ok(())
}

fn new_role(
    name: &str,
    files: &[PathBuf],
    threshold: NonZeroUsize,
    keys: &mut BTreeMap<KeyId, Key>,
) -> Result<RoleKeys, ReleaseError> {
    let mut role = RoleKeys { keyids: Vec::new(), threshold };
    add_keys(name, &mut role, files, keys)?;
    Ok(role)
}

/// Adds keys to a role, and checks that its threshold can be reached.
fn add_keys(
    name: &str,
    role: &mut RoleKeys,
    files: &[PathBuf],
    keys: &mut BTreeMap<KeyId, Key>,
) -> Result<(), ReleaseError> {
    for file in files {
        let key = read_public(file)?;
        let id = key.id();
        if role.keyids.contains(&id) {
            return Err(ReleaseError::usage(format!("{name} has the key {id} already; a key counts once")));
        }
        role.keyids.push(id.clone());
        keys.insert(id, key);
    }
    let count = role.keyids.len();
    if role.threshold.get() > count || count > MAX_KEYS {
        let text =
            format!("{name} would have {count} keys, of which {} have to sign; at most {MAX_KEYS}", role.threshold);
        return Err(ReleaseError::Usage(text));
    }
    Ok(())
}

/// Trusts a manufacturer's role for its own models, and for nothing else.
pub(super) fn delegate(folder: &Path, yes: bool, args: &DelegateArgs) -> Result<(), ReleaseError> {
    let mut repository = Repository::open(folder)?;
    let settings = repository.settings;
    let name = role_of(args.manufacturer.as_str())?;
    let mut patterns = Vec::new();
    for model in &args.model {
        patterns.push(folder_of(&args.manufacturer, model)?.pattern()?);
    }
    let paths = DelegatedPaths::matching(patterns);
    let expires = settings.expires(&Item::targets());
    repository.work.redraft_targets(&RoleName::targets(), expires, |targets| {
        let delegations =
            targets.delegations.get_or_insert_with(|| Delegations { keys: BTreeMap::new(), roles: Vec::new() });
        if let Some(role) = delegations.roles.iter_mut().find(|role| role.name == name) {
            if !args.key.is_empty() {
                return Err(ReleaseError::usage(format!(
                    "{name} has its keys already; change them with: rotate {name}"
                )));
            }
            role.paths = paths;
            return Ok(());
        }
        if args.key.is_empty() {
            return Err(ReleaseError::usage("a new role needs its keys: --key PUB"));
        }
        let keys = new_role(name.as_str(), &args.key, args.threshold, &mut delegations.keys)?;
        delegations.roles.push(Delegation { name: name.clone(), keys, terminating: true, paths });
        Ok(())
    })?;
    let item = Item::Targets(name.clone());
    if !repository.work.drafts.contains_key(&item) && !repository.work.published.contains_key(&item) {
        let targets = Targets::new(1, settings.expires(&item), BTreeMap::new(), None);
        repository.work.put_role(item, &targets)?;
    }
    print!("{}", summary::of_drafts(&repository.work)?);
    confirm(yes, &format!("Trust {name} for these models"))?;
    repository.save()
}

fn folder_of(manufacturer: &Manufacturer, model: &str) -> Result<ModelFolder, ReleaseError> {
    let wrong = || ReleaseError::usage(format!("{model:?} is not of the form <device type>/<model>"));
    let (device_type, model) = model.split_once('/').ok_or_else(wrong)?;
    let device_type: ClientClass = device_type.parse().map_err(|_| wrong())?;
    let model: Model = model.parse().map_err(|_| wrong())?;
    Ok(ModelFolder { manufacturer: manufacturer.clone(), device_type, model })
}

/// Changes the keys of a role.
pub(super) fn rotate(folder: &Path, yes: bool, args: &RotateArgs) -> Result<(), ReleaseError> {
    if args.add.is_empty() && args.remove.is_empty() && args.threshold.is_none() {
        return Err(ReleaseError::usage("say what changes: --add PUB, --remove KEYID, --threshold N"));
    }
    let mut repository = Repository::open(folder)?;
    let settings = repository.settings;
    let item = item_of(&args.role)?;
    match &item {
        Item::Targets(role) if *role != RoleName::targets() => {
            let expires = settings.expires(&item);
            repository.work.redraft_targets(&RoleName::targets(), expires, |targets| {
                let no_role = || ReleaseError::NoRole(role.clone());
                let delegations = targets.delegations.as_mut().ok_or_else(no_role)?;
                let delegation = delegations.roles.iter_mut().find(|delegation| delegation.name == *role);
                change(args, &mut delegation.ok_or_else(no_role)?.keys, &mut delegations.keys)?;
                let used: Vec<KeyId> = delegations.roles.iter().flat_map(|role| role.keys.keyids.clone()).collect();
                delegations.keys.retain(|id, _| used.contains(id));
                Ok(())
            })?;
        }
        _ => {
            let mut changed = Ok(());
            repository.work.redraft_root(settings.expires(&Item::Root), |root| {
                let TopLevel { root: of_root, timestamp, snapshot, targets } = &mut root.roles;
                let role = match &item {
                    Item::Root => of_root,
                    Item::Timestamp => timestamp,
                    Item::Snapshot => snapshot,
                    Item::Targets(_) | Item::Inventory(_) => targets,
                };
                changed = change(args, role, &mut root.keys);
                let roles = &root.roles;
                let used = [&roles.root, &roles.timestamp, &roles.snapshot, &roles.targets];
                root.keys.retain(|id, _| used.iter().any(|role| role.keyids.contains(id)));
            })?;
            changed?;
        }
    }
    print!("{}", summary::of_drafts(&repository.work)?);
    confirm(yes, &format!("Change the keys of {}", args.role))?;
    repository.save()?;
    println!("Next: wardlink release sign, with the old keys of root where root changes, and the new ones");
    Ok(())
}

fn change(args: &RotateArgs, role: &mut RoleKeys, keys: &mut BTreeMap<KeyId, Key>) -> Result<(), ReleaseError> {
    for id in &args.remove {
        let before = role.keyids.len();
        role.keyids.retain(|known| known.0 != *id);
        if role.keyids.len() == before {
            return Err(ReleaseError::usage(format!("{} has no key {id}", args.role)));
        }
    }
    role.threshold = args.threshold.unwrap_or(role.threshold);
    add_keys(&args.role, role, &args.add, keys)
}
