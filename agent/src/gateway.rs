//! `wardlink gateway`: between the distribution server and the devices of a ward (Distribution, figures 11 to 13).
//!
//! It couples like a pump ([`crate::pump`]), keeps a session with the server (`session`), verifies what is directed in full (`round`), and
//! installs it on the devices that cannot verify for themselves ([`devices`]), and in its own place ([`own`]). It is the broker of its devices ([`broker`]). It collects what its devices have stored, and sends it on ([`stored`]). What it has to know after a power
//! loss is in its [`store`]. Every failure is waited out: the server away, a full disk, a device that does not answer.

pub mod broker;
mod change_over;
mod classes;
mod database;
mod delivery;
pub mod devices;
pub mod doctor;
mod handing;
pub(crate) mod http;
pub mod journal;
mod last_seen;
mod newer;
pub mod own;
mod packages;
pub mod page;
pub(crate) mod places;
mod preparing;
pub(crate) mod report;
mod round;
mod serving;
pub(crate) mod session;
mod sets;
pub mod settings;
mod speaking;
pub mod status;
pub mod store;
pub mod stored;
mod timekeeping;
mod troubles;
pub mod unit;

use crate::bundle;
use crate::clock;
use crate::files::if_there;
use crate::link::Backoff;
use crate::mailbox::{self, Direction, Mailbox};
use crate::pump::{Membership, PumpError};
use crate::state::{Record, StateDirectory};
use broker::LocalBroker;
use change_over::Changed;
use devices::Passive;
use journal::{Entry, Events};
use packages::Packages;
pub use report::Unmade;
use serving::Serving;
use settings::Settings;
use status::Status;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::{Store, StoreError};
use stored::Holdings;
use timekeeping::Timekeeping;
use tokio::sync::{mpsc, watch};
use troubles::{Source, Troubles};
use wardlink_protocol::Device;
use wardlink_records::queue::BatchKey;
use wardlink_records::sending::Plan;
use wardlink_update::client::{Client, Stored};
use wardlink_update::metadata::Version;
use wardlink_update::uptane::Repository;

/// Pauses after the store, or a device, has failed.
const GO_ON: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// So many batches of stored data are sent at once, whatever the time.
const UPLOAD_AT: usize = 8;
const STORE_FILE: &str = "gateway.redb";
const PACKAGES_FOLDER: &str = "packages";

