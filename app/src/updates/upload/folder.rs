//! The files of a folder that a person has chosen, as `wardlink release` lays them out.

use std::collections::BTreeMap;

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, File, FileList};

/// A manufacturer's repository on disk. Whatever else lies in the folder, such as drafts and keys, is not looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    /// Metadata by its name, such as `3.targets.json`.
    pub(super) metadata: BTreeMap<String, File>,
    /// Files of targets by their path, each with its hash before its name.
    pub(super) targets: BTreeMap<String, File>,
}

/// Where a file of a repository belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Metadata(String),
    Target(String),
}

impl Place {
    /// By its path below what was chosen: a repository, or a folder of it with all that is in it.
    fn of(path: &str) -> Option<Self> {
        let (_, path) = path.split_once('/')?;
        let (part, rest) = path.split_once('/')?;
        match part {
            // What is no part of a path stands percent-encoded.
            "metadata" if !rest.contains('/') => Some(Self::Metadata(rest.to_owned())),
            "targets" => Some(Self::Target(rest.to_owned())),
            _ => None,
        }
    }
}

impl Folder {
    /// Sorts what was chosen.
    pub(super) fn of(files: &FileList) -> Self {
        let mut folder = Self::default();
        for file in (0..files.length()).filter_map(|index| files.get(index)) {
            match path_of(&file).as_deref().and_then(Place::of) {
                Some(Place::Metadata(name)) => {
                    folder.metadata.insert(decoded(name), file);
                }
                Some(Place::Target(path)) => {
                    folder.targets.insert(path, file);
                }
                None => {}
            }
        }
        folder
    }
}

/// The path of a file below the folder that was chosen, whose name it begins with.
fn path_of(file: &File) -> Option<String> {
    Reflect::get(file, &JsValue::from_str("webkitRelativePath")).ok()?.as_string()
}

fn decoded(name: String) -> String {
    js_sys::decode_uri_component(&name).map_or(name, String::from)
}

/// How long a file is, in bytes.
pub(super) fn length(file: &Blob) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a length is a whole number below 2^53"
    )]
    let length = file.size() as u64;
    length
}

/// A part of a file; `end` may lie behind its end.
pub(super) fn slice(file: &Blob, begin: u64, end: u64) -> Option<Blob> {
    #[expect(clippy::cast_precision_loss, reason = "a length is a whole number below 2^53")]
    let [begin, end] = [begin as f64, end as f64];
    file.slice_with_f64_and_f64(begin, end).ok()
}

/// The bytes of a file. None: it cannot be read any more, as where its stick was drawn.
pub(super) async fn bytes(file: &Blob) -> Option<Vec<u8>> {
    let buffer = JsFuture::from(file.array_buffer()).await.ok()?;
    Some(Uint8Array::new(buffer.dyn_ref::<js_sys::ArrayBuffer>()?).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_its_folders_and_nothing_else_is_looked_at() {
        assert_eq!(Place::of("stick/metadata/1.root.json"), Some(Place::Metadata("1.root.json".to_owned())));
        assert_eq!(Place::of("stick/targets/acme/x/y.bin"), Some(Place::Target("acme/x/y.bin".to_owned())));
        for other in ["stick/drafts/root.json", "stick/settings.json", "metadata", "stick/metadata/old/1.root.json", ""]
        {
            assert_eq!(Place::of(other), None, "{other}");
        }
    }
}
