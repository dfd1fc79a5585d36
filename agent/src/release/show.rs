//! `wardlink release show`: what is published and what waits, for people and for programs.

use super::repository::Repository;
use super::work::{Files, Item, Work, typed, version};
use super::{ReleaseError, summary};
use serde_json::{Map, Value, json};
use std::path::Path;
use wardlink_update::inventory::Inventory;
use wardlink_update::metadata::{Expires, Role, RoleKeys, Root, Snapshot, Targets, Timestamp};

/// Shows the repository.
pub(super) fn run(folder: &Path, as_json: bool) -> Result<(), ReleaseError> {
    let repository = Repository::open(folder)?;
    let work = &repository.work;
    if as_json {
        let (published, drafts) = (describe(&work.published)?, describe_drafts(work)?);
        println!("{}", json!({ "published": published, "drafts": drafts }));
        return Ok(());
    }
    if work.published.is_empty() {
        println!("Nothing is published.");
    } else {
        println!("Published:");
        // Everything is new against nothing.
        let all = Work { drafts: work.published.clone(), ..Work::default() };
        print!("{}", summary::of_drafts(&all)?);
    }
    if !work.drafts.is_empty() {
        println!("\nWaiting, and what it changes:");
        print!("{}{}", summary::of_drafts(work)?, summary::waiting(work)?);
    }
    Ok(())
}

fn describe(files: &Files) -> Result<Map<String, Value>, ReleaseError> {
    files.iter().map(|(item, bytes)| Ok((item.name(), describe_one(item, bytes)?))).collect()
}

fn describe_drafts(work: &Work) -> Result<Map<String, Value>, ReleaseError> {
    let mut drafts = describe(&work.drafts)?;
    for item in work.drafts.keys() {
        let signatures: Vec<_> =
            work.signatures(item)?.into_iter().map(|(has, needs)| json!({ "has": has, "needs": needs })).collect();
        if let Some(Value::Object(draft)) = drafts.get_mut(&item.name()) {
            draft.insert("signatures".to_owned(), signatures.into());
        }
    }
    Ok(drafts)
}

fn describe_one(item: &Item, bytes: &[u8]) -> Result<Value, ReleaseError> {
    let mut value = match item {
        Item::Root => {
            let root = typed::<Root>(item, bytes)?.role;
            let roles = &root.roles;
            let roles = json!({
                "root": keys(&roles.root), "targets": keys(&roles.targets),
                "snapshot": keys(&roles.snapshot), "timestamp": keys(&roles.timestamp),
            });
            json!({ "expires": end(root.expires()), "roles": roles })
        }
        Item::Targets(_) => {
            let targets = typed::<Targets>(item, bytes)?.role;
            let delegations: Vec<_> = targets.delegations.iter().flat_map(|delegations| &delegations.roles).collect();
            let delegation = |role: &&wardlink_update::metadata::Delegation| {
                let patterns = role.paths.patterns();
                let paths: Vec<_> = patterns.iter().map(wardlink_update::metadata::PathPattern::as_str).collect();
                json!({ "name": role.name, "keys": keys(&role.keys), "paths": paths })
            };
            let delegations: Vec<_> = delegations.iter().map(delegation).collect();
            json!({ "expires": end(targets.expires()), "targets": targets.targets, "delegations": delegations })
        }
        Item::Snapshot => json!({ "expires": end(typed::<Snapshot>(item, bytes)?.role.expires()) }),
        Item::Timestamp => json!({ "expires": end(typed::<Timestamp>(item, bytes)?.role.expires()) }),
        Item::Inventory(_) => {
            let inventory = typed::<Inventory>(item, bytes)?.role;
            json!({ "expires": end(inventory.expires()), "devices": inventory.devices })
        }
    };
    if let Value::Object(members) = &mut value {
        members.insert("version".to_owned(), version(item, bytes)?.into());
    }
    Ok(value)
}

fn keys(role: &RoleKeys) -> Value {
    json!({ "threshold": role.threshold, "keys": role.keyids })
}

fn end(expires: Expires) -> String {
    expires.to_string()
}
