//! Stored data as people see it in the browser: what has arrived, what rules find in it, what is missing of it, through whom it comes, and
//! the file that they save.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wardlink_protocol::api::{CatalogDevice, FlagView, RecordedValue, RulesChange};
use wardlink_records::record::{Answer, Content, Record, Response};
use wardlink_tests::api::ADMINISTRATOR;
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::hub::Talk;
use wardlink_tests::records::{Recorder, heart_rate, refused};
use wardlink_tests::table::{self, Row};
use wardlink_tests::ward::{NURSE, Ward};
use wardlink_tests::{Scene, scene};

const RULES: &str = r#"{"rules": [
  {"id": "fast", "version": 1, "severity": "critical", "series": {"kind": "heart-rate"},
   "condition": {"threshold": {"above": "120", "unit": "/min"}},
   "message": {"en": "Heart rate above 120", "de": "Herzfrequenz zu hoch"}}
]}"#;

fn page(ward: &Ward<'_>, path: &str) -> String {
    format!("{}/#/{path}", ward.worker.origin())
}

fn at_desk(scene: &Scene, ward: &Ward<'_>, path: &str) -> Result<Browser> {
    let desk = Browser::start(scene, Screen::Desk)?;
    desk.sign_in(&page(ward, path), ADMINISTRATOR)?;
    Ok(desk)
}

/// Something with this mark that says these words.
fn saying(id: &str, words: &str) -> Target {
    let xpath = format!("//*[@data-testid={id:?}][contains(normalize-space(.), {words:?})]");
    Target::xpath(&format!("{id}: {words}"), &xpath)
}

fn switch(name: &str, words: &str) -> Target {
    let xpath = format!("//label[.//input[@name={name:?}]][contains(., {words:?})]");
    Target::xpath(&format!("the switch {words}"), &xpath)
}

fn hand_over(talk: &mut Talk, batch: &[u8]) -> Result<()> {
    talk.records(batch)?.map(drop).map_err(|refused| anyhow::anyhow!("it was refused: {refused:?}"))
}

/// What a person has answered in own words.
fn remark(text: &str, seconds_ago: u64) -> Result<Record> {
    let response = Response::Text(text.parse().context("a text")?);
    let answer = Answer { instrument: "daily-wellbeing".parse()?, question: "remark".parse()?, response };
    Ok(Record { content: Content::Answer(answer), ..heart_rate("0", seconds_ago)? })
}

/// How many values the table beside the plot counts, and the least and the greatest of them.
fn plotted(desk: &Browser) -> Result<(u64, f64, f64)> {
    let cells: Vec<[String; 3]> = desk.script(
        "return [...document.querySelectorAll('[data-testid=plot-table] tbody tr')]
            .map(row => [1, 3, 4].map(cell => row.children[cell].textContent))",
    )?;
    let (mut all, mut least, mut greatest) = (0, f64::INFINITY, f64::NEG_INFINITY);
    for [low, high, count] in cells {
        all += count.parse::<u64>().context("a count")?;
        least = least.min(low.parse().context("the least")?);
        greatest = greatest.max(high.parse().context("the greatest")?);
    }
    Ok((all, least, greatest))
}

/// A value as the web app saves it in a table.
fn as_row(value: &RecordedValue) -> Row {
    let cells = [
        ("position", value.position.to_string()),
        ("at", value.at.0.to_string()),
        ("received_at", value.received_at.0.to_string()),
        ("chain", value.chain.to_string()),
        ("sequence", value.sequence.to_string()),
        ("patient", value.patient.map(|patient| patient.to_string()).unwrap_or_default()),
        ("series", value.series.clone()),
        ("value", value.value.clone()),
        ("unit", value.unit.clone().unwrap_or_default()),
    ];
    cells.map(|(name, cell)| (name.to_owned(), cell)).into()
}

