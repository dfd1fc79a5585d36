//! The manufacturers' repositories, for everybody: plain TUF over HTTP, each file as it was published.

use super::Call;
use wardlink_edge::files::Files;
use wardlink_edge::http::{decoded, names};
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
    let range = match headers.get("Range")? {
        // RFC 9110 section 13.1.5: the range of another file is not asked for.
        Some(_) if headers.get("If-Range")?.is_some_and(|known| known != etag) => Asked::Whole,
        Some(range) => Asked::of(&range, file.length),
        None => Asked::Whole,
    };
    let response =
        if is_known { Response::empty()?.with_status(304) } else { content(call, &manufacturer, file, range).await? };
    let headers = response.headers();
    headers.set("ETag", &etag)?;
    headers.set("Cache-Control", if is_timestamp { REVALIDATED } else { IMMUTABLE })?;
    if !is_known {
        headers.set("Accept-Ranges", "bytes")?;
        headers.set("Content-Type", if is_metadata { "application/json" } else { "application/octet-stream" })?;
    }
    Ok(response)
}

async fn content(call: &Call, manufacturer: &str, file: PublicFile, range: Asked) -> Result<Response, Failure> {
    let last = |offset: u64, length: u64| offset.saturating_add(length).saturating_sub(1);
    let (status, described, part) = match range {
        Asked::Whole => (200, None, None),
        Asked::Part { offset, length } => {
            let described = format!("bytes {offset}-{}/{}", last(offset, length), file.length);
            (206, Some(described), Some(Range::OffsetWithLength { offset, length }))
        }
        Asked::Nothing => {
            let response = Response::empty()?.with_status(416);
            response.headers().set("Content-Range", &format!("bytes */{}", file.length))?;
            return Ok(response);
        }
    };
    let response = if call.request.method() == Method::Head {
        Response::empty()?
    } else {
        let files = Files::of(&call.env, manufacturer)?;
        let mut get = files.bucket().get(files.key(&file.sha256));
        if let Some(part) = part {
            get = get.range(part);
        }
        let object = get.execute().await?.ok_or_else(|| Failure::internal("a public file is not there"))?;
        let body = object.body().ok_or_else(|| Failure::internal("a public file has no content"))?;
        Response::from_body(body.response_body()?)?
    };
    if let Some(described) = described {
        response.headers().set("Content-Range", &described)?;
    }
    Ok(response.with_status(status))
}

/// What of a file is asked for (RFC 9110 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part {
        offset: u64,
        length: u64,
    },
    /// A range that the file does not have.
    Nothing,
}

impl Asked {
    /// One range; of several, or of another form, the whole file is given instead.
    fn of(header: &str, length: u64) -> Self {
        let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
            return Self::Whole;
        };
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), _) if first >= length => Self::Nothing,
            (Ok(first), Ok(last)) if last < first => Self::Whole,
            (Ok(first), Ok(last)) => {
                let end = last.saturating_add(1).min(length);
                Self::Part { offset: first, length: end.saturating_sub(first) }
            }
            (Ok(first), Err(_)) if last.is_empty() => {
                Self::Part { offset: first, length: length.saturating_sub(first) }
            }
            (Err(_), Ok(0)) if first.is_empty() => Self::Nothing,
            (Err(_), Ok(count)) if first.is_empty() => {
                let count = count.min(length);
                Self::Part { offset: length.saturating_sub(count), length: count }
            }
            _ => Self::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Asked;

    #[test]
    fn ranges_are_read_as_http_has_them() {
        let part = |offset, length| Asked::Part { offset, length };
        for (header, asked) in [
            ("bytes=0-9", part(0, 10)),
            ("bytes=90-", part(90, 10)),
            ("bytes=95-1000", part(95, 5)),
            ("bytes=-10", part(90, 10)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=9-0", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("bytes=x-", Asked::Whole),
        ] {
            assert_eq!(Asked::of(header, 100), asked, "{header}");
        }
    }
}
