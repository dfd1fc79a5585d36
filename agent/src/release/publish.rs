//! `wardlink release publish`: gives what is published here to a hospital's distribution server, which verifies it and shows it in one step.
//!
//! The server says which files it lacks. An upload that was interrupted goes on with the parts that are missing.

use super::ask::Progress;
use super::repository::Repository;
use super::verify::verify;
use super::work::{Item, published_name, typed};
use super::{ReleaseError, files};
use crate::link::{Endpoint, TlsTrust, web};
use crate::tuf::quoted;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256 as Hasher};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use ureq::http::{Method, Request};
use ureq::{Agent, Body};
use wardlink_protocol::api::{
    MissingFile, NewPublication, Problem, PublicationView, Published, PublishedFile, PublishedMetadata,
};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::PUBLISHED_PART_BYTES;
use wardlink_update::metadata::Targets;
use zeroize::Zeroizing;

/// How long the server may take to answer; to put a long file together takes its time.
const TIMEOUT: Duration = Duration::from_mins(5);
/// How often a request is made again that found no answer.
const MAX_RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest token file, and the longest answer, in bytes.
const MAX_TOKEN_BYTES: u64 = 1024;
const MAX_ANSWER_BYTES: u64 = 4_000_000;

/// The flags of `wardlink release publish`.
#[derive(Args)]
pub(super) struct PublishArgs {
    /// The distribution server: https, a host, and its port where that is not the usual one; http on this machine.
    #[arg(long, value_name = "URL")]
    server: String,
    /// A file whose first line is the publishing token; only its owner may be able to read it.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The manufacturer as the hospital knows it; left out, the one that the repository delegates to.
    #[arg(long, value_name = "NAME")]
    manufacturer: Option<String>,
    /// A root certificate for TLS (PEM file); can be given several times.
    #[arg(long, env = "WARDLINK_TLS_ANCHOR", value_name = "FILE", value_delimiter = ',')]
    tls_anchor: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Publishes.
pub(super) fn run(folder: &Path, args: &PublishArgs) -> Result<(), ReleaseError> {
    let repository = Repository::open(folder)?;
    if !repository.work.published.contains_key(&Item::Timestamp) {
        return Err(ReleaseError::usage("nothing is published yet; sign it first"));
    }
    verify(&repository.places(), None)?;
    let contents = Contents::of(&repository)?;
    let manufacturer = match &args.manufacturer {
        Some(name) => name.clone(),
        None => contents.only_manufacturer()?,
    };
    let server = Server::new(args, &manufacturer)?;
    let begun: PublicationView = server.ask(&Method::POST, "", Some(&contents.list()))?;
    let mut progress = Progress::new("Uploading", missing_bytes(&begun.missing));
    let mut sent = 0_u64;
    for missing in &begun.missing {
        sent = sent.saturating_add(upload(&server, &begun, missing, &contents, &mut progress)?);
    }
    let done: Published = server.ask(&Method::POST, &format!("/{}/commit", begun.publication), None::<&()>)?;
    let Published { timestamp, packages } = done;
    if args.json {
        let done =
            json!({ "manufacturer": manufacturer, "timestamp": timestamp, "packages": packages, "sent_bytes": sent });
        println!("{done}");
    } else {
        println!("published for {manufacturer}: version {timestamp}, {packages} packages; {sent} bytes were sent");
    }
    Ok(())
}

/// How many bytes have to be sent yet.
fn missing_bytes(missing: &[MissingFile]) -> u64 {
    let left = |missing: &MissingFile| {
        missing.parts_left(PUBLISHED_PART_BYTES).map(|part| part_length(&missing.file, part)).sum::<u64>()
    };
    missing.iter().map(left).sum()
}

fn part_length(file: &PublishedFile, part: u32) -> u64 {
    let Range { start, end } = file.part(PUBLISHED_PART_BYTES, part);
    end.saturating_sub(start)
}

/// Sends what is missing of one file; how many bytes that were.
fn upload(
    server: &Server,
    begun: &PublicationView,
    missing: &MissingFile,
    contents: &Contents,
    progress: &mut Progress,
) -> Result<u64, ReleaseError> {
    if begun.part_bytes != PUBLISHED_PART_BYTES {
        return Err(ReleaseError::usage("the server wants parts of another length; upgrade this program"));
    }
    let mut sent = 0_u64;
    for part in missing.parts_left(PUBLISHED_PART_BYTES) {
        let bytes = contents.part(&missing.file, part)?;
        let path = format!("/{}/files/{}/{part}", begun.publication, missing.file.sha256);
        server.put(&path, &bytes)?;
        progress.add(bytes.len());
        sent = sent.saturating_add(part_length(&missing.file, part));
    }
    Ok(sent)
}

/// What there is to publish.
struct Contents {
    metadata: Vec<PublishedMetadata>,
    /// Metadata by its hash.
    bytes: BTreeMap<Sha256, Vec<u8>>,
    /// Files of targets, and where they are.
    targets: BTreeMap<PublishedFile, PathBuf>,
    roles: Vec<String>,
}

impl Contents {
    fn of(repository: &Repository) -> Result<Self, ReleaseError> {
        let mut contents =
            Self { metadata: Vec::new(), bytes: BTreeMap::new(), targets: BTreeMap::new(), roles: Vec::new() };
        for root in &repository.work.roots {
            contents.add(published_name(&Item::Root, root)?, root);
        }
        for (item, bytes) in &repository.work.published {
            if matches!(item, Item::Root | Item::Inventory(_)) {
                continue;
            }
            let Item::Targets(role) = item else {
                contents.add(published_name(item, bytes)?, bytes);
                continue;
            };
            let targets = typed::<Targets>(item, bytes)?.role;
            // As a client asks for it, before it is percent-encoded.
            let version = wardlink_update::metadata::Role::version(&targets);
            contents.add(format!("{version}.{}", role.file()), bytes);
            contents.roles.extend(targets.delegated().map(|delegation| delegation.name.to_string()));
            for (path, target) in &targets.targets {
                let place = repository.place(path, target);
                contents.targets.insert(hashed(&place)?, place);
            }
        }
        Ok(contents)
    }

