//! Stored data on its way in: what the server takes, what it refuses at which step, and what people see of it.

use anyhow::{Context as _, Result, bail, ensure};
use wardlink_agent::clock;
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    AllowUpload, AskedRecords, AssignPatient, AuditPage, CatalogDevice, CatalogPage, ConcedeGap, FlagSeverity,
    FlagView, ProblemKind, RecordsDetail, RecordsGap, RecordsPage, RecordsPlot, RecordsSettings, RecordsView, Role,
    RulesChange, RulesView,
};
use wardlink_protocol::distribution::FromServer;
use wardlink_protocol::identity::{PatientReference, RecordChain, Sha256};
use wardlink_records::batch::{ChainEnd, Reason};
use wardlink_records::record::Record;
use wardlink_tests::api::{ADMINISTRATOR, Api, refusal};
use wardlink_tests::hub::{Talk, state};
use wardlink_tests::records::{PATIENT, RULES, Recorder, heart_rate, measured, refused, taken};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

fn overview(api: &Api) -> Result<RecordsView> {
    api.get("records")
}

#[test]
fn a_signed_batch_is_stored_and_receipted_and_people_see_it() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let batch = recorder.sign(vec![heart_rate("70", 60)?, heart_rate("74", 30)?])?;
        let receipt = taken(&hub, &mut talk, &batch)?;
        assert_eq!((&receipt.device, receipt.chain), (&hub.device, recorder.chain));
        assert_eq!((receipt.first, receipt.through, receipt.set_aside), (1, 2, 0));

        // The same again changes nothing, and has the same receipt.
        let again = taken(&hub, &mut talk, &batch)?;
        assert_eq!((again.hash, again.through), (receipt.hash, receipt.through));
        // What cannot be is stored beside its step, and counted in the receipt.
        let odd = vec![heart_rate("4000", 20)?, measured("heart-rate", "70", "mL", 20)?, heart_rate("80", 10)?];
        assert_eq!(taken(&hub, &mut talk, &recorder.sign(odd)?)?.set_aside, 2);

        let view = overview(&ward.nurse)?;
        let known = view.devices.first().context("a device")?;
        assert_eq!((&known.device, known.records, known.set_aside), (&hub.device, 5, 2));
        assert_eq!((&known.gateway, view.refused.len(), view.gaps.len()), (&hub.device, 0, 0));
        let path = format!("records/{}", hub.device);
        let detail: RecordsDetail = ward.nurse.get(&path)?;
        let series = detail.series.first().context("a series")?;
        assert_eq!(
            (series.series.as_str(), series.count, series.english.as_str()),
            ("kind/heart-rate", 3, "Heart rate")
        );
        let steps: Vec<&str> = detail.set_aside.iter().map(|record| record.step.as_str()).collect();
        assert_eq!(steps, ["unit", "range"]);
        assert_eq!(detail.beginnings.first().map(|began| began.standing.as_str()), Some("begun"));

        let (from, until) = (clock::now().0 - 3_600_000, clock::now().0 + 60_000);
        let plot: RecordsPlot =
            ward.nurse.get(&format!("{path}/plot?series=kind/heart-rate&from={from}&until={until}"))?;
        assert_eq!(
            (plot.unit.as_deref(), plot.buckets.iter().map(|bucket| bucket.count).sum::<u64>()),
            (Some("/min"), 3)
        );
        let page: RecordsPage = ward.administrator.get(&format!("{path}/values"))?;
        let values: Vec<&str> = page.values.iter().map(|value| value.value.as_str()).collect();
        assert_eq!((values, page.next), (vec!["70", "74", "80"], None));
        // Wherever a page begins, it stands in the audit log.
        let page: RecordsPage = ward.administrator.get(&format!("{path}/values?after=1&series=kind/heart-rate"))?;
        assert_eq!(page.values.len(), 2);
        let page: RecordsPage = ward.administrator.get(&format!("{path}/values?after=3"))?;
        assert_eq!(page.values.len(), 0);
        let audit: AuditPage = ward.administrator.get("audit?act=records-exported")?;
        let details: Vec<&str> = audit.entries.iter().map(|entry| entry.detail.as_str()).collect();
        let expected = [
            "everything, nothing after position 3",
            "kind/heart-rate, positions 2 to 3",
            "everything, positions 1 to 3",
        ];
        assert_eq!(details, expected);
        Ok(())
    })
}

