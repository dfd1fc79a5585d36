//! Devices that verify for themselves: the server is shown what they say of their software, and what was verified here lies ready for them, as they would find it on a stick
//! ([`crate::bundle`]; Uptane 5.4.2.6). They take it over the broker, verify it once more, install it in their own time, and say what came of it.

use super::delivery::AddedFiles;
use super::http::Asked;
use super::round::{Ready, Round, RoundEnd, try_again_at};
use super::store::{Associated, Devices, Directives, OfDevice, Sets, StoreError, Verifying, Words, Work};
use super::troubles::Source;
use super::{GatewayError, Shared, packages, places};
use crate::bundle::{
    self, ADDED, Content, DIRECTIVE, DIRECTOR, DIRECTOR_ROOT, FilePath, MAX_FILE_BYTES, METADATA, Standing, TARGETS,
};
use crate::clock;
use crate::device::MAX_UNTOLD;
use crate::files::if_there;
use crate::tuf::quoted;
use hyper::StatusCode;
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256 as Hasher};
use std::fs;
use std::path::{Path, PathBuf};
use wardlink_protocol::Device;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::{MAX_DIRECTOR_ROOT_BYTES, MAX_INTEGER};
use wardlink_update::client::{Fetched, File, Step, Wanted};
use wardlink_update::director::Directive;
use wardlink_update::key::Key;
use wardlink_update::limits::MAX_ROOT_BYTES;
use wardlink_update::metadata::{Draft, Expires, Role, RoleName, Root, Signed, Targets, Version};
use wardlink_update::package::Revision;
use wardlink_update::report::{ConfigurationReport, DeviceReport, Known, Reported, State};
use wardlink_update::uptane::{Full, Install, Notification, Outcome, Repository, Then, Transaction};

/// The first later root: the one before stands in the device's factory file, or in the control unit's word.
const SECOND_ROOT: u64 = 2;

/// What a device says of its software, signed by it.
struct Says {
    state: State,
    report: serde_json::Value,
    outcomes: Vec<ByteBuf>,
    standing: Option<Standing>,
}

/// The reader of one device's report, who has seen none.
struct Of<'a>(&'a Device, Key);

impl Known for Of<'_> {
    fn key(&self, device: &Device) -> Option<Key> {
        (device == self.0).then(|| self.1.clone())
    }

    fn counter(&self, _: &Device) -> Version {
        0
    }
}

/// A device's report as it stands in its gateway's, where it can stand there.
fn shown(report: &[u8]) -> Option<serde_json::Value> {
    let shown: serde_json::Value = serde_json::from_slice(report).ok()?;
    let state: State = serde_json::from_value(shown.pointer("/signed/state")?.clone()).ok()?;
    let tried = ConfigurationReport::new(1, Expires::at(1), state, vec![Reported::Signed(shown.clone())]);
    Draft::new(&tried).is_ok().then_some(shown)
}

impl Shared {
    /// The devices that verify for themselves, as the server says: those with a key.
    pub(super) fn with_key(&self) -> Result<Vec<Associated>, StoreError> {
        let Devices(listed) = self.store.value()?.unwrap_or_default();
        Ok(listed.into_iter().filter(|one| one.has_key).collect())
    }

    /// What a device says; none where it says nothing, or something that does not count.
    fn says(&self, one: &Associated) -> Option<Says> {
        let told = bundle::told(self.settings.ports.as_deref()?, &one.device)?;
        let key = one.key.as_ref().and_then(|key| Key::of_spki(key))?;
        let what = one.device.to_string();
        let why = match DeviceReport::verify(&told.report, &Of(&one.device, key), clock::now().as_secs()) {
            Ok(_) if told.outcomes.len() > MAX_UNTOLD => "it says more than a device has to say".to_owned(),
            Ok((state, _)) => match shown(&told.report) {
                Some(report) => {
                    self.troubles.works_again(Source::Told, &what);
                    return Some(Says { state, report, outcomes: told.outcomes, standing: told.standing });
                }
                None => "its report cannot be shown to the server".to_owned(),
            },
            Err(error) => format!("{error}: the device says it anew when it connects"),
        };
        self.troubles.find(Source::Told, what, why);
        None
    }

