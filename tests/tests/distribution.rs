//! From the manufacturer's desk into the distribution server: what is published is verified, shown in one step, and followed by clients.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha512};
use ureq::Agent;
use ureq::http::{Request, Response};
use wardlink_protocol::api::{
    MadePublishingToken, ManufacturerView, NewManufacturer, NewOffer, NewPublication, OfferScope, OfferView, OfferWhen,
    ProblemKind, ReleaseView, Role,
};
use wardlink_protocol::limits::PUBLISHED_PART_BYTES;
use wardlink_test_repository::{Repository, signed};
use wardlink_tests::api::{Api, Refused, refusal};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::publisher::{Publisher, file, long_program, metadata};
use wardlink_tests::worker::Worker;
use wardlink_tests::{Scene, artifacts, scene, wait};
use wardlink_update::metadata::{Expires, Hashes, MetadataFile, Snapshot, Target, Targets};

const BILL: &[u8] = b"{\"bomFormat\":\"CycloneDX\"}";

/// A worker with its first administrator, and a manufacturer that it knows.
struct Stage<'s> {
    worker: Worker<'s>,
    administrator: Api,
    acme: Manufacturer<'s>,
}

impl<'s> Stage<'s> {
    fn open(scene: &'s Scene) -> Result<Self> {
        let worker = Worker::start(scene)?;
        let administrator = worker.api().bootstrap()?;
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&administrator)?;
        Ok(Self { worker, administrator, acme })
    }

    /// Somebody with a token of acme's who says what a test wants.
    fn publisher(&self) -> Result<Publisher> {
        let token = fs::read_to_string(self.acme.path("token")).context("the token")?;
        Ok(Publisher::new(&self.worker.origin(), "acme", &token))
    }

    fn known(&self) -> Result<ManufacturerView> {
        let known: Vec<ManufacturerView> = self.administrator.get("manufacturers")?;
        known.into_iter().find(|known| known.manufacturer == "acme").context("acme is known")
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/repositories/acme/{path}", self.worker.origin())
    }

    fn fetch(&self, path: &str, fields: &[(&str, &str)]) -> Result<Response<ureq::Body>> {
        let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = Request::builder().uri(self.url(path));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        agent.run(request.body(()).context("a request")?).context("the worker does not answer")
    }

    fn status(&self, path: &str) -> Result<u16> {
        Ok(self.fetch(path, &[])?.status().as_u16())
    }

    /// Follows the repository with `wardlink tuf` and downloads a program.
    fn follow(&self, client: &Path, program: &str) -> Result<Vec<u8>> {
        fs::create_dir_all(client.join("files")).context("a folder")?;
        let wardlink = || -> Result<Command> {
            let mut command = Command::new(artifacts::agent()?);
            command.arg("tuf").arg("--metadata-dir").arg(client.join("trusted"));
            Ok(command)
        };
        if !client.join("trusted").exists() {
            run(wardlink()?.arg("init").arg(self.acme.first_root()))?;
        }
        let mut download = wardlink()?;
        download.args(["--metadata-url", &self.url("metadata"), "--target-base-url", &self.url("targets")]);
        download.args(["--target-name", program, "--target-dir"]).arg(client.join("files"));
        run(download.arg("download"))?;
        fs::read(client.join("files").join(program.replace('/', "%2F"))).context("the program")
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("a program")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// The step that a refusal names.
fn refused_step<T>(outcome: Result<T>) -> Result<String> {
    let Err(error) = outcome else { bail!("the server did not refuse") };
    let problem = error.downcast::<Refused>()?.0;
    ensure!(problem.kind == ProblemKind::RefusedStep, "{problem}");
    let detail = problem.detail.context("it says why")?;
    let step = detail.strip_prefix("Step ").and_then(|rest| rest.split([',', ':']).next());
    Ok(step.with_context(|| format!("it names no step: {detail}"))?.to_owned())
}

#[test]
fn what_a_manufacturer_publishes_is_followed_from_the_worker() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        ensure!(stage.status("metadata/timestamp.json")? == 404, "nothing is published yet");
        stage.acme.add("1A", "1B", b"the first program", &[])?;
        let said = stage.acme.publish(&stage.worker.origin())?;
        assert_eq!(number(&said, "packages"), 1);

        let client = scene.path("client");
        assert_eq!(stage.follow(&client, &stage.acme.program("1B"))?, b"the first program");
        let releases: Vec<ReleaseView> = stage.administrator.get("releases")?;
        let [release] = releases.as_slice() else { bail!("one release") };
        assert_eq!((release.from.as_str(), release.revision.as_str(), release.release_counter), ("1A", "1B", 1));

        // The next one: only what is new is sent, and the client that has followed goes on.
        stage.acme.add("1B", "1C", b"the second program", &[])?;
        stage.acme.publish(&stage.worker.origin())?;
        assert_eq!(stage.follow(&client, &stage.acme.program("1C"))?, b"the second program");
        let published = stage.known()?.published.context("it has published")?;
        assert_eq!(published.packages, 2);

        // The same once more changes nothing, and is no mistake.
        let again = stage.acme.publish(&stage.worker.origin())?;
        assert_eq!((number(&again, "timestamp"), number(&again, "sent_bytes")), (published.timestamp, 0));

        // A recall is a publication like any other.
        stage.acme.release(&["--yes", "recall", &stage.acme.program("1C"), "--reason", "it drips"])?;
        stage.acme.sign()?;
        stage.acme.publish(&stage.worker.origin())?;
        let releases: Vec<ReleaseView> = stage.administrator.get("releases?manufacturer=acme")?;
        let recalled: Vec<_> = releases.iter().filter_map(|release| release.recalled.as_deref()).collect();
        assert_eq!(recalled, ["it drips"]);
        Ok(())
    })
}