    fn add(&mut self, name: String, bytes: &[u8]) {
        let sha256 = Sha256(Hasher::digest(bytes).into());
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.metadata.push(PublishedMetadata { name, file: PublishedFile { sha256, length } });
        self.bytes.insert(sha256, bytes.to_vec());
    }

    fn list(&self) -> NewPublication {
        NewPublication { metadata: self.metadata.clone(), files: self.targets.keys().copied().collect() }
    }

    fn only_manufacturer(&self) -> Result<String, ReleaseError> {
        match self.roles.as_slice() {
            [name] => Ok(name.clone()),
            _ => Err(ReleaseError::usage("name the manufacturer: --manufacturer NAME")),
        }
    }

    fn part(&self, file: &PublishedFile, part: u32) -> Result<Vec<u8>, ReleaseError> {
        let begin = u64::from(part).saturating_mul(PUBLISHED_PART_BYTES);
        let length = usize::try_from(part_length(file, part)).unwrap_or_default();
        if let Some(bytes) = self.bytes.get(&file.sha256) {
            let bytes = bytes.iter().skip(usize::try_from(begin).unwrap_or(usize::MAX)).take(length);
            return Ok(bytes.copied().collect());
        }
        let place =
            self.targets.get(file).ok_or_else(|| ReleaseError::usage("the server wants a file that is not here"))?;
        let mut source = File::open(place).map_err(ReleaseError::file(place))?;
        source.seek(SeekFrom::Start(begin)).map_err(ReleaseError::file(place))?;
        let mut bytes = vec![0; length];
        source.read_exact(&mut bytes).map_err(ReleaseError::file(place))?;
        Ok(bytes)
    }
}

/// A file's length and hash.
fn hashed(place: &Path) -> Result<PublishedFile, ReleaseError> {
    let mut source = File::open(place).map_err(ReleaseError::file(place))?;
    let (mut hash, mut length) = (Hasher::new(), 0_u64);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = source.read(&mut buffer).map_err(ReleaseError::file(place))?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
        hash.update(chunk);
        length = length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(PublishedFile { sha256: Sha256(hash.finalize().into()), length })
}

/// The distribution server, as one manufacturer reaches it.
struct Server {
    agent: Agent,
    base: String,
    authorization: Zeroizing<String>,
}

/// What an attempt came to.
enum Attempt {
    Done(Vec<u8>),
    /// It can be made again.
    Unanswered(String),
}

impl Server {
    fn new(args: &PublishArgs, manufacturer: &str) -> Result<Self, ReleaseError> {
        let origin = args.server.trim_end_matches('/');
        if files::is_readable_by_others(&args.token_file)? {
            return Err(ReleaseError::Readable(args.token_file.clone()));
        }
        let token = Zeroizing::new(files::read(&args.token_file, MAX_TOKEN_BYTES)?);
        let token = std::str::from_utf8(&token).ok().and_then(|text| text.lines().next()).map(str::trim);
        let token = token.filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        let token = token.ok_or_else(|| ReleaseError::usage("the token file holds no token"))?;
        let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(ReleaseError::file(path));
        let anchors = args.tls_anchor.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let trust = TlsTrust::from_pem(&anchors, false).map_err(|error| ReleaseError::usage(error.to_string()))?;
        check_protected(origin, &trust)?;
        let base = format!("{origin}/api/publish/{}", quoted(manufacturer));
        let authorization = Zeroizing::new(format!("Bearer {token}"));
        Ok(Self { agent: web::agent(&trust, TIMEOUT), base, authorization })
    }

