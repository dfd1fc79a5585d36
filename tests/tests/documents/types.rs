//! The schemas of `docs/openapi.yaml` against the types that worker and web app share.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use syn::{Fields, Item};
use wardlink_tests::artifacts;

use crate::openapi::Document;
use crate::sources::{last, parse};

const PROTOCOL: &str = "shared/protocol/src";

#[test]
fn every_schema_says_what_its_type_says() -> Result<()> {
    let document = Document::read()?;
    let schemas = document.at("/components/schemas")?.as_object().context("schemas")?;
    let (types, strings) = protocol()?;
    for (name, schema) in schemas {
        let context = || format!("the schema of {name}");
        match types.get(name) {
            Some(Item::Struct(item)) => match &item.fields {
                Fields::Named(_) => check_struct(schema, &item.fields, &item.attrs, None).with_context(context)?,
                // Transparent: a number, or a text that is checked where it is read.
                _ => ensure!(schema["type"] == "integer" || schema["pattern"].is_string(), "{name} is a value"),
            },
            Some(Item::Enum(item)) => check_enum(schema, item).with_context(context)?,
            _ => {
                let pattern = strings.get(name).with_context(|| format!("no type is called {name}"))?;
                assert_eq!(schema["pattern"], *pattern, "the pattern of {name}");
            }
        }
    }
    Ok(())
}

/// The types of the protocol by name, and the patterns of those that macros make.
fn protocol() -> Result<(BTreeMap<String, Item>, BTreeMap<String, String>)> {
    let (mut types, mut strings) = (BTreeMap::new(), BTreeMap::new());
    for folder in [PROTOCOL.to_owned(), format!("{PROTOCOL}/api")] {
        for entry in std::fs::read_dir(artifacts::root()?.join(&folder))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let name = path.file_name().context("a file's name")?.display();
            for item in parse(&format!("{folder}/{name}"))?.items {
                match item {
                    Item::Struct(ref found) => drop(types.insert(found.ident.to_string(), item)),
                    Item::Enum(ref found) => drop(types.insert(found.ident.to_string(), item)),
                    Item::Macro(made) => strings.extend(made_by(&made)),
                    _ => {}
                }
            }
        }
    }
    Ok((types, strings))
}

/// `name! { Name, check }` and `fixed_bytes! { Name, 16 }`.
fn made_by(made: &syn::ItemMacro) -> Option<(String, String)> {
    let text = made.mac.tokens.to_string();
    let (name, argument) = text.rsplit(']').next()?.split_once(',')?;
    let pattern = match last(&made.mac.path)?.as_str() {
        "name" => "^[a-z0-9][a-z0-9-]{0,31}$".to_owned(),
        "fixed_bytes" => format!("^[0-9a-f]{{{}}}$", 2 * argument.trim().parse::<u32>().ok()?),
        _ => return None,
    };
    Some((name.trim().to_owned(), pattern))
}

/// `tag`: the property that says which variant it is, and the variant's name.
fn check_struct(
    schema: &Value,
    fields: &Fields,
    attributes: &[syn::Attribute],
    tag: Option<(&str, &str)>,
) -> Result<()> {
    ensure!(schema["type"] == "object", "an object");
    let properties = schema["properties"].as_object().context("properties")?;
    let mut names: BTreeSet<String> = tag.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut required = names.clone();
    if let Some((name, value)) = tag {
        assert_eq!(properties.get(name), Some(&json!({ "const": value })), "the tag");
    }
    for field in fields {
        let name = field.ident.as_ref().context("a field's name")?.to_string().trim_start_matches("r#").to_owned();
        let property = properties.get(&name).with_context(|| format!("{name} is missing"))?;
        ensure!(fits(property, &field.ty), "{name} has another type: {property}");
        if !serde(&field.attrs).contains("default") {
            required.insert(name.clone());
        }
        names.insert(name);
    }
    assert_eq!(properties.keys().cloned().collect::<BTreeSet<_>>(), names, "the properties");
    assert_eq!(texts(&schema["required"]), required, "what is required");
    let is_closed = serde(attributes).contains("deny_unknown_fields");
    assert_eq!(schema.get("additionalProperties"), is_closed.then_some(&json!(false)), "unknown fields");
    Ok(())
}

