//! `wardlink release add`, `delta` and `recall`: packages, the ways between them, and the end of one.

use super::ask::{Progress, confirm, waiting};
use super::repository::Repository;
use super::work::{Item, Work};
use super::{ReleaseError, files, summary};
use clap::Args;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use wardlink_protocol::identity::{ClientClass, Sha256 as Hash};
use wardlink_update::metadata::{RoleName, Target, TargetCheck, TargetPath, Targets};
use wardlink_update::package::{
    AddedKind, AtomicMember, BoundFile, Delta, DeltaFormat, Downgrade, FeatureSet, HardwareId, Manufacturer, Model,
    ModelFolder, Note, Package, Recall, Release, ReleaseCounter, Revision, RevisionRange,
};

/// The longest package, in bytes: 4 GiB.
const MAX_PACKAGE_BYTES: u64 = 4 << 30;
/// The longest document of a package, in bytes.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
const CHUNK_BYTES: usize = 64 * 1024;

/// A package: what figure 3 says of it.
#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// The image.
    file: PathBuf,
    /// Who made it.
    #[arg(long)]
    manufacturer: Manufacturer,
    /// The device type: the class under which such devices pair, such as infusion-pump.
    #[arg(long = "type", value_name = "TYPE")]
    device_type: ClientClass,
    /// The model.
    #[arg(long)]
    model: Model,
    /// The first revision that it can be installed over.
    #[arg(long, value_name = "REVISION")]
    from: Revision,
    /// The last revision that it can be installed over; left out, the first one only.
    #[arg(long, value_name = "REVISION")]
    to: Option<Revision>,
    /// The revision that the device has then.
    #[arg(long)]
    revision: Revision,
    /// Hardware that it runs on; may stand there several times.
    #[arg(long, value_name = "ID", required = true)]
    hardware: Vec<HardwareId>,
    /// Its place among the releases for the model; left out, the next one.
    #[arg(long, value_name = "N", value_parser = counter)]
    release: Option<ReleaseCounter>,
    /// The feature set that it brings.
    #[arg(long, value_name = "NAME")]
    feature_set: FeatureSet,
    /// Another member of its atomic set, as MANUFACTURER/TYPE/MODEL/FEATURE-SET; may stand there several times.
    #[arg(long, value_name = "MEMBER", value_parser = member)]
    atomic: Vec<AtomicMember>,
    /// The software bill of materials.
    #[arg(long, value_name = "FILE")]
    sbom: Option<PathBuf>,
    /// How it was built.
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// Data that the server may add, drug_library or site_settings; may stand there several times.
    #[arg(long, value_name = "KIND", value_parser = added)]
    accepts: Vec<AddedKind>,
    /// It may be installed while a therapy runs.
    #[arg(long)]
    during_therapy: bool,
    /// It may take devices back to an earlier revision, for this reason.
    #[arg(long, value_name = "REASON")]
    downgrade: Option<Note>,
    /// Its file name in the repository; left out, that of the image.
    #[arg(long)]
    name: Option<String>,
}

/// The way from one package to another.
#[derive(Args, Debug)]
pub(super) struct DeltaArgs {
    /// The path of the package that it is applied to.
    #[arg(long, value_name = "PATH")]
    from: String,
    /// The path of the package that it gives.
    #[arg(long, value_name = "PATH")]
    to: String,
    /// Its file name in the repository; left out, made of the two others.
    #[arg(long)]
    name: Option<String>,
}

/// A package that is installed no more.
#[derive(Args, Debug)]
pub(super) struct RecallArgs {
    /// The path of the package.
    path: String,
    /// Why, for people.
    #[arg(long)]
    reason: Note,
}

fn counter(text: &str) -> Result<ReleaseCounter, String> {
    let number = text.parse().ok().and_then(ReleaseCounter::new);
    number.ok_or_else(|| "releases are counted from 1".to_owned())
}

