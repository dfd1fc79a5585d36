//! What administrators set: the rules of pairing, device classes, access secrets; and alerts about locked identifiers.

use anyhow::Result;
use wardlink_tests::browser::Target;

use crate::scenery::Busy;
use crate::stage::{Row, Stage, failing, id, row};

/// A site that has no certificate of the hospital's CA yet.
pub(crate) const WAITING_FOR_CA: &[Row<()>] = &[
    row("requests, without a certificate", &[], |stage, ()| stage.visit("/#/requests", &id("no-certificate"))),
    row("certificates, in trouble", &[], |stage, ()| stage.visit("/#/authority", &id("authority-trouble"))),
];

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
    row("services, a new one", &["services::Ask::Make"], |stage, _| {
        ask_of_services(stage, "add-service", "service-form")
    }),
    row("services, a new one that may do nothing", &[], |stage, _| {
        ask_of_services(stage, "add-service", "service-form")?;
        stage.submit("service-form")?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//input[@aria-invalid]")).map(drop)
    }),
    row("services, the text that enrols", &[], |stage, _| {
        ask_of_services(stage, "add-service", "service-form")?;
        stage.browser.fill(&Target::field("service-name"), "ward-monitor")?;
        stage
            .browser
            .click(&Target::xpath("the first channel", "(//dialog//label[.//input[@name=\"service-reads\"]])[1]"))?;
        stage.submit("service-form")?;
        stage.browser.see(&id("enrolment")).map(drop)
    }),
    row("services", &[], |stage, _| stage.visit("/#/services", &id("services"))),
    row("certificates", &["route::Route::Authority"], |stage, _| stage.visit("/#/authority", &id("authority"))),
    row("services, revoking", &["services::Ask::Revoke"], |stage, _| {
        ask_of_services(stage, "revoke-service", "revoke-service-form")
    }),
    row("channels", &["route::Route::Channels"], |stage, _| stage.visit("/#/channels", &id("channels"))),
    row("channels, a changed one", &["channels::Ask::Edit"], |stage, _| {
        stage.visit("/#/channels", &id("channels"))?;
        stage.browser.click(&first_channel("change-channel"))?;
        stage.browser.see(&id("channel-form")).map(drop)
    }),
    row("channels, a new one without a name", &[], |stage, _| {
        stage.visit("/#/channels", &id("channels"))?;
        stage.browser.click(&id("add-channel"))?;
        stage.browser.click(&id("confirm"))?;
        stage.browser.see(&Target::xpath("the complaint", "//dialog//input[@aria-invalid]")).map(drop)
    }),
    row("channels, what a change does", &[], |stage, _| {
        stage.visit("/#/channels", &id("channels"))?;
        stage.browser.click(&first_channel("change-channel"))?;
        stage.browser.fill(&Target::field("hours"), "48")?;
        stage.browser.click(&id("confirm"))?;
        stage.browser.see(&id("channel-preview")).map(drop)
    }),
    failing("channels, no channel for alarms", &[], |stage, _| {
        stage.visit("/#/channels", &id("channels"))?;
        stage.browser.click(&first_channel("change-channel"))?;
        stage.browser.click(&id("remove-channel"))?;
        stage.browser.see(&id("problem")).map(drop)
    }),
    row("channels, new keys", &["channels::Ask::NewKeys"], |stage, _| {
        stage.visit("/#/channels", &id("channels"))?;
        stage.browser.click(&first_channel("new-keys"))?;
        stage.browser.see(&id("new-keys-form")).map(drop)
    }),
    row("audit log", &["route::Route::Audit"], |stage, _| stage.visit("/#/audit", &id("audit"))),
    row("audit log, nothing found", &[], |stage, _| {
        stage.visit("/#/audit", &id("audit"))?;
        stage.browser.fill(&id("audit-find"), "nothing like this")?;
        stage.browser.see_vanish(&id("audit"))
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

/// A button beside the first channel, which is the one for alarms.
fn first_channel(button: &str) -> Target {
    Target::xpath(
        "the button of the first channel",
        &format!("//*[@data-testid=\"channel\"][1]//*[@data-testid=\"{button}\"]"),
    )
}

/// Opens a question about services.
fn ask_of_services(stage: &Stage, button: &str, form: &str) -> Result<()> {
    stage.visit("/#/services", &id("add-service"))?;
    stage.browser.see(&Target::xpath("the list", "//*[@data-testid=\"services\" or @data-testid=\"no-services\"]"))?;
    stage.browser.click(&id(button))?;
    stage.browser.see(&id(form)).map(drop)
}