#[test]
fn what_names_no_patient_counts_as_that_of_the_one_for_whom_the_device_was_there() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        let path = format!("catalog/{}/patient", hub.device);
        let assign = |api: &Api, patient| api.post::<CatalogDevice>(&path, &AssignPatient { patient });
        let patient = PatientReference([0xA9; 16]);
        assert_eq!(refusal(assign(&ward.nurse, Some(patient)))?, ProblemKind::Forbidden);
        assert_eq!(assign(&ward.administrator, Some(patient))?.entry.patient, Some(patient));
        let found: CatalogPage = ward.administrator.get("catalog?find=A9a9a9")?;
        assert_eq!(found.devices.iter().map(|entry| &entry.device).collect::<Vec<_>>(), [&hub.device]);

        let nobodys = |value: &str, ago| Ok::<_, anyhow::Error>(Record { patient: None, ..heart_rate(value, ago)? });
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let batch = recorder.sign(vec![nobodys("70", 60)?, nobodys("71", 0)?, heart_rate("72", 0)?])?;
        taken(&hub, &mut talk, &batch)?;
        let history = assign(&ward.administrator, None)?.history;
        ensure!(history.iter().filter(|change| change.what == "patient").count() == 2, "{history:?}");
        taken(&hub, &mut talk, &recorder.sign(vec![nobodys("73", 0)?])?)?;
        let page: RecordsPage = ward.administrator.get(&format!("records/{}/values", hub.device))?;
        let patients: Vec<_> = page.values.iter().map(|value| value.patient).collect();
        assert_eq!(patients, [None, Some(patient), Some(PATIENT), None]);

        // Whoever comes after a device's end does not find it assigned.
        assign(&ward.administrator, Some(patient))?;
        ward.administrator.revoke(core::slice::from_ref(&hub.device))?;
        wait::until("the end of the assignment", || {
            let known: CatalogDevice = ward.administrator.get(&format!("catalog/{}", hub.device))?;
            Ok(known.entry.patient.is_none().then_some(()))
        })?;
        let audit: AuditPage = ward.administrator.get("audit?act=patient-assigned")?;
        assert_eq!(audit.entries.len(), 4);
        Ok(())
    })
}