#[test]
fn a_manufacturer_with_a_space_in_its_name_publishes_like_any_other() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let acme = Manufacturer::found(scene, "Acme Medical")?;
        acme.make_known(&stage.administrator)?;
        let made: MadePublishingToken = stage.administrator.post("manufacturers/Acme%20Medical/tokens", &())?;
        acme.take_token(&made.token)?;
        let bill = acme.path("bill of 1B.json");
        fs::write(&bill, BILL).context("a bill of materials")?;
        acme.add("1A", "1B", b"the first program", &["--sbom", bill.to_str().context("a path of text")?])?;
        assert_eq!(number(&acme.publish(&stage.worker.origin())?, "packages"), 1);
        let releases: Vec<ReleaseView> = stage.administrator.get("releases?manufacturer=Acme%20Medical")?;
        let release = releases.first().context("a release")?;
        assert_eq!((release.manufacturer.as_str(), &release.provenance), ("Acme Medical", &None));

        // Where its document is said to be, it is, for everybody.
        let document = release.sbom.as_ref().context("a bill of materials")?;
        let mut answer = stage.worker.api().page(&document.address, "same-origin")?;
        assert_eq!(answer.status().as_u16(), 200, "{}", document.address);
        let bytes = answer.body_mut().read_to_vec()?;
        assert_eq!((bytes.as_slice(), bytes.len()), (BILL, usize::try_from(document.length)?));
        Ok(())
    })
}

#[test]
fn every_root_of_several_rotations_is_followed_from_the_first_one() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        stage.acme.add("1A", "1B", b"the first program", &[])?;
        stage.acme.rotate("second")?;
        stage.acme.rotate("third")?;
        stage.acme.publish(&stage.worker.origin())?;
        for version in 1..=3 {
            assert_eq!(stage.status(&format!("metadata/{version}.root.json"))?, 200, "{version}");
        }
        assert_eq!(stage.follow(&scene.path("client"), &stage.acme.program("1B"))?, b"the first program");
        assert_eq!(stage.known()?.root_version, 3);

        // A root alone is news, too.
        stage.acme.rotate("fourth")?;
        stage.acme.publish(&stage.worker.origin())?;
        assert_eq!((stage.status("metadata/4.root.json")?, stage.known()?.root_version), (200, 4));
        Ok(())
    })
}

