//! What administrators set: the rules of pairing, device classes, access secrets; and alerts about locked identifiers.

use anyhow::Result;
use wardlink_tests::browser::Target;

use crate::scenery::Busy;
use crate::stage::{Row, Stage, id, row};

/// As an administrator sees them.
pub(crate) const TABLE: &[Row<Busy>] = &[
    row("rules", &["route::Route::Policy"], |stage, _| stage.visit("/#/policy", &id("policy"))),
    row("rules, not saved", &[], |stage, _| {
        stage.visit("/#/policy", &id("policy"))?;
        stage.browser.click(&Target::choice("untrusted-pairing_qrcode"))?;
        stage.browser.see(&id("save-bar")).map(drop)
    }),
    row("rules, a network", &["policy::Ask::Network"], |stage, _| ask(stage, "add-network", "network-form")),
    row("rules, acceptance", &["policy::Ask::Acceptance"], |stage, _| ask(stage, "add-rule", "rule-form")),
    row("rules, weaker", &["policy::Ask::Weaker"], |stage, _| {
        ask(stage, "add-rule", "rule-form")?;
        stage.browser.fill(&Target::field("rule-name"), "Ward 3B")?;
        stage.browser.fill(&Target::field("rule-location"), "Store room")?;
        stage.submit("rule-form")?;
        stage.browser.click(&id("save-policy"))?;
        stage.browser.see(&id("weaker-form")).map(drop)
    }),
    row("classes", &["route::Route::Classes"], |stage, _| stage.visit("/#/classes", &id("classes"))),
    row("classes, a changed one", &["classes::Ask::Change"], |stage, _| {
        stage.visit("/#/classes", &id("classes"))?;
        stage.browser.click(&Target::xpath("the first to change", "//*[@data-testid=\"class\"][1]//button"))?;
        stage.browser.see(&id("class-form")).map(drop)
    }),
    row("classes, a new one", &["classes::Ask::New"], |stage, _| {
        stage.visit("/#/classes", &id("classes"))?;
        stage.browser.click(&id("add-class"))?;
        stage.browser.see(&id("class-form")).map(drop)
    }),
    row("provisioning, file made", &[], |stage, _| {
        stage.visit("/#/provisioning", &id("provisioning-form"))?;
        stage.browser.fill(&Target::field("identifier"), "ip-99")?;
        stage.browser.click(&id("make-file"))?;
        stage.browser.see(&id("ready")).map(drop)
    }),
    row("secrets, a new one", &["provisioning::secrets::Ask::Make"], |stage, _| {
        stage.visit("/#/provisioning", &id("add-secret"))?;
        stage.browser.click(&id("add-secret"))?;
        stage.browser.see(&id("secret-form")).map(drop)
    }),
    row("secrets, ending one", &["provisioning::secrets::Ask::End"], |stage, _| {
        stage.visit("/#/provisioning", &id("end-secret"))?;
        stage.browser.click(&id("end-secret"))?;
        stage.browser.see(&id("end-secret-form")).map(drop)
    }),
    row("locked identifier", &[], |stage, scenery| {
        scenery.lock()?;
        stage.visit("/#/requests", &id("lock"))
    }),
    row("locked identifier, lifting", &[], |stage, scenery| {
        scenery.lock()?;
        stage.visit("/#/requests", &id("lift"))?;
        stage.browser.click(&id("lift"))?;
        stage.browser.see(&id("lift-form")).map(drop)
    }),
];

fn ask(stage: &Stage, button: &str, form: &str) -> Result<()> {
    stage.visit("/#/policy", &id("policy"))?;
    stage.browser.click(&id(button))?;
    stage.browser.see(&id(form)).map(drop)
}