fn member(text: &str) -> Result<AtomicMember, String> {
    let mut parts = text.split('/');
    let (Some(manufacturer), Some(device_type), Some(model), Some(feature_set), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("write it as MANUFACTURER/TYPE/MODEL/FEATURE-SET".to_owned());
    };
    Ok(AtomicMember {
        manufacturer: manufacturer.parse().map_err(|error| format!("{manufacturer:?}: {error}"))?,
        device_type: device_type.parse().map_err(|_| format!("{device_type:?} is no device type"))?,
        model: model.parse().map_err(|error| format!("{model:?}: {error}"))?,
        feature_set: feature_set.parse().map_err(|error| format!("{feature_set:?}: {error}"))?,
    })
}

fn added(text: &str) -> Result<AddedKind, String> {
    match text {
        "drug_library" => Ok(AddedKind::DrugLibrary),
        "site_settings" => Ok(AddedKind::SiteSettings),
        _ => Err("drug_library and site_settings are known".to_owned()),
    }
}

/// Adds a package and its documents.
pub(super) fn add(folder: &Path, args: &AddArgs) -> Result<(), ReleaseError> {
    let mut repository = Repository::open(folder)?;
    let mut package = describe(args)?;
    let models = package.folder();
    let role = role_for(&repository.work, &models)?;
    let path = models.path(&file_name(args.name.as_deref(), &args.file)?)?;
    let known = repository.work.targets(&role)?.role;
    package.release_counter = next_counter(&known, &models, args.release)?;

    let mut new = Vec::new();
    for (document, bound) in [(&args.sbom, &mut package.sbom), (&args.provenance, &mut package.provenance)] {
        let Some(file) = document else { continue };
        let path = models.path(&file_name(None, file)?)?;
        let stored = store(&repository, &known, file, path, MAX_DOCUMENT_BYTES)?;
        new.push((stored.path.clone(), stored.target()));
        *bound = Some(stored);
    }
    let stored = store(&repository, &known, &args.file, path, MAX_PACKAGE_BYTES)?;
    let mut target = stored.target();
    let release = Release::Package(Box::new(package));
    target.custom = Some(release.to_custom(&stored.path, &target)?);
    new.push((stored.path, target));
    put(&mut repository, &role, new)
}

fn describe(args: &AddArgs) -> Result<Package, ReleaseError> {
    let to = args.to.clone().unwrap_or_else(|| args.from.clone());
    let pre_revision =
        RevisionRange::new(args.from.clone(), to).map_err(|error| ReleaseError::usage(error.to_string()))?;
    Ok(Package {
        manufacturer: args.manufacturer.clone(),
        device_type: args.device_type.clone(),
        model: args.model.clone(),
        pre_revision,
        post_revision: args.revision.clone(),
        hardware: sorted(&args.hardware),
        release_counter: args.release.or_else(|| ReleaseCounter::new(1)).ok_or(ReleaseError::Encoding("a counter"))?,
        feature_set: args.feature_set.clone(),
        atomic: sorted(&args.atomic),
        sbom: None,
        provenance: None,
        accepts: sorted(&args.accepts),
        during_therapy: args.during_therapy,
        downgrade: args.downgrade.clone().map(|reason| Downgrade { reason }),
        recalled: None,
    })
}

/// The role that names targets of this folder: the manufacturer's own, where it has one, or the top-level one.
fn role_for(work: &Work, models: &ModelFolder) -> Result<RoleName, ReleaseError> {
    let delegations = work.targets(&RoleName::targets())?.role.delegations;
    let mut roles = delegations.into_iter().flat_map(|delegations| delegations.roles);
    let Some(delegation) = roles.find(|role| role.name.as_str() == models.manufacturer.as_str()) else {
        return Ok(RoleName::targets());
    };
    if !ModelFolder::of_delegation(&delegation)?.contains(models) {
        let (name, model) = (&delegation.name, &models.model);
        let text =
            format!("{model} is none of the models of {name}; add it with: wardlink release delegate {name} --model …");
        return Err(ReleaseError::Usage(text));
    }
    Ok(delegation.name)
}