#[test]
fn public_files_are_conditional_come_in_ranges_and_may_be_kept() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        stage.acme.add("1A", "1B", b"0123456789", &[])?;
        stage.acme.publish(&stage.worker.origin())?;
        let header = |answer: &Response<ureq::Body>, name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };

        let timestamp = stage.fetch("metadata/timestamp.json", &[])?;
        let etag = header(&timestamp, "etag");
        assert_eq!(header(&timestamp, "cache-control"), "public, no-cache");
        let again = stage.fetch("metadata/timestamp.json", &[("If-None-Match", &etag)])?;
        assert_eq!(again.status().as_u16(), 304);
        let root = stage.fetch("metadata/1.root.json", &[])?;
        assert!(header(&root, "cache-control").contains("immutable"));

        let hash = file(b"0123456789").sha256;
        let path = format!("targets/acme/infusion-pump/PM2/{hash}.1B.bin");
        let mut part = stage.fetch(&path, &[("Range", "bytes=3-5")])?;
        assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, "bytes 3-5/10".to_owned()));
        assert_eq!(part.body_mut().read_to_vec()?, b"345");
        assert_eq!(stage.fetch(&path, &[("Range", "bytes=10-")])?.status().as_u16(), 416);
        let mut other = stage.fetch(&path, &[("Range", "bytes=3-5"), ("If-Range", "\"other\"")])?;
        assert_eq!(other.body_mut().read_to_vec()?, b"0123456789");
        for hidden in ["targets/acme/infusion-pump/PM2/1B.bin", "targets/../files", "metadata/2.root.json"] {
            assert_eq!(stage.status(hidden)?, 404, "{hidden}");
        }
        Ok(())
    })
}

/// Publisher and worker are killed once a part of a program has arrived, and it is published again; whether something was still missing then.
fn goes_on_after_a_death(scene: &Scene) -> Result<bool> {
    let mut stage = Stage::open(scene)?;
    let program = long_program(5);
    stage.acme.add("1A", "1B", &program, &[])?;
    let publisher = stage.publisher()?;
    let watched = publisher.begin(&NewPublication { metadata: Vec::new(), files: vec![file(&program)] })?;
    // Of a program that has arrived whole nothing is missing.
    let received = |publisher: &Publisher| -> Result<Option<usize>> {
        let missing = publisher.view(watched.publication)?.missing;
        Ok(missing.first().map(|missing| missing.received.len()))
    };
    let mut publishing = stage.acme.start_publishing(&stage.worker.origin())?;
    wait::until("the first part has arrived", || Ok((received(&publisher)? != Some(0)).then_some(())))?;
    publishing.kill();
    stage.worker.kill();
    stage.worker.restart()?;
    if received(&publisher)?.is_none() {
        return Ok(false);
    }

    ensure!(stage.status("metadata/timestamp.json")? == 404, "nothing of it is visible");
    let said = stage.acme.publish(&stage.worker.origin())?;
    let sent = usize::try_from(number(&said, "sent_bytes"))?;
    ensure!(sent < program.len(), "it sends {sent} bytes of {} again", program.len());
    assert_eq!(stage.follow(&scene.path("client"), &stage.acme.program("1B"))?, program);
    Ok(true)
}

#[test]
fn an_upload_that_was_killed_goes_on_with_what_is_missing() -> Result<()> {
    // A program that was there before anybody died proves nothing.
    wait::patiently("an upload that is cut off", || {
        let mut was_cut_off = false;
        scene(|scene| {
            was_cut_off = goes_on_after_a_death(scene)?;
            Ok(())
        })?;
        Ok(was_cut_off.then_some(()))
    })
}