#[test]
fn what_does_not_count_is_refused_with_its_step_and_leaves_nothing() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let (mut hub_1, mut hub_2) = (ward.hub("pump-1")?, ward.hub("pump-2")?);
        let mut talk = hub_1.connect()?;
        hub_2.connect()?.report(hub_2.report("1A", None, &[])?)?;
        let mut recorder = Recorder::of(&hub_1.device, hub_1.key(), 1);
        let first = recorder.sign(vec![heart_rate("70", 60)?])?;
        let second = recorder.sign(vec![heart_rate("71", 50)?])?;

        assert_eq!(refused(&mut talk, b"no batch")?.step, "form");
        // A forged device: another key, another device's name, a changed byte.
        let stranger = wardlink_tests::service::new_key();
        let forged = Recorder::of(&hub_1.device, &stranger, 2).sign(vec![heart_rate("70", 60)?])?;
        assert_eq!(refused(&mut talk, &forged)?.step, "signature");
        let posing = Recorder::of(&hub_2.device, hub_1.key(), 2).sign(vec![heart_rate("70", 60)?])?;
        assert_eq!(refused(&mut talk, &posing)?.step, "signature");
        let mut changed = first.clone();
        *changed.last_mut().context("a byte")? ^= 1;
        assert_eq!(refused(&mut talk, &changed)?.step, "signature");
        // Another gateway's device.
        let mut other = Recorder::of(&hub_2.device, hub_2.key(), 3);
        let elsewhere = other.sign(vec![heart_rate("90", 60)?])?;
        assert_eq!(refused(&mut talk, &elsewhere)?.step, "association");
        // A broken chain: something is missing, or it goes on differently.
        assert_eq!(refused(&mut talk, &second)?.step, "chain: gap");
        ensure!(overview(&ward.administrator)?.devices.is_empty(), "nothing of all that is stored");
        taken(&hub_1, &mut talk, &first)?;
        let mut fork = Recorder::of(&hub_1.device, hub_1.key(), 1);
        let split = fork.sign(vec![heart_rate("99", 60)?])?;
        assert_eq!(refused(&mut talk, &split)?.step, "chain: fork");
        assert_eq!(taken(&hub_1, &mut talk, &second)?.through, 2);

        let view = overview(&ward.administrator)?;
        assert_eq!(view.devices.iter().map(|known| known.records).collect::<Vec<_>>(), [2]);
        let steps: Vec<&str> = view.refused.iter().map(|refused| refused.step.as_str()).collect();
        assert_eq!(steps, ["chain: fork", "association", "signature", "signature", "signature", "form"]);

        // A person lets it come this way.
        let allowed = AllowUpload { gateway: hub_1.device.clone(), allowed: true };
        talk.report(hub_1.report("1A", None, &[])?)?;
        let path = format!("catalog/{}/uploads", hub_2.device);
        let _: CatalogDevice = ward.administrator.post(&path, &allowed)?;
        taken(&hub_1, &mut talk, &elsewhere)?;
        // A device without a key, for which its gateway signs.
        let scale = device("scale-1")?;
        let weight = |recorder: &mut Recorder| recorder.sign(vec![measured("body-weight", "81.5", "kg", 60)?]);
        let unknown = weight(&mut Recorder::of(&scale, hub_1.key(), 4))?;
        assert_eq!(refused(&mut talk, &unknown)?.step, "signature");
        talk.report(hub_1.report("1A", None, &[state(&scale, "1A", None)?])?)?;
        taken(&hub_1, &mut talk, &unknown)?;

        // Who is revoked, or signed by who is.
        ward.administrator.revoke(core::slice::from_ref(&hub_2.device))?;
        assert_eq!(refused(&mut talk, &other.sign(vec![heart_rate("91", 30)?])?)?.step, "rights");
        ward.administrator.revoke(core::slice::from_ref(&hub_1.device))?;
        talk.wait_for_end()?;
        assert_eq!(hub_1.refused(None, None)?, Some(403));

        // It is all there when the worker comes back.
        let before = overview(&ward.administrator)?;
        ward.worker.kill();
        ward.worker.restart()?;
        assert_eq!(overview(&ward.administrator)?, before);
        Ok(())
    })
}

#[test]
fn numbers_that_storage_would_round_are_refused() -> Result<()> {
    const GREATEST: u64 = (1 << 53) - 1;
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        // What a device says of the end of the chain before, and its own numbers.
        let recorder = Recorder::of(&hub.device, hub.key(), 1);
        let after = |last| {
            let before = ChainEnd { chain: RecordChain([2; 16]), last, hash: Sha256([3; 32]) };
            recorder.clone().after(Reason::PairedAgain, before).sign(vec![heart_rate("70", 60)?])
        };
        assert_eq!(refused(&mut talk, &after(GREATEST + 1)?)?.step, "form");
        taken(&hub, &mut talk, &after(GREATEST)?)?;
        let view = overview(&ward.nurse)?;
        let missing: Vec<_> = view.devices.iter().flat_map(|known| &known.missing).collect();
        assert_eq!(missing.iter().map(|missing| (missing.from, missing.through)).collect::<Vec<_>>(), [(1, GREATEST)]);
        for (first, step) in [(GREATEST, "chain: gap"), (GREATEST + 1, "form")] {
            let mut recorder = Recorder::of(&hub.device, hub.key(), 3);
            recorder.sign(vec![heart_rate("70", 60)?])?;
            let batch = recorder.at(first).sign(vec![heart_rate("70", 60)?])?;
            assert_eq!(refused(&mut talk, &batch)?.step, step);
        }
        let gaps = overview(&ward.nurse)?.gaps;
        assert_eq!(gaps.iter().map(|gap| gap.found).collect::<Vec<_>>(), [GREATEST]);

        let path = format!("records/{}", hub.device);
        let page = |after| ward.nurse.get::<RecordsPage>(&format!("{path}/values?after={after}"));
        ensure!(page(GREATEST)?.values.is_empty(), "nothing is behind it");
        assert_eq!(refusal(page(GREATEST + 1))?, ProblemKind::BadRequest);
        let flags = ward.nurse.get::<Vec<FlagView>>(&format!("flags?before={}", GREATEST + 1));
        assert_eq!(refusal(flags)?, ProblemKind::BadRequest);
        let plot = format!("{path}/plot?series=kind/heart-rate&from=0&until={}", GREATEST + 1);
        assert_eq!(refusal(ward.nurse.get::<RecordsPlot>(&plot))?, ProblemKind::BadRequest);
        Ok(())
    })
}