    /// Asks, and reads the answer.
    fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> Result<T, ReleaseError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|_| ReleaseError::Encoding("a list of files"))?;
        let answer = self.send(method, path, "application/json", body.as_deref().unwrap_or_default())?;
        serde_json::from_slice(&answer).map_err(|_| self.failed("it is no distribution server of this version"))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), ReleaseError> {
        self.send(&Method::PUT, path, "application/octet-stream", bytes).map(drop)
    }

    /// Makes a request, again where it finds no answer: each is the same when it is repeated.
    fn send(&self, method: &Method, path: &str, kind: &str, body: &[u8]) -> Result<Vec<u8>, ReleaseError> {
        let mut pause = FIRST_PAUSE;
        let mut retries = 0;
        loop {
            match self.attempt(method, path, kind, body)? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Unanswered(why) if retries >= MAX_RETRIES => return Err(self.failed(why)),
                Attempt::Unanswered(_) => {
                    retries += 1;
                    thread::sleep(pause);
                    pause = pause.saturating_mul(2);
                }
            }
        }
    }

    fn attempt(&self, method: &Method, path: &str, kind: &str, body: &[u8]) -> Result<Attempt, ReleaseError> {
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header("Authorization", self.authorization.as_str())
            .header("Content-Type", kind)
            .body(body)
            .map_err(|_| ReleaseError::usage(format!("{} is no address of a server", self.base)))?;
        let answer = match self.agent.run(request) {
            Ok(answer) => answer,
            Err(error) => return Ok(Attempt::Unanswered(error.to_string())),
        };
        let status = answer.status();
        let mut bytes = Vec::new();
        let read = Body::into_reader(answer.into_body()).take(MAX_ANSWER_BYTES).read_to_end(&mut bytes);
        if let Err(error) = read {
            return Ok(Attempt::Unanswered(error.to_string()));
        }
        if status.is_success() {
            return Ok(Attempt::Done(bytes));
        }
        if status.is_server_error() {
            return Ok(Attempt::Unanswered(format!("it answers {status}")));
        }
        let problem = serde_json::from_slice::<Problem>(&bytes);
        Err(ReleaseError::Server(
            problem.map_or_else(|_| format!("it answers {status}"), |problem| problem.to_string()),
        ))
    }

    fn failed(&self, why: impl Display) -> ReleaseError {
        ReleaseError::usage(format!(
            "{} cannot be reached: {why}; run the same command again, and it goes on where it stopped",
            self.base
        ))
    }
}

/// A token goes by https, or stays on this machine.
fn check_protected(origin: &str, trust: &TlsTrust) -> Result<(), ReleaseError> {
    let socket = origin.strip_prefix("http").map(|rest| format!("ws{rest}"));
    let refused = |why: &dyn Display| ReleaseError::usage(format!("{origin} is no address of a server here: {why}"));
    let socket = socket.ok_or_else(|| refused(&"it looks like https://wardlink.example"))?;
    Endpoint::new(&socket, trust).map(drop).map_err(|error| refused(&error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{TlsTrust, check_protected};

    #[test]
    fn a_token_goes_over_https_or_stays_on_this_machine() {
        let trust = TlsTrust::from_pem(&[], false).unwrap();
        for good in ["https://wardlink.example", "http://localhost:8787", "http://127.0.0.1", "http://[::1]:80"] {
            assert!(check_protected(good, &trust).is_ok(), "{good}");
        }
        for bad in
            ["http://wardlink.example", "http://localhost.example:80", "http://localhost@evil.example", "ftp://x", "x"]
        {
            assert!(check_protected(bad, &trust).is_err(), "{bad}");
        }
    }
}