#[test]
fn whoever_has_no_right_publishes_nothing() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let origin = stage.worker.origin();
        let bolt = Manufacturer::found(scene, "bolt")?;
        bolt.onboard(&stage.administrator)?;
        let list = NewPublication { metadata: Vec::new(), files: vec![file(b"x")] };

        let foreign = fs::read_to_string(bolt.path("token"))?;
        for token in ["", "AAAA", foreign.as_str()] {
            let refused = Publisher::new(&origin, "acme", token).begin(&list);
            let kind = refusal(refused)?;
            ensure!(matches!(kind, ProblemKind::Forbidden | ProblemKind::SignedOut), "{kind:?}");
        }
        assert_eq!(refusal(Publisher::new(&origin, "nobody", &foreign).begin(&list))?, ProblemKind::Forbidden);

        // A publication of one is none of the other's.
        let begun = stage.publisher()?.begin(&list)?;
        assert_eq!(refusal(Publisher::new(&origin, "bolt", &foreign).view(begun.publication))?, ProblemKind::NotFound);

        // A token that is revoked in the middle of an upload.
        let id = stage.known()?.tokens.first().context("a token")?.id;
        let _: ManufacturerView = stage.administrator.post(&format!("manufacturers/acme/tokens/{id}/revoke"), &())?;
        let refused = stage.publisher()?.put(begun.publication, &file(b"x"), 0, b"x");
        assert_eq!(refusal(refused)?, ProblemKind::Forbidden);
        ensure!(stage.acme.publish_refused(&origin)?.contains("publishing token"), "it says why");

        // People need their rights, too.
        let (_, engineer) = stage.administrator.add_person("erik", Role::BiomedicalEngineer)?;
        let (_, auditor) = stage.administrator.add_person("otto", Role::Auditor)?;
        let (_, nurse) = stage.administrator.add_person("nina", Role::Nurse)?;
        for reader in [&engineer, &auditor] {
            assert_eq!(reader.get::<Vec<ManufacturerView>>("manufacturers")?.len(), 2);
            let token = reader.post::<MadePublishingToken>("manufacturers/acme/tokens", &());
            assert_eq!(refusal(token)?, ProblemKind::Forbidden);
            assert_eq!(refusal(bolt.make_known(reader))?, ProblemKind::Forbidden);
        }
        assert_eq!(refusal(nurse.get::<Vec<ReleaseView>>("releases"))?, ProblemKind::Forbidden);
        Ok(())
    })
}

#[test]
fn a_manufacturer_is_known_by_a_root_that_counts_and_ended() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let root = fs::read_to_string(stage.acme.first_root())?;
        let add = |manufacturer: &str, root: &str| {
            let (manufacturer, root) = (manufacturer.to_owned(), root.to_owned());
            stage.administrator.post::<ManufacturerView>("manufacturers", &NewManufacturer { manufacturer, root })
        };
        assert_eq!(refusal(add("acme", &root))?, ProblemKind::NameTaken);
        assert_eq!(refused_step(add("../evil", &root))?, "name");
        assert_eq!(refused_step(add("bolt", "{}"))?, "5.2");
        assert_eq!(refused_step(add("bolt", &root.replacen("\"version\":1", "\"version\":2", 1)))?, "5.2");

        stage.acme.add("1A", "1B", b"a program", &[])?;
        stage.acme.publish(&stage.worker.origin())?;
        let (path, when) = (stage.acme.program("1B"), OfferWhen::AtOnce);
        let offer = NewOffer { path, scope: OfferScope::Model, when, added: Vec::new() };
        let _: OfferView = stage.administrator.post("offers", &offer)?;
        let ended: ManufacturerView = stage.administrator.post("manufacturers/acme/end", &())?;
        ensure!(ended.ended_at.is_some() && ended.tokens.iter().all(|token| token.revoked_at.is_some()), "it is ended");
        assert_eq!(stage.status("metadata/timestamp.json")?, 404);
        assert_eq!(stage.administrator.get::<Vec<ReleaseView>>("releases")?.len(), 0);
        stage.acme.publish_refused(&stage.worker.origin())?;

        // It comes back by the root that gateways know, and by no other one.
        let other = Manufacturer::found(scene, "other")?;
        assert_eq!(refusal(add("acme", &fs::read_to_string(other.first_root())?))?, ProblemKind::WrongState);
        add("acme", &root)?;
        let offers: Vec<OfferView> = stage.administrator.get("offers")?;
        ensure!(offers.len() == 1 && offers.iter().all(|offer| offer.withdrawn_at.is_some()), "its offers came back");
        assert_eq!(stage.status("metadata/timestamp.json")?, 200);
        assert_eq!(stage.administrator.get::<Vec<ReleaseView>>("releases")?.len(), 1);
        let log: wardlink_protocol::api::AuditPage = stage.administrator.get("audit?act=manufacturer-changed")?;
        ensure!(log.entries.iter().any(|entry| entry.detail == "ended"), "it stands in the log");
        Ok(())
    })
}

