//! Rotated keys, as a device in partial verification learns them: of a repository's top-level role from newer roots, of a
//! manufacturer's delegated role from the top-level targets that delegate to it.
//!
//! A device has no snapshot and no timestamp. What keeps older keys from coming back are the versions of root, which is followed one
//! by one, and of the top-level targets ([`Provisioned::delegated`]), which only rise.

use super::check::by;
use super::partial::{Delegated, Provisioned, Seen, Source, check_length, check_role};
use super::{Cause, Refused, Repository};
use crate::client::{Client, Command, Fetched, File, Next, Refusal, Stored};
use crate::metadata::{Delegations, Role, Signed, Targets, Version};
use crate::package::ModelFolder;

/// What a device stores when keys were rotated: both at once, before it verifies anything by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// What it was provisioned with, with the keys that count now.
    pub provisioned: Provisioned,
    /// The newest versions that it has seen. Where the keys that stay cannot make up the threshold alone, nothing that the lost ones
    /// have signed can come back: versions begin anew then, so that a thief's huge version does not lock the device out.
    pub seen: Seen,
}

impl Rotated {
    /// The server's keys, as a newer root of the director names them ([`follow_roots`]).
    pub fn server(provisioned: &Provisioned, seen: Seen, source: Source) -> Self {
        let server = least_version(provisioned.server.as_ref(), &source, seen.server);
        let provisioned = Provisioned { server: Some(source), ..provisioned.clone() };
        Self { provisioned, seen: Seen { server, ..seen } }
    }

    /// The manufacturer's keys, where the image repository's top-level role names its packages: as a newer root names them.
    pub fn signer(provisioned: &Provisioned, seen: Seen, source: Source) -> Self {
        let manufacturer = least_version(provisioned.signer.as_ref(), &source, seen.manufacturer);
        let provisioned = Provisioned { signer: Some(source), ..provisioned.clone() };
        Self { provisioned, seen: Seen { manufacturer, ..seen } }
    }
}

/// The least version that metadata by the new keys may have.
fn least_version(old: Option<&Source>, new: &Source, seen: Version) -> Version {
    let Some(old) = old else { return seen };
    let kept = old.role.kept_keys(&old.keys, &new.role, &new.keys);
    if kept < new.role.threshold.get() { 0 } else { seen }
}

/// Follows newer roots, in order (5.4.4.3). Gives what to store and the keys of the top-level targets role.
pub fn follow_roots(root: Vec<u8>, newer: Vec<Vec<u8>>, now: u64) -> Result<(Vec<Command>, Source), Refusal> {
    let mut client = Client::start(Stored { root, ..Stored::default() }, now)?;
    let mut commands = Vec::new();
    let answers = newer.into_iter().map(Fetched::Bytes).chain([Fetched::Missing]);
    for answer in answers {
        if !matches!(client.next(), Next::Fetch(wanted) if wanted.file == File::Root) {
            break;
        }
        commands.extend(client.receive(answer)?);
    }
    Ok((commands, Source::of(client.root())))
}

/// Takes the keys of the manufacturer's role for a device of this model from the top-level targets of its image repository, whose own
/// keys are `delegator`'s ([`follow_roots`]). Where the role is no longer trusted for the model, no key counts any more, until a later
/// version trusts it again.
pub fn follow_delegation(
    provisioned: &Provisioned,
    seen: Seen,
    model: &ModelFolder,
    delegator: &Source,
    targets: &[u8],
    now: u64,
) -> Result<Rotated, Refused> {
    let repository = Repository::Image(provisioned.manufacturer.clone());
    let refused = |step, cause: Cause| Refused::new(step, repository.clone(), cause);
    // Who was not provisioned with what its keys are from follows nothing: it could not tell what is older.
    let old = provisioned.delegated.as_ref().ok_or_else(|| refused("5.4.4.6 step 4", Cause::Missing))?;
    let least = least_version(Some(&old.by), delegator, old.version);
    // 5.4.4.6 steps 1, 3, 4 and 5, as for every targets role.
    check_length(targets).map_err(|cause| refused("5.4.4.6 step 1", cause))?;
    let signed = Signed::<Targets>::parse(targets).map_err(|invalid| refused("5.4.4.6 step 3", invalid.into()))?;
    check_role(&signed, Some(delegator), least, now).map_err(by(repository.clone()))?;
    // 5.4.4.7: a repository that delegates more than a manufacturer's own models delegates nothing.
    let mut role = None;
    for delegation in signed.role.delegated() {
        let models = ModelFolder::of_delegation(delegation).map_err(|too_wide| refused("5.4.4.7", too_wide.into()))?;
        if delegation.name.as_str() == provisioned.manufacturer.as_str() && models.contains(model) {
            role = signed.role.delegations.as_ref().map(|of: &Delegations| Source::with(&delegation.keys, &of.keys));
        }
    }
    let rotated = match role {
        Some(source) => Rotated::signer(provisioned, seen, source),
        None => Rotated { provisioned: Provisioned { signer: None, ..provisioned.clone() }, seen },
    };
    let delegated = Delegated { version: signed.role.version(), by: delegator.clone() };
    let provisioned = Provisioned { delegated: Some(delegated), ..rotated.provisioned };
    Ok(Rotated { provisioned, seen: rotated.seen })
}
