//! Device classes as configuration, and the locks of identifiers.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::{Activity, DeviceClass, NewProvisioning, PairingPhase, Placement, ProblemKind, Role};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::mqtt::{Credentials, Mqtt};
use wardlink_tests::pump::Pump;
use wardlink_tests::scene;
use wardlink_tests::ward::{Ward, device};

fn class(api: &Api, client: &str) -> Result<DeviceClass> {
    let classes: Vec<DeviceClass> = api.get("classes")?;
    classes.into_iter().find(|class| class.client.as_str() == client).context("there is no such class")
}

fn switch(api: &Api, client: &str, enabled: bool) -> Result<DeviceClass> {
    api.put(&format!("classes/{client}"), &DeviceClass { enabled, ..class(api, client)? })
}

#[test]
fn a_class_is_switched_on_and_off_without_a_restart_and_paired_devices_go_on() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (_, engineer) = ward.administrator.add_person("erik", Role::BiomedicalEngineer)?;
        let scale = class(&ward.nurse, "scale")?;
        assert_eq!((scale.activity, scale.placement, scale.enabled), (Activity::Passive, Placement::External, false));
        let stranger = Credentials::stranger("scale/ip-1")?;
        let broker = ward.worker.broker();
        let connect = |client: &str| -> Result<bool> { Ok(Mqtt::connect(&broker, &stranger, client)?.is_ok()) };
        ensure!(!connect("one")?, "a class that is not enabled does not ask");
        let new = NewProvisioning { client: "scale".parse()?, identifier: None, secret: None };
        assert_eq!(refusal(engineer.post::<Provisioning>("provisioning", &new))?, ProblemKind::BadRequest);
        assert_eq!(refusal(switch(&ward.nurse, "scale", true))?, ProblemKind::Forbidden);
        ensure!(switch(&engineer, "scale", true)?.enabled);
        ensure!(connect("two")?, "the bridge knows at once");
        let file: Provisioning = engineer.post("provisioning", &new)?;
        let mut asking = Pump::start_with(scene, &file, "scale-1", &["--client", "scale", "--identifier", "scale-1"])?;
        ward.nurse.wait_for_pairing("scale-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        asking.kill();

        let mut paired = ward.paired_pump("ip-2")?;
        switch(&engineer, "infusion-pump", false)?;
        paired.wait_for("sent")?;
        let asker = Credentials::stranger("infusion-pump/ip-3")?;
        ensure!(Mqtt::connect(&broker, &asker, "three")?.is_err(), "nobody new asks");
        paired.kill();
        paired.restart()?;
        paired.wait_for("sent")?;
        assert_eq!(ward.nurse.device(&device("ip-2")?)?.state, DeviceState::Paired);
        Ok(())
    })
}

#[test]
fn a_new_class_is_made_and_a_reserved_word_is_none() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let made = DeviceClass {
            client: "syringe-pump".parse()?,
            name: "Syringe pump".to_owned(),
            name_de: "Spritzenpumpe".to_owned(),
            activity: Activity::Active,
            placement: Placement::External,
            enabled: true,
        };
        let api = &ward.administrator;
        assert_eq!(api.put::<DeviceClass>("classes/syringe-pump", &made)?, made);
        assert_eq!(class(api, "syringe-pump")?, made);
        assert_eq!(refusal(api.put::<DeviceClass>("classes/scale", &made))?, ProblemKind::BadRequest);
        let unnamed = DeviceClass { name: " ".to_owned(), ..made.clone() };
        assert_eq!(refusal(api.put::<DeviceClass>("classes/syringe-pump", &unnamed))?, ProblemKind::BadRequest);
        for reserved in ["register", "command", "meta", "data", "ctl", "renew"] {
            let mut body = serde_json::to_value(&made)?;
            body["client"] = reserved.into();
            let refused = api.put::<DeviceClass>(&format!("classes/{reserved}"), &body);
            assert_eq!(refusal(refused)?, ProblemKind::BadRequest, "{reserved}");
        }
        Ok(())
    })
}
