//! `cargo xtask bench updates`: what updates cost, with repositories of `wardlink release` and a director of `wardlink_update`.
//!
//! `updates.first_metadata_bytes`: everything that a new gateway with ten devices reads of both repositories, the first roots
//! included; the pumps are given one release, and the gateway another.
//! `updates.verify_p50_ms`, `updates.verify_wasm_p50_ms`: the time in which it verifies all of it, natively and in WebAssembly.
//! `updates.delta_percent`: the delta for a small change of a real program, the `wardlink` command itself, of the whole program:
//! a text that becomes longer and moves half of the program, and four hundred places that change with it.
//! What the server costs: the module `server`; `--devices` measures that alone, with so many.
//! `updates.delta_large_percent`: the delta to another program that is built of the same libraries, or from the file after `--old`.

#[path = "bench_updates/server.rs"]
mod server;
#[path = "bench_updates/wards.rs"]
mod wards;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use getrandom::SysRng;
use p256::ecdsa::SigningKey;
use p256::elliptic_curve::Generate as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_core::UnwrapErr;
use wardlink_measure::repositories::{GATEWAY, Repositories, present};
use wardlink_protocol::identity::Device;
use wardlink_tests::figures::{Figures, argument, percentile};
use wardlink_tests::wasm;
use wardlink_update::catalog::{Associations, Releases, Roles};
use wardlink_update::director::{Directive, Ends, Order, When, publish};
use wardlink_update::key::Key;
use wardlink_update::metadata::{Draft, Expires, RoleKeys, Root, Signed, Targets, TopLevel};
use wardlink_update::report::{Configuration, State};

const PASSPHRASE: &str = "a passphrase of the benchmark";
const DAY: u64 = 86_400;

fn main() -> Result<()> {
    if let Some(arguments) = apply_arguments() {
        return apply_and_tell(&arguments);
    }
    let rounds = argument("--rounds", 20)?;
    let mut figures = Figures::default();
    match argument("--devices", 0)? {
        0 => {
            let program = PathBuf::from(env::var_os("WARDLINK_BIN").context("WARDLINK_BIN names no program")?);
            let folder = tempfile::tempdir()?;
            deltas(&program, folder.path(), &mut figures)?;
            metadata(&program, folder.path(), rounds, &mut figures)?;
            server::measure(&server::SIZES, rounds, &mut figures)?;
        }
        size => server::measure(&[size], rounds, &mut figures)?,
    }
    figures.print()
}

/// The argument that follows a name.
fn text(name: &str) -> Option<String> {
    env::args().skip_while(|argument| argument != name).nth(1)
}

fn deltas(program: &Path, folder: &Path, figures: &mut Figures) -> Result<()> {
    let program_bytes = fs::read(program)?;
    let small = edited(&program_bytes)?;
    let large = match text("--old") {
        Some(old) => fs::read(old)?,
        None => fs::read(env::current_exe()?)?,
    };
    figures.put("updates.program_bytes", count(program_bytes.len())?);
    let (made, delta) = make(&program_bytes, &small)?;
    figures.put("updates.delta_percent", percent(delta.len(), small.len())?);
    figures.put_ms("updates.delta_make_ms", made);
    let (elapsed, bytes) = apply_elsewhere(folder, &program_bytes, &delta, &small)?;
    figures.put_ms("updates.delta_apply_ms", elapsed);
    figures.put("updates.delta_apply_bytes", bytes);
    let (made, delta) = make(&large, &program_bytes)?;
    figures.put("updates.delta_large_percent", percent(delta.len(), program_bytes.len())?);
    figures.put_ms("updates.delta_large_make_ms", made);
    let (elapsed, bytes) = apply_elsewhere(folder, &large, &delta, &program_bytes)?;
    figures.put_ms("updates.delta_large_apply_ms", elapsed);
    figures.put("updates.delta_large_apply_bytes", bytes);
    Ok(())
}

/// A small change of a program: a text that becomes longer, so that what is behind it moves, and the places that refer to it.
fn edited(program: &[u8]) -> Result<Vec<u8>> {
    let mut edited = program.to_vec();
    let middle = edited.len() / 2;
    // Places and differences as they come, so that nothing is gained by their order; the same ones each time.
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..400 {
        let place = random.random_range(0..edited.len());
        let byte = edited.get_mut(place).context("the program is too short")?;
        *byte = byte.wrapping_add(random.random_range(1..=u8::MAX));
    }
    edited.splice(middle..middle, b"a text that has become longer, as a correction needs it ".iter().copied());
    Ok(edited)
}

