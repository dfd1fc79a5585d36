//! `docs/openapi.yaml` against the worker's routes: in its source, and as it answers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use syn::visit::Visit;
use ureq::Agent;
use ureq::http::{Method, Request, Response};
use wardlink_protocol::api::{Problem, Role};
use wardlink_tests::api::Api;
use wardlink_tests::live::Live;
use wardlink_tests::scene;
use wardlink_tests::ward::Ward;

use crate::sources::{last, owner, parse, text};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The document.
pub(crate) struct Document(Value);

/// One method of one path.
struct Operation {
    path: String,
    method: String,
    value: Value,
}

impl Document {
    pub(crate) fn read() -> Result<Self> {
        Ok(Self(serde_saphyr::from_str(&text("docs/openapi.yaml")?).context("docs/openapi.yaml is no YAML")?))
    }

    /// The part under a JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> Result<&Value> {
        self.0.pointer(pointer).with_context(|| format!("docs/openapi.yaml has no {pointer}"))
    }

    /// Follows a reference, if the part is one.
    fn resolved<'a>(&'a self, part: &'a Value) -> Result<&'a Value> {
        match part.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.at(reference.strip_prefix('#').context("a reference within the document")?),
            None => Ok(part),
        }
    }

    fn operations(&self) -> Result<Vec<Operation>> {
        let paths = self.at("/paths")?.as_object().context("paths")?;
        let mut operations = Vec::new();
        for (path, methods) in paths {
            for (method, value) in methods.as_object().context("methods")? {
                let method = method.to_uppercase();
                if METHODS.contains(&method.as_str()) {
                    operations.push(Operation { path: path.clone(), method, value: value.clone() });
                }
            }
        }
        // Signing out is the last thing that a person does.
        operations.sort_by_key(|operation| operation.id() == Some("signOut"));
        Ok(operations)
    }

    /// Whether the answer is one that the operation documents.
    fn expect(&self, operation: &Operation, mut response: Response<ureq::Body>) -> Result<u16> {
        let status = response.status().as_u16();
        let documented = operation.value.pointer(&format!("/responses/{status}"));
        let documented = documented.with_context(|| format!("{} answers {status}", operation.name()))?;
        let content = self.resolved(documented)?.get("content").and_then(Value::as_object);
        let kind = response.headers().get("Content-Type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let body = String::from_utf8_lossy(&response.body_mut().read_to_vec()?).into_owned();
        let Some(content) = content else {
            ensure!(body.is_empty(), "{}: a {status} has no content: {body}", operation.name());
            return Ok(status);
        };
        let (expected, schema) = content.iter().next().context("a content type")?;
        ensure!(kind.as_ref() == Some(expected), "{}: {status} is {kind:?}", operation.name());
        if status >= 400 {
            let problem: Problem = serde_json::from_str(&body)?;
            let kinds = schema.pointer("/schema/properties/kind/enum").context("the kinds of a problem")?;
            let kind = serde_json::to_value(problem.kind)?;
            let is_documented = kinds.as_array().is_some_and(|kinds| kinds.contains(&kind));
            ensure!(is_documented && problem.status == status, "{}: {status} is {body}", operation.name());
        }
        Ok(status)
    }
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn id(&self) -> Option<&str> {
        self.value.get("operationId")?.as_str()
    }

    /// The path of something that could exist.
    fn example_path(&self) -> String {
        let parameters = [
            ("{id}", "1"),
            ("{name}", "acme"),
            ("{session}", "00112233445566778899aabbccddeeff"),
            ("{client}", "infusion-pump"),
            ("{identifier}", "pump-7"),
            ("{channel}", "alarm"),
            ("{issuer}", "00112233"),
        ];
        parameters.iter().fold(self.path.clone(), |path, (name, value)| path.replace(name, value))
    }

    fn example_body(&self) -> Option<&Value> {
        self.value.pointer("/requestBody/content/application~1json/example")
    }

    /// Whether a session is the only way in.
    fn needs_session(&self, document: &Document) -> Result<bool> {
        let security = self.value.get("security").map_or_else(|| document.at("/security"), Ok)?;
        let ways = security.as_array().context("security")?;
        Ok(!ways.is_empty() && ways.iter().all(|way| !way.as_object().is_some_and(serde_json::Map::is_empty)))
    }
}

#[test]
fn every_route_of_the_worker_is_documented_and_every_documented_route_exists() -> Result<()> {
    let documented: BTreeSet<String> = Document::read()?.operations()?.iter().map(Operation::name).collect();
    let built = routes()?;
    ensure!(built.len() > 15, "the routes are no longer found in the worker's source: {built:?}");
    assert_eq!(documented, built);
    Ok(())
}

