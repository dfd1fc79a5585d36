//! `cargo xtask fuzz`: searches for inputs that break a promise, with libFuzzer, guided by coverage.
//!
//! The targets are those of `tests/fuzz`. The instrumentation is in the stable compiler; nothing is installed, but a C++
//! compiler has to be there. What the search learns stays under `target/fuzz`; `--keep` adds to the committed corpus what the
//! seeds and the corpus do not reach yet.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::Step;
use crate::shell;
use crate::workspace::Workspace;

const PACKAGE: &str = "wardlink-fuzz";
const PROFILE: &str = "fuzz";
/// What libFuzzer needs of the compiler: counters at every edge, and every comparison.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing -Ccodegen-units=1";
/// The most inputs that one run keeps.
const MAX_KEPT_INPUTS: usize = 24;
/// The longest input that is kept in the repository, in bytes.
const MAX_KEPT_BYTES: u64 = 2 * 1024;

/// What is searched, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The target, such as `broker`; all of them one after another where none is named.
    target: Option<String>,
    /// How long each target is searched.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Add what was found to the committed corpus, as far as it reaches code that nothing else reaches.
    #[arg(long)]
    keep: bool,
}

/// Builds the targets, and searches.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let program = build(workspace)?;
    let known = shell::output(&mut Command::new(&program))?;
    let known: Vec<&str> = known.lines().collect();
    let chosen = match &options.target {
        None => known,
        Some(name) if known.contains(&name.as_str()) => vec![name.as_str()],
        Some(name) => bail!("there is no target {name}; the targets are: {}", known.join(", ")),
    };
    for name in chosen {
        let search = Search::new(workspace, &program, name)?;
        search.run(options.seconds)?;
        if options.keep {
            search.keep()?;
        }
    }
    Ok(())
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let step = Step::start("Build the fuzz targets");
    let host = shell::output(Command::new("rustc").current_dir(workspace.root()).args(["--print", "host-tuple"]))?;
    let target = workspace.target().join("fuzz");
    let mut cargo = shell::cargo(workspace.root());
    cargo.args(["build", "--quiet", "--package", PACKAGE, "--features", "libfuzzer", "--bin", PACKAGE]);
    // With a target, the flags are not those of build scripts and macros.
    cargo.args(["--profile", PROFILE, "--target", &host, "--target-dir"]).arg(&target);
    shell::run(cargo.env("RUSTFLAGS", INSTRUMENTATION)).context("libFuzzer needs a C++ compiler")?;
    step.done();
    Ok(target.join(host).join(PROFILE).join(PACKAGE))
}

/// The search of one target.
struct Search<'a> {
    program: &'a Path,
    name: &'a str,
    /// The committed inputs.
    committed: PathBuf,
    /// The valid inputs, which the program writes itself.
    seeds: PathBuf,
    /// What earlier searches learnt.
    learnt: PathBuf,
    /// Inputs that broke a promise.
    broken: PathBuf,
}

impl<'a> Search<'a> {
    fn new(workspace: &Workspace, program: &'a Path, name: &'a str) -> Result<Self> {
        let folder = workspace.target().join("fuzz").join("search").join(name);
        let committed = workspace.root().join("tests").join("fuzz").join("corpus").join(name);
        let search = Self {
            program,
            name,
            committed,
            seeds: folder.join("seeds"),
            learnt: folder.join("learnt"),
            broken: folder.join("broken"),
        };
        for folder in [&search.committed, &search.seeds, &search.learnt, &search.broken] {
            fs::create_dir_all(folder)?;
        }
        Ok(search)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.env("WARDLINK_FUZZ_TARGET", self.name).env("WARDLINK_FUZZ_SEEDS", &self.seeds);
        command
    }

    fn run(&self, seconds: u64) -> Result<()> {
        let step = Step::start(&format!("Search {}", self.name));
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(self.broken.join(""));
        let mut command = self.command();
        command.args([&format!("-max_total_time={seconds}"), "-timeout=10", "-rss_limit_mb=1024", "-verbosity=0"]);
        command.args(["-print_final_stats=1", "-max_len=20000"]).arg(prefix);
        command.args([&self.learnt, &self.seeds, &self.committed]);
        shell::run(&mut command).with_context(|| {
            format!("{} is broken; the input is in {}, and belongs in the corpus", self.name, self.broken.display())
        })?;
        step.done();
        Ok(())
    }

    /// Adds what was learnt and is not yet reached.
    fn keep(&self) -> Result<()> {
        let step = Step::start(&format!("Keep what is new of {}", self.name));
        let known = self.seeds.with_file_name("known");
        drop(fs::remove_dir_all(&known));
        fs::create_dir_all(&known)?;
        let mut before = Vec::new();
        for entry in fs::read_dir(&self.seeds)?.chain(fs::read_dir(&self.committed)?) {
            let entry = entry?;
            before.push(entry.file_name());
            fs::copy(entry.path(), known.join(entry.file_name()))?;
        }
        // By edges alone, and as few inputs as reach them: the corpus stays small.
        let fewest = ["-set_cover_merge=1", "-use_counters=0", "-use_cmp=0", "-verbosity=0"];
        shell::run(self.command().args(fewest).args([&known, &self.learnt]))?;
        let mut new = Vec::new();
        for entry in fs::read_dir(&known)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if !before.contains(&entry.file_name()) && metadata.len() <= MAX_KEPT_BYTES {
                new.push((metadata.modified()?, entry));
            }
        }
        // What reaches most was written first.
        new.sort_by_key(|(written, _)| *written);
        for (_, entry) in new.into_iter().take(MAX_KEPT_INPUTS) {
            fs::copy(entry.path(), self.committed.join(entry.file_name()))?;
        }
        step.done();
        Ok(())
    }
}
