//! The sources, as far as documents speak of them.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use syn::visit::{self, Visit};
use wardlink_tests::artifacts;

/// Reads a file of the checkout.
pub(crate) fn text(path: &str) -> Result<String> {
    let path = artifacts::root()?.join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a source file.
pub(crate) fn parse(path: &str) -> Result<syn::File> {
    syn::parse_file(&text(path)?).with_context(|| format!("{path} is no Rust"))
}

/// What a source file defines: `function`, `Type`, `Type::method`, `Enum::Variant`, `Struct::field`.
#[derive(Default)]
pub(crate) struct Names {
    /// Everything that has a name.
    pub(crate) items: BTreeSet<String>,
    /// The tests among it.
    pub(crate) tests: BTreeSet<String>,
    owner: Option<String>,
}

impl Names {
    /// The names in a source file.
    pub(crate) fn of(path: &str) -> Result<Self> {
        let mut names = Self::default();
        names.visit_file(&parse(path)?);
        Ok(names)
    }

    fn add(&mut self, name: &syn::Ident) {
        let name = self.owner.as_ref().map_or_else(|| name.to_string(), |owner| format!("{owner}::{name}"));
        self.items.insert(name);
    }

    fn within(&mut self, owner: String, visit: impl FnOnce(&mut Self)) {
        let outer = self.owner.replace(owner);
        visit(self);
        self.owner = outer;
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.add(&item.sig.ident);
        // `#[test]` and `#[tokio::test(…)]`.
        if item.attrs.iter().any(|attribute| last(attribute.path()).is_some_and(|name| name == "test")) {
            self.tests.insert(item.sig.ident.to_string());
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(&item.sig.ident);
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        if let Some(owner) = owner(item) {
            self.within(owner, |names| visit::visit_item_impl(names, item));
        }
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.add(&item.ident);
        let fields = item.fields.iter().filter_map(|field| field.ident.as_ref());
        self.within(item.ident.to_string(), |names| fields.for_each(|field| names.add(field)));
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.add(&item.ident);
        let variants = item.variants.iter().map(|variant| &variant.ident);
        self.within(item.ident.to_string(), |names| variants.for_each(|variant| names.add(variant)));
    }

    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        self.add(&item.ident);
    }

    /// A macro defines what it is given: names (`name!`, `fixed_bytes!`) or tests (`proptest!`).
    fn visit_item_macro(&mut self, item: &'a syn::ItemMacro) {
        let text = item.mac.tokens.to_string();
        let words: Vec<&str> =
            text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
        self.items.extend(words.iter().map(|word| (*word).to_owned()));
        if last(&item.mac.path).is_some_and(|name| name == "proptest") {
            self.tests.extend(
                words
                    .iter()
                    .zip(words.iter().skip(1))
                    .filter(|(word, _)| **word == "fn")
                    .map(|(_, name)| (*name).to_owned()),
            );
        }
    }
}

/// Whose methods a block holds.
pub(crate) fn owner(block: &syn::ItemImpl) -> Option<String> {
    match &*block.self_ty {
        syn::Type::Path(owner) => last(&owner.path),
        _ => None,
    }
}

/// The last name of a path.
pub(crate) fn last(path: &syn::Path) -> Option<String> {
    path.segments.last().map(|segment| segment.ident.to_string())
}
