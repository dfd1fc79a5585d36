//! What addresses and fields of requests mean, and answers in JSON.

use crate::problem::Failure;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use std::borrow::Cow;
use wardlink_protocol::api::ProblemKind;
use worker::{Headers, Request, Response, js_sys};

/// What stands for itself in a part of a path (RFC 3986 section 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Answers with JSON.
pub fn json<T: Serialize>(value: &T) -> Result<Response, Failure> {
    Ok(Response::from_json(value)?)
}

/// The address that is asked, as the platform has it: in full, and in its one form.
pub fn address(request: &Request) -> Result<Uri, Failure> {
    request.inner().url().parse().map_err(|_| ProblemKind::BadRequest.into())
}

/// What the address asks for, by name (WHATWG URL, `application/x-www-form-urlencoded`).
pub fn query(request: &Request) -> Result<Vec<(String, String)>, Failure> {
    let address = address(request)?;
    let fields = form_urlencoded::parse(address.query().unwrap_or_default().as_bytes());
    Ok(fields.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

/// Says in an answer what time it is (RFC 9110 section 6.6.1): not every host of the platform does, and whoever has a wrong clock notices by it.
pub fn date(headers: &Headers) -> worker::Result<()> {
    headers.set("Date", &String::from(js_sys::Date::new_0().to_utc_string()))
}

/// A part of a path, as it was before it was percent-encoded.
pub fn decoded(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(Cow::into_owned)
}

/// A path whose parts are percent-encoded; [`decoded`] leads back.
pub fn encoded(path: &str) -> String {
    let parts = path.split('/').map(|part| utf8_percent_encode(part, PLAIN).to_string());
    parts.collect::<Vec<_>>().join("/")
}

/// Whether an `If-None-Match` names the representation with this entity tag (RFC 9110 section 13.1.2).
pub fn names(known: &str, etag: &str) -> bool {
    known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)
}

/// What of a file is asked for (RFC 9110 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// One part.
    Part {
        /// Where it begins, in bytes.
        offset: u64,
        /// How long it is, in bytes; never nothing.
        length: u64,
    },
    /// A range that the file does not have.
    Nothing,
}

impl Wanted {
    /// What a request asks for of the file with this tag and length. Of several ranges, or of one in another form, it is the whole file.
    pub fn by(headers: &Headers, etag: &str, length: u64) -> Result<Self, Failure> {
        Ok(match headers.get("Range")? {
            // RFC 9110 section 13.1.5: the range of another file is not asked for.
            Some(_) if headers.get("If-Range")?.is_some_and(|known| known != etag) => Self::Whole,
            Some(range) => Self::of(&range, length),
            None => Self::Whole,
        })
    }

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

    /// Says in an answer which part of a file of this length it has.
    pub fn describe(self, response: Response, length: u64) -> Result<Response, Failure> {
        let (status, described) = match self {
            Self::Whole => return Ok(response),
            Self::Part { offset, length: part } => {
                let last = offset.saturating_add(part).saturating_sub(1);
                (206, format!("bytes {offset}-{last}/{length}"))
            }
            Self::Nothing => (416, format!("bytes */{length}")),
        };
        response.headers().set("Content-Range", &described)?;
        Ok(response.with_status(status))
    }
}

#[cfg(test)]
mod tests {
    use super::{Wanted, decoded, encoded, names};

    #[test]
    fn a_path_is_encoded_part_by_part_and_comes_back() {
        let path = "Acme Medical/scale/S#2/1C?ü%.cdx.json";
        assert_eq!(encoded(path), "Acme%20Medical/scale/S%232/1C%3F%C3%BC%25.cdx.json");
        assert_eq!(decoded(&encoded(path)).as_deref(), Some(path));
    }

    #[test]
    fn ranges_are_read_as_http_has_them() {
        let part = |offset, length| Wanted::Part { offset, length };
        for (header, wanted) in [
            ("bytes=0-9", part(0, 10)),
            ("bytes=90-", part(90, 10)),
            ("bytes=95-1000", part(95, 5)),
            ("bytes=-10", part(90, 10)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=9-0", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=x-", Wanted::Whole),
        ] {
            assert_eq!(Wanted::of(header, 100), wanted, "{header}");
        }
    }

    #[test]
    fn a_file_that_is_known_is_named_by_its_whole_tag() {
        assert!(names("\"a\", W/\"b\"", "\"b\"") && names("*", "\"b\""));
        assert!(!names("\"bc\"", "\"b\"") && !names("", "\"b\""));
    }
}