#[test]
fn what_a_client_would_refuse_is_refused_with_its_step_and_nothing_changes() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let origin = stage.worker.origin();
        stage.acme.add("1A", "1B", b"the first program", &[])?;
        let older = stage.acme.copy("older")?;
        stage.acme.add("1B", "1C", b"the second program", &[])?;
        stage.acme.publish(&origin)?;
        let visible = stage.fetch("metadata/timestamp.json", &[])?.body_mut().read_to_vec()?;

        // An older state of the repository.
        let refused = older.publish_refused(&origin)?;
        ensure!(refused.contains("5.4.3.1"), "{refused}");

        // Another manufacturer's repository under acme's token: its keys are not those of acme's root.
        let bolt = Manufacturer::found(scene, "bolt")?;
        bolt.add("1A", "1B", b"foreign", &[])?;
        bolt.take_token(&fs::read_to_string(stage.acme.path("token"))?)?;
        let arguments = bolt.publishing(&origin);
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--manufacturer", "acme"]);
        let refused = bolt.refused(&arguments)?;
        ensure!(refused.contains("5.3.4") || refused.contains("5.4.2"), "{refused}");

        // A repository that speaks for another manufacturer than the one under whose name it was made known.
        let root = fs::read_to_string(bolt.first_root())?;
        let new = NewManufacturer { manufacturer: "clamp".to_owned(), root };
        let _: ManufacturerView = stage.administrator.post("manufacturers", &new)?;
        let made: MadePublishingToken = stage.administrator.post("manufacturers/clamp/tokens", &())?;
        bolt.take_token(&made.token)?;
        if let Some(last) = arguments.last_mut() {
            *last = "clamp";
        }
        let refused = bolt.refused(&arguments)?;
        ensure!(refused.contains("Step manufacturer"), "{refused}");

        let unchanged = stage.fetch("metadata/timestamp.json", &[])?.body_mut().read_to_vec()?;
        assert_eq!(unchanged, visible);
        Ok(())
    })
}