fn check_enum(schema: &Value, item: &syn::ItemEnum) -> Result<()> {
    let attributes = serde(&item.attrs);
    let separator = if attributes.contains("kebab-case") { '-' } else { '_' };
    // The names of algorithms are as the field writes them.
    let is_renamed = attributes.contains("rename_all");
    let name = |ident: String| if is_renamed { renamed(&ident, separator) } else { ident };
    let variants: Vec<(String, &syn::Variant)> =
        item.variants.iter().map(|variant| (name(variant.ident.to_string()), variant)).collect();
    if variants.iter().all(|(_, variant)| matches!(variant.fields, Fields::Unit)) {
        assert_eq!(texts(&schema["enum"]), variants.into_iter().map(|(name, _)| name).collect(), "the values");
        return Ok(());
    }
    let forms = schema["oneOf"].as_array().context("oneOf")?;
    assert_eq!(forms.len(), variants.len(), "the forms");
    for (form, (name, variant)) in forms.iter().zip(&variants) {
        match &variant.fields {
            Fields::Unit if !attributes.contains("tag") => assert_eq!(form["const"], *name, "the form {name}"),
            Fields::Named(_) if !attributes.contains("tag") => {
                assert_eq!(texts(&form["required"]), BTreeSet::from([name.clone()]), "the form {name}");
                let inner =
                    form.pointer(&format!("/properties/{name}")).with_context(|| format!("{name} is missing"))?;
                check_struct(inner, &variant.fields, &item.attrs, None).with_context(|| format!("the form {name}"))?;
            }
            Fields::Unnamed(inner) => {
                assert_eq!(texts(&form["required"]), BTreeSet::from([name.clone()]), "the form {name}");
                let inner = inner.unnamed.first().context("a value")?;
                ensure!(
                    form.pointer(&format!("/properties/{name}")).is_some_and(|value| fits(value, &inner.ty)),
                    "{name} has another type"
                );
            }
            fields @ (Fields::Named(_) | Fields::Unit) => {
                ensure!(attributes.contains("tag = \"event\""), "the tag is called event");
                check_struct(form, fields, &[], Some(("event", name))).with_context(|| format!("the form {name}"))?;
            }
        }
    }
    Ok(())
}

/// Whether a property has the type of a field.
fn fits(schema: &Value, field: &syn::Type) -> bool {
    let syn::Type::Path(path) = field else { return false };
    let Some(segment) = path.path.segments.last() else { return false };
    let inner = match &segment.arguments {
        syn::PathArguments::AngleBracketed(arguments) => arguments.args.iter().find_map(|argument| match argument {
            syn::GenericArgument::Type(inner) => Some(inner),
            _ => None,
        }),
        _ => None,
    };
    match (segment.ident.to_string().as_str(), inner) {
        ("Option", Some(inner)) => match (schema["anyOf"].as_array().map(Vec::as_slice), &schema["type"]) {
            (Some([value, none]), _) => fits(value, inner) && *none == json!({ "type": "null" }),
            (None, Value::Array(kinds)) => match kinds.as_slice() {
                [kind, none] => fits(&json!({ "type": kind }), inner) && none == "null",
                _ => false,
            },
            _ => false,
        },
        ("Vec", Some(inner)) => schema["type"] == "array" && fits(&schema["items"], inner),
        ("BTreeSet", Some(inner)) => {
            schema["type"] == "array" && schema["uniqueItems"] == true && fits(&schema["items"], inner)
        }
        ("Box", Some(inner)) => fits(schema, inner),
        ("String" | "IpAddr", None) => schema["type"] == "string",
        ("bool", None) => schema["type"] == "boolean",
        ("u8" | "u16" | "u32" | "u64", None) => schema["type"] == "integer",
        (name, None) => schema["$ref"] == format!("#/components/schemas/{name}"),
        _ => false,
    }
}

/// What serde is told of an item.
fn serde(attributes: &[syn::Attribute]) -> String {
    let lists = attributes.iter().filter_map(|attribute| attribute.meta.require_list().ok());
    lists.filter(|list| list.path.is_ident("serde")).map(|list| list.tokens.to_string()).collect()
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn renamed(variant: &str, separator: char) -> String {
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push(separator);
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
