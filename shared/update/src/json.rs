//! JSON as TUF metadata needs it: read strictly, and written canonically (TUF section 4.2, OLPC's canonical JSON as TUF's tools
//! write it).
//!
//! Refused: duplicate member names, numbers that are no 64-bit integers, nesting deeper than [`MAX_DEPTH`], and anything after
//! the value.

use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;

/// The deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 32;

/// A JSON value without fractions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A text.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object. Rust orders texts by their UTF-8 bytes, which is the order of code points.
    Object(BTreeMap<String, Json>),
}

/// The peer's fault: the bytes are no JSON that we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no acceptable JSON: {0}")]
pub struct InvalidJson(String);

impl InvalidJson {
    /// Keeps what the parser says.
    pub(crate) fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

impl Json {
    /// Reads one value.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidJson> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = Nested { depth: 0 }.deserialize(&mut deserializer).map_err(InvalidJson::new)?;
        deserializer.end().map_err(InvalidJson::new)?;
        Ok(value)
    }

    /// The member of an object.
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(name),
            _ => None,
        }
    }

    /// The canonical bytes: no white space, members ordered by code point, and only `\` and `"` escaped in texts.
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, write_text);
        out
    }

    /// Compact JSON (RFC 8259). Unlike the canonical form, it escapes control characters, as every reader of JSON needs it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, write_json_text);
        out
    }

    fn write(&self, out: &mut Vec<u8>, write_text: WriteText) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Boolean(true) => out.extend_from_slice(b"true"),
            Self::Boolean(false) => out.extend_from_slice(b"false"),
            Self::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::Array(items) => {
                write_list(out, (b'[', b']'), items, |item, out| item.write(out, write_text));
            }
            Self::Object(members) => write_list(out, (b'{', b'}'), members, |(name, value), out| {
                write_text(name, out);
                out.push(b':');
                value.write(out, write_text);
            }),
        }
    }
}

type WriteText = fn(&str, &mut Vec<u8>);

fn write_list<T>(
    out: &mut Vec<u8>,
    (open, close): (u8, u8),
    items: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(close);
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn write_json_text(text: &str, out: &mut Vec<u8>) {
    // Writing a text into memory cannot fail.
    drop(serde_json::to_writer(out, text));
}

/// Reads a value at a depth.
#[derive(Clone, Copy)]
struct Nested {
    depth: usize,
}

impl Nested {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Json;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with 64-bit integers only")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        i64::try_from(value).map(Json::Integer).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member name stands there twice"));
            }
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_form_is_ordered_raw_and_without_white_space() {
        let text = "{ \"b\" : [1, -2, true, null], \"a\\u00e9\\n\": \"\\\"\\\\/\\u0007\", \"\u{1F600}\": {}, \"\u{FFFD}\": 0 }";
        let expected = "{\"a\u{e9}\n\":\"\\\"\\\\/\u{7}\",\"b\":[1,-2,true,null],\"\u{FFFD}\":0,\"\u{1F600}\":{}}";
        assert_eq!(String::from_utf8(Json::parse(text.as_bytes()).unwrap().to_canonical()).unwrap(), expected);
    }

    #[test]
    fn letters_are_not_normalized() {
        let decomposed = "\"e\u{301}\"";
        assert_eq!(Json::parse(decomposed.as_bytes()).unwrap().to_canonical(), decomposed.as_bytes());
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        let refused = [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            "1.0",
            "1e3",
            "9223372036854775808",
            "-9223372036854775809",
            "NaN",
            "[1,]",
            "{} {}",
            "",
            "\u{feff}{}",
            r#""\ud800""#,
            "'a'",
            &deep,
        ];
        for text in refused {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
        let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(Json::parse(deepest.as_bytes()).is_ok());
    }

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Boolean),
            any::<i64>().prop_map(Json::Integer),
            any::<String>().prop_map(Json::Text),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Json::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn different_values_have_different_canonical_bytes(one in json(), other in json()) {
            prop_assert_eq!(one == other, one.to_canonical() == other.to_canonical());
        }

        #[test]
        fn what_is_written_as_json_is_read_again(value in json()) {
            prop_assert_eq!(Json::parse(&value.to_json()), Ok(value));
        }

        #[test]
        fn nothing_makes_the_parser_fail_otherwise_than_by_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Json::parse(&bytes));
        }
    }
}