/// Release counters only rise within a model.
fn next_counter(
    known: &Targets,
    models: &ModelFolder,
    wanted: Option<ReleaseCounter>,
) -> Result<ReleaseCounter, ReleaseError> {
    let mut last = 0;
    for (path, target) in &known.targets {
        if let Ok(Some(Release::Package(package))) = Release::of(path, target)
            && package.folder() == *models
        {
            last = last.max(package.release_counter.number());
        }
    }
    let next = wanted.map_or_else(|| last.checked_add(1), |wanted| Some(wanted.number()));
    next.filter(|next| *next > last).and_then(ReleaseCounter::new).ok_or_else(|| {
        ReleaseError::usage(format!("the last release for {models} has the number {last}; take a higher one"))
    })
}

fn file_name(wanted: Option<&str>, file: &Path) -> Result<String, ReleaseError> {
    let name = wanted.map(str::to_owned).or_else(|| file.file_name()?.to_str().map(str::to_owned));
    name.ok_or_else(|| ReleaseError::usage(format!("{} has no name that can be kept; give --name", file.display())))
}

/// Copies a file to its place, which its hash names. Nobody is told of it before it is whole.
fn store(
    repository: &Repository,
    known: &Targets,
    file: &Path,
    path: TargetPath,
    max_bytes: u64,
) -> Result<BoundFile, ReleaseError> {
    let mut source = File::open(file).map_err(ReleaseError::file(file))?;
    let metadata = source.metadata().map_err(ReleaseError::file(file))?;
    let length = metadata.len();
    if !metadata.is_file() || length == 0 || length > max_bytes {
        let text = format!("{} is no file of 1 to {max_bytes} bytes", file.display());
        return Err(ReleaseError::Usage(text));
    }
    let folder = repository.targets().join(files::folder_of(Path::new(path.as_str())));
    files::make_folder(&folder)?;
    let mut temporary = files::temporary_beside(&folder.join("new"))?;
    let mut progress = Progress::new(format!("Reading {}", file.display()), length);
    let mut hash = Sha256::new();
    let mut copied = 0_u64;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = source.read(&mut buffer).map_err(ReleaseError::file(file))?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
        hash.update(chunk);
        temporary.write_all(chunk).map_err(ReleaseError::file(&folder))?;
        copied = copied.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if copied > length {
            break;
        }
        progress.add(count);
    }
    if copied != length {
        return Err(ReleaseError::usage(format!("{} changed while it was read; nothing was added", file.display())));
    }
    let bound = BoundFile { path, length, sha256: Hash(hash.finalize().into()) };
    place(repository, known, temporary, &bound)?;
    Ok(bound)
}

fn place(
    repository: &Repository,
    known: &Targets,
    temporary: tempfile::NamedTempFile,
    bound: &BoundFile,
) -> Result<(), ReleaseError> {
    if let Some(target) = known.targets.get(&bound.path) {
        let is_same = bound.is(target) && target.custom.is_none();
        if !is_same {
            let text = format!("{} is released already; give the new file another name", bound.path);
            return Err(ReleaseError::Usage(text));
        }
    }
    let place = repository.place(&bound.path, &bound.target());
    files::make_readable(temporary.as_file()).map_err(ReleaseError::file(&place))?;
    files::put(temporary, &place)
}

/// Puts targets into a role's draft.
fn put(repository: &mut Repository, role: &RoleName, new: Vec<(TargetPath, Target)>) -> Result<(), ReleaseError> {
    let expires = repository.settings.expires(&Item::Targets(role.clone()));
    repository.work.redraft_targets(role, expires, |targets| {
        targets.targets.extend(new);
        Ok(())
    })?;
    repository.save()?;
    print!("{}", summary::of_drafts(&repository.work)?);
    println!("Not signed yet; next: wardlink release sign --key FILE");
    Ok(())
}

/// A target, the role that names it, and what it is.
fn find(work: &Work, path: &str) -> Result<(RoleName, TargetPath, Target, Release), ReleaseError> {
    let unknown =
        || ReleaseError::usage(format!("{path:?} is no package of the repository; see: wardlink release show"));
    let path = TargetPath::try_from(path.to_owned()).map_err(|_| unknown())?;
    let role = role_for(work, &ModelFolder::of(&path).map_err(|_| unknown())?)?;
    let targets = work.targets(&role)?.role;
    let target = targets.targets.get(&path).cloned().ok_or_else(unknown)?;
    let release = Release::of(&path, &target)?.ok_or_else(unknown)?;
    Ok((role, path, target, release))
}