#[test]
fn the_document_is_whole() -> Result<()> {
    let document = Document::read()?;
    ensure!(document.at("/openapi")?.as_str().is_some_and(|version| version.starts_with("3.1.")), "OpenAPI 3.1");
    let mut used = BTreeSet::new();
    references(&document.0, &mut used);
    for reference in &used {
        document.at(reference.trim_start_matches('#'))?;
    }
    for part in ["schemas", "responses", "parameters"] {
        for name in document.at(&format!("/components/{part}"))?.as_object().context("a map")?.keys() {
            ensure!(used.contains(&format!("#/components/{part}/{name}")), "nothing uses {part}/{name}");
        }
    }
    let operations = document.operations()?;
    let ids: BTreeSet<&str> = operations.iter().filter_map(Operation::id).collect();
    assert_eq!(ids.len(), operations.len(), "each operation has an id of its own");
    for operation in &operations {
        ensure!(operation.value.get("summary").is_some_and(Value::is_string), "{} has a summary", operation.name());
        for (status, response) in operation.value.get("responses").and_then(Value::as_object).context("responses")? {
            let response = document.resolved(response)?.as_object().context("a response")?;
            let known = |key: &String| matches!(key.as_str(), "description" | "headers" | "content" | "x-frame");
            ensure!(response.contains_key("description"), "{}: {status} is described", operation.name());
            ensure!(response.keys().all(known), "{}: {status} is {response:?}", operation.name());
        }
        // What is no JSON has its example in protocol.md.
        let is_cose = operation.value.pointer("/requestBody/content/application~1cose").is_some();
        ensure!(
            operation.value.get("requestBody").is_none() || operation.example_body().is_some() || is_cose,
            "{}: the body has an example",
            operation.name()
        );
    }
    Ok(())
}

#[test]
fn every_documented_route_answers_as_documented() -> Result<()> {
    scene(|scene| {
        let document = Document::read()?;
        let ward = Ward::open(scene)?;
        let (_, auditor) = ward.administrator.add_person("otto", Role::Auditor)?;
        let stranger = ward.worker.api();
        let own = [("Origin", ward.worker.origin()), ("Sec-Fetch-Site", "same-origin".to_owned())];
        let foreign = [("Origin", "https://evil.example".to_owned()), ("Sec-Fetch-Site", "cross-site".to_owned())];
        for operation in document.operations()? {
            let (path, method) = (operation.example_path(), operation.method.as_str());
            for body in [operation.example_body(), None] {
                let answer = send(&stranger, method, &path, &own, body)?;
                let status = document.expect(&operation, answer)?;
                // A live connection is refused as no WebSocket before anybody is asked who it is.
                if operation.needs_session(&document)? && operation.path != "/live" {
                    assert_eq!(status, 401, "{} for nobody", operation.name());
                }
                for person in [&auditor, &ward.nurse, &ward.administrator] {
                    document.expect(&operation, send(person, method, &path, &own, body)?)?;
                }
            }
            let answer = send(&ward.administrator, method, &path, &foreign, operation.example_body())?;
            assert_eq!(document.expect(&operation, answer)?, 403, "{} from a foreign page", operation.name());
        }
        Ok(())
    })
}

#[test]
fn what_is_not_documented_is_refused() -> Result<()> {
    scene(|scene| {
        let document = Document::read()?;
        let ward = Ward::open(scene)?;
        let own = [("Origin", ward.worker.origin()), ("Sec-Fetch-Site", "same-origin".to_owned())];
        let operations = document.operations()?;
        for operation in &operations {
            for method in METHODS {
                if operations.iter().any(|other| other.path == operation.path && other.method == method) {
                    continue;
                }
                let answer = send(&ward.administrator, method, &operation.example_path(), &own, None)?;
                assert_eq!(answer.status().as_u16(), 405, "{method} {}", operation.path);
            }
        }
        let answer = send(&ward.administrator, "GET", "/nothing", &own, None)?;
        assert_eq!(answer.status().as_u16(), 404);
        ensure!(document.at("/paths/~1live/get/responses/101").is_ok(), "the WebSocket is documented");
        Live::connect(&ward.nurse).map(drop)
    })
}

fn send(
    person: &Api,
    method: &str,
    path: &str,
    fields: &[(&str, String)],
    body: Option<&Value>,
) -> Result<Response<ureq::Body>> {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let uri = format!("{}/api/v1{path}", person.origin());
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    if let Some(cookie) = person.cookie() {
        request = request.header("Cookie", cookie);
    }
    let answer = match body {
        Some(body) => agent.run(request.header("Content-Type", "application/json").body(serde_json::to_vec(body)?)?),
        None => agent.run(request.body(())?),
    };
    answer.with_context(|| format!("no answer to {method} {path}"))
}