fn make(old: &[u8], new: &[u8]) -> Result<(Duration, Vec<u8>)> {
    let begun = Instant::now();
    let delta = wardlink_delta::make(old, new)?;
    Ok((begun.elapsed(), delta))
}

/// Applies a delta in a process of its own: how long it took, and how much memory beyond what it was given.
fn apply_elsewhere(folder: &Path, old: &[u8], delta: &[u8], new: &[u8]) -> Result<(Duration, f64)> {
    let [old_file, delta_file, new_file] = ["old", "delta", "new"].map(|name| folder.join(name));
    fs::write(&old_file, old)?;
    fs::write(&delta_file, delta)?;
    let length = new.len().to_string();
    let output = Command::new(env::current_exe()?)
        .arg("--apply")
        .args([&old_file, &delta_file, &new_file])
        .arg(&length)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(fs::read(&new_file)? == new, "the delta makes another file");
    let told = String::from_utf8(output.stdout)?;
    let (nanoseconds, bytes) = told.trim().split_once(' ').context("it does not tell what it measured")?;
    Ok((Duration::from_nanos(nanoseconds.parse()?), bytes.parse()?))
}

fn apply_arguments() -> Option<Vec<String>> {
    let arguments: Vec<String> = env::args().skip_while(|argument| argument != "--apply").skip(1).collect();
    (!arguments.is_empty()).then_some(arguments)
}

fn apply_and_tell(arguments: &[String]) -> Result<()> {
    let [old, delta, new, length] = arguments else { anyhow::bail!("--apply OLD DELTA NEW LENGTH") };
    let (old, delta) = (fs::read(old)?, fs::read(delta)?);
    let out = fs::File::create(new)?;
    let (before, begun) = (memory("VmRSS")?, Instant::now());
    wardlink_delta::apply(&old, &delta, length.parse()?, out)?;
    let elapsed = begun.elapsed();
    println!("{} {}", elapsed.as_nanos(), memory("VmHWM")?.saturating_sub(before));
    Ok(())
}

