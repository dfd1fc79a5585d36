//! What a device keeps across power loss: one directory, files for the owner only.
//!
//! Each record is a file of its own, written whole to a temporary file, synchronized, then renamed over the old one, so that
//! a reader finds the old record or the new one and never half of either. Each carries its version, its name and a SHA-256 of
//! its content: a damaged or foreign file is an error that a person reads, and never taken for an empty one.

use crate::files::{if_there, make_folder};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wardlink_protocol::{Device, cbor};
use zeroize::{Zeroize, Zeroizing};

/// The version of the files' format.
const VERSION: u32 = 1;
/// The longest record, in bytes.
const MAX_RECORD_BYTES: usize = 4 * 1024 * 1024;
const LOCK_FILE: &str = "lock";

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// Which device the directory belongs to.
    Device,
    /// The static key, PKCS#8 DER.
    StaticKey,
    /// The state of the pairing, and after it all that it brought: certificate, chain, CertCA, channels with their keys.
    Pairing,
    /// How often the device was started: no two runs protect messages under the same key.
    Boot,
    /// The messages that the bridge has not acknowledged yet, and those that may have to be sent again under a new key.
    Outbox,
    /// What came after the pairing: later epochs of the channels' keys, the certificate in force, a renewal on its way.
    Trust,
    /// The orders that the device took, and what they left.
    Orders,
    /// The order to wipe, while its receipt is on its way.
    Decommission,
    /// A service that asks to be enrolled, until it is.
    Enrolment,
    /// What a service was enrolled with.
    Service,
    /// A service that renews its certificate, until it has.
    Renewing,
    /// Which messages have counted at a service.
    Received,
}

impl Record {
    const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::StaticKey => "static-key",
            Self::Pairing => "pairing",
            Self::Boot => "boot",
            Self::Outbox => "outbox",
            Self::Trust => "trust",
            Self::Orders => "orders",
            Self::Decommission => "decommission",
            Self::Enrolment => "enrolment",
            Self::Service => "service",
            Self::Renewing => "renewing",
            Self::Received => "received",
        }
    }
}

/// Why the device's state cannot be used. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The caller's fault: another process holds the directory.
    #[error("{0} is in use by another process; stop it, or choose another state directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The caller's fault: the directory belongs to another device.
    #[error("{0} belongs to {stored}, not to {asked}; choose another state directory", path.display())]
    ForeignDevice {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        stored: Device,
        /// Who asked.
        asked: Device,
    },
    /// The caller's fault: others may read what only the device may know.
    #[error("{0} is open to others; make it the owner's own (chmod {expected})", path.display())]
    OpenToOthers {
        /// The file or directory.
        path: PathBuf,
        /// What `chmod` takes.
        expected: &'static str,
    },
    /// Our fault, or the disk's: the file is not what was written.
    #[error(
        "{0} is damaged ({reason}); restore it from a copy, or remove the whole state directory and pair the device again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The caller's fault: the file was written by another version of this program.
    #[error("{0} has version {found}, this program knows version {VERSION}; use the program that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file system refused.
    #[error("cannot {doing} {0}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Our fault: a value that cannot be written.
    #[error("the state cannot be encoded: {0}")]
    Encode(#[from] cbor::CborError),
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |source| StateError::Io { doing, path: path.to_owned(), source }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    record: String,
    sha256: ByteBuf,
    content: ByteBuf,
}

/// A device's state directory, held for this process alone until it is dropped.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: Option<File>,
}

impl StateDirectory {
    /// Opens the directory of `device`, or makes it.
    pub fn open(path: &Path, device: &Device) -> Result<Self, StateError> {
        let state = Self::lock(path)?;
        match state.owner()? {
            None => state.write_value(Record::Device, device)?,
            Some(stored) if stored == *device => {}
            Some(stored) => {
                return Err(StateError::ForeignDevice { path: path.to_owned(), stored, asked: device.clone() });
            }
        }
        Ok(state)
    }