/// How many records of a device are stored: the server's count, which is that of the records.
fn stored(api: &Api, device: &Device) -> Result<u64> {
    let devices = overview(api)?.devices;
    let Some(known) = devices.iter().find(|known| known.device == *device) else { return Ok(0) };
    let page: RecordsPage = api.get(&format!("records/{device}/values"))?;
    let sequences: Vec<u64> = page.values.iter().map(|value| value.sequence).collect();
    assert_eq!(sequences, (1..=known.records).collect::<Vec<_>>(), "each once, in their order");
    Ok(known.records)
}

#[test]
fn a_worker_that_is_killed_has_stored_a_batch_whole_or_not_at_all_and_receipts_it_when_it_comes_again() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        for round in 1..=4 {
            let batch = recorder.sign(vec![heart_rate("70", 60)?; 100])?;
            let mut talk = hub.connect()?;
            talk.send_records(&batch)?;
            if round > 2 {
                // It is stored, and nobody has read the receipt.
                wait::until("it is stored", || {
                    let view = overview(&ward.administrator)?;
                    Ok(view.devices.iter().any(|known| known.records == round * 100).then_some(()))
                })?;
            }
            ward.worker.kill();
            drop(talk);
            ward.worker.restart()?;
            let there = stored(&ward.administrator, &hub.device)?;
            let may_be = if round > 2 { vec![round * 100] } else { vec![(round - 1) * 100, round * 100] };
            ensure!(may_be.contains(&there), "{there} records are stored");
            let receipt = taken(&hub, &mut hub.connect()?, &batch)?;
            assert_eq!((receipt.first, receipt.through), (1, round * 100));
            assert_eq!(Some(receipt.hash), recorder.end(), "the receipt is for this batch");
            assert_eq!(stored(&ward.administrator, &hub.device)?, round * 100);
        }
        Ok(())
    })
}

#[test]
fn a_gap_that_a_person_concedes_lets_the_rest_come_and_stays_on_record() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let mut sign = |value: &str| recorder.sign(vec![heart_rate(value, 60)?]);
        let (first, lost, third) = (sign("70")?, sign("71")?, sign("72")?);
        taken(&hub, &mut talk, &first)?;
        assert_eq!(refused(&mut talk, &third)?.step, "chain: gap");
        let view = overview(&ward.administrator)?;
        let gap = view.gaps.first().context("it waits")?;
        assert_eq!((gap.expected, gap.found, view.refused.len()), (2, 3, 0));

        let path = format!("records/{}/concede", hub.device);
        let concession = ConcedeGap { chain: gap.chain, expected: 2, found: 3 };
        assert_eq!(refusal(ward.nurse.post::<Vec<RecordsGap>>(&path, &concession))?, ProblemKind::Forbidden);
        let other = ConcedeGap { expected: 3, ..concession.clone() };
        assert_eq!(refusal(ward.administrator.post::<Vec<RecordsGap>>(&path, &other))?, ProblemKind::WrongState);
        let gaps: Vec<RecordsGap> = ward.administrator.post(&path, &concession)?;
        let conceded: Vec<Option<&str>> = gaps.iter().map(|gap| gap.conceded_by.as_deref()).collect();
        assert_eq!(conceded, [Some(ADMINISTRATOR)]);
        let receipt = taken(&hub, &mut talk, &third)?;
        assert_eq!((receipt.first, receipt.through), (3, 3), "the receipt is for what is stored");
        let view = overview(&ward.administrator)?;
        let missing = &view.devices.first().context("a device")?.missing;
        assert_eq!(missing.iter().map(|missing| (missing.from, missing.through)).collect::<Vec<_>>(), [(2, 2)]);
        ensure!(view.gaps.is_empty(), "nothing waits any more");
        // It comes after all.
        taken(&hub, &mut talk, &lost)?;
        let devices = overview(&ward.administrator)?.devices;
        assert_eq!(devices.iter().map(|known| (known.records, known.missing.len())).collect::<Vec<_>>(), [(3, 0)]);
        Ok(())
    })
}