#[test]
fn a_publication_that_is_not_whole_is_refused_with_its_step_and_nothing_is_visible() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let publisher = stage.publisher()?;
        stage.acme.add("1A", "1B", b"a program", &[])?;
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(stage.acme.repository().join("metadata"))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let all: Vec<(String, Vec<u8>)> = names
            .into_iter()
            .map(|name| Ok((name.clone(), fs::read(stage.acme.repository().join("metadata").join(name))?)))
            .collect::<Result<_>>()?;
        let publish = |change: &dyn Fn(&str, &mut Vec<u8>) -> bool, program: Option<&[u8]>| -> Result<_> {
            let mut files = all.clone();
            files.retain_mut(|(name, bytes)| change(name, bytes));
            let list = NewPublication {
                metadata: files.iter().map(|(name, bytes)| metadata(name, bytes)).collect(),
                files: program.map(file).into_iter().collect(),
            };
            let begun = publisher.begin(&list)?;
            for missing in begun.missing {
                let metadata = files.iter().find(|(_, bytes)| file(bytes) == missing.file);
                let bytes = metadata.map(|(_, bytes)| bytes.as_slice()).or(program).context("the file")?;
                publisher.put(begun.publication, &missing.file, 0, bytes)?;
            }
            // One that is refused takes nobody's place.
            publisher.commit(begun.publication)
        };
        let keep = |_: &str, _: &mut Vec<u8>| true;
        let spoil = |part: &'static str| {
            move |name: &str, bytes: &mut Vec<u8>| {
                if name.ends_with(part) {
                    bytes.push(b' ');
                }
                true
            }
        };

        assert_eq!(refused_step(publish(&|name, _| name != "timestamp.json", None))?, "5.4.1");
        assert_eq!(refused_step(publish(&|name, _| !name.ends_with("snapshot.json"), None))?, "5.5.1");
        assert_eq!(refused_step(publish(&spoil("snapshot.json"), None))?, "5.5.1");
        assert_eq!(refused_step(publish(&|name, _| !name.ends_with(".acme.json"), None))?, "5.6.7.1");
        assert_eq!(refused_step(publish(&keep, None))?, "targets");
        assert_eq!(refused_step(publish(&keep, Some(b"b program")))?, "targets");
        let forged = |name: &str, bytes: &mut Vec<u8>| {
            if name == "timestamp.json" {
                let text = String::from_utf8_lossy(bytes).replacen("\"sig\":\"30", "\"sig\":\"31", 1);
                *bytes = text.into_bytes();
            }
            true
        };
        assert_eq!(refused_step(publish(&forged, None))?, "5.4.2");
        ensure!(stage.known()?.published.is_none() && stage.status("metadata/timestamp.json")? == 404, "nothing");
        ensure!(stage.status("metadata/2.targets.json")? == 404, "nothing of it is visible");

        publish(&keep, Some(b"a program"))?;
        assert_eq!(stage.status("metadata/timestamp.json")?, 200);
        Ok(())
    })
}

/// A repository of bolt's whose file is listed with a SHA-512, as other tools than ours do; its metadata by name.
fn with_sha512(version: u64, program: &[u8], sha512: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock")?.as_secs();
    let ends = Expires::at(now + 86_400);
    let mut repository = Repository::new();
    repository.delegate("targets", "bolt", 5, "bolt/infusion-pump/PM2/*", true);
    (repository.root_expires, repository.timestamp_expires, repository.snapshot_expires) = (ends, ends, ends);
    repository.author("targets").expires = ends;
    repository.publish_root();
    repository.publish();

    let hashes = [("sha256", file(program).sha256.to_string()), ("sha512", sha512.to_owned())];
    let hashes = Hashes(hashes.map(|(name, hash)| (name.to_owned(), hash)).into());
    let target = Target { length: file(program).length, hashes, custom: None };
    let targets = [("bolt/infusion-pump/PM2/1B.bin".to_owned().try_into().context("a path")?, target)].into();
    let bolt = signed(&Targets::new(version, ends, targets, None), &[5]);
    let top = repository.files.get("1.targets.json").context("the top-level targets")?;
    let listed = [("targets.json", 1, top), ("bolt.json", version, &bolt)];
    let listed = listed.map(|(name, version, bytes)| (name.to_owned(), MetadataFile::of(version, bytes)));
    (repository.timestamp_version, repository.snapshot_version) = (version, version);
    let snapshot = Snapshot::new(version, ends, listed.into());
    repository.files.insert(format!("{version}.bolt.json"), bolt);
    repository.publish_snapshot(&snapshot);
    Ok(repository.files.into_iter().collect())
}