    /// Their own reports, as they were received.
    pub(super) fn signed_reports(&self) -> Result<Vec<Reported>, StoreError> {
        let says = self.with_key()?.into_iter().filter_map(|one| self.says(&one));
        Ok(says.map(|says| Reported::Signed(says.report)).collect())
    }

    /// What those run that are updated here, by what they said last: a directive may be about one that says nothing any more.
    pub(super) fn verifying_states(&self) -> Result<Vec<State>, StoreError> {
        let known: Verifying = self.store.value()?.unwrap_or_default();
        let listed = self.with_key()?;
        let is_updated = |of: &Device| listed.iter().any(|one| one.device == *of && one.updates);
        let states = known.0.into_iter().map(|one| one.state);
        Ok(states.filter(|state| is_updated(&state.characteristics.device)).collect())
    }

    /// Takes what a device has said of its software: what came of updates is passed on. None where it does not count; otherwise whether it is something else than before.
    pub(super) fn hear_of_software(&self, device: &Device) -> Result<Option<bool>, StoreError> {
        let listed = self.with_key()?;
        let says = listed.iter().find(|one| one.device == *device).and_then(|one| self.says(one));
        let Some(Says { state, outcomes, standing, .. }) = says else { return Ok(None) };
        let hashes: Vec<Sha256> = outcomes.iter().map(|outcome| Sha256(Hasher::digest(outcome).into())).collect();
        self.store.change(|change| {
            let mut known: Verifying = change.value()?.unwrap_or_default();
            // Whoever is this gateway's no longer is forgotten.
            known.0.retain(|one| listed.iter().any(|listed| listed.device == one.state.characteristics.device));
            let before = known.of(device);
            let is_handed = before.is_some_and(|before| before.is_handed);
            let mut failed = before.and_then(|before| before.failed.clone());
            let offered = before.and_then(|before| before.offered.clone());
            let mut postponed = before.and_then(|before| before.postponed);
            let passed_on = before.map_or(0, |before| overlap(&before.outcomes, &hashes));
            let directives: Directives = change.value()?.unwrap_or_default();
            for outcome in outcomes.iter().skip(passed_on) {
                let Ok(told) = serde_json::from_slice::<Notification>(outcome) else { continue };
                if told.device != *device || told.directive > MAX_INTEGER {
                    continue;
                }
                failed = match &told.outcome {
                    Outcome::Failed { reason } | Outcome::Refused { reason, .. } => Some(reason.to_string()),
                    Outcome::Installed { .. } => None,
                    Outcome::Begun | Outcome::Corrupt | Outcome::Postponed(_) => failed,
                };
                postponed = match &told.outcome {
                    Outcome::Postponed(why) => Some(*why),
                    _ => None,
                };
                match &told.outcome {
                    Outcome::Corrupt if told.directive == directives.verified => {
                        let work = change.work(device, told.directive)?;
                        change.set_work(device, &Work { is_suspect: true, ..work })?;
                    }
                    Outcome::Refused { .. } => change.forget_roots()?,
                    _ => {}
                }
                let is_over = matches!(told.outcome.then(0), Then::Done | Then::Stop);
                if is_over && told.directive == directives.verified {
                    let work = change.work(device, told.directive)?;
                    change.set_work(device, &Work { ended: true, ..work })?;
                }
                change.tell(&told)?;
            }
            let now = OfDevice { state, outcomes: hashes, is_handed, standing, failed, offered, postponed };
            let is_news = known.of(device) != Some(&now);
            known.put(now);
            change.set(&known)?;
            Ok(Some(is_news))
        })
    }

