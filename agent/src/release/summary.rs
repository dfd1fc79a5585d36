//! What a signer reads before signing: what the drafts change, and which signatures are missing.

use super::ReleaseError;
use super::work::{Item, Work, typed};
use crate::printable::printable;
use std::collections::BTreeMap;
use std::fmt::Write;
use wardlink_update::inventory::Inventory;
use wardlink_update::metadata::{Role, RoleKeys, Root, Snapshot, Target, TargetPath, Targets, Timestamp};
use wardlink_update::package::Release;

/// Describes every draft, each against what is published.
pub(super) fn of_drafts(work: &Work) -> Result<String, ReleaseError> {
    let mut text = String::new();
    for (item, bytes) in &work.drafts {
        let published = work.published.get(item);
        match item {
            Item::Root => {
                let root = typed::<Root>(item, bytes)?.role;
                head(&mut text, item, &root);
                let before = published.map(|bytes| typed::<Root>(item, bytes)).transpose()?.map(|root| root.role);
                describe_root(&mut text, before.as_ref(), &root);
            }
            Item::Targets(_) => {
                let targets = typed::<Targets>(item, bytes)?.role;
                head(&mut text, item, &targets);
                let before =
                    published.map(|bytes| typed::<Targets>(item, bytes)).transpose()?.map(|signed| signed.role);
                describe_targets(&mut text, before.as_ref(), &targets);
            }
            Item::Snapshot => head(&mut text, item, &typed::<Snapshot>(item, bytes)?.role),
            Item::Timestamp => head(&mut text, item, &typed::<Timestamp>(item, bytes)?.role),
            Item::Inventory(_) => {
                let inventory = typed::<Inventory>(item, bytes)?.role;
                head(&mut text, item, &inventory);
                line(&mut text, &format!("  {} devices of {}", inventory.devices.len(), inventory.manufacturer));
            }
        }
    }
    Ok(text)
}

/// Says which signatures are missing.
pub(super) fn waiting(work: &Work) -> Result<String, ReleaseError> {
    let mut text = String::new();
    for item in work.drafts.keys() {
        for (has, needs) in work.signatures(item)? {
            if has < needs {
                line(&mut text, &format!("{} waits: {has} of {needs} signatures", item.name()));
            }
        }
    }
    Ok(text)
}

/// Writing to a text cannot fail. What is described comes from others.
fn line(text: &mut String, what: &str) {
    let _ = writeln!(text, "{}", printable(what));
}

fn head(text: &mut String, item: &Item, role: &impl Role) {
    line(text, &format!("{} version {}, counts until {}", item.name(), role.version(), role.expires()));
}

fn describe_root(text: &mut String, before: Option<&Root>, root: &Root) {
    let roles = |root: &Root| {
        let roles = &root.roles;
        [
            ("root", &roles.root),
            ("targets", &roles.targets),
            ("snapshot", &roles.snapshot),
            ("timestamp", &roles.timestamp),
        ]
        .map(|(name, role)| (name, role.clone()))
    };
    let old: BTreeMap<_, _> = before.map(|root| roles(root).into()).unwrap_or_default();
    for (name, role) in roles(root) {
        describe_keys(text, name, old.get(name), &role);
    }
}

fn describe_keys(text: &mut String, name: &str, before: Option<&RoleKeys>, role: &RoleKeys) {
    if before == Some(role) {
        return;
    }
    line(text, &format!("  {name}: {} of {} keys", role.threshold, role.keyids.len()));
    for id in &role.keyids {
        if !before.is_some_and(|before| before.keyids.contains(id)) {
            line(text, &format!("    + {id}"));
        }
    }
    for id in before.iter().flat_map(|before| &before.keyids) {
        if !role.keyids.contains(id) {
            line(text, &format!("    - {id}"));
        }
    }
}

fn describe_targets(text: &mut String, before: Option<&Targets>, targets: &Targets) {
    let old = |path: &TargetPath| before.and_then(|before| before.targets.get(path));
    for (path, target) in &targets.targets {
        if old(path) != Some(target) {
            let sign = if old(path).is_some() { '~' } else { '+' };
            line(text, &format!("  {sign} {path}, {} bytes{}", target.length, describe(path, target)));
        }
    }
    for path in before.iter().flat_map(|before| before.targets.keys()) {
        if !targets.targets.contains_key(path) {
            line(text, &format!("  - {path}"));
        }
    }
    let old = |name: &str| {
        let roles = before.and_then(|before| before.delegations.as_ref()).map(|delegations| &delegations.roles);
        roles.and_then(|roles| roles.iter().find(|role| role.name.as_str() == name))
    };
    for role in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
        let name = role.name.as_str();
        let patterns = |role: &wardlink_update::metadata::Delegation| {
            let patterns = role.paths.patterns();
            patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>()
        };
        if old(name).map(patterns) != Some(patterns(role)) {
            line(text, &format!("  {name} may name {}", patterns(role).join(", ")));
        }
        describe_keys(text, name, old(name).map(|role| &role.keys), &role.keys);
    }
}

/// What a target is, for people.
pub(super) fn describe(path: &TargetPath, target: &Target) -> String {
    match Release::of(path, target) {
        Ok(Some(Release::Package(package))) => {
            let recalled = package.recalled.map(|recall| format!(", RECALLED: {}", recall.reason)).unwrap_or_default();
            let downgrade = package.downgrade.map(|down| format!(", DOWNGRADE: {}", down.reason)).unwrap_or_default();
            let (from, to) = (package.pre_revision.from(), package.pre_revision.to());
            let (model, post) = (&package.model, &package.post_revision);
            format!(": {model} {from} to {to} become {post}, release {}{downgrade}{recalled}", package.release_counter)
        }
        Ok(Some(Release::Delta(delta))) => format!(": from {} to {}", delta.source.path, delta.result.path),
        Ok(None) => String::new(),
        Err(error) => format!(": NOT USABLE, {error}"),
    }
}
