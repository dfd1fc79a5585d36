//! Polls: the director's repository for who shows the ticket, conditional, from memory.

use super::GatewayObject;
use crate::variant::Content;
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256 as Hasher};
use std::rc::Rc;
use subtle::ConstantTimeEq;
use wardlink_crypto::package::encrypted_bytes;
use wardlink_edge::files::Files;
use wardlink_edge::http::{Wanted, date, names};
use wardlink_edge::messages::{DeskRequest, DistributionRequest, Variant};
use wardlink_edge::objects;
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Column;
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::distribution::PollTicket;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::POLL_TICKET_BYTES;
use wardlink_protocol::{Device, UnixMillis};
use worker::{Request, Response};

/// Whose the files are that the server adds.
pub(crate) const ADDED: &str = "@added";
/// In which folder of the director's targets they lie.
const ADDED_FOLDER: &str = "added";
/// The director's first root.
pub(super) const FIRST_ROOT: &str = "1.root.json";

/// What of the director's repository is asked for.
pub(super) enum Asked {
    Metadata(String),
    /// A file that the server added, by its hash.
    Added(Option<Sha256>),
    /// A package's variant that this gateway alone can read, by its hash.
    Variant(Option<Sha256>),
    /// The control unit's word for a device of this gateway that it is directed by this director.
    Root(Device),
}

impl Asked {
    /// Reads `/api/gateways/<client>/<identifier>/director/…`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/api/gateways/")?.splitn(4, '/').skip(2);
        let rest = (parts.next()? == "director").then(|| parts.next())??;
        if let Some(name) = rest.strip_prefix("metadata/") {
            return Some(Self::Metadata(name.to_owned()));
        }
        if let Some(device) = rest.strip_prefix("devices/") {
            return device.strip_suffix("/root.cose")?.parse().ok().map(Self::Root);
        }
        let (folder, name) = rest.strip_prefix("targets/")?.rsplit_once('/')?;
        let hash = name.split('.').next().and_then(|hash| hash.parse().ok());
        Some(if folder == ADDED_FOLDER { Self::Added(hash) } else { Self::Variant(hash) })
    }
}

/// What polls are answered by.
pub(super) struct Poll {
    ticket: [u8; 32],
    ends_at: UnixMillis,
    /// The newest directive's version, as the timestamp's tag has it.
    etag: String,
    timestamp: Option<Vec<u8>>,
    /// Whose it is.
    gateway: Option<Device>,
}

/// A new ticket, and its SHA-256.
pub(super) fn make_ticket(rng: &mut impl CryptoRng) -> (PollTicket, [u8; 32]) {
    let mut bytes = [0; POLL_TICKET_BYTES];
    rng.fill_bytes(&mut bytes);
    let ticket = PollTicket::new(bytes);
    let sha256 = Hasher::digest(ticket.as_bytes()).into();
    (ticket, sha256)
}

impl GatewayObject {
    /// Answers a poll, or gives a file of the director's repository.
    pub(super) async fn answer_poll(&self, request: &Request, asked: &Asked) -> Result<Response, Failure> {
        let headers = request.headers();
        let poll = self.poll()?.ok_or(ProblemKind::SignedOut)?;
        let shown = headers.get("Authorization")?;
        let shown = shown.as_deref().and_then(|shown| shown.strip_prefix("Bearer "));
        let ticket: Option<PollTicket> = shown.and_then(|text| text.parse().ok());
        let fits = ticket.is_some_and(|ticket| {
            let sha256: [u8; 32] = Hasher::digest(ticket.as_bytes()).into();
            bool::from(sha256.ct_eq(&poll.ticket))
        });
        if !fits || poll.ends_at <= now() {
            return Err(ProblemKind::SignedOut.into());
        }
        if let Some(gateway) = &poll.gateway {
            self.note_heard(gateway.clone(), false);
        }
        match asked {
            Asked::Metadata(name) if name == "timestamp.json" => {
                let bytes = poll.timestamp.as_ref().ok_or(ProblemKind::NotFound)?;
                if headers.get("If-None-Match")?.is_some_and(|known| names(&known, &poll.etag)) {
                    let response = Response::empty()?.with_status(304);
                    response.headers().set("ETag", &poll.etag)?;
                    date(response.headers())?;
                    return Ok(response);
                }
                let response = Response::from_bytes(bytes.clone())?;
                response.headers().set("ETag", &poll.etag)?;
                with_kind(response, "application/json", "private, no-cache")
            }
            Asked::Metadata(name) => {
                let response = Response::from_bytes(self.file(name)?)?;
                with_kind(response, "application/json", "private, max-age=86400, immutable")
            }
            Asked::Added(sha256) => {
                let sha256 = sha256.ok_or(ProblemKind::NotFound)?;
                let bytes = Files::of(&self.env, ADDED)?.read(&sha256).await?.ok_or(ProblemKind::NotFound)?;
                with_kind(Response::from_bytes(bytes)?, "application/json", "private, max-age=86400, immutable")
            }
            Asked::Variant(sha256) => {
                let gateway = self.device()?.ok_or(ProblemKind::NotFound)?;
                let response = self.variant(request, gateway, sha256.ok_or(ProblemKind::NotFound)?).await?;
                with_kind(response, "application/octet-stream", "private, no-store")
            }
            Asked::Root(device) => {
                let gateway = self.device()?.ok_or(ProblemKind::NotFound)?;
                let devices: Vec<Device> = objects::call(&self.env, &DistributionRequest::Uploads(gateway)).await?;
                if !devices.contains(device) {
                    return Err(ProblemKind::NotFound.into());
                }
                let request = DeskRequest::Direct(device.clone(), ByteBuf::from(self.file(FIRST_ROOT)?));
                let signed: Option<ByteBuf> = objects::call(&self.env, &request).await?;
                let response = Response::from_bytes(signed.ok_or(ProblemKind::NotFound)?.into_vec())?;
                with_kind(response, "application/cose", "private, no-store")
            }
        }
    }