#[test]
fn what_a_device_has_stored_is_seen_as_it_comes_and_saved_to_the_last_record() -> Result<()> {
    const WORDS: &str = "She said \"better\",\nand slept; 2,5 h";
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let mut hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        // More than a page of them, some of which cannot be.
        let rate = |number: u64| heart_rate(&(60 + number % 50).to_string(), 3 * (3_000 - number));
        for first in [0, 500, 1_000, 1_500] {
            let rates = (first..first + 500).map(rate).collect::<Result<_>>()?;
            hand_over(&mut talk, &recorder.sign(rates)?)?;
        }
        let odd = vec![heart_rate("4000", 90)?, remark(WORDS, 80)?, remark("=1+1", 70)?];
        hand_over(&mut talk, &recorder.sign(odd)?)?;

        let desk = at_desk(scene, &ward, "records")?;
        let device = Target::row("records-device", "infusion-pump/pump-1");
        let said = desk.see(&device)?;
        for words in ["Records: 2003", "through pump-1", "Not counted: 1"] {
            ensure!(said.contains(words), "{said}");
        }
        desk.click(&Target::xpath("the device", "//*[@data-testid=\"records-device\"]//h2/a"))?;
        desk.see(&saying("records-facts", "Records: 2003"))?;
        desk.see(&Target::id("plot"))?;
        assert_eq!(plotted(&desk)?, (2_000, 60.0, 109.0), "what cannot be is not plotted");
        desk.see(&saying("set-aside", "kind/heart-rate 4000 /min (step range)"))?;
        desk.see(&saying("beginning", "It is the first."))?;

        // More comes while the person looks.
        hand_over(&mut talk, &recorder.sign(vec![heart_rate("131", 20)?])?)?;
        desk.see(&saying("records-facts", "Records: 2004"))?;
        desk.see(&saying("plot-table", "131"))?;
        assert_eq!(plotted(&desk)?, (2_001, 60.0, 131.0));
        let series = "//select[@name=\"series\"]/option[@value=\"question/daily-wellbeing/remark\"]";
        desk.click(&Target::xpath("the remarks", series))?;
        let answers = desk.see(&saying("answers", "=1+1"))?;
        ensure!(answers.contains("She said \"better\""), "{answers}");

        // The file holds everything that counts, as it is stored.
        let stored = ward.administrator.recorded_values(&hub.device)?;
        let sequences: Vec<u64> = stored.iter().map(|value| value.sequence).collect();
        let counting: Vec<u64> = (1..=2_004).filter(|number| *number != 2_001).collect();
        assert_eq!(sequences, counting, "each once, and none that does not count");
        desk.click(&Target::id("export-csv"))?;
        desk.see(&Target::text("Entries saved: 2003"))?;
        let saved = table::read(&desk.saved("infusion-pump-pump-1.csv")?)?;
        let mut expected: Vec<Row> = stored.iter().map(as_row).collect();
        let formula = expected.iter_mut().filter_map(|row| row.get_mut("value")).find(|value| *value == "=1+1");
        // A spreadsheet would calculate it.
        formula.context("the answer")?.insert(0, '\'');
        assert_eq!(saved.len(), expected.len());
        for (saved, expected) in saved.iter().zip(&expected) {
            assert_eq!(saved, expected);
        }
        let values: Vec<&str> = saved.iter().filter_map(|row| row.get("value")).map(String::as_str).collect();
        let said: Vec<String> = (0..2_000).map(|number: u64| (60 + number % 50).to_string()).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).chain([WORDS, "'=1+1", "131"]).collect();
        assert_eq!(values, said, "what the device has measured");

        desk.click(&Target::id("export-json"))?;
        let saved: Vec<RecordedValue> = serde_json::from_str(&desk.saved("infusion-pump-pump-1.json")?)?;
        assert_eq!(saved, stored);
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn a_rule_that_was_written_in_the_browser_raises_a_flag_that_a_person_has_seen() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let desk = at_desk(scene, &ward, "rules")?;
        desk.see(&Target::id("no-rules"))?;
        desk.click(&Target::id("edit-rules"))?;
        let own = Target::xpath("the rules", "//dialog//textarea[@name='rules']");
        let (text, form) = (own, Target::id("rules-form"));
        let (go, problem) = (Target::id("confirm").inside(&form), Target::id("problem").inside(&form));
        desk.fill(&text, &RULES.replace("\"above\"", "\"abvoe\""))?;
        desk.click(&go)?;
        let why = desk.see(&problem)?;
        ensure!(why.contains("line 3") && why.contains("abvoe"), "it says where and what is wrong: {why}");
        desk.fill(&text, &RULES.replace("heart-rate", "heart-hate"))?;
        desk.click(&go)?;
        desk.see(&saying("problem", "rule 1 (fast), series: it is not known").inside(&form))?;
        let none: Value = ward.administrator.get("rules")?;
        assert_eq!(none.get("version"), Some(&0.into()), "nothing of that counts");

        // Somebody else changes the rules meanwhile: what is typed stays, and is saved when it is sent again.
        desk.fill(&text, RULES)?;
        let theirs = RulesChange { version: 0, text: RULES.replace("\"fast\"", "\"theirs\"") };
        let _: Value = ward.administrator.put("rules", &theirs)?;
        desk.click(&go)?;
        let met = desk.see(&Target::id("rules-met").inside(&form))?;
        ensure!(met.contains("changed the rules") && met.contains("still here"), "{met}");
        desk.see(&Target::id("present-rules").inside(&form))?;
        desk.click(&go)?;
        desk.see(&Target::text("The rules are in force."))?;
        let saved: Value = ward.administrator.get("rules")?;
        assert_eq!((saved.get("version"), saved.get("text")), (Some(&2.into()), Some(&RULES.into())));
        let rule = desk.see(&saying("data-rule", "Heart rate above 120"))?;
        ensure!(rule.contains("Rule fast, version 1") && rule.contains("Look at it now"), "{rule}");

        // Its condition comes true while a nurse looks.
        let phone = Browser::start(scene, Screen::Phone)?;
        phone.sign_in(&page(&ward, "flags"), NURSE)?;
        phone.see(&Target::id("no-flags"))?;
        desk.open(&page(&ward, "records"))?;
        hand_over(&mut talk, &recorder.sign(vec![heart_rate("100", 300)?, heart_rate("130", 200)?])?)?;
        let flag = phone.see(&saying("flag", "Heart rate above 120"))?;
        ensure!(flag.contains("PUMP-1") && flag.contains("Records: 1"), "{flag}");
        desk.see(&saying("records-device", "Flags: 1"))?;
        desk.open(&page(&ward, "records/infusion-pump/pump-1"))?;
        desk.see(&Target::id("acknowledge").inside(&Target::id("device-flags")))?;

        phone.click(&Target::id("acknowledge"))?;
        phone.see(&Target::text("Noted."))?;
        phone.see_vanish(&Target::id("flag"))?;
        // Everybody sees who it was, at once and later.
        desk.see(&saying("flag", "Seen by nina"))?;
        desk.see_vanish(&Target::id("acknowledge"))?;
        let flags: Vec<FlagView> = ward.administrator.get("flags")?;
        assert_eq!(flags.iter().map(|flag| flag.acknowledged_by.as_deref()).collect::<Vec<_>>(), [Some(NURSE)]);
        phone.reload()?;
        phone.see(&Target::id("no-flags"))?;
        phone.click(&switch("open", "Only those that nobody has seen"))?;
        phone.see(&saying("flag", "Seen by nina"))?;
        desk.open(&page(&ward, "records"))?;
        desk.see(&Target::row("records-device", "infusion-pump/pump-1"))?;
        ensure!(!desk.sees(&Target::text("Flags: 1"))?, "nothing is open any more");
        Ok(())
    })
}

