//! `wardlink tuf`: a plain TUF client (TUF 1.0.34) over HTTP, on the core of `wardlink_update`.
//!
//! Trusted metadata is kept as plain files under the roles' names, each stored as soon as it is verified.

mod folder;
mod http;

use crate::clock;
use clap::{Args, Subcommand};
use folder::Folder;
use http::Repository;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use wardlink_update::client::{Client, Fetched, Next, Refusal, Step, Stored};
use wardlink_update::metadata::{InvalidMetadata, Target, TargetCheck, TargetPath};

/// What stands for itself in a part of a URL and in a file name (RFC 3986 section 2.3).
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The flags of `wardlink tuf`.
#[derive(Args)]
pub struct TufArgs {
    /// Where trusted metadata is kept.
    #[arg(long, value_name = "FOLDER")]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is.
    #[arg(long, global = true, value_name = "URL")]
    metadata_url: Option<String>,
    /// The path of a target in the repository; may stand there several times.
    #[arg(long, global = true, value_name = "PATH")]
    target_name: Vec<String>,
    /// Where the repository's targets are.
    #[arg(long, global = true, value_name = "URL")]
    target_base_url: Option<String>,
    /// Where to put downloaded targets.
    #[arg(long, global = true, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: TufCommand,
}

#[derive(Subcommand)]
enum TufCommand {
    /// Begins with a root that is trusted for a reason outside of the repository.
    Init {
        /// The root metadata.
        #[arg(value_name = "ROOT")]
        root: PathBuf,
    },
    /// Brings the top-level metadata up to date.
    Refresh,
    /// Brings the metadata up to date, and downloads targets that it vouches for.
    Download,
}

/// Why a run of the client ends without success.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// The repository's fault: a step of the specification failed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The repository's fault: nobody whom it trusts names the target.
    #[error("step 5.7.2: the repository has no target {0}")]
    NoSuchTarget(TargetPath),
    /// The repository's fault: a target is not what its metadata says.
    #[error("step 5.7.3: {0} is not the file that its metadata names")]
    WrongTarget(TargetPath),
    /// The repository cannot be reached, or does not answer as it should.
    #[error("step {step}: {url}: {why}")]
    Fetch {
        /// In which step of the specification.
        step: Step,
        /// What was asked for.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The caller's fault: there is no trusted root yet.
    #[error("step 5.2: there is no trusted root in {0}; begin with: wardlink tuf --metadata-dir {0} init ROOT")]
    NoRoot(PathBuf),
    /// The caller's fault: a flag is missing.
    #[error("{0} is needed here")]
    Missing(&'static str),
    /// The caller's fault: a name is no path of a target.
    #[error("{name:?} names no target: {why}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        why: InvalidMetadata,
    },
    /// A file of ours cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
}

impl TufError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::File { path: path.to_owned(), why }
    }
}

/// Runs the client once.
pub fn run(args: &TufArgs) -> Result<(), TufError> {
    // Section 5.1: the time is fixed at the start.
    let now = clock::now().0 / 1_000;
    let folder = Folder::new(&args.metadata_dir);
    match &args.command {
        TufCommand::Init { root } => {
            let root = fs::read(root).map_err(TufError::file(root))?;
            let stored = Stored { root, ..Stored::default() };
            Client::start(stored.clone(), now)?;
            folder.begin(&stored.root)
        }
        TufCommand::Refresh => refresh(args, &folder, now).map(drop),
        TufCommand::Download => download(args, &folder, now),
    }
}

fn refresh(args: &TufArgs, folder: &Folder, now: u64) -> Result<(Client, Repository), TufError> {
    let repository = Repository::new(args.metadata_url.as_deref().ok_or(TufError::Missing("--metadata-url"))?);
    let mut client = Client::start(folder.load()?, now)?;
    advance(&mut client, &repository, folder)?;
    Ok((client, repository))
}

/// Fetches what is wanted and stores what counts, until nothing more is wanted.
fn advance(client: &mut Client, repository: &Repository, folder: &Folder) -> Result<Next, TufError> {
    loop {
        match client.next() {
            Next::Fetch(wanted) => {
                let name = quoted(&wanted.name());
                let fetched = repository.metadata(&name, &wanted)?.map_or(Fetched::Missing, Fetched::Bytes);
                for command in client.receive(fetched)? {
                    folder.carry_out(command)?;
                }
            }
            next => return Ok(next),
        }
    }
}

fn download(args: &TufArgs, folder: &Folder, now: u64) -> Result<(), TufError> {
    let base = args.target_base_url.as_deref().ok_or(TufError::Missing("--target-base-url"))?;
    let into = args.target_dir.as_deref().ok_or(TufError::Missing("--target-dir"))?;
    if args.target_name.is_empty() {
        return Err(TufError::Missing("--target-name"));
    }
    let (mut client, repository) = refresh(args, folder, now)?;
    for name in &args.target_name {
        let path = TargetPath::try_from(name.clone()).map_err(|why| TufError::Name { name: name.clone(), why })?;
        client.search(path.clone())?;
        // 5.7.2
        let found = match advance(&mut client, &repository, folder)? {
            Next::Found(found) => found,
            Next::Fetch(_) | Next::Ready => None,
        };
        let target = found.ok_or_else(|| TufError::NoSuchTarget(path.clone()))?;
        let place = into.join(quoted(path.as_str()));
        if !has(&place, &target) {
            let name = if client.root().consistent_snapshot { target.file_name(&path) } else { path.to_string() };
            let url = format!("{}/{}", base.trim_end_matches('/'), quoted_path(&name));
            fetch_target(&repository, &url, &path, &target, &place)?;
        }
    }
    Ok(())
}

/// Whether the file is there already, whole.
fn has(place: &Path, target: &Target) -> bool {
    let Ok(file) = File::open(place) else { return false };
    let mut check = TargetCheck::new(target);
    read_through(file, |chunk| check.update(chunk)).is_ok() && check.finish()
}

/// The step in which a target is downloaded.
const DOWNLOAD: Step = Step("5.7.3");

/// Section 5.7.3: downloads up to the listed length, and puts the file into its place only when it is the listed one.
fn fetch_target(
    repository: &Repository,
    url: &str,
    path: &TargetPath,
    target: &Target,
    place: &Path,
) -> Result<(), TufError> {
    let failed = |why: String| TufError::Fetch { step: DOWNLOAD, url: url.to_owned(), why };
    let Some(body) = repository.body(url, target.length, DOWNLOAD)? else {
        return Err(failed("the repository does not have it".to_owned()));
    };
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(TufError::file(folder))?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(TufError::file(folder))?;
    let mut check = TargetCheck::new(target);
    let mut written = Ok(());
    let read = read_through(body.take(target.length.saturating_add(1)), |chunk| {
        check.update(chunk);
        if written.is_ok() {
            written = io::Write::write_all(&mut temporary, chunk);
        }
    });
    read.map_err(|why| failed(why.to_string()))?;
    written.map_err(TufError::file(place))?;
    if !check.finish() {
        return Err(TufError::WrongTarget(path.clone()));
    }
    folder::put(temporary, place)
}

fn read_through(mut source: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            length => take(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// One part of a URL, or one file name.
pub(crate) fn quoted(text: &str) -> String {
    utf8_percent_encode(text, QUOTED).to_string()
}

pub(crate) fn quoted_path(path: &str) -> String {
    path.split('/').map(quoted).collect::<Vec<_>>().join("/")
}
