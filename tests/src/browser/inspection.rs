//! What tools say about a page: axe, and the Content Security Policy.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Browser;
use crate::artifacts;

/// Begins with the document, so that nothing is missed that the policy refuses.
const LISTEN: &str = "window.refusedByPolicy = [];
    addEventListener('securitypolicyviolation', (event) => window.refusedByPolicy.push(
        `${event.violatedDirective} refused ${event.blockedURI} ${event.sourceFile ?? ''}:${event.lineNumber}`));";
/// How axe is set up and run; see the file.
const INSPECT: &str = include_str!("inspection.js");

/// A rule that axe finds broken, and where.
#[derive(Clone, Debug, Deserialize)]
pub struct Violation {
    /// The rule's name, such as `color-contrast`.
    pub rule: String,
    /// `minor`, `moderate`, `serious` or `critical`.
    pub impact: Option<String>,
    /// Each place with what is wrong there.
    pub places: Vec<String>,
}

/// How large what a person aims at must be, in CSS pixels; axe itself asks for 24 (WCAG 2.2, 2.5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// At least 56: a gloved thumb at the bedside.
    Thumb,
    /// At least 24.
    Pointer,
}

impl Browser {
    /// Notes from now on, in every document that is loaded, what its Content Security Policy refuses.
    pub fn watch_policy(&self) -> Result<()> {
        self.before_load(LISTEN)
    }

    /// What the policy of the present document has refused since it was loaded.
    pub fn refused_by_policy(&self) -> Result<Vec<String>> {
        self.script("return window.refusedByPolicy ?? ['nobody watched']")
    }

    /// Runs a script in every document from now on, before its own.
    pub fn before_load(&self, script: &str) -> Result<()> {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).map(drop)
    }

    /// What axe finds wrong on the page as it is now: WCAG 2.2 at level AA, and what is good practice.
    pub fn violations(&self, aim: Aim) -> Result<Vec<Violation>> {
        if !self.script::<bool>("return window.axe !== undefined")? {
            let axe = artifacts::in_checkout("node_modules/axe-core/axe.min.js")?;
            // WebDriver's scripts are not subject to the page's policy.
            self.script::<()>(&fs::read_to_string(axe).context("cannot read axe")?)?;
        }
        let thumb = json!(aim == Aim::Thumb);
        let answer = self.run(self.client.execute_async(INSPECT, vec![thumb])).context("axe did not run")?;
        match answer {
            Value::String(error) => bail!("axe failed: {error}"),
            found => serde_json::from_value(found).context("axe answers in another form"),
        }
    }
}
