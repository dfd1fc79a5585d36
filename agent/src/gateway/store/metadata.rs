//! The trusted metadata of both repositories in the gateway's store, and the roots that were trusted before.

use super::{Change, Store, StoreError};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use wardlink_update::client::{Command, File, Stored};
use wardlink_update::metadata::{Role as _, RoleName, Root, Signed, Version};
use wardlink_update::package::Manufacturer;
use wardlink_update::uptane::Repository;

/// Trusted metadata as it was received, by repository and file.
const METADATA: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("metadata");
/// Roots that are not the newest any more, by repository and version: a device that comes later follows them one by one.
const ROOTS: TableDefinition<'_, (&str, Version), &[u8]> = TableDefinition::new("roots");

pub(super) fn prepare(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(METADATA)?;
    write.open_table(ROOTS)?;
    Ok(())
}

fn name_of(repository: &Repository) -> String {
    match repository {
        Repository::Director => "director".to_owned(),
        Repository::Image(manufacturer) => format!("images/{manufacturer}"),
    }
}

impl Store {
    /// Begins to trust a repository by its first root, unless one is trusted already. Returns whether it began.
    pub(in crate::gateway) fn trust(&self, repository: &Repository, root: &[u8]) -> Result<bool, StoreError> {
        let name = name_of(repository);
        self.change(|change| {
            let mut table = change.write.open_table(METADATA)?;
            let key = (name.as_str(), "root.json");
            if table.get(key)?.is_some() {
                return Ok(false);
            }
            table.insert(key, root)?;
            Ok(true)
        })
    }

    /// What was stored of a repository; none where it is not trusted.
    pub(in crate::gateway) fn stored(&self, repository: &Repository) -> Result<Option<Stored>, StoreError> {
        let name = name_of(repository);
        let read = self.database.begin_read()?;
        let table = read.open_table(METADATA)?;
        let mut stored = Stored::default();
        let mut is_trusted = false;
        for entry in table.range((name.as_str(), "")..)? {
            let (key, bytes) = entry?;
            let (of, file) = key.value();
            if of != name {
                break;
            }
            let bytes = bytes.value().to_vec();
            match file {
                "root.json" => {
                    stored.root = bytes;
                    is_trusted = true;
                }
                "timestamp.json" => stored.timestamp = Some(bytes),
                "snapshot.json" => stored.snapshot = Some(bytes),
                file => {
                    let role = file.strip_suffix(".json").unwrap_or(file).to_owned();
                    let role = RoleName::try_from(role).map_err(|_| StoreError::Damaged("a role's name"))?;
                    stored.targets.insert(role, bytes);
                }
            }
        }
        Ok(is_trusted.then_some(stored))
    }

    /// A root that was kept.
    pub(in crate::gateway) fn root(
        &self,
        repository: &Repository,
        version: Version,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.database.begin_read()?.open_table(ROOTS)?;
        Ok(table.get((name_of(repository).as_str(), version))?.map(|bytes| bytes.value().to_vec()))
    }

    /// Keeps a root.
    pub(in crate::gateway) fn keep_root(
        &self,
        repository: &Repository,
        root: &Signed<Root>,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let key = (&*name_of(repository), root.role.version());
        self.change(|change| Ok(change.write.open_table(ROOTS)?.insert(key, bytes).map(drop)?))
    }

    /// The manufacturers whose repositories are trusted.
    pub(in crate::gateway) fn manufacturers(&self) -> Result<Vec<Manufacturer>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(METADATA)?;
        let mut manufacturers = Vec::new();
        for entry in table.iter()? {
            let (key, _) = entry?;
            let (of, file) = key.value();
            if let (Some(name), "root.json") = (of.strip_prefix("images/"), file) {
                manufacturers.push(name.parse().map_err(|_| StoreError::Damaged("a manufacturer's name"))?);
            }
        }
        Ok(manufacturers)
    }

    /// Stores and deletes what a run of verification says, in one step.
    pub(in crate::gateway) fn carry_out(
        &self,
        repository: &Repository,
        commands: &[Command],
    ) -> Result<(), StoreError> {
        if commands.is_empty() {
            return Ok(());
        }
        let name = name_of(repository);
        self.change(|change| {
            let mut table = change.write.open_table(METADATA)?;
            for command in commands {
                let key = |file: &File| file.name();
                match command {
                    Command::Store(file, bytes) => {
                        table.insert((name.as_str(), key(file).as_str()), bytes.as_slice())?;
                    }
                    Command::Delete(file) => {
                        table.remove((name.as_str(), key(file).as_str()))?;
                    }
                }
            }
            Ok(())
        })
    }
}

impl Change<'_> {
    /// Roots that were kept are asked for again: a device has refused something.
    pub(in crate::gateway) fn forget_roots(&self) -> Result<(), StoreError> {
        Ok(self.write.open_table(ROOTS)?.retain(|_, _| false)?)
    }
}
