//! The secrets of a development deployment, made once and kept in `.dev.vars`, which git ignores.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::random;

/// What the tooling itself needs of the secrets; the worker reads the file.
pub(super) struct Secrets {
    /// Opens the one-time link for the first administrator.
    pub(super) bootstrap_token: String,
}

impl Secrets {
    /// Reads the file, or makes it; says whether it is new.
    pub(super) fn load_or_make(path: &Path) -> Result<(Self, bool)> {
        let new = !path.exists();
        if new {
            let text = format!("MASTER_KEY=\"{}\"\nBOOTSTRAP_TOKEN=\"{}\"\n", random::token()?, random::token()?);
            write_private(path, text.as_bytes())?;
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let bootstrap_token = variable(&text, "BOOTSTRAP_TOKEN")
            .with_context(|| format!("{} has no BOOTSTRAP_TOKEN; add one, or remove the file", path.display()))?;
        Ok((Self { bootstrap_token }, new))
    }
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content)).with_context(|| format!("cannot write {}", path.display()))
}

fn variable(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.next().map(|value| value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let text = "BOOTSTRAP_TOKEN_OLD=\"a\"\nBOOTSTRAP_TOKEN=\"b\"\n";
        assert_eq!(variable(text, "BOOTSTRAP_TOKEN").as_deref(), Some("b"));
        assert_eq!(variable(text, "TOKEN"), None);
    }
}