/// A figure of this process's memory, in bytes.
fn memory(name: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("only Linux tells how much memory a process has")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("the kernel does not tell it")?;
    let kilobytes: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

fn metadata(program: &Path, folder: &Path, rounds: usize, figures: &mut Figures) -> Result<()> {
    let begun = Instant::now();
    let images = images(program, folder)?;
    figures.put_ms("updates.first_hour_ms", begun.elapsed());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let gateway: Device = GATEWAY.parse()?;
    let director = director(&images, &gateway, &present()?, now)?;
    let repositories = Repositories { images: texts(images)?, director: texts(director)?, now };

    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..rounds {
        let begun = Instant::now();
        bytes = repositories.verify()?;
        times.push(begun.elapsed());
    }
    figures.put("updates.first_metadata_bytes", count(bytes)?);
    figures.put_ms("updates.verify_p50_ms", percentile(&times, 50)?);
    figures.put_ms("updates.verify_p99_ms", percentile(&times, 99)?);
    let json = folder.join("repositories.json");
    fs::write(&json, serde_json::to_vec(&repositories)?)?;
    let times = wasm::times(&["updates", json.to_str().context("a path")?, &rounds.to_string()])?;
    figures.put_ms("updates.verify_wasm_p50_ms", percentile(&times, 50)?);
    figures.put_ms("updates.verify_wasm_p99_ms", percentile(&times, 99)?);
    Ok(())
}

fn texts(files: BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, String>> {
    files.into_iter().map(|(name, bytes)| Ok((name, String::from_utf8(bytes)?))).collect()
}

/// A manufacturer's first hour with `wardlink release`: keys, a repository, a package for pumps and one for gateways, each with its documents.
fn images(program: &Path, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let release = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(["release", "--yes"]).args(arguments).current_dir(folder).env("WARDLINK_PASSPHRASE", PASSPHRASE);
        let output = command.output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    for key in ["root", "targets", "online", "acme"] {
        release(&["key", "new", key])?;
    }
    let repository = ["--repository", "repository"];
    let keys = ["--root-key", "root.pub", "--targets-key", "targets.pub", "--snapshot-key", "online.pub"];
    release(&[&repository[..], &["init"], &keys, &["--timestamp-key", "online.pub"]].concat())?;
    let models = ["--model", "infusion-pump/PM2", "--model", "gateway/RP", "--key", "acme.pub"];
    release(&[&repository[..], &["delegate", "acme"], &models].concat())?;
    fs::write(folder.join("bom.cdx.json"), b"{}")?;
    fs::write(folder.join("built.intoto.json"), b"{}")?;
    let old: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    for (name, pre, post, counter, kind, model) in
        [("1B.bin", "1A", "1B", "2", "infusion-pump", "PM2"), ("1B.img", "1A", "1B", "2", "gateway", "RP")]
    {
        fs::write(folder.join(name), [old.as_slice(), name.as_bytes()].concat())?;
        let what = ["--manufacturer", "acme", "--type", kind, "--model", model, "--from", pre, "--revision", post];
        let more = ["--hardware", "B", "--feature-set", "spring 2027", "--release", counter];
        let documents = ["--sbom", "bom.cdx.json", "--provenance", "built.intoto.json"];
        release(&[&repository[..], &["add", name], &what, &more, &documents].concat())?;
    }
    let sign = ["sign", "--key", "root", "--key", "targets", "--key", "acme", "--key", "online"];
    release(&[&repository[..], &sign].concat())?;
    release(&[&repository[..], &["export", "exported"]].concat())?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder.join("exported/metadata"))? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    Ok(files)
}

/// What the server directs for the gateway and its devices.
fn director(
    images: &BTreeMap<String, Vec<u8>>,
    gateway: &Device,
    present: &[State],
    now: u64,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut roles = Roles::new();
    for role in ["targets", "acme"] {
        let bytes = images.get(&format!("1.{role}.json")).with_context(|| format!("there is no role {role}"))?;
        roles.insert(role.to_owned().try_into()?, Signed::<Targets>::parse(bytes)?.role);
    }
    let releases = Releases::of([(&"acme".parse()?, &roles)])?;
    let mut associations = Associations::default();
    for state in present.iter().skip(1) {
        associations.associate(state.characteristics.device.clone(), gateway.clone());
    }
    let (first, others) = present.split_first().context("nobody is there")?;
    let devices = others.iter().map(|state| (state.clone(), None)).collect();
    let configuration =
        Configuration { counter: 1, gateway: first.clone(), devices, unchanged: Vec::new(), left_out: Vec::new() };
    let picks = releases.pick(&configuration, &associations);
    let orders = Order::of(&picks.picks, |_| (When::NextSafeMoment, Vec::new()));
    let end = Expires::at(now + DAY);
    let directive = Directive::new(1, end, gateway, &orders, &associations)?;

    let mut rng = UnwrapErr(SysRng);
    let (root_key, server_key) = (SigningKey::generate_from_rng(&mut rng), SigningKey::generate_from_rng(&mut rng));
    let public = |key: &SigningKey| Key::ecdsa_p256(key.verifying_key());
    let (root_public, server_public) = (public(&root_key)?, public(&server_key)?);
    let role = |key: &Key| RoleKeys { keyids: vec![key.id()], threshold: std::num::NonZeroUsize::MIN };
    let server = role(&server_public);
    let roles =
        TopLevel { root: role(&root_public), timestamp: server.clone(), snapshot: server.clone(), targets: server };
    let root_id = root_public.id();
    let keys = [(root_id.clone(), root_public), (server_public.id(), server_public)].into();
    let mut root = Draft::new(&Root::new(1, end, keys, roles))?;
    root.sign(root_id, &root_key);
    let files = publish(&directive, Ends { snapshot: end, timestamp: end }, &server_key)?;
    Ok([
        ("1.root.json", root.to_bytes()),
        ("1.targets.json", files.targets),
        ("1.snapshot.json", files.snapshot),
        ("timestamp.json", files.timestamp),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into())
}

fn count(number: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(number)?))
}

fn percent(part: usize, whole: usize) -> Result<f64> {
    Ok(count(part)? * 100.0 / count(whole)?)
}
