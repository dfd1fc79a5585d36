//! The tables of screens against the app's own lists of what it shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use wardlink_tests::artifacts;

/// Names of the enums that list what a person may come to see, wherever in the app they are.
const LISTS: [&str; 7] = ["Route", "Screen", "Ask", "Sight", "Stage", "Phase", "Link"];
/// Where they are looked for, and what the paths in the tables begin at.
const FOLDERS: [&str; 2] = ["app/src", "agent/src"];

/// Everything that those enums name, such as `route::Route::Devices`.
pub(crate) fn listed() -> Result<BTreeSet<String>> {
    let mut listed = BTreeSet::new();
    for folder in FOLDERS {
        let folder = artifacts::root()?.join(folder);
        for file in sources(&folder)? {
            let module = file.strip_prefix(&folder)?.with_extension("");
            let module = module.to_str().context("a path")?.replace('/', "::");
            let source = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            for item in syn::parse_file(&source)?.items {
                if let syn::Item::Enum(list) = item
                    && LISTS.iter().any(|name| list.ident == name)
                {
                    let name = &list.ident;
                    listed.extend(list.variants.iter().map(|variant| format!("{module}::{name}::{}", variant.ident)));
                }
            }
        }
    }
    Ok(listed)
}

/// The forms of the app, by what it marks them with.
pub(crate) fn forms() -> Result<BTreeSet<String>> {
    let mut forms = BTreeSet::new();
    for file in sources(&artifacts::root()?.join("app/src"))? {
        let source = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for form in source.split("<form").skip(1) {
            let mark = form.split('>').next().and_then(|tag| tag.split("data-testid=\"").nth(1)?.split('"').next());
            forms.insert(mark.with_context(|| format!("a form without a mark in {}", file.display()))?.to_owned());
        }
    }
    Ok(forms)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
