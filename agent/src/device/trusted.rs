//! Whom a device trusts, as it changes: keys that are rotated, versions that were seen, and the site whose server directs it.
//!
//! Each change gives a whole new value, which is stored in one step before anything is verified by it.

use serde::{Deserialize, Serialize};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::distribution::DirectorRoot;
use wardlink_update::client::{Command, File, Step};
use wardlink_update::metadata::{InvalidMetadata, Root, Signed};
use wardlink_update::package::ModelFolder;
use wardlink_update::uptane::{
    Cause, Provisioned, Refused, Repository, Rotated, Seen, Source, Trust, follow_delegation, follow_roots,
};

/// What a gateway hands on before the update itself: what may have changed about keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct News<'a> {
    /// Roots of the director that are newer than the device's, in order.
    pub director_roots: &'a [Vec<u8>],
    /// Roots of the manufacturer's repository that are newer than the device's, in order.
    pub image_roots: &'a [Vec<u8>],
    /// The top-level targets of the manufacturer's repository.
    pub delegator: Option<&'a [u8]>,
}

/// Whom a device trusts, and what it has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// The keys that count.
    pub provisioned: Provisioned,
    /// The newest versions that were seen.
    pub seen: Seen,
    /// The newest root of the manufacturer's repository, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    /// Whose server directs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    director: Option<Director>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Director {
    issued_at: UnixMillis,
    /// The newest root of the director's repository, JSON.
    root: String,
}

/// Why a site's director is not taken. The server's fault, or that of somebody who repeats old messages.
#[derive(Debug, thiserror::Error)]
pub enum DirectorRefused {
    /// The model trusts its manufacturer alone.
    #[error("this model is directed by nobody")]
    NotDirected,
    /// It was signed before the one that the device has.
    #[error("it is older than the one that the device has")]
    Older,
    /// It is no root.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// The root is not signed by its own keys.
    #[error("it is not signed by enough of its own keys")]
    Signatures,
}

impl Trusted {
    pub(super) const fn new(provisioned: Provisioned, seen: Seen, root: Option<String>) -> Self {
        Self { provisioned, seen, root, director: None }
    }

    /// The versions of the newest roots: the manufacturer's, the director's. Later ones are asked for.
    pub fn root_versions(&self) -> (Option<u64>, Option<u64>) {
        let version = |root: &String| {
            use wardlink_update::metadata::Role as _;
            Signed::<Root>::parse(root.as_bytes()).ok().map(|signed| signed.role.version())
        };
        (self.root.as_ref().and_then(version), self.director.as_ref().and_then(|director| version(&director.root)))
    }

    /// The newest roots, JSON: the manufacturer's, the director's.
    pub fn roots(&self) -> (Option<&str>, Option<&str>) {
        (self.root.as_deref(), self.director.as_ref().map(|director| director.root.as_str()))
    }

    /// The site's director, whose first root `wardlink_crypto::director::verify` has found to be the control unit's word.
    pub fn directed_by(&self, given: &DirectorRoot) -> Result<Self, DirectorRefused> {
        if self.provisioned.trust == Trust::Manufacturer {
            return Err(DirectorRefused::NotDirected);
        }
        if self.director.as_ref().is_some_and(|known| given.issued_at < known.issued_at) {
            return Err(DirectorRefused::Older);
        }
        let signed: Signed<Root> = Signed::parse(&given.root)?;
        if !signed.is_signed_by(&signed.role.roles.root, &signed.role.keys) {
            return Err(DirectorRefused::Signatures);
        }
        let rotated = Rotated::server(&self.provisioned, self.seen, Source::of(&signed.role));
        let director = Director { issued_at: given.issued_at, root: text(given.root.to_vec())? };
        Ok(Self::of(rotated, self.root.clone(), Some(director)))
    }

    /// Forgets the site: nobody directs, until another one does. The manufacturer stays.
    #[must_use]
    pub fn without_site(&self) -> Self {
        let provisioned = Provisioned { server: None, ..self.provisioned.clone() };
        Self { provisioned, seen: Seen { server: 0, ..self.seen }, director: None, ..self.clone() }
    }

    /// Follows rotated keys (5.4.4.3, and the delegation's). Nothing is verified by what comes of it before it is stored.
    pub fn follow(&self, news: &News<'_>, model: &ModelFolder, now: u64) -> Result<Self, Refused> {
        let mut next = self.clone();
        if let Some(director) = next.director.clone().filter(|_| !news.director_roots.is_empty()) {
            let (root, source) = newest(director.root, news.director_roots, now)
                .map_err(|cause| refused("5.4.4.2 step 2", Repository::Director, cause))?;
            let rotated = Rotated::server(&next.provisioned, next.seen, source);
            next = Self::of(rotated, next.root.clone(), Some(Director { root, ..director }));
        }
        let Some(root) = next.root.clone() else { return Ok(next) };
        let images = Repository::Image(next.provisioned.manufacturer.clone());
        let mut delegator = next.provisioned.delegated.as_ref().map(|delegated| delegated.by.clone());
        if !news.image_roots.is_empty() {
            let (root, source) =
                newest(root, news.image_roots, now).map_err(|cause| refused("5.4.4.2 step 6", images, cause))?;
            next.root = Some(root);
            delegator = Some(source);
        } else if news.delegator.is_some() {
            // An earlier root may have come without the targets that follow from it.
            delegator = Signed::<Root>::parse(root.as_bytes()).ok().map(|signed| Source::of(&signed.role));
        }
        if let (Some(targets), Some(delegator)) = (news.delegator, delegator) {
            let rotated = follow_delegation(&next.provisioned, next.seen, model, &delegator, targets, now)?;
            next = Self::of(rotated, next.root.clone(), next.director.clone());
        }
        Ok(next)
    }

    fn of(rotated: Rotated, root: Option<String>, director: Option<Director>) -> Self {
        Self { provisioned: rotated.provisioned, seen: rotated.seen, root, director }
    }
}

/// The newest root after this one, and the keys of its top-level targets.
fn newest(root: String, newer: &[Vec<u8>], now: u64) -> Result<(String, Source), Cause> {
    let (commands, source) = follow_roots(root.clone().into_bytes(), newer.to_vec(), now)?;
    let stored = commands.into_iter().rev().find_map(|command| match command {
        Command::Store(File::Root, bytes) => Some(bytes),
        _ => None,
    });
    Ok((stored.map_or(Ok(root), text)?, source))
}

fn text(bytes: Vec<u8>) -> Result<String, InvalidMetadata> {
    String::from_utf8(bytes).map_err(|_| InvalidMetadata::Contradiction("it is no text"))
}

fn refused(step: &'static str, repository: Repository, cause: Cause) -> Refused {
    Refused { step: Step(step), repository, cause: Box::new(cause) }
}

#[cfg(test)]
mod tests;
