//! What paths and fields of requests mean, and answers in JSON.

use crate::problem::Failure;
use serde::Serialize;
use std::borrow::Cow;
use worker::Response;

/// Answers with JSON.
pub fn json<T: Serialize>(value: &T) -> Result<Response, Failure> {
    Ok(Response::from_json(value)?)
}

/// A part of a path, as it was before it was percent-encoded.
pub fn decoded(part: &str) -> Option<String> {
    percent_encoding::percent_decode_str(part).decode_utf8().ok().map(Cow::into_owned)
}

/// Whether an `If-None-Match` names the representation with this entity tag (RFC 9110 section 13.1.2).
pub fn names(known: &str, etag: &str) -> bool {
    known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_file_that_is_known_is_named_by_its_whole_tag() {
        assert!(names("\"a\", W/\"b\"", "\"b\"") && names("*", "\"b\""));
        assert!(!names("\"bc\"", "\"b\"") && !names("", "\"b\""));
    }
}
