//! The secrets of a deployment: made here when it has none, never made anew, never shown but in the one-time link.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::build::Script;
use crate::random;

pub(super) const MASTER_KEY: &str = "MASTER_KEY";
pub(super) const BOOTSTRAP_TOKEN: &str = "BOOTSTRAP_TOKEN";

/// Which secrets a script needs.
const fn needed(script: Script) -> &'static [&'static str] {
    match script {
        Script::ControlUnit => &[MASTER_KEY, BOOTSTRAP_TOKEN],
        Script::Distribution => &[MASTER_KEY],
    }
}

/// The secrets that a script does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    script: Script,
    names: Vec<&'static str>,
}

impl Missing {
    /// Decides by the names of the secrets that the script's worker has; none where there is no worker.
    pub(super) fn of(script: Script, present: Option<&[String]>) -> Result<Self> {
        let Some(present) = present else { return Ok(Self { script, names: needed(script).to_vec() }) };
        let is_missing = |name: &&str| !present.iter().any(|present| present == name);
        if is_missing(&MASTER_KEY) {
            let file = script.configuration();
            // A new key would open nothing of what the worker has stored, its CA least of all.
            bail!(
                "a worker of this name is there, and has no {MASTER_KEY}. If it is Wardlink, put its key back from your copy: \
                 `npx wrangler secret put {MASTER_KEY} --config {file} --env production`. If it is another worker, change `name` \
                 under [env.production] in {file}. Nothing was changed"
            );
        }
        Ok(Self { script, names: needed(script).iter().copied().filter(is_missing).collect() })
    }

    /// Whose they are.
    pub(super) fn script(&self) -> Script {
        self.script
    }

    /// Whether nothing of this script is there: no secret, and so no worker.
    pub(super) fn is_everything(&self) -> bool {
        self.names == needed(self.script)
    }

    /// Whether there is nothing to make.
    pub(super) fn is_nothing(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, with the script's where it is not the control unit's.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.iter().map(|name| label(self.script, name)).collect()
    }

    /// Draws them from the system's random source.
    pub(super) fn make(&self) -> Result<Made> {
        let drawn = self.names.iter().map(|&name| Ok((name, random::token()?)));
        Ok(Made { script: self.script, secrets: drawn.collect::<Result<_>>()? })
    }
}

/// A secret's name where those of several scripts stand side by side.
fn label(script: Script, name: &str) -> String {
    match script {
        Script::ControlUnit => name.to_owned(),
        Script::Distribution => format!("DISTRIBUTION_{name}"),
    }
}

/// Secrets that were made for a script in this deployment.
pub(super) struct Made {
    script: Script,
    secrets: Vec<(&'static str, String)>,
}

impl Made {
    /// Whose they are.
    pub(super) fn script(&self) -> Script {
        self.script
    }

    /// What opens the one-time link, if it is new.
    pub(super) fn bootstrap_token(&self) -> Option<&str> {
        self.secrets.iter().find(|(name, _)| *name == BOOTSTRAP_TOKEN).map(|(_, value)| value.as_str())
    }

    fn has_key(&self) -> bool {
        self.secrets.iter().any(|(name, _)| *name == MASTER_KEY)
    }

    /// A file for wrangler that only its owner may read, and that ends with the value; none when nothing was made.
    pub(super) fn file(&self) -> Result<Option<NamedTempFile>> {
        if self.secrets.is_empty() {
            return Ok(None);
        }
        // Wrangler tells the format by the name's end.
        let file = tempfile::Builder::new().prefix("wardlink-").suffix(".env").tempfile();
        let mut file = file.context("cannot make a file for the secrets")?;
        file.write_all(self.text(|_, name| name.to_owned()).as_bytes())
            .context("cannot write the file for the secrets")?;
        Ok(Some(file))
    }

    fn text(&self, called: impl Fn(Script, &str) -> String) -> String {
        let line = |(name, value): &(&str, String)| format!("{}=\"{value}\"\n", called(self.script, name));
        self.secrets.iter().map(line).collect()
    }
}

/// Keeps a copy where its owner wants one; a file that is there already stays as it is.
pub(super) fn write_recovery(made: &[Made], path: &Path) -> Result<()> {
    if !made.iter().any(Made::has_key) {
        eprintln!("    No master key was made: {} is not written.", path.display());
        return Ok(());
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file =
        file.with_context(|| format!("cannot create {}; name a file that is not there yet", path.display()))?;
    let text: String = made.iter().map(|made| made.text(label)).collect();
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{BOOTSTRAP_TOKEN, MASTER_KEY, Made, Missing, write_recovery};
    use crate::build::Script;

    fn of(script: Script, present: &[&str]) -> anyhow::Result<Missing> {
        Missing::of(script, Some(&present.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()))
    }

    /// What a first deployment makes.
    fn first() -> [Made; 2] {
        Script::ALL.map(|script| Missing::of(script, None).unwrap().make().unwrap())
    }

    #[test]
    fn secrets_that_are_there_are_never_made_again() {
        let everything = Missing::of(Script::ControlUnit, None).unwrap();
        assert!(everything.is_everything());
        assert_eq!(everything.names(), [MASTER_KEY, BOOTSTRAP_TOKEN]);
        assert_eq!(Missing::of(Script::Distribution, None).unwrap().names(), ["DISTRIBUTION_MASTER_KEY"]);
        let nothing = of(Script::ControlUnit, &[MASTER_KEY, BOOTSTRAP_TOKEN, "PROXY_SECRET"]).unwrap();
        assert!(nothing.is_nothing() && nothing.make().unwrap().file().unwrap().is_none());
        assert!(of(Script::Distribution, &[MASTER_KEY]).unwrap().is_nothing());
        let token = of(Script::ControlUnit, &[MASTER_KEY]).unwrap();
        assert_eq!((token.names(), token.is_everything()), (vec![BOOTSTRAP_TOKEN.to_owned()], false));
    }

    #[test]
    fn a_worker_that_lost_its_master_key_gets_no_other() {
        for script in Script::ALL {
            for present in [&[][..], &[BOOTSTRAP_TOKEN]] {
                let refused = of(script, present).unwrap_err().to_string();
                let help = format!("secret put MASTER_KEY --config {} --env production", script.configuration());
                assert!(refused.contains(&help), "{refused}");
            }
        }
    }

    #[test]
    fn a_copy_is_for_its_owner_only_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recovery.env");
        let made = first();
        write_recovery(&made, &path).unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.starts_with("MASTER_KEY=\"") && kept.contains("\nDISTRIBUTION_MASTER_KEY=\""), "{kept}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for Made { secrets, .. } in &made {
            assert!(secrets.iter().all(|(_, value)| kept.contains(value)));
        }
        assert!(write_recovery(&first(), &path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);

        let file = made[1].file().unwrap().unwrap();
        assert!(
            fs::read_to_string(file.path()).unwrap().starts_with("MASTER_KEY=\""),
            "wrangler is given the script's name"
        );
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let token = of(Script::ControlUnit, &[MASTER_KEY]).unwrap().make().unwrap();
        write_recovery(&[token], &folder.path().join("other")).unwrap();
        assert!(!folder.path().join("other").exists());
    }

    #[test]
    fn every_secret_is_another() {
        let made = [first(), first()];
        let values: Vec<&str> =
            made.iter().flatten().flat_map(|made| &made.secrets).map(|(_, value)| value.as_str()).collect();
        let different: std::collections::BTreeSet<_> = values.iter().collect();
        assert_eq!((values.len(), different.len()), (6, 6));
        assert!(values.iter().all(|value| value.len() == 43), "32 bytes in base64url");
    }
}
