//! What most tests of the distribution server begin with: a ward, and a manufacturer that has published a release.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    CatalogDevice, GatewayView, NewOffer, OfferDevices, OfferScope, OfferStanding, OfferView, OfferWhen, UpdateState,
};
use wardlink_update::package::{Note, ReleaseCounter};
use wardlink_update::uptane::Outcome;

use crate::Scene;
use crate::hub::Hub;
use crate::manufacturer::Manufacturer;
use crate::ward::Ward;
use crate::worker::Worker;

/// A ward whose manufacturer has published a release from 1A to 1B.
pub struct Stage<'s> {
    /// The ward.
    pub ward: Ward<'s>,
    /// The manufacturer.
    pub acme: Manufacturer<'s>,
}

impl<'s> Stage<'s> {
    /// Opens it around a worker of its own.
    pub fn open(scene: &'s Scene) -> Result<Self> {
        Self::around(scene, Worker::start(scene)?)
    }

    /// Opens it around a worker.
    pub fn around(scene: &'s Scene, worker: Worker<'s>) -> Result<Self> {
        let ward = Ward::around(scene, worker)?;
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&ward.administrator)?;
        acme.add("1A", "1B", b"the first program", &[])?;
        acme.publish(&ward.worker.origin())?;
        Ok(Self { ward, acme })
    }

    /// A pump is paired, and from then on speaks with the distribution server only.
    pub fn hub(&self, name: &str) -> Result<Hub> {
        self.ward.hub(name)
    }

    /// A person offers a revision.
    pub fn offer(&self, revision: &str, scope: OfferScope) -> Result<OfferView> {
        let path = self.acme.program(revision);
        let new = NewOffer { path, scope, when: OfferWhen::NextSafeMoment, added: Vec::new() };
        self.ward.administrator.post("offers", &new)
    }

    /// What the server knows of a gateway.
    pub fn gateway(&self, device: &Device) -> Result<GatewayView> {
        let gateways: Vec<GatewayView> = self.ward.administrator.get("gateways")?;
        gateways.into_iter().find(|known| known.gateway == *device).context("the gateway")
    }

    /// What the catalog says of a device.
    pub fn catalog(&self, device: &Device) -> Result<CatalogDevice> {
        self.ward.administrator.get(&format!("catalog/{device}"))
    }

    /// How far each device is with an offer.
    pub fn offered(&self, id: u64) -> Result<Vec<(Device, OfferStanding)>> {
        let page: OfferDevices = self.ward.administrator.get(&format!("offers/{id}/devices"))?;
        ensure!(page.next.is_none(), "they fit on one page");
        Ok(page.devices.into_iter().map(|known| (known.device, known.standing)).collect())
    }

    /// How far a device is with its update.
    pub fn standing(&self, device: &Device) -> Result<UpdateState> {
        Ok(self.catalog(device)?.entry.update)
    }
}

/// A note.
pub fn note(text: &str) -> Result<Note> {
    text.to_owned().try_into().context("a note")
}

/// The outcome of an update that was installed.
pub fn installed(revision: &str, counter: u32) -> Result<Outcome> {
    let release_counter = ReleaseCounter::new(counter).context("a counter")?;
    Ok(Outcome::Installed { revision: revision.parse()?, release_counter })
}