#[test]
fn a_concession_covers_what_the_person_saw_and_nothing_more() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let batches: Vec<Vec<u8>> =
            (0..4).map(|_| recorder.sign(vec![heart_rate("70", 60)?])).collect::<Result<_>>()?;
        let [first, _, third, fourth] = batches.as_slice() else { bail!("four batches") };
        taken(&hub, &mut talk, first)?;
        let path = format!("records/{}/concede", hub.device);
        let concede = |found| {
            let concession = ConcedeGap { chain: RecordChain([1; 16]), expected: 2, found };
            ward.administrator.post::<Vec<RecordsGap>>(&path, &concession)
        };
        assert_eq!(refused(&mut talk, third)?.step, "chain: gap");
        concede(3)?;
        // The third record was there when the second was given up: the fourth does not pass it over.
        assert_eq!(refused(&mut talk, fourth)?.step, "chain: gap");
        let gaps = overview(&ward.administrator)?.gaps;
        let seen: Vec<_> = gaps.iter().map(|gap| (gap.expected, gap.found, gap.conceded_by.is_some())).collect();
        assert_eq!(seen, [(2, 4, false)]);
        assert_eq!(refusal(concede(3))?, ProblemKind::WrongState);
        assert_eq!(taken(&hub, &mut talk, third)?.first, 3);
        assert_eq!(taken(&hub, &mut talk, fourth)?.through, 4);
        let view = overview(&ward.administrator)?;
        let missing: Vec<_> = view.devices.iter().flat_map(|known| &known.missing).collect();
        assert_eq!(missing.iter().map(|missing| (missing.from, missing.through)).collect::<Vec<_>>(), [(2, 2)]);
        ensure!(view.gaps.is_empty(), "nothing waits any more");
        let audit: AuditPage = ward.administrator.get("audit?act=gap-conceded")?;
        assert_eq!(audit.entries.len(), 1);
        Ok(())
    })
}

#[test]
fn a_device_waits_in_a_bounded_number_of_chains_and_what_is_beyond_is_told_as_refused() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let behind = |number: u8| {
            let mut recorder = Recorder::of(&hub.device, hub.key(), number);
            recorder.sign(vec![heart_rate("70", 60)?])?;
            recorder.sign(vec![heart_rate("71", 50)?])
        };
        for number in 1..=65 {
            assert_eq!(refused(&mut talk, &behind(number)?)?.step, "chain: gap");
        }
        let view = overview(&ward.administrator)?;
        assert_eq!((view.gaps.len(), view.gaps_in_all), (64, 64));
        let [beyond] = view.refused.as_slice() else { bail!("one is beyond: {:?}", view.refused) };
        assert_eq!((beyond.step.as_str(), beyond.device.as_ref()), ("chain: gap", Some(&hub.device)));
        let chain = RecordChain([65; 16]);
        ensure!(beyond.reason.contains(&chain.to_string()), "{}", beyond.reason);

        // One that waits is told again in its place; and one that is conceded makes room.
        assert_eq!(refused(&mut talk, &behind(1)?)?.step, "chain: gap");
        assert_eq!(overview(&ward.administrator)?.refused.len(), 1);
        let concession = ConcedeGap { chain: RecordChain([1; 16]), expected: 1, found: 2 };
        let path = format!("records/{}/concede", hub.device);
        let gaps: Vec<RecordsGap> = ward.administrator.post(&path, &concession)?;
        assert_eq!(gaps.iter().filter(|gap| gap.conceded_by.is_some()).count(), 1);
        assert_eq!(refused(&mut talk, &behind(65)?)?.step, "chain: gap");
        let view = overview(&ward.administrator)?;
        assert_eq!((view.gaps_in_all, view.refused.len()), (64, 1));
        ensure!(view.gaps.iter().any(|gap| gap.chain == chain), "it waits now");
        Ok(())
    })
}

