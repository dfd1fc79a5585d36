//! Stored data: what has arrived, a device with its plots, flags, rules.

use anyhow::{Result, ensure};
use wardlink_protocol::api::{RulesChange, RulesView};
use wardlink_tests::browser::Target;
use wardlink_tests::hub::Hub;
use wardlink_tests::records::{Recorder, heart_rate, measured};
use wardlink_tests::ward::{Ward, device};

use crate::stage::{Row, Stage, failing, id, row};

/// Nothing has arrived yet.
pub(crate) const EMPTY: &[Row<()>] = &[
    row("no stored data", &["route::Route::Records"], |stage, ()| stage.visit("/#/records", &id("no-records"))),
    row("no flags", &["route::Route::Flags"], |stage, ()| stage.visit("/#/flags", &id("no-flags"))),
    row("no rules for data", &["route::Route::Rules"], |stage, ()| stage.visit("/#/rules", &id("no-rules"))),
    failing("rules for data, wrong", &["records::rules::Ask::Edit"], |stage, ()| {
        ask(stage, "/#/rules", "edit-rules", "rules-form")?;
        stage.browser.fill(&Target::xpath("the rules", "//dialog//textarea"), "{\"rules\": [{}]}")?;
        stage.submit("rules-form")?;
        stage.browser.see(&id("problem")).map(drop)
    }),
];

/// A pump has handed over what it has recorded, and some of it was refused.
pub(crate) const FULL: &[Row<()>] = &[
    row("stored data", &[], |stage, ()| stage.visit("/#/records", &id("gap"))),
    row("stored data, asked regularly", &["records::overview::Ask::Regularly"], |stage, ()| {
        ask(stage, "/#/records", "regularly", "regularly-form")
    }),
    row("stored data, a gap", &["records::overview::Ask::Concede"], |stage, ()| {
        ask(stage, "/#/records", "concede", "concede-form")
    }),
    row("stored data of a device", &["route::Route::RecordsDevice"], |stage, ()| {
        stage.visit("/#/records/infusion-pump/ip-1", &id("plot-table"))
    }),
    row("flags", &[], |stage, ()| stage.visit("/#/flags", &id("flag"))),
    row("rules for data", &[], |stage, ()| stage.visit("/#/rules", &id("data-rule"))),
    row("gateways, with stored data", &[], |stage, ()| stage.visit("/#/updates/gateways", &id("arrived"))),
];

fn ask(stage: &Stage, page: &str, button: &str, form: &str) -> Result<()> {
    stage.visit(page, &id(button))?;
    stage.browser.click(&id(button))?;
    stage.browser.see(&id(form)).map(drop)
}

const RULES: &str = r#"{"rules": [
  {"id": "fast", "version": 1, "severity": "critical", "series": {"kind": "heart-rate"},
   "condition": {"threshold": {"above": "120", "unit": "/min"}},
   "message": {"en": "Heart rate above 120", "de": "Herzfrequenz über 120"}},
  {"id": "empty", "version": 1, "severity": "warning", "series": {"kind": "battery-charge"},
   "condition": {"threshold": {"below": "10", "unit": "%"}},
   "message": {"en": "Battery below 10 %", "de": "Batterie fast leer"}}
]}"#;

/// A pump hands over three days of heart rates, with a fast hour, a value that cannot be, and a gap; something forged is refused.
pub(crate) fn recorded(ward: &Ward<'_>) -> Result<()> {
    let rules = RulesChange { version: 0, text: RULES.to_owned() };
    let _: RulesView = ward.administrator.put("rules", &rules)?;
    let mut pump = ward.paired_pump("ip-1")?;
    pump.kill();
    let mut hub = Hub::of(&pump, &device("ip-1")?, &ward.worker.origin())?;
    let mut talk = hub.connect()?;
    talk.report(hub.report("1A", None, &[])?)?;
    let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
    let rate = |step: u64| {
        let rate = if (40..44).contains(&step) { 131 } else { 64 + (step * 7) % 23 };
        heart_rate(&rate.to_string(), (72 - step) * 3600)
    };
    let mut records = (0..72).map(rate).collect::<Result<Vec<_>>>()?;
    records.push(heart_rate("4000", 1800)?);
    records.push(measured("battery-charge", "81.5", "%", 900)?);
    let batch = recorder.sign(records)?;
    ensure!(talk.records(&batch)?.is_ok(), "it is stored");
    let forged = Recorder::of(&hub.device, &wardlink_tests::service::new_key(), 2).sign(vec![heart_rate("70", 60)?])?;
    ensure!(talk.records(&forged)?.is_err(), "it is forged");
    recorder.sign(vec![heart_rate("71", 600)?])?;
    let after = recorder.sign(vec![heart_rate("72", 300)?])?;
    ensure!(talk.records(&after)?.is_err(), "something before it is missing");
    Ok(())
}
