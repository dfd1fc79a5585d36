//! Network keys change while the devices work: by hand, by policy, and for everybody but the one who is revoked.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::{ChannelsChange, ChannelsView, LiveEvent, ProblemKind, Role};
use wardlink_protocol::channel::{Channel, ChannelName};
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::impostor::steal;
use wardlink_tests::live::Live;
use wardlink_tests::mqtt::Mqtt;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

fn channel(name: &str) -> Result<ChannelName> {
    name.parse().context("a channel")
}

/// Waits for a report on a channel that the bridge accepted later than everything so far.
fn wait_for_data(nurse: &Api, live: &mut Live, identifier: &str, on: &str) -> Result<()> {
    let known = nurse.device(&device(identifier)?)?.latest.into_iter().map(|data| data.accepted_at).max();
    live.wait_for(&format!("data of {identifier} on {on}"), |event| match event {
        LiveEvent::Data { data } => {
            let fits = data.device.identifier.as_str() == identifier && data.channel.as_str() == on;
            (fits && known.is_none_or(|known| data.accepted_at > known)).then_some(())
        }
        _ => None,
    })
}

fn change(api: &Api, with: impl FnOnce(&mut Vec<Channel>)) -> Result<ChannelsChange> {
    let ChannelsView { version, mut channels, .. } = api.get("channels")?;
    with(&mut channels);
    Ok(ChannelsChange { version, channels })
}

#[test]
fn new_keys_by_hand_reach_devices_that_work_and_devices_that_were_away() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut here = ward.paired_pump("ip-1")?;
        let mut away = ward.paired_pump("ip-2")?;
        here.wait_for("sent")?;
        away.kill();
        let (_, engineer) = ward.administrator.add_person("emil", Role::BiomedicalEngineer)?;
        assert_eq!(refusal(ward.nurse.post::<ChannelsView>("channels/telemetry/rotate", &()))?, ProblemKind::Forbidden);
        let view: ChannelsView = engineer.post("channels/telemetry/rotate", &())?;
        let state = view.keys.iter().find(|keys| keys.channel.as_str() == "telemetry").context("its keys")?;
        ensure!(state.rotated_at.is_some() && state.rotates_at > state.rotated_at, "{state:?}");
        ward.worker.wait_for_line("ip-1 has epoch 2 of telemetry")?;
        let mut live = Live::connect(&ward.nurse)?;
        wait_for_data(&ward.nurse, &mut live, "ip-1", "telemetry")?;
        away.restart()?;
        ward.worker.wait_for_line("ip-2 has epoch 2 of telemetry")?;
        wait_for_data(&ward.nurse, &mut live, "ip-2", "telemetry")?;
        wait::until("nothing is on its way any more", || {
            let view: ChannelsView = engineer.get("channels")?;
            Ok(view.jobs.is_empty().then_some(()))
        })
    })
}

#[test]
fn a_revocation_replaces_every_key_for_the_others_and_they_go_on() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let _stolen = ward.paired_pump("ip-1")?;
        let mut other = ward.paired_pump("ip-2")?;
        other.wait_for("sent")?;
        ward.administrator.revoke(&[device("ip-1")?])?;
        for name in ["alarm", "log", "telemetry", "therapy"] {
            ward.worker.wait_for_line(&format!("ip-2 has epoch 2 of {name}"))?;
        }
        // What is under the old keys does not count any more: what arrives is under the new ones.
        let mut live = Live::connect(&ward.nurse)?;
        wait_for_data(&ward.nurse, &mut live, "ip-2", "telemetry")?;
        // Keys that are one device's own are not touched.
        let log = ward.worker.log()?;
        ensure!(!log.contains("ip-2 has epoch 2 of command"), "its own key was replaced, too");
        Ok(())
    })
}

#[test]
fn a_channel_that_policy_takes_away_is_gone_and_one_that_it_gives_is_there() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        pump.wait_for("sent")?;
        let administrator = &ward.administrator;
        // A policy that leaves devices without a channel for their alarms is refused, and says why.
        let without_alarms = change(administrator, |rows| rows.retain(|row| row.name.as_str() != "alarm"))?;
        let refused = refusal(administrator.put::<ChannelsView>("channels", &without_alarms))?;
        assert_eq!(refused, ProblemKind::InvalidPolicy);

        let extra = channel("vitals")?;
        let widened = change(administrator, |rows| {
            let telemetry = rows.iter().find(|row| row.name.as_str() == "telemetry").cloned();
            rows.extend(telemetry.map(|row| Channel { name: extra.clone(), ..row }));
        })?;
        let preview: serde_json::Value = administrator.post("channels/preview", &widened)?;
        assert_eq!(preview["regranted"], 1, "{preview}");
        let view: ChannelsView = administrator.put("channels", &widened)?;
        assert_eq!((view.version, view.channels.len()), (widened.version + 1, widened.channels.len()));
        assert_eq!(refusal(administrator.put::<ChannelsView>("channels", &widened))?, ProblemKind::Outdated);
        ward.worker.wait_for_line("ip-1 has epoch 1 of vitals")?;
        let has = |name: &ChannelName| {
            Ok::<_, anyhow::Error>(administrator.device(&device("ip-1")?)?.channels.contains(name))
        };
        ensure!(has(&extra)?, "the device's page shows its new channel");

        let narrowed = change(administrator, |rows| rows.retain(|row| row.name != extra))?;
        administrator.put::<ChannelsView>("channels", &narrowed)?;
        wait::until("the channel is taken away", || Ok((!has(&extra)?).then_some(())))?;
        pump.kill();
        let (certificate, _) = steal(&pump, &device("ip-1")?)?;
        let mut mqtt = Mqtt::connect(&ward.worker.broker(), &certificate, "own")?.ok().context("connected")?;
        ensure!(
            mqtt.publish("ais/data/vitals/infusion-pump/ip-1", b"x")?.is_refusal(),
            "its right outlived the channel"
        );
        Ok(())
    })
}

#[test]
fn a_device_that_is_taken_out_of_service_erases_itself_and_is_revoked() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        let device = device("ip-1")?;
        let path = format!("devices/{device}/decommission");
        assert_eq!(refusal(ward.nurse.post::<serde_json::Value>(&path, &()))?, ProblemKind::Forbidden);
        ward.administrator.post::<serde_json::Value>(&path, &())?;
        let view = wait::until("the receipt", || {
            let view = ward.administrator.device(&device)?;
            Ok(view.decommissioning.as_ref().is_some_and(|order| order.received_at.is_some()).then_some(view))
        })?;
        ensure!(view.revocation.is_some(), "it is revoked with its receipt: {view:?}");
        let receipt = ward.administrator.bytes(&format!("devices/{device}/receipt"))?;
        ensure!(!receipt.is_empty(), "the receipt is kept");
        pump.kill();
        ensure!(steal(&pump, &device).is_err(), "nothing is left to steal");
        Ok(())
    })
}
