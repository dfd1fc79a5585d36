//! A file to carry between machines: the drafts that wait for signatures, and what says who may sign them.

use super::work::{Files, Item, Work};
use super::{ReleaseError, files};
use crate::clock;
use std::collections::BTreeMap;
use std::path::Path;
use wardlink_update::client::{Client, Fetched, Next, Stored};
use wardlink_update::json::Json;
use wardlink_update::limits::MAX_ROOT_BYTES;

/// The longest file to carry, in bytes.
const MAX_REQUEST_BYTES: u64 = 64_000_000;
const FORMAT: &str = "wardlink signing request 1";

/// Writes what another machine needs to sign the drafts.
pub(super) fn write(path: &Path, work: &Work) -> Result<(), ReleaseError> {
    let envelope = |bytes: &Vec<u8>| Json::parse(bytes).map_err(|_| ReleaseError::Encoding("a signing request"));
    let by_name = |files: &Files| -> Result<Json, ReleaseError> {
        let entries = files.iter().map(|(item, bytes)| Ok((item.file_name(), envelope(bytes)?)));
        Ok(Json::Object(entries.collect::<Result<BTreeMap<_, _>, ReleaseError>>()?))
    };
    let roots = work.roots.iter().map(envelope).collect::<Result<Vec<_>, _>>()?;
    let members = [
        ("format", Json::Text(FORMAT.to_owned())),
        ("roots", Json::Array(roots)),
        ("published", by_name(&work.published)?),
        ("drafts", by_name(&work.drafts)?),
    ];
    let request = Json::Object(members.map(|(name, value)| (name.to_owned(), value)).into());
    files::write(path, &request.to_json())
}

/// Reads what came from another machine. Nothing of it is trusted.
pub(super) fn read(path: &Path) -> Result<Work, ReleaseError> {
    let wrong = || ReleaseError::usage(format!("{} is no signing request of this version", path.display()));
    let bytes = files::read(path, MAX_REQUEST_BYTES)?;
    let json = Json::parse(&bytes).map_err(|_| wrong())?;
    if json.member("format") != Some(&Json::Text(FORMAT.to_owned())) {
        return Err(wrong());
    }
    let by_name = |member: &str| {
        let Some(Json::Object(entries)) = json.member(member) else { return Err(wrong()) };
        let entry = |(name, value): (&String, &Json)| Ok((Item::of(name).ok_or_else(wrong)?, value.to_json()));
        entries.iter().map(entry).collect::<Result<Files, _>>()
    };
    let Some(Json::Array(roots)) = json.member("roots") else { return Err(wrong()) };
    let roots = roots.iter().map(Json::to_json).collect();
    let (published, drafts) = (by_name("published")?, by_name("drafts")?);
    Ok(Work { roots, published, drafts, void: Vec::new() })
}

/// Follows the request's roots from one that the signer trusts (TUF section 5.3), and keeps only those: the last of them says who may
/// sign. The request's own word counts only where the signer has said that it is about a repository that begins (`is_first`).
pub(super) fn check(work: &mut Work, trusted: Option<&Path>, is_first: bool) -> Result<(), ReleaseError> {
    if is_first {
        return check_first(work);
    }
    let no_root = || {
        ReleaseError::usage(
            "name a root that you trust, of your own: --trusted-root FILE; or, for a repository's very first root: --first-root",
        )
    };
    let trusted = files::read(trusted.ok_or_else(no_root)?, MAX_ROOT_BYTES)?;
    let first = work.roots.first();
    let first = first.ok_or_else(|| ReleaseError::usage("the request has no root that follows the trusted one"))?;
    let now = clock::now().0 / 1_000;
    let begin = super::work::version(&Item::Root, &trusted)?;
    let mut client = Client::start(Stored { root: trusted.clone(), ..Stored::default() }, now)?;
    let first_version = super::work::version(&Item::Root, first)?;
    let mut newest = trusted;
    while let Next::Fetch(wanted) = client.next() {
        let Some(version) = wanted.version.filter(|_| wanted.file == wardlink_update::client::File::Root) else {
            break;
        };
        let index = version.checked_sub(first_version).and_then(|index| usize::try_from(index).ok());
        let Some(root) = index.and_then(|index| work.roots.get(index)) else { break };
        client.receive(Fetched::Bytes(root.clone()))?;
        newest.clone_from(root);
    }
    let last = work.roots.last().map(|root| super::work::version(&Item::Root, root)).transpose()?;
    if last.is_some_and(|last| last < begin) {
        return Err(ReleaseError::usage("the request is older than the trusted root"));
    }
    // The request may hold the trusted root in other words of JSON; what counts is what was followed.
    work.published.insert(Item::Root, newest);
    check_published(work)
}

/// A repository begins with version 1 of everything, and nothing is published. Later versions under a root that nobody vouches for are
/// somebody's attempt to have them signed for a repository that is there already.
fn check_first(work: &Work) -> Result<(), ReleaseError> {
    let mut is_beginning = work.roots.is_empty() && work.published.is_empty() && work.drafts.contains_key(&Item::Root);
    for (item, draft) in &work.drafts {
        is_beginning &= super::work::version(item, draft)? == 1;
    }
    let later =
        || ReleaseError::usage("the request is not that of a first root; name one that you trust: --trusted-root FILE");
    if is_beginning { Ok(()) } else { Err(later()) }
}

/// The published targets say who may sign for delegated roles: they have to be signed themselves.
fn check_published(work: &Work) -> Result<(), ReleaseError> {
    let published = Work { published: work.published.clone(), ..Work::default() };
    let targets = Item::targets();
    match published.published.get(&targets) {
        Some(bytes) if !published.is_signed(&targets, bytes)? => {
            Err(ReleaseError::usage("the request's published targets are not signed by their keys"))
        }
        _ => Ok(()),
    }
}
