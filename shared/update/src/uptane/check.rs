//! What has to hold between an order and the device that it is for.

use super::{Cause, Refused, Repository};
use crate::client::{Client, Step};
use crate::director::{Assignment, Order};
use crate::metadata::{Target, TargetPath};
use crate::package::{Given, ModelFolder, Package, Release};
use crate::report::State;

/// A step that failed, before it is said whose metadata it was.
pub(super) struct Failed(&'static str, Box<Cause>);

pub(super) type Checked = Result<(), Failed>;

/// This step failed.
pub(super) fn fail(step: &'static str, cause: impl Into<Cause>) -> Checked {
    Err(Failed(step, Box::new(cause.into())))
}

/// Says whose metadata is refused.
pub(super) fn by(repository: Repository) -> impl FnOnce(Failed) -> Refused {
    move |Failed(step, cause)| Refused { step: Step(step), repository, cause }
}

/// Uptane 5.4.3.4, as far as metadata says it: whether the package is one that this device may have.
pub(super) fn check_package(path: &TargetPath, package: &Package, state: &State) -> Checked {
    let is = &state.characteristics;
    let unsuitable = |why| Cause::Unsuitable { device: is.device.clone(), why };
    // A recalled release is never installed, whoever directs it.
    if package.recalled.is_some() {
        return fail("5.4.3.4 step 1", Cause::Recalled(path.clone()));
    }
    // 5.4.3.4 step 3: the hardware identifier in the metadata matches the device's.
    if !package.hardware.contains(&is.hardware) {
        return fail("5.4.3.4 step 3", unsuitable("the package is for other hardware"));
    }
    // 5.4.3.4 step 4: the image's file name is valid for this device. That path and description agree, `Release::of` has checked.
    if !package.is_for(state) {
        return fail(
            "5.4.3.4 step 4",
            unsuitable("the package is for another manufacturer's devices, another type or another model"),
        );
    }
    // What is installed already does no harm; nothing is done then.
    if package.is_installed_on(state) {
        return Ok(());
    }
    // 5.4.3.4 step 5: the release counter of the installed image is less than or equal to the one in the metadata.
    if let Some(installed) = state.release_counter.filter(|installed| *installed > package.release_counter) {
        let cause = Cause::Rollback { device: is.device.clone(), installed, found: package.release_counter };
        return fail("5.4.3.4 step 5", cause);
    }
    // Figure 3, 63: the revision that the update applies to. A way back is one that the manufacturer has authorized, or no package.
    if !package.pre_revision.contains(&is.revision) {
        let cause = Cause::Revision { device: is.device.clone(), present: is.revision.clone() };
        return fail("5.4.3.4 step 4", cause);
    }
    Ok(())
}

/// The same, and what the director says of this device.
pub(super) fn check_assignment(order: &Order, assignment: &Assignment, state: &State) -> Checked {
    let is = &state.characteristics;
    if assignment.serial_number != is.serial_number {
        let why = "the order is for another serial number";
        return fail("5.4.3.4 step 2", Cause::Unsuitable { device: is.device.clone(), why });
    }
    // 5.4.3.4 step 3, once more: what the director believes of the device.
    if assignment.hardware != is.hardware {
        let why = "the order is for other hardware";
        return fail("5.4.3.4 step 3", Cause::Unsuitable { device: is.device.clone(), why });
    }
    check_package(&order.path, &order.package, state)
}

/// Uptane 5.4.4.2 step 10.2: whether the manufacturer says of the target what the director says of it.
pub(super) fn check_match(order: &Order, named: &Target) -> Checked {
    let differs = |what| Cause::Differs { path: order.path.clone(), what };
    // 5.4.4.2 step 10.2.1: the non-custom metadata, length and hashes, is the same.
    if named.length != order.target.length {
        return fail("5.4.4.2 step 10.2.1", differs("length"));
    }
    if !are_same_hashes(named, &order.target) {
        return fail("5.4.4.2 step 10.2.1", differs("hashes"));
    }
    // 5.4.4.2 step 10.2.2: all custom metadata that shall match is the same.
    let step = "5.4.4.2 step 10.2.2";
    match Release::of(&order.path, named) {
        Ok(Some(Release::Package(package))) if *package == order.package => Ok(()),
        Ok(_) => fail(step, differs("what they say of the package")),
        Err(invalid) => fail(step, invalid),
    }
    // 5.4.4.2 step 10.2.3: the release counter does not fall; `check_package` compares it with what is installed.
}

fn are_same_hashes(one: &Target, other: &Target) -> bool {
    let spelled = |target: &Target| -> Vec<(String, String)> {
        target.hashes.0.iter().map(|(name, hash)| (name.clone(), hash.to_ascii_lowercase())).collect()
    };
    spelled(one) == spelled(other)
}

/// Every delegation of an image repository is limited to a manufacturer's own models.
pub(super) fn check_delegations(client: &Client) -> Checked {
    match client.delegations().try_for_each(|delegation| ModelFolder::of_delegation(delegation).map(drop)) {
        Ok(()) => Ok(()),
        Err(too_wide) => fail("5.4.4.7", too_wide),
    }
}

/// Paragraph 0029: an atomic set is directed whole, or nothing of it is installed. `devices` are those that whoever checks can see.
pub(super) fn check_set(package: &Package, devices: &[Given<'_>]) -> Checked {
    match package.missing_member(devices) {
        Some(missing) => fail("5.4.4.2 step 10", Cause::Incomplete(missing)),
        None => Ok(()),
    }
}