/// Makes the delta from one package to another.
pub(super) fn delta(folder: &Path, args: &DeltaArgs) -> Result<(), ReleaseError> {
    let mut repository = Repository::open(folder)?;
    let (_, from, source, _) = package(&repository.work, &args.from)?;
    let (role, to, result, _) = package(&repository.work, &args.to)?;
    let models = ModelFolder::of(&to)?;
    if !models.contains(&from) {
        return Err(ReleaseError::usage("a delta leads from one package of a model to another one of it"));
    }
    let stem = |path: &TargetPath| {
        let path = Path::new(path.as_str());
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let name = args.name.clone().unwrap_or_else(|| format!("{}-{}.delta", stem(&from), stem(&to)));
    let path = models.path(&name)?;
    let old = load(&repository, &from, &source)?;
    let new = load(&repository, &to, &result)?;
    eprintln!("Comparing; this takes about a second for each 5 MB");
    let bytes = waiting("Comparing the two files", || wardlink_delta::make(&old, &new))?;

    let known = repository.work.targets(&role)?.role;
    let bound = BoundFile::of(path, &bytes);
    let release = Release::Delta(Delta {
        format: DeltaFormat::Bsdiff,
        source: BoundFile::of(from, &old),
        result: BoundFile::of(to, &new),
    });
    let mut target = bound.target();
    target.custom = Some(release.to_custom(&bound.path, &target)?);
    let mut temporary = files::temporary_beside(&repository.place(&bound.path, &target))?;
    temporary.write_all(&bytes).map_err(ReleaseError::file(folder))?;
    place(&repository, &known, temporary, &bound)?;
    put(&mut repository, &role, vec![(bound.path, target)])
}

fn package(work: &Work, path: &str) -> Result<(RoleName, TargetPath, Target, Package), ReleaseError> {
    match find(work, path)? {
        (role, path, target, Release::Package(package)) => Ok((role, path, target, *package)),
        (_, path, _, Release::Delta(_)) => Err(ReleaseError::usage(format!("{path} is a delta, no package"))),
    }
}

/// Reads a target's file, and sees that it is the right one.
fn load(repository: &Repository, path: &TargetPath, target: &Target) -> Result<Vec<u8>, ReleaseError> {
    if target.length > wardlink_delta::MAX_FILE_BYTES {
        return Err(wardlink_delta::MakeError::TooLong.into());
    }
    let place = repository.place(path, target);
    let bytes = files::read(&place, target.length)?;
    let mut check = TargetCheck::new(target);
    check.update(&bytes);
    if check.finish() { Ok(bytes) } else { Err(ReleaseError::WrongFile { path: place }) }
}

/// Recalls a package: it stays listed, so that everybody learns of the recall; the deltas that lead to it go.
pub(super) fn recall(folder: &Path, yes: bool, args: &RecallArgs) -> Result<(), ReleaseError> {
    let mut repository = Repository::open(folder)?;
    let (role, path, mut target, mut package) = package(&repository.work, &args.path)?;
    if package.recalled.is_some() {
        return Err(ReleaseError::usage(format!("{path} is recalled already")));
    }
    confirm(yes, &format!("Recall {path}; no device installs it any more"))?;
    package.recalled = Some(Recall { reason: args.reason.clone() });
    let release = Release::Package(Box::new(package));
    target.custom = Some(release.to_custom(&path, &target)?);
    let expires = repository.settings.expires(&Item::Targets(role.clone()));
    repository.work.redraft_targets(&role, expires, |targets| {
        targets.targets.retain(|delta_path, delta| {
            !matches!(Release::of(delta_path, delta), Ok(Some(Release::Delta(delta))) if delta.result.path == path)
        });
        targets.targets.insert(path, target);
        Ok(())
    })?;
    repository.save()?;
    print!("{}", summary::of_drafts(&repository.work)?);
    println!("Not signed yet; next: wardlink release sign --key FILE");
    Ok(())
}

/// In the order that lists in packages have.
fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let mut list = list.to_vec();
    list.sort();
    list
}
