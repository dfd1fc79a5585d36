//! The secrets of a deployment: made here when it has none, never made anew, never shown but in the one-time link.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::random;

pub(super) const MASTER_KEY: &str = "MASTER_KEY";
pub(super) const BOOTSTRAP_TOKEN: &str = "BOOTSTRAP_TOKEN";

/// Which secrets a deployment needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// A new worker: both.
    Both,
    /// Somebody took the token away, to get a new one-time link.
    Token,
    /// None.
    Neither,
}

impl Missing {
    /// Decides by the names of the secrets that the worker has; none where there is no worker.
    pub(super) fn of(present: Option<&[String]>) -> Result<Self> {
        let Some(present) = present else { return Ok(Self::Both) };
        let has = |name: &str| present.iter().any(|present| present == name);
        match (has(MASTER_KEY), has(BOOTSTRAP_TOKEN)) {
            (true, true) => Ok(Self::Neither),
            (true, false) => Ok(Self::Token),
            // A new key would open nothing of what the worker has stored, its CA least of all.
            (false, _) => bail!(
                "a worker of this name is there, and has no {MASTER_KEY}. If it is Wardlink, put its key back from your copy: \
                 `npx wrangler secret put {MASTER_KEY} --env production`. If it is another worker, change `name` under \
                 [env.production] in wrangler.toml. Nothing was changed"
            ),
        }
    }

    /// The names.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Both => &[MASTER_KEY, BOOTSTRAP_TOKEN],
            Self::Token => &[BOOTSTRAP_TOKEN],
            Self::Neither => &[],
        }
    }

    /// Draws them from the system's random source.
    pub(super) fn make(self) -> Result<Made> {
        let master_key = matches!(self, Self::Both).then(random::token).transpose()?;
        let bootstrap_token = (!matches!(self, Self::Neither)).then(random::token).transpose()?;
        Ok(Made { master_key, bootstrap_token })
    }
}

/// Secrets that were made for this deployment.
pub(super) struct Made {
    master_key: Option<String>,
    bootstrap_token: Option<String>,
}

impl Made {
    /// What opens the one-time link, if it is new.
    pub(super) fn bootstrap_token(&self) -> Option<&str> {
        self.bootstrap_token.as_deref()
    }

    /// A file for wrangler that only its owner may read, and that ends with the value; none when nothing was made.
    pub(super) fn file(&self) -> Result<Option<NamedTempFile>> {
        if self.bootstrap_token.is_none() {
            return Ok(None);
        }
        // Wrangler tells the format by the name's end.
        let file = tempfile::Builder::new().prefix("wardlink-").suffix(".env").tempfile();
        let mut file = file.context("cannot make a file for the secrets")?;
        file.write_all(self.text().as_bytes()).context("cannot write the file for the secrets")?;
        Ok(Some(file))
    }

    /// Keeps a copy where its owner wants one; a file that is there already stays as it is.
    pub(super) fn write_recovery(&self, path: &Path) -> Result<()> {
        if self.master_key.is_none() {
            eprintln!("    No master key was made: {} is not written.", path.display());
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file =
            file.with_context(|| format!("cannot create {}; name a file that is not there yet", path.display()))?;
        file.write_all(self.text().as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self) -> String {
        let lines = [(MASTER_KEY, &self.master_key), (BOOTSTRAP_TOKEN, &self.bootstrap_token)];
        lines.iter().filter_map(|(name, value)| Some(format!("{name}=\"{}\"\n", value.as_ref()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{BOOTSTRAP_TOKEN, MASTER_KEY, Missing};

    fn of(present: &[&str]) -> anyhow::Result<Missing> {
        Missing::of(Some(&present.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()))
    }

    #[test]
    fn secrets_that_are_there_are_never_made_again() {
        assert_eq!(Missing::of(None).unwrap(), Missing::Both);
        assert_eq!(of(&[MASTER_KEY, BOOTSTRAP_TOKEN, "PROXY_SECRET"]).unwrap(), Missing::Neither);
        assert_eq!(of(&[MASTER_KEY]).unwrap(), Missing::Token);
        assert!(Missing::Neither.make().unwrap().file().unwrap().is_none());
        assert!(!Missing::Token.make().unwrap().text().contains(MASTER_KEY));
    }

    #[test]
    fn a_worker_that_lost_its_master_key_gets_no_other() {
        for present in [&[][..], &[BOOTSTRAP_TOKEN]] {
            let refused = of(present).unwrap_err().to_string();
            assert!(refused.contains("secret put MASTER_KEY --env production"), "{refused}");
        }
    }

    #[test]
    fn a_copy_is_for_its_owners_eyes_only_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recovery");
        let made = Missing::Both.make().unwrap();
        made.write_recovery(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(kept, made.text());
        let file = made.file().unwrap().unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), kept, "wrangler is given the same");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Missing::Both.make().unwrap().write_recovery(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
    }

    #[test]
    fn each_deployment_has_secrets_of_its_own() {
        let [one, other] = [(); 2].map(|()| Missing::Both.make().unwrap());
        assert_ne!(one.master_key, other.master_key);
        assert_ne!(one.master_key, one.bootstrap_token);
        assert_eq!(one.bootstrap_token().map(str::len), Some(43), "32 bytes in base64url");
    }
}