    /// A package's variant, or the part of it that is asked for.
    async fn variant(&self, request: &Request, gateway: Device, file: Sha256) -> Result<Response, Failure> {
        let found = objects::call(&self.env, &DistributionRequest::Variant(gateway, file)).await?;
        let Variant { manufacturer, package, length, content } = Option::ok_or(found, ProblemKind::NotFound)?;
        let (length, etag) = (encrypted_bytes(length), format!("\"{file}\""));
        let wanted = Wanted::by(request.headers(), &etag, length)?;
        let (offset, part) = match wanted {
            Wanted::Whole => (0, length),
            Wanted::Part { offset, length } => (offset, length),
            Wanted::Nothing => return wanted.describe(Response::empty()?, length),
        };
        let files = Files::of(&self.env, &manufacturer)?;
        let made = Content::open(&self.env, &content)?.encrypt(&files, &package, offset, part).await?;
        let response = Response::from_stream(made)?;
        response.headers().set("ETag", &etag)?;
        response.headers().set("Accept-Ranges", "bytes")?;
        wanted.describe(response, length)
    }

    /// A file of the director's metadata.
    fn file(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let query = "SELECT bytes FROM files WHERE name = ?";
        let bytes = self.database.open()?.one::<Vec<u8>, _>(query, [name.to_owned().into_value()])?;
        Ok(bytes.ok_or(ProblemKind::NotFound)?)
    }

    /// What polls are answered by; none where nobody has a ticket.
    fn poll(&self) -> Result<Option<Rc<Poll>>, Failure> {
        if let Some(poll) = self.poll.borrow().as_ref() {
            return Ok(Some(Rc::clone(poll)));
        }
        if !self.is_known()? {
            return Ok(None);
        }
        let database = self.database.open()?;
        let query = "SELECT ticket, ticket_ends, directive FROM gateway WHERE ticket IS NOT NULL";
        let Some(mut row) = database.row(query, [])? else { return Ok(None) };
        let ticket: Vec<u8> = row.take()?;
        let (ends_at, directive) = (row.take()?, row.take::<u64>()?);
        let poll = Rc::new(Poll {
            ticket: ticket.try_into().map_err(|_| Failure::internal("a ticket's hash has another length"))?,
            ends_at,
            etag: format!("\"{directive}\""),
            timestamp: database.one("SELECT bytes FROM files WHERE name = 'timestamp.json'", [])?,
            gateway: self.device()?,
        });
        self.poll.replace(Some(Rc::clone(&poll)));
        Ok(Some(poll))
    }
}

fn with_kind(response: Response, kind: &str, cache: &str) -> Result<Response, Failure> {
    let headers = response.headers();
    headers.set("Content-Type", kind)?;
    headers.set("Cache-Control", cache)?;
    headers.set("X-Content-Type-Options", "nosniff")?;
    date(headers)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::Asked;

    #[test]
    fn a_path_asks_for_metadata_or_for_added_data_by_its_hash() {
        let path = |rest: &str| Asked::of(&format!("/api/gateways/gateway/ward-3/{rest}"));
        assert!(
            matches!(path("director/metadata/timestamp.json"), Some(Asked::Metadata(name)) if name == "timestamp.json")
        );
        let hash = "a".repeat(64);
        assert!(matches!(path(&format!("director/targets/added/{hash}.json")), Some(Asked::Added(Some(_)))));
        assert!(matches!(path(&format!("director/targets/added/{hash}.{hash}.json")), Some(Asked::Added(Some(_)))));
        assert!(matches!(path("director/targets/added/x"), Some(Asked::Added(None))));
        let variant = |name: &str| path(&format!("director/targets/acme/infusion-pump/PM2/{name}"));
        assert!(matches!(variant(&format!("{hash}.{hash}.encrypted")), Some(Asked::Variant(Some(_)))));
        assert!(matches!(variant("x.encrypted"), Some(Asked::Variant(None))) && path("director/targets/x").is_none());
        let device = "infusion-pump/p1".parse().unwrap();
        assert!(matches!(path("director/devices/infusion-pump/p1/root.cose"), Some(Asked::Root(of)) if of == device));
        assert!(
            path("director/devices/infusion-pump/root.cose").is_none()
                && path("director/devices/a/b/c/root.cose").is_none()
        );
        assert!(path("session").is_none() && path("director").is_none() && path("other/metadata/x").is_none());
    }
}