/// Why a gateway cannot go on, or has to wait.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its store or its cache.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The coupling.
    #[error(transparent)]
    Coupling(#[from] PumpError),
    /// Its own program, which cannot be taken back.
    #[error("the gateway's own program: {0}")]
    Own(#[from] devices::DeviceError),
    /// The server does not answer as it should.
    #[error("the server: {0}")]
    Server(String),
    /// The gateway has another program now, which is to be started.
    #[error("the gateway has another program now: start it again")]
    Restart,
    /// Our fault: no report can be made.
    #[error(transparent)]
    Report(#[from] Unmade),
    /// The caller's fault: a root that is none.
    #[error("{manufacturer}: it is no root to trust: {why}")]
    Root {
        /// Whose.
        manufacturer: String,
        /// Why not.
        why: String,
    },
}

/// What a person can tell a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look for updates now.
    Ask,
    /// What was shown may be installed: what this directive offers to this device, and nothing that came later.
    Confirm {
        /// Which device.
        device: Device,
        /// The directive's version, as it was shown.
        directive: Version,
    },
    /// Stored data that the server has refused is sent once more.
    Retry,
    /// A batch of stored data that the server has refused is discarded.
    Discard(Device, BatchKey),
}

/// How the outside sees a gateway, and talks to it.
#[derive(Clone)]
pub struct Handle {
    /// What there is to see.
    pub status: watch::Receiver<Status>,
    /// What a person says.
    pub orders: mpsc::Sender<Order>,
}

/// What all parts of a running gateway share.
pub(crate) struct Shared {
    settings: Settings,
    store: Store,
    packages: Packages,
    devices: Vec<Passive>,
    /// The gateway's own program, where it updates itself.
    own: Option<Passive>,
    /// Whether this run has reached the server.
    has_reached: AtomicBool,
    /// When this run began.
    begun: Instant,
    troubles: Arc<Troubles>,
    /// Says what happens.
    events: Arc<Events>,
    /// What it knows of its clock.
    time: Arc<Timekeeping>,
    stored: Mutex<Holdings>,
    /// The broker of its devices, where it is one.
    broker: Option<Arc<LocalBroker>>,
}

/// How a store is opened, at first and whenever the one before has failed.
type Opener = Box<dyn FnMut() -> Result<Store, StoreError> + Send>;

/// A gateway.
pub struct Gateway {
    settings: Settings,
    /// The store that was opened first; another one is opened where that could not be, or has failed.
    store: Option<Store>,
    opener: Opener,
    troubles: Arc<Troubles>,
    events: Arc<Events>,
    broker: Option<Arc<LocalBroker>>,
    status: watch::Sender<Status>,
    orders: mpsc::Receiver<Order>,
}

impl Gateway {
    /// Opens the gateway's store; nothing is sent before [`Gateway::run`]. Where the disk is full, [`Gateway::run`] waits that out. Fails where another process has
    /// the store.
    pub fn open(settings: Settings) -> Result<(Self, Handle), GatewayError> {
        let file = settings.directory.join(STORE_FILE);
        Self::on(settings, move || Store::open(&file))
    }

    /// The same with another store than the file in the gateway's directory.
    pub fn on(
        settings: Settings,
        opener: impl FnMut() -> Result<Store, StoreError> + Send + 'static,
    ) -> Result<(Self, Handle), GatewayError> {
        let mut opener: Opener = Box::new(opener);
        let store = match opener() {
            Ok(store) => Some(store),
            Err(error @ StoreError::InUse) => return Err(error.into()),
            // Whoever asks sees why, and it is opened again and again.
            Err(error) => {
                tracing::error!(%error, "the gateway's store cannot be opened yet");
                None
            }
        };
        let (status, watched) = watch::channel(Status::new(&settings));
        let (sender, orders) = mpsc::channel(8);
        let (troubles, broker) = (Arc::default(), LocalBroker::of(&settings));
        let events = Arc::new(Events::new(settings.state.characteristics.device.clone()));
        Ok((
            Self { settings, store, opener, troubles, events, broker, status, orders },
            Handle { status: watched, orders: sender },
        ))
    }

    /// What happens from now on.
    pub fn journal(&self) -> mpsc::UnboundedReceiver<Entry> {
        self.events.follow()
    }

    /// Works until `stop` changes.
    pub async fn run(
        mut self,
        mut membership: watch::Receiver<Option<Membership>>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), GatewayError> {
        let mut backoff = Backoff::new(GO_ON.0, GO_ON.1);
        loop {
            let error = match self.work(&mut membership, &mut stop).await {
                Ok(()) => return Ok(()),
                Err(error @ (GatewayError::Root { .. } | GatewayError::Restart)) => return Err(error),
                Err(error) => error,
            };
            tracing::error!(%error, "the gateway waits");
            self.troubles.find(Source::Gateway, "gateway", error.to_string());
            self.status.send_modify(|status| {
                let before = status.clone();
                status.fault(self.troubles.all());
                self.events.changed(&before, status);
            });
            status::write(&self.settings.directory, &self.status.borrow());
            tokio::select! {
                _ = stop.changed() => return Ok(()),
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    /// Opens what is stored and serves until something fails for good.
    async fn work(
        &mut self,
        membership: &mut watch::Receiver<Option<Membership>>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), GatewayError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => (self.opener)()?,
        };
        let plan = Plan { every_secs: Some(self.settings.upload_every.as_secs()), at_batches: Some(UPLOAD_AT) };
        let shared = Shared {
            stored: Mutex::new(Holdings::open(&store, self.settings.stored_bytes, plan, clock::now())?),
            packages: Packages::open(self.settings.directory.join(PACKAGES_FOLDER))?,
            devices: self.settings.passive(),
            own: own::device(&self.settings),
            has_reached: AtomicBool::new(false),
            begun: Instant::now(),
            settings: self.settings.clone(),
            store,
            troubles: Arc::clone(&self.troubles),
            events: Arc::clone(&self.events),
            time: Arc::new(Timekeeping::new(Arc::clone(&self.troubles))),
            broker: self.broker.clone(),
        };
        shared.begin()?;
        let of_hub = membership.clone();
        let serving = Serving::new(&shared, &self.status).run(membership, &mut self.orders, stop);
        match self.broker.as_ref().zip(self.settings.hub.as_ref()) {
            None => serving.await,
            Some((broker, given)) => tokio::select! {
                ended = serving => ended,
                never = broker::run(&shared, broker, given, of_hub) => match never {},
            },
        }
    }
}

impl Shared {
    /// Trusts the roots that were given beforehand, and ends what a power loss has interrupted.
    fn begin(&self) -> Result<(), GatewayError> {
        for (manufacturer, root) in &self.settings.roots {
            self.trust(&Repository::Image(manufacturer.clone()), root)?;
        }
        match self.change_over()? {
            Changed::Nothing => self.keep_what_runs(),
            Changed::Restart => return Err(GatewayError::Restart),
            Changed::Ended | Changed::Stuck => {}
        }
        if self.trial_ends()?.is_none() {
            own::end_watch();
        }
        Ok(())
    }

    /// Begins to trust a repository by its first root, unless one is trusted already: then only what follows from that one counts.
    fn trust(&self, repository: &Repository, root: &[u8]) -> Result<bool, GatewayError> {
        let stored = Stored { root: root.to_vec(), ..Stored::default() };
        if let Err(refused) = Client::start(stored, clock::now().as_secs()) {
            let (manufacturer, why) = (repository.to_string(), refused.to_string());
            return Err(GatewayError::Root { manufacturer, why });
        }
        Ok(self.store.trust(repository, root)?)
    }

    /// The device of that name for which this gateway installs.
    fn device(&self, device: &Device) -> Option<&Passive> {
        self.devices.iter().chain(&self.own).find(|passive| passive.device() == device)
    }

    /// Makes what the store says of the devices count at their broker, where the gateway is one.
    fn tell_broker(&self, member: Option<&Membership>) -> Result<(), StoreError> {
        self.broker.as_ref().map_or(Ok(()), |broker| broker.know(self, member))
    }

    /// The stored data of the devices.
    fn stored(&self) -> MutexGuard<'_, Holdings> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Erases what an earlier site has left where the gateway is not paired: the power may have failed between the end of a pairing and
/// [`wipe`]. Whoever calls it holds the state directory, and has not opened the store.
pub fn wipe_unless_paired(settings: &Settings) -> Result<(), GatewayError> {
    let pairing = StateDirectory::to_look_at(&settings.directory).read(Record::Pairing).map_err(PumpError::from)?;
    if pairing.is_none() {
        wipe(settings)?;
    }
    Ok(())
}

/// Erases everything that a gateway has stored beside its pairing: it has left its site. A program of its own that has yet to prove itself
/// goes, too, since nobody would know any more that it is on trial.
pub fn wipe(settings: &Settings) -> Result<(), GatewayError> {
    if let Some(own) = own::device(settings) {
        own.go_back()?;
        own::end_watch();
    }
    let directory = &settings.directory;
    let folders = [directory.join(PACKAGES_FOLDER), directory.join(broker::PORT), directory.join(broker::SEALED)];
    let files = [directory.join(STORE_FILE), directory.join(broker::FILE), status::file(directory)];
    let removed = files.iter().map(std::fs::remove_file).chain(folders.iter().map(std::fs::remove_dir_all));
    for removed in removed {
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::of_file(error).into()),
            _ => {}
        }
    }
    Ok(wipe_ports(settings).map_err(StoreError::of_file)?)
}

/// Erases what the gateway has written in a folder that it was given for the ports. What devices have written there themselves is theirs.
fn wipe_ports(settings: &Settings) -> std::io::Result<()> {
    let Some(ports) = &settings.ports else { return Ok(()) };
    let erase = |folder: &str| if_there(std::fs::remove_dir_all(ports.join(folder))).map(drop);
    erase(bundle::FOLDER)?;
    if settings.hub.is_some() {
        // Whatever lies there, it has received over the network.
        return erase(mailbox::FOLDER);
    }
    let mut devices = Mailbox::devices(ports).into_iter();
    devices.try_for_each(|device| Mailbox::new(ports, &device, Direction::Down, 0).clear())
}