    /// Opens the directory of whomever it belongs to, or makes one that belongs to nobody yet.
    pub fn lock(path: &Path) -> Result<Self, StateError> {
        if !path.exists() {
            make_folder(path).map_err(io_error("make", path))?;
        }
        check_private(path, "700")?;
        let lock_path = path.join(LOCK_FILE);
        let lock = private_file(&lock_path).map_err(io_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &lock_path)(source)),
        }
        Ok(Self { path: path.to_owned(), _lock: Some(lock) })
    }

    /// The directory as it is, without holding it: to look at what another process may change meanwhile, and to write nothing.
    pub fn to_look_at(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// Whom the directory belongs to.
    pub fn owner(&self) -> Result<Option<Device>, StateError> {
        self.read_value(Record::Device)
    }

    /// Where the record's file lies.
    pub fn file(&self, record: Record) -> PathBuf {
        self.path.join(record.name()).with_extension("cbor")
    }

    /// Reads a record; none where it was never written.
    pub fn read(&self, record: Record) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        let path = self.file(record);
        let Some(mut file) = if_there(File::open(&path)).map_err(io_error("open", &path))? else { return Ok(None) };
        check_private(&path, "600")?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.read_to_end(&mut bytes).map_err(io_error("read", &path))?;
        let damaged = |reason| StateError::Damaged { path: path.clone(), reason };
        let envelope: Envelope =
            cbor::decode(&bytes, MAX_RECORD_BYTES).map_err(|_| damaged("it is cut short or overwritten"))?;
        if envelope.version != VERSION {
            return Err(StateError::Version { path, found: envelope.version });
        }
        if envelope.record != record.name() {
            return Err(damaged("it is another record's file"));
        }
        let content = Zeroizing::new(envelope.content.into_vec());
        if Sha256::digest(content.as_slice()).as_slice() != envelope.sha256.as_slice() {
            return Err(damaged("its check sum does not fit"));
        }
        Ok(Some(content))
    }

    /// Writes a record: when this returns, it survives a power loss.
    pub fn write(&self, record: Record, content: &[u8]) -> Result<(), StateError> {
        let mut envelope = Envelope {
            version: VERSION,
            record: record.name().to_owned(),
            sha256: ByteBuf::from(Sha256::digest(content).to_vec()),
            content: ByteBuf::from(content.to_vec()),
        };
        let bytes = cbor::encode(&envelope).map(Zeroizing::new);
        envelope.content.zeroize();
        let bytes = bytes?;
        let path = self.file(record);
        let temporary = path.with_extension("new");
        let mut file = private_file(&temporary).map_err(io_error("open", &temporary))?;
        // A file that a power loss left behind may be anything.
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(io_error("protect", &temporary))?;
        file.set_len(0).map_err(io_error("empty", &temporary))?;
        file.write_all(&bytes).map_err(io_error("write", &temporary))?;
        file.sync_all().map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("replace", &path))?;
        self.sync_directory()
    }

    /// Removes a record for good.
    pub fn remove(&self, record: Record) -> Result<(), StateError> {
        let path = self.file(record);
        match if_there(fs::remove_file(&path)).map_err(io_error("remove", &path))? {
            Some(()) => self.sync_directory(),
            None => Ok(()),
        }
    }

    /// Reads a record that holds one CBOR value.
    pub fn read_value<T: serde::de::DeserializeOwned>(&self, record: Record) -> Result<Option<T>, StateError> {
        let Some(content) = self.read(record)? else { return Ok(None) };
        let value = cbor::unpack(&content, MAX_RECORD_BYTES).map_err(|_| StateError::Damaged {
            path: self.file(record),
            reason: "its fields are not the expected ones",
        })?;
        Ok(Some(value))
    }

    /// Writes a record that holds one CBOR value.
    pub fn write_value<T: Serialize>(&self, record: Record, value: &T) -> Result<(), StateError> {
        self.write(record, &Zeroizing::new(cbor::pack(value)?))
    }

    /// The number of this start, which no later start has again: stored before it is returned.
    pub fn next_boot(&self) -> Result<u64, StateError> {
        self.next_boot_from(0)
    }

    /// As [`Self::next_boot`], and not below `least`: by the time it rises also where an earlier state was restored.
    pub fn next_boot_from(&self, least: u64) -> Result<u64, StateError> {
        let boot = self.read_value::<u64>(Record::Boot)?.unwrap_or(0).saturating_add(1).max(least);
        self.write_value(Record::Boot, &boot)?;
        Ok(boot)
    }

    /// The device's static key as PKCS#8 DER: `make` is asked for it once in the directory's life.
    pub fn static_key(&self, make: impl FnOnce() -> Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, StateError> {
        if let Some(key) = self.read(Record::StaticKey)? {
            return Ok(key);
        }
        if self.read(Record::Pairing)?.is_some() {
            let reason = "it is missing, while a pairing with it is stored";
            return Err(StateError::Damaged { path: self.file(Record::StaticKey), reason });
        }
        let key = make();
        self.write(Record::StaticKey, &key)?;
        Ok(key)
    }

    fn sync_directory(&self) -> Result<(), StateError> {
        let directory = File::open(&self.path).map_err(io_error("open", &self.path))?;
        directory.sync_all().map_err(io_error("synchronize", &self.path))
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn check_private(path: &Path, expected: &'static str) -> Result<(), StateError> {
    let mode = fs::metadata(path).map_err(io_error("look at", path))?.permissions().mode();
    let open = mode & 0o077;
    if open == 0 { Ok(()) } else { Err(StateError::OpenToOthers { path: path.to_owned(), expected }) }
}

#[cfg(test)]
mod tests;
