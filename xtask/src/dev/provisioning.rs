//! The provisioning file of the simulated pump: made once, and brought in line with where the control unit is now.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::api::Api;
use super::place::Place;
use super::secrets::{Secrets, write_private};

const FILE: &str = "provisioning.json";

/// Where the file lies.
#[derive(Debug)]
pub(super) struct PumpFile(PathBuf);

impl PumpFile {
    /// The file in a folder of a run.
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether there is one.
    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Removes it.
    pub(super) fn remove(&self) -> Result<()> {
        fs::remove_file(&self.0).context("cannot remove the old provisioning file")
    }

    /// Asks the control unit for one; nobody but people get one any more when there is an administrator.
    pub(super) fn make(&self, api: &Api, secrets: &Secrets) -> Result<bool> {
        let Some(file) = api.provision("infusion-pump", &secrets.bootstrap_token)? else { return Ok(false) };
        write_private(&self.0, file.as_bytes())?;
        Ok(true)
    }

    /// Names the present address and TLS anchors; says whether they were others before.
    pub(super) fn follow(&self, place: &Place) -> Result<bool> {
        let text = fs::read_to_string(&self.0).with_context(|| format!("cannot read {}", self.0.display()))?;
        let Some(moved) = moved(&text, place).with_context(|| format!("{} is broken; remove it", self.0.display()))?
        else {
            return Ok(false);
        };
        write_private(&self.0, moved.as_bytes())?;
        Ok(true)
    }
}

/// The file for another place, if it is another.
fn moved(text: &str, place: &Place) -> Result<Option<String>> {
    let before: Value = serde_json::from_str(text)?;
    let mut file = before.clone();
    let fields = file.as_object_mut().context("it is no JSON object")?;
    let anchors = place.anchors();
    fields.insert("broker".to_owned(), json!(place.broker()));
    fields.insert("web_origin".to_owned(), json!(place.origin()));
    fields.insert("web_pki".to_owned(), json!(anchors.is_empty()));
    fields.insert("tls_anchors".to_owned(), json!(anchors));
    Ok((file != before).then(|| file.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{Place, moved};

    #[test]
    fn a_file_follows_the_control_unit_and_keeps_its_secret() {
        let local = r#"{"version":1,"broker":"ws://localhost:8787/mqtt","secret":"c2VjcmV0",
            "web_origin":"http://localhost:8787","tls_anchors":[],"web_pki":true}"#;
        assert_eq!(moved(local, &Place::on_loopback(8787)).unwrap(), None);

        let folder = tempfile::tempdir().unwrap();
        let network = Place::on_network("192.168.1.20".parse().unwrap(), 8787, folder.path()).unwrap();
        let file = moved(local, &network).unwrap().expect("it has moved");
        assert!(file.contains("wss://192.168.1.20:8787/mqtt") && file.contains("BEGIN CERTIFICATE"));
        assert!(file.contains("\"secret\":\"c2VjcmV0\"") && file.contains("\"web_pki\":false"));
        assert_eq!(moved(&file, &network).unwrap(), None);
    }
}