/// Sends all of a publication.
fn send(publisher: &Publisher, files: &[(String, Vec<u8>)], program: &[u8]) -> Result<u64> {
    let list = NewPublication {
        metadata: files.iter().map(|(name, bytes)| metadata(name, bytes)).collect(),
        files: vec![file(program)],
    };
    let begun = publisher.begin(&list)?;
    for missing in begun.missing {
        let metadata = files.iter().find(|(_, bytes)| file(bytes) == missing.file);
        let bytes = metadata.map_or(program, |(_, bytes)| bytes.as_slice());
        for (part, bytes) in (0..).zip(bytes.chunks(usize::try_from(PUBLISHED_PART_BYTES)?)) {
            publisher.put(begun.publication, &missing.file, part, bytes)?;
        }
    }
    Ok(begun.publication)
}

impl Stage<'_> {
    /// Makes bolt known, whose repository is in memory.
    fn make_bolt_known(&self, files: &[(String, Vec<u8>)]) -> Result<()> {
        let (_, root) = files.iter().find(|(name, _)| name == "1.root.json").context("a root")?;
        let root = String::from_utf8(root.clone()).context("a root is text")?;
        let new = NewManufacturer { manufacturer: "bolt".to_owned(), root };
        self.administrator.post::<ManufacturerView>("manufacturers", &new).map(drop)
    }

    /// Somebody with a new token of bolt's.
    fn bolt(&self) -> Result<(MadePublishingToken, Publisher)> {
        let made: MadePublishingToken = self.administrator.post("manufacturers/bolt/tokens", &())?;
        let publisher = Publisher::new(&self.worker.origin(), "bolt", &made.token);
        Ok((made, publisher))
    }
}

fn sha512(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha512::digest(bytes))
}

#[test]
fn a_listed_sha512_is_held_to_and_read_once() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let program = b"a program with two hashes";
        let first = with_sha512(1, program, &sha512(program))?;
        stage.make_bolt_known(&first)?;
        let (_, publisher) = stage.bolt()?;
        let wrong = with_sha512(1, program, &sha512(b"another program"))?;
        let wrong = send(&publisher, &wrong, program)?;
        assert_eq!(refused_step(publisher.commit(wrong))?, "targets");
        let first = send(&publisher, &first, program)?;
        assert_eq!(publisher.commit(first)?.timestamp, 1);

        // The next one looks at its metadata only: the file is not even there to be read.
        stage.worker.lose_file(program)?;
        let second = send(&publisher, &with_sha512(2, program, &sha512(program))?, program)?;
        assert_eq!(publisher.commit(second)?.timestamp, 2);
        Ok(())
    })
}

#[test]
fn a_token_that_is_revoked_while_its_publication_is_verified_publishes_nothing() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let program = long_program(2);
        let files = with_sha512(1, &program, &sha512(&program))?;
        stage.make_bolt_known(&files)?;
        let url = format!("{}/api/repositories/bolt/metadata/timestamp.json", stage.worker.origin());
        let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
        let is_visible = || Ok::<_, anyhow::Error>(agent.get(&url).call()?.status().as_u16() == 200);
        // Each time the publication is further when its token is revoked, until it comes first.
        let mut head_start = 0;
        wait::patiently("the publication to come first", || {
            let (made, publisher) = stage.bolt()?;
            let id = send(&publisher, &files, &program)?;
            let committing = thread::spawn({
                let publisher = publisher.clone();
                move || publisher.commit(id)
            });
            for _ in 0..head_start {
                publisher.view(id)?;
            }
            let revoke = format!("manufacturers/bolt/tokens/{}/revoke", made.id);
            let _: ManufacturerView = stage.administrator.post(&revoke, &())?;
            let came_first = is_visible()?;
            let committed = committing.join().ok().context("the publisher")?;
            if came_first {
                return committed.map(|_| Some(()));
            }
            assert_eq!(refusal(committed)?, ProblemKind::Forbidden, "{head_start}");
            ensure!(!is_visible()?, "it is visible after its token was revoked");
            head_start += head_start / 2 + 1;
            Ok(None)
        })
    })
}

