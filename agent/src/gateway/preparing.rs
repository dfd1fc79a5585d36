//! Writing images beside what runs, on the devices for which the gateway installs: on all of a transaction, or none is changed (Distribution,
//! paragraph 0029; figure 12, 260).

use super::GatewayError;
use super::devices::DeviceError;
use super::round::{Ready, Round, RoundEnd};
use super::store::{Part, StoreError};
use std::collections::BTreeMap;
use wardlink_protocol::Device;
use wardlink_update::metadata::Version;
use wardlink_update::report::{Image, State};
use wardlink_update::uptane::{Decision, Install, Transaction};

/// Why a device has not written its image.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    /// It is another one's.
    #[error("this gateway does not install for it")]
    Unknown,
    /// It could not.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Our own disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a transaction cannot change over.
pub(super) enum Unprepared {
    /// This device is not here, or has no room for its image: all of them wait.
    NotNow(Device, DeviceError),
    /// A device could not, for this reason.
    Failed(String),
}

impl Round<'_> {
    /// Every device writes its image beside the present one; one that cannot ends it for all.
    pub(super) fn prepare(&self, transaction: &Transaction, ready: &[Ready<'_>]) -> Result<Vec<Part>, Unprepared> {
        let mut parts = Vec::new();
        let mut answers: BTreeMap<&Device, Result<(), Unwritten>> = BTreeMap::new();
        for one in ready {
            let written = self.write(one).map(|part| parts.push(part));
            answers.insert(&one.0.device, written);
        }
        match transaction.decide(|device| answers.get(device).map(Result::is_ok)) {
            Decision::Commit => Ok(parts),
            Decision::Abort(device) => match answers.remove(&device).and_then(Result::err) {
                Some(Unwritten::Device(why @ (DeviceError::NoRoom | DeviceError::Away))) => {
                    Err(Unprepared::NotNow(device, why))
                }
                why => {
                    let why = why.map(|why| why.to_string()).unwrap_or_default();
                    Err(Unprepared::Failed(format!("{device}: {why}")))
                }
            },
            Decision::Wait => Err(Unprepared::Failed("a device has not answered".to_owned())),
        }
    }

    /// A device is not here, or has no room for its image: all of the transaction wait for that, and nothing else does.
    pub(super) fn not_now(
        &self,
        transaction: &Transaction,
        (device, why): (&Device, &DeviceError),
        version: Version,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        let why = format!("{device}: {why}");
        self.waits_for(transaction, format!("updates of {device}"), why, version, end)
    }

    /// One device writes its image; its part of the change-over.
    fn write(&self, (install, image, added): &Ready<'_>) -> Result<Part, Unwritten> {
        let device = self.shared.device(&install.device).ok_or(Unwritten::Unknown)?;
        let before = self.shared.state_now(device)??;
        let prepared = device.prepare(image, &install.target, added, &install.package.accepts);
        prepared.inspect_err(|error| self.distrust(install, error))?;
        let (path, after) = (install.path.clone(), after(install, &before));
        Ok(Part { path, before, after, during_therapy: install.package.during_therapy })
    }

    /// Where a device finds an image damaged, what lies in the cache may be: it is fetched anew then.
    fn distrust(&self, install: &Install, error: &DeviceError) {
        if !matches!(error, DeviceError::Damaged) {
            return;
        }
        if let Err(error) = self.shared.packages.forget_if_damaged(&self.shared.store, &install.target) {
            tracing::warn!(%error, path = %install.path, "what lies in the cache cannot be checked");
        }
    }
}

/// What a device runs after an install.
fn after(install: &Install, before: &State) -> State {
    let mut after = before.clone();
    install.installed().apply(&mut after);
    after.image = install.target.sha256().map(|sha256| Image { length: install.target.length, sha256 });
    after
}
