//! Partial verification, as a device does it (Uptane 5.4.4.1), and the manufacturer's own signature, where its model asks for it.

use super::check::{Checked, by, check_assignment, check_match, check_package, check_set, fail};
use super::full::directive_step;
use super::{Cause, Install, Refused, Repository};
use crate::director::{Directed, Directive, Order, When};
use crate::key::{Key, KeyId};
use crate::limits::MAX_TARGETS_BYTES;
use crate::metadata::{Role, RoleKeys, Root, Signed, Target, TargetPath, Targets, Version};
use crate::package::{Given, Manufacturer, Release};
use crate::report::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which sources a model trusts; it is provisioned, and nothing that arrives changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The server directs, and the manufacturer has signed: a stolen key of either alone installs nothing.
    #[default]
    Both,
    /// The manufacturer's signature alone; nobody needs to direct.
    Manufacturer,
    /// The server's signature alone.
    Server,
}

/// Whose signatures count: the keys of a targets role, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The role's keys and threshold.
    pub role: RoleKeys,
    /// The keys.
    pub keys: BTreeMap<KeyId, Key>,
}

impl Source {
    /// The top-level targets role of a trusted root.
    pub fn of(root: &Root) -> Self {
        Self::with(&root.roles.targets, &root.keys)
    }

    /// The role's own among these keys.
    pub(super) fn with(role: &RoleKeys, keys: &BTreeMap<KeyId, Key>) -> Self {
        let keys = keys.iter().filter(|(id, _)| role.keyids.contains(id));
        Self { keys: keys.map(|(id, key)| (id.clone(), key.clone())).collect(), role: role.clone() }
    }
}

/// What a device was given beforehand (Uptane 5.4.1), with the keys as they were rotated since ([`super::Rotated`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioned {
    /// Which sources it trusts.
    #[serde(default)]
    pub trust: Trust,
    /// The director's targets role; needed where the server is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Source>,
    /// Its manufacturer; its packages come from nobody else.
    pub manufacturer: Manufacturer,
    /// The manufacturer's role for this model; needed where the manufacturer is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Source>,
    /// Where the signer's keys are taken from. Left out, the device does not follow the delegation at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegated: Option<Delegated>,
}

/// The top-level targets metadata of an image repository that delegates to a manufacturer's role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegated {
    /// Its version: no older one is followed.
    pub version: Version,
    /// By whose keys.
    pub by: Source,
}

/// The newest versions that a device has seen. It stores them before it installs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Of the director's targets.
    pub server: Version,
    /// Of the manufacturer's targets.
    pub manufacturer: Version,
}

/// What the gateway hands on (Uptane 5.4.2.6).
#[derive(Clone, Copy, Debug, Default)]
pub struct Handed<'a> {
    /// The director's targets metadata.
    pub server: Option<&'a [u8]>,
    /// The targets metadata of the manufacturer's role.
    pub manufacturer: Option<&'a [u8]>,
    /// The package that is offered, where nobody directs ([`Trust::Manufacturer`]).
    pub path: Option<&'a TargetPath>,
}

/// What a device accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What it may install; none: there is nothing for it, or it has it already.
    pub install: Option<Install>,
    /// What to store before it does.
    pub seen: Seen,
}

/// Verifies what a gateway has handed on, for the device in this state, at this time in seconds since 1970 (5.4.4.1 step 1).
pub fn partial(
    provisioned: &Provisioned,
    mut seen: Seen,
    state: &State,
    handed: &Handed<'_>,
    now: u64,
) -> Result<Accepted, Refused> {
    let install = match provisioned.trust {
        Trust::Both | Trust::Server => by_directive(provisioned, &mut seen, state, handed, now)?,
        Trust::Manufacturer => Some(undirected(provisioned, &mut seen, state, handed, now)?),
    };
    let install = install.filter(|install| !install.package.is_installed_on(state));
    Ok(Accepted { install, seen })
}

/// What the director says, and the manufacturer with it where the model asks for it.
fn by_directive(
    provisioned: &Provisioned,
    seen: &mut Seen,
    state: &State,
    handed: &Handed<'_>,
    now: u64,
) -> Result<Option<Install>, Refused> {
    let directed = directed(provisioned, seen, handed.server, now)?;
    // 5.4.3.4 step 2: the metadata that is for this device.
    let Some((order, assignment)) = directed.order_for(&state.characteristics.device) else { return Ok(None) };
    let manufacturer = &order.package.manufacturer;
    if *manufacturer != provisioned.manufacturer {
        let cause = Cause::NoRepository(manufacturer.clone());
        return Err(Refused::new("5.4.3.4 step 4", Repository::Director, cause));
    }
    check_assignment(order, assignment, state).map_err(by(Repository::Director))?;
    // A device sees the orders, and of the devices no more than that each of them has some.
    let given: Vec<_> = directed.orders.iter().map(|order| Given::of(&order.package)).collect();
    check_set(&order.package, &given).map_err(by(Repository::Director))?;
    if provisioned.trust != Trust::Server {
        let named = named(provisioned, seen, handed.manufacturer, &order.path, now)?;
        check_match(order, &named).map_err(by(Repository::Image(manufacturer.clone())))?;
    }
    Ok(Some(install(order, &assignment.added, assignment.when, state)))
}