#[test]
fn a_person_concedes_a_gap_and_what_comes_after_all_fills_it() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let mut sign = |value: &str| recorder.sign(vec![heart_rate(value, 60)?]);
        let (first, lost, third) = (sign("70")?, sign("71")?, sign("72")?);
        hand_over(&mut talk, &first)?;
        assert_eq!(refused(&mut talk, &third)?.step, "chain: gap");
        let forged =
            Recorder::of(&hub.device, &wardlink_tests::service::new_key(), 2).sign(vec![heart_rate("9", 9)?])?;
        assert_eq!(refused(&mut talk, &forged)?.step, "signature");

        let phone = Browser::start(scene, Screen::Phone)?;
        phone.sign_in(&page(&ward, "records"), NURSE)?;
        let gap = |words: &str| saying("gap", words);
        phone.see(&gap("No. 2 to 2"))?;
        ensure!(!phone.sees(&Target::id("concede"))?, "a nurse decides nothing here");

        let desk = at_desk(scene, &ward, "records")?;
        desk.see(&gap("What follows waits at pump-1"))?;
        desk.see(&saying("refused", "step signature"))?;
        desk.click(&Target::id("concede"))?;
        let form = Target::id("concede-form");
        desk.see(&saying("concede-form", "No. 2 to 2"))?;
        desk.click(&Target::id("confirm").inside(&form))?;
        desk.see(&Target::text("What follows is taken when it is sent again."))?;
        let conceded = gap(&format!("{ADMINISTRATOR} has said that they do not come"));
        desk.see(&conceded)?;
        desk.reload()?;
        desk.see(&conceded)?;
        ensure!(!desk.sees(&Target::id("concede"))?, "it is decided");
        phone.see(&conceded)?;

        // What has waited comes: the gap is over, and stays on record.
        hand_over(&mut talk, &third)?;
        desk.see_vanish(&Target::id("gap"))?;
        desk.see(&saying("records-device", "Missing records: 1"))?;
        desk.click(&Target::xpath("the device", "//*[@data-testid=\"records-device\"]//h2/a"))?;
        let missing = saying("records-facts", "No. 2 to 2");
        desk.see(&missing)?;
        desk.see(&saying("beginning", "A gap was conceded."))?;
        hand_over(&mut talk, &lost)?;
        desk.see_vanish(&missing)?;
        desk.see(&saying("records-facts", "Records: 3"))?;
        desk.see(&saying("beginning", "A gap was filled.")).map(drop)
    })
}

