//! The manufacturers' repositories, for everybody: plain TUF over HTTP, each file as it was published.

use super::Call;
use wardlink_edge::files::Files;
use wardlink_edge::http::{Wanted, decoded, names};
use wardlink_edge::messages::{DistributionRequest, PublicFile, PublicName};
use wardlink_edge::objects;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::ProblemKind;
use worker::{Method, Range, Response};

/// Names that say which version or content they mean never change their meaning.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// The one name that does.
const REVALIDATED: &str = "public, no-cache";
const TIMESTAMP: &str = "timestamp.json";

/// The name that a path asks for.
pub(super) fn name(manufacturer: &str, part: &str, name: &[&str]) -> Option<PublicName> {
    let name = name.iter().map(|part| decoded(part)).collect::<Option<Vec<_>>>()?.join("/");
    let is_metadata = part == "metadata";
    (!name.is_empty()).then_some(PublicName { manufacturer: decoded(manufacturer)?, is_metadata, name })
}

/// `GET /api/repositories/{manufacturer}/metadata/{file}` and `…/targets/{path}`.
pub(super) async fn get(call: &Call, name: PublicName) -> Result<Response, Failure> {
    let (is_metadata, manufacturer) = (name.is_metadata, name.manufacturer.clone());
    let is_timestamp = is_metadata && name.name == TIMESTAMP;
    let found: Option<PublicFile> = objects::call(&call.env, &DistributionRequest::Find(name)).await?;
    let file = found.ok_or(ProblemKind::NotFound)?;
    let etag = format!("\"{}\"", file.sha256);
    let headers = call.request.headers();
    let is_known = headers.get("If-None-Match")?.is_some_and(|known| names(&known, &etag));
    let wanted = Wanted::by(headers, &etag, file.length)?;
    let response =
        if is_known { Response::empty()?.with_status(304) } else { content(call, &manufacturer, file, wanted).await? };
    let headers = response.headers();
    headers.set("ETag", &etag)?;
    headers.set("Cache-Control", if is_timestamp { REVALIDATED } else { IMMUTABLE })?;
    if !is_known {
        headers.set("Accept-Ranges", "bytes")?;
        headers.set("Content-Type", if is_metadata { "application/json" } else { "application/octet-stream" })?;
    }
    Ok(response)
}

async fn content(call: &Call, manufacturer: &str, file: PublicFile, wanted: Wanted) -> Result<Response, Failure> {
    let response = if wanted == Wanted::Nothing || call.request.method() == Method::Head {
        Response::empty()?
    } else {
        let files = Files::of(&call.env, manufacturer)?;
        let mut get = files.bucket().get(files.key(&file.sha256));
        if let Wanted::Part { offset, length } = wanted {
            get = get.range(Range::OffsetWithLength { offset, length });
        }
        let object = get.execute().await?.ok_or_else(|| Failure::internal("a public file is not there"))?;
        let body = object.body().ok_or_else(|| Failure::internal("a public file has no content"))?;
        Response::from_body(body.response_body()?)?
    };
    wanted.describe(response.with_status(200), file.length)
}
