//! A disk in memory that loses power at a chosen step, and then has whatever a real one could have.

use super::{Disk, Name};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

/// What becomes, at a power loss, of file contents that were not synchronized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device) enum Contents {
    /// They are lost.
    Lost,
    /// They are there.
    Kept,
    /// Half of the write that was going on is there.
    Torn,
    /// The files have their new lengths, and zeros where the content is missing.
    Zeros,
}

/// A way to lose power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device) struct Loss {
    pub(in crate::device) contents: Contents,
    /// Whether names that were not synchronized are there.
    pub(in crate::device) names_kept: bool,
}

impl Loss {
    pub(in crate::device) fn all() -> impl Iterator<Item = Self> {
        let contents = [Contents::Lost, Contents::Kept, Contents::Torn, Contents::Zeros];
        contents.into_iter().flat_map(|contents| [false, true].map(|names_kept| Self { contents, names_kept }))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// What it would be if the write that was going on stopped half way.
    torn: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
pub(in crate::device) struct Model {
    contents: Vec<Content>,
    durable: BTreeMap<Name, usize>,
    cached: BTreeMap<Name, usize>,
    /// How many steps are left until the power goes.
    pub(in crate::device) steps_left: Option<usize>,
    /// The files for which there is no room.
    pub(in crate::device) full: Vec<Name>,
    /// How many steps were made.
    pub(in crate::device) steps: usize,
}

impl Model {
    /// The same disk, with power for so many steps.
    pub(in crate::device) fn powered_for(&self, steps: usize) -> Self {
        Self { steps_left: Some(steps), ..self.clone() }
    }

    /// The disk after the power has come back.
    pub(in crate::device) fn after(&self, loss: Loss) -> Self {
        let names = if loss.names_kept { &self.cached } else { &self.durable };
        let mut after = Self { full: self.full.clone(), ..Self::default() };
        for (name, at) in names {
            let content = &self.contents[*at];
            let bytes = match loss.contents {
                Contents::Lost => content.durable.clone(),
                Contents::Kept => content.cached.clone(),
                Contents::Torn => content.torn.clone().unwrap_or_else(|| content.durable.clone()),
                Contents::Zeros => {
                    let mut bytes = content.durable.clone();
                    bytes.resize(content.cached.len(), 0);
                    bytes
                }
            };
            after.cached.insert(*name, after.contents.len());
            after.contents.push(Content { durable: bytes.clone(), cached: bytes, torn: None });
        }
        after.durable.clone_from(&after.cached);
        after
    }

    pub(in crate::device) fn bytes(&self, name: Name) -> Option<&[u8]> {
        self.cached.get(&name).map(|at| self.contents[*at].cached.as_slice())
    }

    /// Every file with its content.
    pub(in crate::device) fn files(&self) -> Vec<(Name, Vec<u8>)> {
        self.cached.iter().map(|(name, at)| (*name, self.contents[*at].cached.clone())).collect()
    }

    /// Changes a file behind the device's back.
    pub(in crate::device) fn spoil(&mut self, name: Name, change: impl FnOnce(&mut Vec<u8>)) {
        let content = &mut self.contents[self.cached[&name]];
        change(&mut content.cached);
        content.durable.clone_from(&content.cached);
    }

    /// One step; the power may go in its midst.
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        match &mut self.steps_left {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn content(&mut self, name: Name) -> &mut Content {
        let at = *self.cached.entry(name).or_insert_with(|| {
            self.contents.push(Content::default());
            self.contents.len() - 1
        });
        &mut self.contents[at]
    }
}

impl Disk for Model {
    fn length(&self, name: Name) -> io::Result<Option<u64>> {
        Ok(self.bytes(name).map(|bytes| bytes.len().try_into().unwrap()))
    }

    fn read_at(&self, name: Name, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes(name).ok_or(ErrorKind::NotFound)?;
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn names(&self) -> io::Result<Vec<Name>> {
        Ok(self.cached.keys().copied().collect())
    }

    fn write_at(&mut self, name: Name, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        if self.full.contains(&name) {
            return Err(ErrorKind::StorageFull.into());
        }
        let powered = self.step();
        let write = |to: &mut Vec<u8>, bytes: &[u8]| {
            to.resize(to.len().max(offset + bytes.len()), 0);
            to[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        let content = self.content(name);
        let mut torn = content.cached.clone();
        write(&mut torn, &bytes[..bytes.len() / 2]);
        content.torn = Some(torn);
        powered?;
        write(&mut content.cached, bytes);
        Ok(())
    }

    fn set_length(&mut self, name: Name, length: u64) -> io::Result<()> {
        self.step()?;
        let content = self.content(name);
        content.cached.resize(length.try_into().unwrap(), 0);
        content.torn = Some(content.cached.clone());
        Ok(())
    }

    fn sync(&mut self, name: Name) -> io::Result<()> {
        self.step()?;
        let content = self.content(name);
        content.durable.clone_from(&content.cached);
        content.torn = None;
        Ok(())
    }

    fn rename(&mut self, from: Name, to: Name) -> io::Result<()> {
        self.step()?;
        let at = self.cached.remove(&from).ok_or(ErrorKind::NotFound)?;
        self.cached.insert(to, at);
        Ok(())
    }

    fn remove(&mut self, name: Name) -> io::Result<()> {
        self.step()?;
        self.cached.remove(&name);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.step()?;
        self.durable.clone_from(&self.cached);
        Ok(())
    }
}