    /// Whether something lies there for a device, and the revision that it is to install.
    fn set_handed(&self, device: &Device, is_handed: bool, offered: Option<&Revision>) -> Result<(), StoreError> {
        self.store.change(|change| {
            let mut known: Verifying = change.value()?.unwrap_or_default();
            let is_new = |one: &&OfDevice| one.is_handed != is_handed || one.offered.as_ref() != offered;
            let Some(one) = known.of(device).filter(is_new).cloned() else { return Ok(()) };
            let postponed = one.postponed.filter(|_| one.offered.as_ref() == offered);
            known.put(OfDevice { is_handed, offered: offered.cloned(), postponed, ..one });
            change.set(&known)
        })
    }
}

/// How many of the newer ones, from their beginning, stood there before: the list grows at its end, and what is cut off of it is its beginning, or what matters least.
fn overlap(before: &[Sha256], newer: &[Sha256]) -> usize {
    let mut before = before.iter();
    newer.iter().take_while(|one| before.any(|other| other == *one)).count()
}

/// Why nothing can be laid down for a device.
#[derive(Debug, thiserror::Error)]
enum NotHanded {
    /// What is missing did not come: it is asked for again.
    #[error("{0}")]
    Missing(String),
    /// It can never be laid down so.
    #[error("{0}")]
    Unusable(String),
}

/// What is said where a root of this repository is not to be had.
fn of_root(repository: &Repository) -> impl Fn(&dyn core::fmt::Display) -> NotHanded {
    let name = repository.to_string();
    move |why| NotHanded::Missing(format!("a root of {name}: {why}"))
}

/// The files of a bundle.
type Files = Vec<(FilePath, Content)>;

fn add(files: &mut Files, path: &str, content: Content) -> Result<(), NotHanded> {
    let unusable = || NotHanded::Unusable(format!("{path} is no name that a device can be handed"));
    let name = FilePath::try_from(path.to_owned()).map_err(|_| unusable())?;
    files.push((name, content));
    Ok(())
}

