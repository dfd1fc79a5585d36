//! The CA of the site, as people see it.

use crate::identity::Sha256;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Whose the root of the site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityKind {
    /// The site's own.
    BuiltIn,
    /// The hospital's, over EST.
    External,
}

/// Whether the site can issue certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityState {
    /// It can.
    Ready,
    /// It has no certificate of the hospital's CA yet: nothing can be paired.
    Waiting,
    /// Its certificate has ended: nothing can be paired or renewed.
    Ended,
}

/// What is wrong with the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorityTrouble {
    /// The variables of the deployment cannot be read.
    Configuration,
    /// The deployment names another CA than the one under which this site has issued certificates.
    Switched,
    /// The server does not answer.
    Unreachable,
    /// The server does not accept the credentials.
    Credentials,
    /// The server answers something else than EST says.
    Answer,
    /// The server's CA has another root than the deployment names.
    Root,
    /// Somewhere on the way to the root is a key or a signature that devices cannot check.
    Algorithm,
    /// The certificate that was given does not make an issuing CA of the site.
    Certificate,
    /// The bridge does not know the new certificate yet.
    Bridge,
    /// Something went wrong at the control unit itself.
    Internal,
}

/// `GET /api/v1/authority`, and the answer to `POST /api/v1/authority/ask`, which takes no body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityView {
    /// Whose the root is.
    pub kind: AuthorityKind,
    /// Whether the site can issue certificates.
    pub state: AuthorityState,
    /// The SHA-256 of the root, by which devices know the site.
    pub root: Option<Sha256>,
    /// The root's name.
    pub root_name: Option<String>,
    /// The issuing CA's name.
    pub name: Option<String>,
    /// When the issuing CA ends.
    pub ends_at: Option<UnixMillis>,
    /// How many issuing CAs before it have not ended yet: what they issued holds.
    pub earlier: u32,
    /// The server of the hospital's CA.
    pub server: Option<String>,
    /// When it was asked last.
    pub last_try: Option<UnixMillis>,
    /// When it is asked next.
    pub next_try: Option<UnixMillis>,
    /// Whether somebody at the hospital's CA has to approve the request.
    pub awaits_approval: bool,
    /// What is wrong, if something is.
    pub trouble: Option<AuthorityTrouble>,
    /// The same in technical words, in English.
    pub detail: Option<String>,
}