#[test]
fn the_overview_shows_devices_page_by_page() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let batch = Recorder::of(&hub.device, hub.key(), 1).sign(vec![heart_rate("70", 60)?])?;
        taken(&hub, &mut hub.connect()?, &batch)?;
        // As many as no test hands over: what one device has, under other names.
        ward.worker.kill();
        let copies = format!(
            "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 400)
             INSERT INTO devices SELECT '{}/scale-' || number, chains, records, set_aside, received_at, gateway, late
             FROM devices, numbers",
            hub.device.client
        );
        ward.worker.tamper("RecordsObject", &copies)?;
        ward.worker.restart()?;
        let (mut found, mut after) = (Vec::new(), String::new());
        let mut lengths = Vec::new();
        loop {
            let view: RecordsView = ward.administrator.get(&format!("records{after}"))?;
            lengths.push(view.devices.len());
            found.extend(view.devices.into_iter().map(|known| known.device));
            let Some(next) = view.next else { break };
            after = format!("?after={next}");
        }
        assert_eq!(lengths, [200, 200, 1]);
        let count = found.len();
        found.dedup();
        assert_eq!(found.len(), count);
        assert_eq!(refusal(ward.administrator.get::<RecordsView>("records?after=x"))?, ProblemKind::BadRequest);
        Ok(())
    })
}

#[test]
fn people_ask_for_stored_data_now_and_the_server_by_itself() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let administrator = &ward.administrator;
        let path = format!("records/{}/ask", hub.device);
        assert_eq!(refusal(administrator.post::<AskedRecords>(&path, &()))?, ProblemKind::NotFound);
        let scale = device("scale-1")?;
        talk.report(hub.report("1A", None, &[state(&scale, "1A", None)?])?)?;

        let asked: AskedRecords = administrator.post(&format!("records/{scale}/ask"), &())?;
        assert_eq!((asked.gateways, asked.told), (1, 1));
        assert_eq!(wanted(&mut talk)?, Some(scale.clone()));
        let asked: AskedRecords = administrator.post(&format!("gateways/{}/ask", hub.device), &())?;
        assert_eq!((asked.told, wanted(&mut talk)?), (1, None));
        assert_eq!(refusal(ward.nurse.post::<AskedRecords>(&path, &()))?, ProblemKind::Forbidden);

        // Who is not connected is asked when it connects.
        talk.leave()?;
        ask_in_vain(administrator, &format!("records/{scale}/ask"))?;
        let mut talk = hub.connect()?;
        assert_eq!(wanted(&mut talk)?, Some(scale));

        let never = RecordsSettings { every_minutes: Some(0) };
        let refused = administrator.put::<RecordsSettings>("records/settings", &never);
        assert_eq!(refusal(refused)?, ProblemKind::BadRequest);
        // Nobody has asked for everything since: this is the server's own round.
        let often = RecordsSettings { every_minutes: Some(1) };
        let _: RecordsSettings = administrator.put("records/settings", &often)?;
        assert_eq!((wanted(&mut talk)?, overview(administrator)?.settings), (None, often));
        Ok(())
    })
}

/// Asks for the data of a device, or all of a gateway, again and again until that is not connected.
fn ask_in_vain(api: &Api, path: &str) -> Result<()> {
    wait::until("nobody is connected", || {
        let asked: AskedRecords = api.post(path, &())?;
        Ok((asked.told == 0).then_some(()))
    })
}

#[test]
fn who_is_not_connected_is_asked_for_a_day_from_the_last_request_on() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut hub = ward.hub("pump-1")?;
        let (scale, lamp) = (device("scale-1")?, device("lamp-1")?);
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[state(&scale, "1A", None)?, state(&lamp, "1A", None)?])?)?;
        // What was told is over.
        let asked: AskedRecords = ward.administrator.post(&format!("records/{scale}/ask"), &())?;
        assert_eq!((asked.told, wanted(&mut talk)?), (1, Some(scale.clone())));
        talk.leave()?;
        ask_in_vain(&ward.administrator, &format!("records/{lamp}/ask"))?;
        let mut talk = hub.connect()?;
        assert_eq!(wanted(&mut talk)?, Some(lamp.clone()));
        talk.leave()?;

        // More than a day later one of two is asked for again.
        ask_in_vain(&ward.administrator, &format!("records/{scale}/ask"))?;
        ask_in_vain(&ward.administrator, &format!("records/{lamp}/ask"))?;
        ward.worker.kill();
        ward.worker.tamper("RecordsObject", "UPDATE asks SET since = 1")?;
        ward.worker.restart()?;
        ask_in_vain(&ward.administrator, &format!("records/{lamp}/ask"))?;
        assert_eq!(wanted(&mut hub.connect()?)?, Some(lamp));
        Ok(())
    })
}

