//! A medium for a database that loses power, or has no room.

use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex};

/// What survives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What was synchronized.
    durable: Vec<u8>,
    /// What is there while there is power.
    present: Vec<u8>,
    /// Writes and synchronizations until the power fails.
    left: Option<usize>,
    is_off: bool,
    is_full: bool,
}

impl Medium {
    /// The power fails after so many writes.
    pub(crate) fn fails_after(&self, writes: usize) {
        self.0.lock().unwrap().left = Some(writes);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().unwrap().is_off
    }

    /// The power comes back: what was not synchronized is gone, or, as disks are, half of it.
    pub(crate) fn comes_back(&self, keeps_half: bool) {
        let mut state = self.0.lock().unwrap();
        let mut survived = state.durable.clone();
        if keeps_half {
            // Some pages had reached the disk, in no order.
            const PAGE: usize = 4096;
            survived.resize(state.present.len().max(survived.len()), 0);
            for (number, page) in state.present.chunks(PAGE).enumerate().filter(|(number, _)| number % 2 == 1) {
                survived[number * PAGE..][..page.len()].copy_from_slice(page);
            }
        }
        *state = State { durable: survived.clone(), present: survived, ..State::default() };
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    pub(crate) fn plug(&self) -> Plugged {
        Plugged(self.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Plugged(Medium);

impl Plugged {
    fn act<T>(&self, writes: bool, act: impl FnOnce(&mut State) -> T) -> Result<T, io::Error> {
        let mut state = self.0.0.lock().unwrap();
        if state.is_off {
            return Err(io::Error::other("there is no power"));
        }
        if writes {
            if state.is_full {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            if state.left == Some(0) {
                state.is_off = true;
                return Err(io::Error::other("the power fails"));
            }
            state.left = state.left.map(|left| left - 1);
        }
        Ok(act(&mut state))
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for Plugged {
    fn len(&self) -> Result<u64, io::Error> {
        self.act(false, |state| state.present.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.act(false, |state| out.copy_from_slice(&state.present[at(offset)..][..out.len()]))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.act(true, |state| state.present.resize(at(len), 0))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.act(true, |state| state.durable = state.present.clone())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.act(true, |state| state.present[at(offset)..][..data.len()].copy_from_slice(data))
    }
}