/// Every reference within a part of the document.
fn references(part: &Value, found: &mut BTreeSet<String>) {
    match part {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// The worker's routes, read from its tables: paths to routes (`Route::of_api`, `Step::of`), and routes with their methods
/// (`answer`).
fn routes() -> Result<BTreeSet<String>> {
    let source = parse("worker/src/routes.rs")?;
    let mut paths = BTreeMap::new();
    for arm in arms(&source, "Route::of_api")? {
        if let syn::Pat::Slice(segments) = &arm.pat {
            paths.insert(variant(&arm.body)?, path(segments)?);
        }
    }
    let steps: Vec<String> = arms(&source, "Step::of")?.iter().filter_map(|arm| literal(&arm.pat)).collect();
    let mut operations = BTreeSet::new();
    for arm in arms(&source, "answer")? {
        let syn::Pat::Tuple(pair) = &arm.pat else { continue };
        let names: Vec<String> = pair.elems.iter().flat_map(alternatives).collect();
        let (route, methods) = names.split_first().context("a route and its methods")?;
        match paths.get(route) {
            None => ensure!(
                matches!(route.as_str(), "Mqtt" | "VerificationPage" | "Repository"),
                "no path leads to {route}"
            ),
            Some(path) => operations.extend(methods.iter().flat_map(|method| {
                let method = method.to_uppercase();
                let base = path.strip_suffix("{step}");
                let whole = base.is_none().then(|| format!("{method} {path}"));
                let stepwise = base.into_iter().flat_map(|base| steps.iter().map(move |step| format!("{base}{step}")));
                whole.into_iter().chain(stepwise.map(move |path| format!("{method} {path}"))).collect::<Vec<_>>()
            })),
        }
    }
    Ok(operations)
}

/// The arms of a function's outermost match.
fn arms<'a>(source: &'a syn::File, function: &str) -> Result<&'a [syn::Arm]> {
    struct Outermost<'a>(Option<&'a syn::ExprMatch>);
    impl<'a> Visit<'a> for Outermost<'a> {
        fn visit_expr_match(&mut self, found: &'a syn::ExprMatch) {
            self.0.get_or_insert(found);
        }
    }
    let methods = source.items.iter().filter_map(|item| match item {
        syn::Item::Impl(block) => Some(block),
        _ => None,
    });
    let methods = methods.flat_map(|block| {
        let owner = owner(block).unwrap_or_default();
        block.items.iter().filter_map(move |item| match item {
            syn::ImplItem::Fn(method) => Some((format!("{owner}::{}", method.sig.ident), &method.block)),
            _ => None,
        })
    });
    let functions = source.items.iter().filter_map(|item| match item {
        syn::Item::Fn(function) => Some((function.sig.ident.to_string(), &*function.block)),
        _ => None,
    });
    let (_, block) = methods
        .chain(functions)
        .find(|(name, _)| name == function)
        .with_context(|| format!("worker/src/routes.rs has no {function}"))?;
    let mut outermost = Outermost(None);
    outermost.visit_block(block);
    Ok(&outermost.0.with_context(|| format!("{function} has no table"))?.arms)
}

/// The path that a pattern of segments stands for.
fn path(segments: &syn::PatSlice) -> Result<String> {
    let segments = segments.elems.iter().map(|segment| match (literal(segment), segment) {
        (Some(text), _) => Ok(format!("/{text}")),
        (None, syn::Pat::Ident(name)) => Ok(format!("/{{{}}}", name.ident)),
        _ => bail!("a segment of another form"),
    });
    segments.collect()
}

fn literal(pattern: &syn::Pat) -> Option<String> {
    match pattern {
        syn::Pat::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// The variant that an expression makes.
fn variant(body: &syn::Expr) -> Result<String> {
    let made = match body {
        syn::Expr::Path(made) => last(&made.path),
        syn::Expr::Call(call) => return variant(&call.func),
        _ => None,
    };
    made.context("an arm that makes no route")
}

/// The variants that a pattern takes.
fn alternatives(pattern: &syn::Pat) -> Vec<String> {
    match pattern {
        syn::Pat::Path(path) => last(&path.path).into_iter().collect(),
        syn::Pat::TupleStruct(tuple) => last(&tuple.path).into_iter().collect(),
        syn::Pat::Or(several) => several.cases.iter().flat_map(alternatives).collect(),
        _ => Vec::new(),
    }
}