#[test]
fn a_list_or_a_part_that_contradicts_itself_is_refused_with_its_step() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        let publisher = stage.publisher()?;
        let list = |metadata, files| NewPublication { metadata, files };
        let mut longer = file(b"x");
        longer.length = 2;
        let mut nothing = file(b"");
        nothing.length = 0;
        let mut endless = file(b"y");
        endless.length = u64::MAX;
        for wrong in [
            list(Vec::new(), vec![file(b"x"), longer]),
            list(Vec::new(), vec![nothing]),
            list(Vec::new(), vec![endless]),
            list(vec![metadata("1.root.json", b"x"), metadata("1.root.json", b"y")], Vec::new()),
            list(vec![metadata("../secret", b"x")], Vec::new()),
        ] {
            assert_eq!(refused_step(publisher.begin(&wrong))?, "list");
        }

        let begun = publisher.begin(&list(Vec::new(), vec![file(b"right")]))?;
        let id = begun.publication;
        assert_eq!(publisher.begin(&list(Vec::new(), vec![file(b"right")]))?.publication, id, "it goes on");
        assert_eq!(refused_step(publisher.put(id, &file(b"right"), 0, b"wrong"))?, "hash");
        assert_eq!(refused_step(publisher.put(id, &file(b"right"), 0, b"wro"))?, "parts");
        assert_eq!(refusal(publisher.put(id, &file(b"right"), 0, b"right and more"))?, ProblemKind::BadRequest);
        assert_eq!(refusal(publisher.put(id, &file(b"right"), 1, b"right"))?, ProblemKind::NotFound);
        assert_eq!(refusal(publisher.put(id, &file(b"other"), 0, b"other"))?, ProblemKind::NotFound);
        assert_eq!(refused_step(publisher.commit(id))?, "files");
        publisher.put(id, &file(b"right"), 0, b"right")?;
        assert_eq!(refused_step(publisher.commit(id))?, "5.4.1");

        // Parts of a long file that make another file.
        let program = long_program(2);
        let long = publisher.begin(&list(Vec::new(), vec![file(&program)]))?;
        let size = usize::try_from(PUBLISHED_PART_BYTES)?;
        for (part, bytes) in (0..).zip(program.chunks(size).take(2)) {
            publisher.put(long.publication, &file(&program), part, bytes)?;
        }
        let mut ending = program.chunks(size).nth(2).context("a last part")?.to_vec();
        ending.reverse();
        assert_eq!(refused_step(publisher.put(long.publication, &file(&program), 2, &ending))?, "hash");
        let missing = publisher.view(long.publication)?.missing;
        assert_eq!(missing.first().map(|missing| missing.received.len()), Some(0), "all of it is sent again");

        // What was refused takes nobody's place, and neither does what was given up.
        assert_eq!(refusal(publisher.view(id))?, ProblemKind::NotFound);
        publisher.abandon(long.publication)?;
        assert_eq!(refusal(publisher.view(long.publication))?, ProblemKind::NotFound);

        // A few are on their way at once; one that has rested for a while makes room.
        let start = |name: &str| publisher.begin(&list(Vec::new(), vec![file(name.as_bytes())]));
        let first = start("1")?.publication;
        for name in ["2", "3", "4"] {
            start(name)?;
        }
        assert_eq!(refusal(start("5"))?, ProblemKind::WrongState);
        stage.worker.kill();
        let older = format!("UPDATE publications SET touched_at = touched_at - 900000 WHERE id = {first}");
        stage.worker.tamper("DistributionObject", &older)?;
        stage.worker.restart()?;
        start("5")?;
        assert_eq!(refusal(publisher.view(first))?, ProblemKind::NotFound);
        assert_eq!(refusal(start("6"))?, ProblemKind::WrongState);
        Ok(())
    })
}
