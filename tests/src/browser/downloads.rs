//! Files that the person saves.

use std::fs;

use anyhow::{Context as _, Result};

use super::Browser;
use crate::wait;

impl Browser {
    /// Waits until a file of this name is saved, takes it away, and returns what stands in it.
    pub fn saved(&self, name: &str) -> Result<String> {
        let file = self.downloads.join(name);
        // It has its name only when it is whole.
        let text = wait::patiently(&format!("{name} to be saved"), || match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text)),
            Err(_) if !file.exists() => Ok(None),
            Err(error) => Err(error).context("a saved file cannot be read"),
        })?;
        fs::remove_file(file).context("cannot remove a file")?;
        Ok(text)
    }
}