impl Round<'_> {
    /// The devices of a transaction that verify for themselves: they have a key, and have said here what they run.
    pub(super) fn verifying(&self, transaction: &Transaction) -> Result<Vec<Device>, StoreError> {
        let known: Verifying = self.shared.store.value()?.unwrap_or_default();
        let with_key = self.shared.with_key()?;
        let devices = transaction.installs.iter().map(|install| &install.device);
        let verifies =
            |device: &&Device| known.of(device).is_some() && with_key.iter().any(|one| one.device == **device);
        Ok(devices.filter(verifies).cloned().collect())
    }

    /// Lays down for a device what it may install, now or in a later round. The device goes on from there, and the gateway waits for what it says; unless it can never be laid down.
    pub(super) async fn hand_on(
        &self,
        full: &Full,
        (install, image, added): &Ready<'_>,
        end: &mut RoundEnd,
    ) -> Result<Result<(), String>, GatewayError> {
        let device = &install.device;
        let Some(folder) = self.bundle_of(device) else { return Ok(Err("this gateway is no broker".to_owned())) };
        let files = match self.files_for(full, install, image, added).await {
            Ok(files) => files,
            Err(NotHanded::Unusable(why)) => return Ok(Err(why)),
            Err(NotHanded::Missing(why)) => {
                self.not_yet(device, why, end);
                return Ok(Ok(()));
            }
        };
        self.shared.set_handed(device, true, Some(&install.package.post_revision))?;
        self.lay_down(device, folder, files, end).await;
        Ok(Ok(()))
    }

    /// Those for whom nothing is directed any more hear that, and what was installed is taken away (264).
    pub(super) async fn take_back(&self, transactions: &[Transaction], end: &mut RoundEnd) -> Result<(), GatewayError> {
        let known: Verifying = self.shared.store.value()?.unwrap_or_default();
        let director = self.shared.store.stored(&Repository::Director)?.unwrap_or_default();
        let Some(bytes) = director.targets.get(&RoleName::targets()) else { return Ok(()) };
        let Ok((_, directed)) = Directive::parse(bytes) else { return Ok(()) };
        let Sets(sets) = self.shared.store.value()?.unwrap_or_default();
        let is_under_way = |device: &Device| {
            transactions.iter().flat_map(|transaction| &transaction.installs).any(|install| install.device == *device)
                || sets.iter().any(|set| set.holds(device, &known))
        };
        for one in known.0.iter().filter(|one| one.is_handed) {
            let device = &one.state.characteristics.device;
            let Some(folder) = self.bundle_of(device).filter(|_| !is_under_way(device)) else { continue };
            let mut files = Files::new();
            if directed.order_for(device).is_none() {
                match self.director_for(device).await {
                    Ok(of_director) => files = of_director,
                    Err(error) => {
                        self.not_yet(device, error.to_string(), end);
                        continue;
                    }
                }
                let directive = Content::Bytes(bytes.clone());
                if add(&mut files, DIRECTIVE, directive).is_err() {
                    continue;
                }
            }
            let is_empty = files.is_empty();
            if self.lay_down(device, folder, files, end).await {
                self.shared.set_handed(device, !is_empty, None)?;
            }
        }
        Ok(())
    }

    fn bundle_of(&self, device: &Device) -> Option<PathBuf> {
        Some(bundle::folder(self.shared.settings.ports.as_deref()?, device))
    }

    fn not_yet(&self, device: &Device, why: String, end: &mut RoundEnd) {
        self.shared.troubles.find(Source::Round, format!("updates of {device}"), why);
        end.again(try_again_at());
    }

    /// Whether it lies there. One device's folder that cannot be used, or has no room, holds up nobody else.
    async fn lay_down(&self, device: &Device, folder: PathBuf, files: Files, end: &mut RoundEnd) -> bool {
        let shown = folder.display().to_string();
        let laid = tokio::task::spawn_blocking(move || bundle::lay_down(&folder, &files)).await;
        let why = match laid {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(broke) => broke.to_string(),
        };
        self.not_yet(device, format!("its folder {shown}: {why}"), end);
        false
    }

    async fn files_for(
        &self,
        full: &Full,
        install: &Install,
        image: &Path,
        added: &AddedFiles,
    ) -> Result<Files, NotHanded> {
        let missing = |what: &str| NotHanded::Missing(format!("{what} is not there any more"));
        let handed = full.handed_on(install).ok_or_else(|| missing("what was verified"))?;
        if install.target.length > MAX_FILE_BYTES {
            return Err(NotHanded::Unusable(format!("{} is longer than a device can be handed", install.path)));
        }
        let mut files = self.director_for(&install.device).await?;
        let manufacturer = &install.package.manufacturer;
        self.roots(&Repository::Image(manufacturer.clone()), METADATA, &mut files).await?;
        let metadata = [("targets".to_owned(), handed.delegator), (quoted(manufacturer.as_str()), handed.manufacturer)];
        for (role, bytes) in metadata {
            let signed = Signed::<Targets>::parse(bytes).map_err(|_| missing("what was verified"))?;
            let path = format!("{METADATA}/{}.{role}.json", signed.role.version());
            add(&mut files, &path, Content::Bytes(bytes.to_vec()))?;
        }
        for (one, (_, bytes)) in install.added.iter().zip(added) {
            add(&mut files, &format!("{ADDED}/{}", one.file.sha256), Content::Bytes(bytes.clone()))?;
        }
        add(
            &mut files,
            &format!("{TARGETS}/{}", install.target.file_name(&install.path)),
            Content::File(image.to_owned()),
        )?;
        add(&mut files, DIRECTIVE, Content::Bytes(handed.server.to_vec()))?;
        Ok(files)
    }

    /// Who directs: the control unit's word for the first root, and the later ones.
    async fn director_for(&self, device: &Device) -> Result<Files, NotHanded> {
        let mut files = Files::new();
        let word = self.word_for(device).await?;
        add(&mut files, DIRECTOR_ROOT, Content::Bytes(word))?;
        self.roots(&Repository::Director, DIRECTOR, &mut files).await?;
        Ok(files)
    }

    /// Asks who directs a device, and for roots that it may have to follow, before they are needed: the image may come while the server is away.
    pub(super) async fn ask_ahead(&self, install: &Install) {
        let (device, image) = (&install.device, Repository::Image(install.package.manufacturer.clone()));
        let mut asked = self.word_for(device).await.map(drop);
        for repository in [Repository::Director, image] {
            asked = asked.and(self.later_roots(&repository).await.map(drop));
        }
        if let Err(error) = asked {
            tracing::info!(%error, %device, "it is asked for again when it is needed");
        }
    }

    /// What a device has found corrupt may be damaged here, in the cache or where it lies for the device: it is fetched and laid down anew then.
    pub(super) async fn look_at_suspect(&self, install: &Install, version: Version) -> Result<(), GatewayError> {
        let (store, device) = (&self.shared.store, &install.device);
        let Some(folder) = self.bundle_of(device) else { return Ok(()) };
        let work = store.work(device, version)?;
        if !work.is_suspect {
            return Ok(());
        }
        let added = install.added.iter().map(|one| one.file.target());
        let mut files = Vec::new();
        for target in added.chain([install.target.clone()]) {
            if let Some(sha256) = target.sha256()
                && let Some(path) = self.shared.packages.find(store, &sha256)?
            {
                files.push((path, target, Some(sha256)));
            }
        }
        let laid = folder.join(TARGETS).join(install.target.file_name(&install.path));
        files.push((laid, install.target.clone(), None));
        let look = move || files.into_iter().filter(|(path, target, _)| packages::is_damaged(path, target)).collect();
        let damaged: Vec<(PathBuf, _, _)> = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        for (path, _, sha256) in damaged {
            match sha256 {
                Some(sha256) => self.shared.packages.forget(store, &sha256)?,
                None => drop(if_there(fs::remove_file(path)).map_err(StoreError::of_file)?),
            }
        }
        store.change(|change| {
            let work = change.work(device, version)?;
            change.set_work(device, &Work { is_suspect: false, ..work })
        })?;
        Ok(())
    }

    /// Every root of a repository after the first, the newest first: each has signed the one after it.
    async fn later_roots(&self, repository: &Repository) -> Result<Vec<(Version, Vec<u8>)>, NotHanded> {
        let missing = of_root(repository);
        let stored = self.shared.store.stored(repository).map_err(|error| missing(&error))?.unwrap_or_default();
        let mut after = Signed::<Root>::parse(&stored.root).map_err(|error| missing(&error))?;
        let mut roots = vec![(after.role.version(), stored.root)];
        for version in (SECOND_ROOT..after.role.version()).rev() {
            let bytes = self.root_before(repository, version, &after).await?;
            after = Signed::<Root>::parse(&bytes).map_err(|error| missing(&error))?;
            roots.push((version, bytes));
        }
        Ok(roots)
    }

    /// The root before another one, from the store or the server.
    async fn root_before(
        &self,
        repository: &Repository,
        version: Version,
        after: &Signed<Root>,
    ) -> Result<Vec<u8>, NotHanded> {
        let (missing, store) = (of_root(repository), &self.shared.store);
        if let Some(kept) = store.root(repository, version).map_err(|error| missing(&error))? {
            return Ok(kept);
        }
        let step = Step("5.4.2.6");
        let wanted = Wanted { file: File::Root, version: Some(version), max_bytes: MAX_ROOT_BYTES, step };
        let (gateway, ticket) = (&self.member.identity.device, self.bearer());
        let bytes = match places::metadata(&self.http, gateway, ticket, repository, &wanted).await {
            Ok(Fetched::Bytes(bytes)) => bytes,
            Ok(Fetched::Missing) => return Err(missing(&"the server has it no more")),
            Err(error) => return Err(missing(&error)),
        };
        let root = Signed::<Root>::parse(&bytes).map_err(|error| missing(&error))?;
        let (keys, role) = (&root.role.keys, &root.role.roles.root);
        if root.role.version() != version || !root.is_signed_by(role, keys) || !after.is_signed_by(role, keys) {
            return Err(missing(&"the server has another one, which the next does not follow"));
        }
        store.keep_root(repository, &root, &bytes).map_err(|error| missing(&error))?;
        Ok(bytes)
    }

    /// The control unit's word for who directs a device: the one that is stored, as long as it counts, or a new one.
    async fn word_for(&self, device: &Device) -> Result<Vec<u8>, NotHanded> {
        let (identity, store) = (&self.member.identity, &self.shared.store);
        let root = identity.root.ok_or_else(|| NotHanded::Missing("the site's root is not known".to_owned()))?;
        let counts = |word: &[u8]| wardlink_crypto::director::verify(word, device, &root, clock::now()).is_ok();
        let limit = u64::try_from(MAX_DIRECTOR_ROOT_BYTES).unwrap_or(u64::MAX);
        let missing = |why: &dyn core::fmt::Display| NotHanded::Missing(format!("who directs it: {why}"));
        let Words(stored) = store.value().map_err(|error| missing(&error))?.unwrap_or_default();
        if let Some(stored) = stored.get(device).filter(|word| counts(word)) {
            return Ok(stored.to_vec());
        }
        let path = places::director_of(&identity.device, device);
        let asked = Asked { path: &path, bearer: self.bearer(), etag: None, from: 0 };
        let answer = self.http.get(asked).await.map_err(|error| missing(&error))?;
        if answer.status != StatusCode::OK {
            return Err(missing(&format!("the server answers {}", answer.status)));
        }
        let word = answer.bytes(limit).await.map_err(|error| missing(&error))?;
        if !counts(&word) {
            return Err(missing(&"the server's answer is not the control unit's word"));
        }
        let kept = store.change(|change| {
            let Words(mut words) = change.value()?.unwrap_or_default();
            let Devices(listed) = change.value()?.unwrap_or_default();
            words.retain(|device, _| listed.iter().any(|one| one.device == *device));
            words.insert(device.clone(), ByteBuf::from(word.clone()));
            change.set(&Words(words))
        });
        kept.map_err(|error| missing(&error))?;
        Ok(word)
    }

    /// The roots of a repository after the first: a device follows them from the one that it has.
    async fn roots(&self, repository: &Repository, name: &str, files: &mut Files) -> Result<(), NotHanded> {
        let roots = self.later_roots(repository).await?.into_iter().filter(|(version, _)| *version >= SECOND_ROOT);
        for (version, bytes) in roots {
            add(files, &format!("{name}/{version}.root.json"), Content::Bytes(bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::overlap;
    use wardlink_protocol::identity::Sha256;

    #[test]
    fn what_was_passed_on_is_found_again_in_a_list_of_which_something_is_cut_off() {
        let list = |numbers: &[u8]| numbers.iter().map(|number| Sha256([*number; 32])).collect::<Vec<_>>();
        for (before, newer, passed_on) in [
            (&[][..], &[1, 2][..], 0),
            (&[1, 2], &[1, 2], 2),
            (&[1, 2], &[1, 2, 3], 2),
            (&[1, 2, 3], &[2, 3, 4], 2),
            (&[1, 2, 3], &[4, 5], 0),
            (&[1, 1], &[1, 1, 1], 2),
            (&[1, 2], &[], 0),
            (&[1, 2, 3, 4], &[1, 3, 4, 5], 3),
            (&[1, 2], &[2, 1], 1),
        ] {
            assert_eq!(overlap(&list(before), &list(newer)), passed_on, "{before:?} {newer:?}");
        }
    }
}