#[test]
fn what_is_wanted_of_a_gateway_is_wanted_until_it_was_told() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut hub = ward.hub("pump-1")?;
        let scale = device("scale-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[state(&scale, "1A", None)?])?)?;
        talk.leave()?;
        ask_in_vain(&ward.administrator, &format!("records/{scale}/ask"))?;
        // It is told, and that it was cannot be written.
        ward.worker.kill();
        let fault = "CREATE TRIGGER fault BEFORE DELETE ON asks BEGIN SELECT RAISE(ABORT, 'a fault'); END";
        ward.worker.tamper("RecordsObject", fault)?;
        ward.worker.restart()?;
        for _ in 0..2 {
            assert_eq!(wanted(&mut hub.connect()?)?, Some(scale.clone()));
        }
        Ok(())
    })
}

#[test]
fn a_round_of_asking_that_fails_is_made_up_for() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        hub.connect()?.leave()?;
        ward.worker.kill();
        ward.worker.tamper("DistributionObject", "ALTER TABLE gateways RENAME COLUMN online TO away")?;
        ward.worker.restart()?;
        // The next round would be in a week.
        let weekly = RecordsSettings { every_minutes: Some(7 * 24 * 60) };
        let _: RecordsSettings = ward.administrator.put("records/settings", &weekly)?;
        ward.worker.wait_for_line("records: gateways are asked again")?;
        ward.worker.kill();
        // Nobody looks meanwhile whether it is there.
        let mended = "ALTER TABLE gateways RENAME COLUMN away TO online;
                      UPDATE gateways SET online = 1, inquired_at = 1000 * unixepoch()";
        ward.worker.tamper("DistributionObject", mended)?;
        ward.worker.restart()?;
        assert_eq!(overview(&ward.administrator)?.settings, weekly);
        assert_eq!(wanted(&mut hub.connect()?)?, None);
        Ok(())
    })
}

/// Waits until the server asks for stored data; of whom.
fn wanted(talk: &mut Talk) -> Result<Option<Device>> {
    loop {
        if let FromServer::Send(wanted) = talk.hear()? {
            return Ok(wanted.message);
        }
    }
}

#[test]
fn rules_are_read_strictly_raise_flags_on_arrival_and_people_acknowledge_them() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let administrator = &ward.administrator;
        let change = |version, text: &str| {
            administrator.put::<RulesView>("rules", &RulesChange { version, text: text.to_owned() })
        };
        let rules = change(0, RULES)?;
        assert_eq!((rules.version, rules.rules.len()), (1, 1));

        // What does not parse changes nothing, and says where it is wrong.
        let error = change(1, &RULES.replace("\"above\"", "\"abvoe\"")).err().context("it does not parse")?;
        ensure!(error.to_string().contains("line 3"), "{error}");
        let unknown = change(1, &RULES.replace("heart-rate", "heart-hate"));
        assert_eq!(refusal(unknown)?, ProblemKind::RefusedStep);
        // The same version is the same rule; and nobody overwrites what somebody else has changed.
        assert_eq!(refusal(change(1, &RULES.replace("120", "130")))?, ProblemKind::RefusedStep);
        assert_eq!(refusal(change(0, RULES))?, ProblemKind::Outdated);
        let (_, auditor) = administrator.add_person("otto", Role::Auditor)?;
        let theirs = auditor.put::<RulesView>("rules", &RulesChange { version: 1, text: RULES.to_owned() });
        assert_eq!(refusal(theirs)?, ProblemKind::Forbidden);
        assert_eq!(auditor.get::<RulesView>("rules")?, rules);

        taken(&hub, &mut talk, &recorder.sign(vec![heart_rate("100", 300)?, heart_rate("130", 200)?])?)?;
        taken(&hub, &mut talk, &recorder.sign(vec![heart_rate("4000", 150)?, heart_rate("140", 100)?])?)?;
        let flags: Vec<FlagView> = ward.nurse.get("flags?open=true")?;
        let [flag] = flags.as_slice() else { bail!("one flag: {flags:?}") };
        assert_eq!((flag.rule.as_str(), flag.version, flag.severity), ("fast", 1, FlagSeverity::Critical));
        assert_eq!((flag.count, &flag.device), (2, &hub.device), "what is set aside raises nothing");
        assert_eq!(overview(&ward.nurse)?.devices.first().map(|known| known.flags), Some(1));

        let path = format!("flags/{}/acknowledge", flag.id);
        assert_eq!(refusal(auditor.post::<FlagView>(&path, &()))?, ProblemKind::Forbidden);
        let seen: FlagView = ward.nurse.post(&path, &())?;
        assert_eq!(seen.acknowledged_by.as_deref(), Some("nina"));
        assert_eq!(refusal(ward.nurse.post::<FlagView>(&path, &()))?, ProblemKind::WrongState);
        ensure!(ward.nurse.get::<Vec<FlagView>>("flags?open=true")?.is_empty(), "nothing is open");
        // A late record shows that it was two conditions: the first one ends, and another begins.
        taken(&hub, &mut talk, &recorder.sign(vec![heart_rate("80", 120)?])?)?;
        let flags: Vec<FlagView> = ward.nurse.get("flags?open=true")?;
        assert_eq!(flags.iter().map(|flag| flag.count).collect::<Vec<_>>(), [1]);
        for (act, count) in [("rules-changed", 1), ("flag-acknowledged", 1)] {
            let audit: AuditPage = administrator.get(&format!("audit?act={act}"))?;
            assert_eq!(audit.entries.len(), count, "{act}");
        }
        Ok(())
    })
}