#[test]
fn a_person_lets_data_come_through_another_gateway_and_forbids_it_again() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let (mut hub_1, mut hub_2) = (ward.hub("pump-1")?, ward.hub("pump-2")?);
        let mut talk = hub_1.connect()?;
        talk.report(hub_1.report("1A", None, &[])?)?;
        hub_2.connect()?.report(hub_2.report("1A", None, &[])?)?;
        let mut recorder = Recorder::of(&hub_2.device, hub_2.key(), 1);
        let mut sign = |value: &str| recorder.sign(vec![heart_rate(value, 60)?]);
        let (first, second) = (sign("70")?, sign("71")?);
        assert_eq!(refused(&mut talk, &first)?.step, "association");

        let desk = at_desk(scene, &ward, "catalog/infusion-pump/pump-2")?;
        let form = Target::id("uploads-form");
        let there = "//dl/div[dt[.=\"Data also through\"]]/dd[contains(., \"infusion-pump/pump-1\")]";
        let through = Target::xpath("that it comes there", there);
        let change = || {
            desk.click(&Target::id("uploads"))?;
            desk.click(&switch("upload", "infusion-pump/pump-1").inside(&form))
        };
        let close = || {
            desk.click(&Target::button("Close").inside(&form))?;
            desk.see_vanish(&form)
        };
        desk.see(&Target::id("uploads"))?;
        ensure!(!desk.sees(&through)?, "nobody has allowed it");
        change()?;
        desk.see(&through)?;
        close()?;
        hand_over(&mut talk, &first)?;
        desk.reload()?;
        desk.see(&through)?;

        change()?;
        desk.see_vanish(&through)?;
        close()?;
        assert_eq!(refused(&mut talk, &second)?.step, "association");
        let known: CatalogDevice = ward.administrator.get("catalog/infusion-pump/pump-2")?;
        assert_eq!(known.entry.uploads, [hub_2.device], "its own way is left");
        desk.open(&page(&ward, "records"))?;
        desk.see(&saying("refused", "Of pump-2, through pump-1, step association"))?;
        let device = Target::row("records-device", "infusion-pump/pump-2");
        ensure!(desk.see(&device)?.contains("Records: 1"), "only the first has come");
        Ok(())
    })
}

#[test]
fn devices_and_flags_are_walked_to_the_end() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::with_pages(scene)?;
        let hub = ward.hub("pump-1")?;
        let desk = at_desk(scene, &ward, "rules")?;
        desk.see(&Target::id("no-rules"))?;
        desk.click(&Target::id("edit-rules"))?;
        desk.fill(&Target::xpath("the rules", "//dialog//textarea"), RULES)?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::id("data-rule"))?;
        // Each of them begins anew, the newest last.
        let rate = |number: u64| heart_rate(if number.is_multiple_of(2) { "130" } else { "80" }, 3 * (410 - number));
        let batch = Recorder::of(&hub.device, hub.key(), 1).sign((0..410).map(rate).collect::<Result<_>>()?)?;
        hand_over(&mut hub.connect()?, &batch)?;

        // What a person has seen goes from the list, wherever it stands.
        let flag = Target::id("flag");
        desk.open(&page(&ward, "flags"))?;
        desk.walk(&flag, &Target::id("flags-more"), &[100, 200, 205])?;
        let last = Target::xpath("the last flag's button", "(//*[@data-testid=\"acknowledge\"])[last()]");
        desk.click(&last)?;
        desk.see_count(&flag, 204)?;
        desk.click(&switch("open", "Only those"))?;
        desk.walk(&flag, &Target::id("flags-more"), &[100, 200, 205])?;
        let last = Target::xpath("the last flag", "(//*[@data-testid=\"flag\"])[last()][contains(., \"Seen by\")]");
        desk.see(&last)?;
        desk.open(&page(&ward, "records/infusion-pump/pump-1"))?;
        desk.walk(&flag, &Target::id("device-flags-more"), &[100, 200, 205])?;

        // As many devices as no test hands over: what one has, under other names.
        ward.worker.kill();
        let copies = "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 400)
             INSERT INTO devices SELECT 'infusion-pump/scale-' || number, chains, records, set_aside, received_at, gateway, late
             FROM devices, numbers";
        ward.worker.tamper("RecordsObject", copies)?;
        ward.worker.restart()?;
        desk.open(&page(&ward, "records"))?;
        let (row, more) = (Target::id("records-device"), Target::id("records-more"));
        desk.walk(&row, &more, &[200, 400, 401])?;

        // Another one comes: it stands there, and what was shown stays.
        let other = ward.hub("pump-2")?;
        let batch = Recorder::of(&other.device, other.key(), 2).sign(vec![heart_rate("70", 60)?])?;
        hand_over(&mut other.connect()?, &batch)?;
        desk.see(&Target::row("records-device", "infusion-pump/pump-2"))?;
        desk.see_count(&row, 402)
    })
}
