//! However much a device has measured: what a batch reads, what is remembered, and what is plotted stay bounded.

use anyhow::{Context as _, Result};
use wardlink_protocol::api::{FlagView, ProblemKind, RecordsDetail, RecordsPlot, RulesChange, RulesView};
use wardlink_tests::api::refusal;
use wardlink_tests::records::{RULES, Recorder, heart_rate, taken};
use wardlink_tests::scene;
use wardlink_tests::ward::Ward;

/// Holds what the worker has stored of stored data against a condition, while it does not run.
fn ensure_stored(ward: &Ward<'_>, condition: &str) -> Result<()> {
    let look = format!("CREATE TEMP TABLE found (is_so INTEGER CHECK (is_so)); INSERT INTO found SELECT {condition}");
    ward.worker.tamper("RecordsObject", &look).with_context(|| condition.to_owned())
}

#[test]
fn a_batch_reads_no_more_of_what_rules_remember_than_concerns_it_and_what_is_remembered_is_bounded() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let rules = RulesChange { version: 0, text: RULES.to_owned() };
        let _: RulesView = ward.administrator.put("rules", &rules)?;
        taken(&hub, &mut hub.connect()?, &recorder.sign(vec![heart_rate("130", 90)?])?)?;

        // Far too many earlier patients, of whom nothing can be read.
        ward.worker.kill();
        let others = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
                      INSERT INTO evaluations SELECT device, rule, 'other-' || i, -i, x'ff' FROM evaluations, n";
        ward.worker.tamper("RecordsObject", others)?;
        ward.worker.restart()?;
        taken(&hub, &mut hub.connect()?, &recorder.sign(vec![heart_rate("135", 60)?])?)?;
        let flags: Vec<FlagView> = ward.nurse.get("flags?open=true")?;
        assert_eq!(flags.iter().map(|flag| flag.count).collect::<Vec<_>>(), [2], "its own patient is remembered");

        ward.worker.kill();
        ensure_stored(&ward, "count(*) = 1024 AND min(used) = -1023 FROM evaluations")?;
        ward.worker.restart()?;
        // Another rule is added, and nothing is forgotten; the one before has another version, and begins anew.
        let more = RULES.replace("\n]}", ",\n") + &RULES.replace("{\"rules\": [", "").replace("\"fast\"", "\"other\"");
        let _: RulesView = ward.administrator.put("rules", &RulesChange { version: 1, text: more.clone() })?;
        ward.worker.kill();
        ensure_stored(&ward, "count(*) = 1024 FROM evaluations")?;
        ward.worker.restart()?;
        let newer = more.replacen("\"version\": 1", "\"version\": 2", 1);
        let _: RulesView = ward.administrator.put("rules", &RulesChange { version: 2, text: newer })?;
        ward.worker.kill();
        ensure_stored(&ward, "count(*) = 0 FROM evaluations")
    })
}

#[test]
fn a_plot_counts_every_value_of_its_time_and_a_time_with_too_many_is_refused() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        taken(&hub, &mut hub.connect()?, &recorder.sign(vec![heart_rate("70", 60)?])?)?;
        // Values in each of the 605,000 milliseconds before that one.
        ward.worker.kill();
        let more = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 605000)
                    INSERT INTO records SELECT i + 1, device, chain, i + 1, at - i, received_at, series, amount, record
                    FROM records, n WHERE position = 1";
        ward.worker.tamper("RecordsObject", more)?;
        ward.worker.restart()?;
        let detail: RecordsDetail = ward.nurse.get(&format!("records/{}", hub.device))?;
        let last = detail.series.first().context("a series")?.last_at.0;
        let plot = |from: u64| -> Result<RecordsPlot> {
            let of = format!("records/{}/plot?series=kind/heart-rate", hub.device);
            ward.nurse.get(&format!("{of}&from={from}&until={}", last + 1))
        };
        // Several portions, of which the last one is full.
        let count = |plot: RecordsPlot| plot.buckets.iter().map(|bucket| bucket.count).sum::<u64>();
        assert_eq!((count(plot(last - 12_344)?), count(plot(last - 14_999)?)), (12_345, 15_000));
        assert_eq!(refusal(plot(last - 605_000))?, ProblemKind::RefusedStep);
        Ok(())
    })
}
