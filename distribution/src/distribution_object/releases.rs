//! Every release that is public, read from the trusted metadata, and as people see it.

use super::catalog::States;
use super::{DistributionObject, ingest, manufacturers};
use std::collections::BTreeMap;
use std::rc::Rc;
use wardlink_edge::files::Files;
use wardlink_edge::http::encoded;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{ReleaseDocument, ReleaseView};
use wardlink_protocol::identity::Sha256;
use wardlink_update::catalog::{Listed, Releases, Roles};
use wardlink_update::client::File;
use wardlink_update::metadata::{Signed, Target, Targets};
use wardlink_update::package::{BoundFile, Manufacturer, ModelFolder, Package};
use wardlink_update::report::State;

impl DistributionObject {
    /// The releases of all manufacturers that count. They were verified when they were published.
    pub(super) async fn releases(&self) -> Result<Rc<Releases>, Failure> {
        if let Some(releases) = self.releases.borrow().as_ref() {
            return Ok(Rc::clone(releases));
        }
        loop {
            let listed = self.listed_roles()?;
            let mut repositories: BTreeMap<Manufacturer, Roles> = BTreeMap::new();
            for (manufacturer, file, sha256) in &listed {
                let File::Targets(role) = ingest::file_of(file)? else { continue };
                let name: Manufacturer = manufacturer.parse().map_err(Failure::internal)?;
                let Some(bytes) = Files::of(&self.env, manufacturer)?.read(sha256).await? else { continue };
                let targets = Signed::<Targets>::parse(&bytes).map_err(Failure::internal)?.role;
                repositories.entry(name).or_default().insert(role, targets);
            }
            // Whoever published meanwhile has forgotten what was read: it is read again.
            if self.listed_roles()? != listed {
                continue;
            }
            let releases = Rc::new(Releases::of(&repositories).map_err(Failure::internal)?);
            self.releases.replace(Some(Rc::clone(&releases)));
            return Ok(releases);
        }
    }

    fn listed_roles(&self) -> Result<Vec<(String, String, Sha256)>, Failure> {
        let query = "SELECT trusted.manufacturer, trusted.file, trusted.sha256 FROM trusted
                     JOIN manufacturers USING (manufacturer) WHERE manufacturers.ended_at IS NULL
                     ORDER BY trusted.manufacturer, trusted.file";
        let rows = self.database.open()?.rows(query, [])?;
        let roles = rows.into_iter();
        roles.map(|mut row| Ok((row.take()?, row.take()?, manufacturers::take_hash(&mut row)?))).collect()
    }
}

/// Packages as people see them. `states`: what runs where.
pub(super) fn views(listed: &[Listed<Package>], states: &States) -> Vec<ReleaseView> {
    let of_model = |package: &Package| {
        let (manufacturer, model) = (package.manufacturer.clone(), package.model.clone());
        let folder = ModelFolder { manufacturer, device_type: package.device_type.clone(), model };
        states.get(&folder).map(Vec::as_slice).unwrap_or_default()
    };
    listed.iter().map(|listed| view(listed, of_model(&listed.release))).collect()
}

/// A package, and how many of its model's devices may take it and run it.
fn view(listed: &Listed<Package>, states: &[(State, u64)]) -> ReleaseView {
    let package = &listed.release;
    let count = |fits: &dyn Fn(&State) -> bool| {
        states.iter().filter(|(state, _)| fits(state)).map(|(_, count)| *count).fold(0, u64::saturating_add)
    };
    let document = |file: &BoundFile| document(&package.manufacturer, file);
    ReleaseView {
        path: listed.path.to_string(),
        manufacturer: package.manufacturer.to_string(),
        device_type: package.device_type.clone(),
        model: package.model.to_string(),
        from: package.pre_revision.from().to_string(),
        to: package.pre_revision.to().to_string(),
        revision: package.post_revision.to_string(),
        hardware: package.hardware.iter().map(ToString::to_string).collect(),
        release_counter: package.release_counter.number().into(),
        feature_set: package.feature_set.to_string(),
        atomic: package.atomic.iter().map(|member| member.models().to_string()).collect(),
        accepts: package.accepts.iter().map(|kind| kind.name().to_owned()).collect(),
        during_therapy: package.during_therapy,
        downgrade: package.downgrade.as_ref().map(|downgrade| downgrade.reason.to_string()),
        recalled: package.recalled.as_ref().map(|recall| recall.reason.to_string()),
        length: listed.target.length,
        sha256: sha256(&listed.target),
        sbom: package.sbom.as_ref().map(document),
        provenance: package.provenance.as_ref().map(document),
        fitting: count(&|state| package.may_be_taken_by(state)),
        running: count(&|state| package.is_installed_on(state)),
    }
}

/// Where a document is that a package names: under its name with its hash, as it was made public.
fn document(manufacturer: &Manufacturer, file: &BoundFile) -> ReleaseDocument {
    let name = file.path.with_hash(&file.sha256.to_string());
    let address = format!("/api/repositories/{}/targets/{}", encoded(manufacturer.as_str()), encoded(&name));
    ReleaseDocument { address, length: file.length }
}

/// The hash that every published target has.
fn sha256(target: &Target) -> Sha256 {
    let text = target.hashes.0.get("sha256").map(|text| text.to_ascii_lowercase()).unwrap_or_default();
    text.parse().unwrap_or(Sha256([0; 32]))
}