/// What the manufacturer alone says of the package that is offered.
fn undirected(
    provisioned: &Provisioned,
    seen: &mut Seen,
    state: &State,
    handed: &Handed<'_>,
    now: u64,
) -> Result<Install, Refused> {
    let repository = Repository::Image(provisioned.manufacturer.clone());
    let refused = |step, cause: Cause| Refused::new(step, repository.clone(), cause);
    let path = handed.path.ok_or_else(|| refused("5.4.3.3 step 4", Cause::Missing))?;
    let named = named(provisioned, seen, handed.manufacturer, path, now)?;
    let release = Release::of(path, &named).map_err(|invalid| refused("5.4.3.4 step 4", invalid.into()))?;
    let Some(Release::Package(package)) = release else {
        return Err(refused("5.4.3.3 step 4", Cause::Unnamed(path.clone())));
    };
    // Who makes this device speaks for it, and nobody else whom its keys may have named.
    if package.manufacturer != provisioned.manufacturer {
        return Err(refused("5.4.3.4 step 4", Cause::NoRepository(package.manufacturer)));
    }
    // The other members of a set are not here to be seen: without a director there are none.
    if let Some(member) = package.atomic.first() {
        return Err(refused("5.4.4.2 step 10", Cause::Incomplete(member.clone())));
    }
    check_package(path, &package, state).map_err(by(repository))?;
    let target = Target { custom: None, ..named };
    let order = Order { path: path.clone(), target, package: *package, assignments: Vec::new(), encrypted: None };
    Ok(install(&order, &[], When::NextSafeMoment, state))
}

fn install(order: &Order, added: &[crate::director::Added], when: When, state: &State) -> Install {
    Install {
        device: state.characteristics.device.clone(),
        path: order.path.clone(),
        target: order.target.clone(),
        package: order.package.clone(),
        // The device gets what its gateway has made of the delta.
        shortcut: None,
        added: added.to_vec(),
        encrypted: None,
        when,
    }
}

/// 5.4.4.1 step 2: the director's targets, checked as 5.4.4.6 says.
fn directed(provisioned: &Provisioned, seen: &mut Seen, bytes: Option<&[u8]>, now: u64) -> Result<Directed, Refused> {
    let refused = |step, cause| Refused::new(step, Repository::Director, cause);
    // 5.4.4.6 step 1
    let bytes = bytes.ok_or_else(|| refused("5.4.4.6 step 1", Cause::Missing))?;
    check_length(bytes).map_err(|cause| refused("5.4.4.6 step 1", cause))?;
    // Step 2, the version that a snapshot lists, is skipped: there is none.
    let signed = Signed::<Directive>::parse(bytes).map_err(|invalid| refused("5.4.4.6 step 3", invalid.into()))?;
    check_role(&signed, provisioned.server.as_ref(), seen.server, now).map_err(by(Repository::Director))?;
    // Steps 6 and 7: no delegations, and no device more than once.
    let directed = signed.role.read().map_err(|invalid| refused(directive_step(&invalid), invalid.into()))?;
    seen.server = directed.version;
    Ok(directed)
}

/// What the manufacturer says of the target at this path.
fn named(
    provisioned: &Provisioned,
    seen: &mut Seen,
    bytes: Option<&[u8]>,
    path: &TargetPath,
    now: u64,
) -> Result<Target, Refused> {
    let repository = Repository::Image(provisioned.manufacturer.clone());
    let refused = |step, cause| Refused::new(step, repository.clone(), cause);
    let bytes = bytes.ok_or_else(|| refused("5.4.4.6 step 1", Cause::Missing))?;
    check_length(bytes).map_err(|cause| refused("5.4.4.6 step 1", cause))?;
    let signed = Signed::<Targets>::parse(bytes).map_err(|invalid| refused("5.4.4.6 step 3", invalid.into()))?;
    check_role(&signed, provisioned.signer.as_ref(), seen.manufacturer, now).map_err(by(repository.clone()))?;
    let named = signed.role.targets.get(path).cloned();
    let named = named.ok_or_else(|| refused("5.4.4.2 step 10.1", Cause::Unnamed(path.clone())))?;
    seen.manufacturer = signed.role.version();
    Ok(named)
}

pub(super) fn check_length(bytes: &[u8]) -> Result<(), Cause> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_TARGETS_BYTES) {
        Ok(())
    } else {
        Err(Cause::TooLong)
    }
}

pub(super) fn check_role<T: Role>(signed: &Signed<T>, source: Option<&Source>, least: Version, now: u64) -> Checked {
    // 5.4.4.6 step 3: a threshold of unique keys. Who was not provisioned with any trusts nobody.
    if !source.is_some_and(|source| signed.is_signed_by(&source.role, &source.keys)) {
        return fail("5.4.4.6 step 3", Cause::Signatures);
    }
    // 5.4.4.6 step 4
    let found = signed.role.version();
    if found < least {
        return fail("5.4.4.6 step 4", Cause::Version { least, found });
    }
    // 5.4.4.6 step 5
    if signed.role.expires().is_over(now) {
        return fail("5.4.4.6 step 5", Cause::Expired);
    }
    Ok(())
}