#[test]
fn a_rule_that_was_taken_out_of_force_comes_back_under_its_version_only_as_it_was() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let change = |version, text: &str| {
            ward.administrator.put::<RulesView>("rules", &RulesChange { version, text: text.to_owned() })
        };
        change(0, RULES)?;
        change(1, "{\"rules\": []}")?;
        assert_eq!(refusal(change(2, &RULES.replace("120", "130")))?, ProblemKind::RefusedStep);
        assert_eq!(refusal(change(2, &RULES.replace("critical", "warning")))?, ProblemKind::RefusedStep);
        assert_eq!(change(2, RULES)?.version, 3);
        change(3, &RULES.replace("120", "130").replace("\"version\": 1", "\"version\": 2"))?;
        // Versions only rise: what comes later is the newer rule.
        change(4, "{\"rules\": []}")?;
        assert_eq!(refusal(change(5, RULES))?, ProblemKind::RefusedStep);
        assert_eq!(ward.administrator.get::<RulesView>("rules")?.version, 5);
        Ok(())
    })
}

#[test]
fn a_batch_that_cannot_be_stored_as_a_whole_leaves_nothing_and_is_taken_whole_later() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let hub = ward.hub("pump-1")?;
        let mut recorder = Recorder::of(&hub.device, hub.key(), 1);
        let rules = RulesChange { version: 0, text: RULES.to_owned() };
        let _: RulesView = ward.administrator.put("rules", &rules)?;
        taken(&hub, &mut hub.connect()?, &recorder.sign(vec![heart_rate("70", 60)?])?)?;
        let before = overview(&ward.administrator)?;

        // Batch, records and chains are written, and the flag cannot be.
        ward.worker.kill();
        let fault = "CREATE TRIGGER fault BEFORE INSERT ON flags BEGIN SELECT RAISE(ABORT, 'a fault'); END";
        ward.worker.tamper("RecordsObject", fault)?;
        ward.worker.restart()?;
        let batch = recorder.sign(vec![heart_rate("130", 50)?])?;
        for _ in 0..2 {
            let mut talk = hub.connect()?;
            talk.send_records(&batch)?;
            talk.wait_for_end()?;
            assert_eq!(overview(&ward.administrator)?, before);
        }

        ward.worker.kill();
        ward.worker.tamper("RecordsObject", "DROP TRIGGER fault")?;
        ward.worker.restart()?;
        assert_eq!(taken(&hub, &mut hub.connect()?, &batch)?.through, 2);
        assert_eq!(ward.administrator.get::<Vec<FlagView>>("flags?open=true")?.len(), 1);
        Ok(())
    })
}
