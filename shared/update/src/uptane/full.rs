//! Full verification, as a gateway does it (Uptane 5.4.4.2).

use super::check::{by, check_assignment, check_delegations, check_match, check_set};
use super::{Cause, Install, Refused, Repository, Shortcut, Transaction};
use crate::client::{Client, Command, Fetched, Refusal, Stored, Wanted};
use crate::director::{Directed, Directive, Order};
use crate::metadata::{RoleName, Target, TargetPath};
use crate::package::{AtomicMember, BoundFile, Delta, Given, Manufacturer, NotForUs, Release};
use crate::report::State;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wardlink_protocol::identity::{Device, KeyFingerprint};

/// What a gateway is bound to.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Who it is.
    pub gateway: Device,
    /// Its key, for packages that are encrypted to it; none: it can read none.
    pub key: Option<KeyFingerprint>,
    /// What it and the devices that are associated with it run, whether or not they are connected just now.
    pub present: Vec<State>,
}

/// How it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This file of this repository is wanted.
    Fetch(Repository, Wanted),
    /// Verification has ended: this may be installed, each transaction whole or not at all. None: there is nothing to do.
    Verified(Vec<Transaction>),
    /// The run was refused, and is over.
    Refused,
}

/// What a gateway hands on to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOn<'a> {
    /// The directive.
    pub server: &'a [u8],
    /// The metadata of the manufacturer's role that names the package.
    pub manufacturer: &'a [u8],
    /// The top-level targets of the manufacturer's image repository, for a device that follows rotated keys.
    pub delegator: &'a [u8],
}

/// A target that the manufacturer has to name as well.
#[derive(Debug)]
struct Check {
    manufacturer: Manufacturer,
    path: TargetPath,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The package of the order at this index.
    Package(usize),
    /// A delta to it.
    Delta(usize, BoundFile),
}

/// A run of full verification, at one fixed time.
#[derive(Debug)]
pub struct Full {
    bound: Bound,
    director: Client,
    images: BTreeMap<Manufacturer, Client>,
    /// What the director says, once it is verified.
    directed: Option<Directed>,
    checks: VecDeque<Check>,
    /// Whether the first check's search has begun.
    is_searching: bool,
    deltas: BTreeMap<TargetPath, Delta>,
    /// Which of a manufacturer's roles names a package.
    named_in: BTreeMap<TargetPath, RoleName>,
    is_refused: bool,
}

impl Full {
    /// Begins with what was stored of the director's repository, and of those of the manufacturers that are trusted.
    pub fn start(
        bound: Bound,
        director: Stored,
        images: BTreeMap<Manufacturer, Stored>,
        now: u64,
    ) -> Result<Self, Refused> {
        // 5.4.4.2 step 1: the time is given, and fixed for the whole run.
        let start = |of: &Repository, stored| {
            Client::start(stored, now).map_err(|refusal| Refused::new(root_step(of), of.clone(), refusal))
        };
        let director = start(&Repository::Director, director)?;
        let mut clients = BTreeMap::new();
        for (manufacturer, stored) in images {
            let client = start(&Repository::Image(manufacturer.clone()), stored)?;
            clients.insert(manufacturer, client);
        }
        let (checks, deltas) = (VecDeque::new(), BTreeMap::new());
        Ok(Self {
            bound,
            director,
            images: clients,
            directed: None,
            checks,
            is_searching: false,
            deltas,
            named_in: BTreeMap::new(),
            is_refused: false,
        })
    }

    /// What is wanted next.
    pub fn next(&self) -> Next {
        if self.is_refused {
            return Next::Refused;
        }
        let (repository, client) = match (&self.directed, self.checks.front()) {
            (None, _) => (Repository::Director, Some(&self.director)),
            (Some(directed), None) => return Next::Verified(self.transactions(directed)),
            (Some(_), Some(check)) => {
                (Repository::Image(check.manufacturer.clone()), self.images.get(&check.manufacturer))
            }
        };
        match client.map(Client::next) {
            Some(crate::client::Next::Fetch(wanted)) => Next::Fetch(repository, wanted),
            // `go_on` leaves no check behind whose client has nothing to fetch.
            _ => Next::Refused,
        }
    }

    /// Takes what the repository has of the file that was wanted: what to store of that repository. After a refusal the run is over,
    /// and the refused file is not stored.
    pub fn receive(&mut self, fetched: Fetched) -> Result<(Repository, Vec<Command>), Refused> {
        let received = self.take(fetched);
        self.is_refused |= received.is_err();
        received
    }

    fn take(&mut self, fetched: Fetched) -> Result<(Repository, Vec<Command>), Refused> {
        let Next::Fetch(repository, _) = self.next() else { return Ok((Repository::Director, Vec::new())) };
        let client = match &repository {
            Repository::Director => Some(&mut self.director),
            Repository::Image(manufacturer) => self.images.get_mut(manufacturer),
        };
        let Some(client) = client else { return Ok((repository, Vec::new())) };
        let commands = client.receive(fetched).map_err(|refusal| tuf(&repository, refusal))?;
        self.go_on()?;
        Ok((repository, commands))
    }

    /// Goes on until a file is wanted, or verification has ended.
    fn go_on(&mut self) -> Result<(), Refused> {
        use crate::client::Next as Of;
        if self.directed.is_none() {
            // 5.4.4.2 steps 2 to 5: root, timestamp, snapshot and targets of the director, each checked as 5.4.4.3 to 5.4.4.6 say.
            // Where its snapshot is the stored one (step 4), the stored targets are taken, and verified again.
            if !matches!(self.director.next(), Of::Ready) {
                return Ok(());
            }
            let directed = self.read_directive()?;
            self.checks = self.checks_of(&directed);
            self.directed = Some(directed);
        }
        loop {
            let Some(Check { manufacturer, path, .. }) = self.checks.front() else { return Ok(()) };
            let repository = Repository::Image(manufacturer.clone());
            // 5.2.6: who has to name the image; nobody else can.
            let Some(client) = self.images.get_mut(manufacturer) else {
                let cause = Cause::NoRepository(manufacturer.clone());
                return Err(Refused::new("5.4.4.2 step 10.1", repository, cause));
            };
            // 5.4.4.7: whoever is asked is a manufacturer, and is asked for its own models only. A wider delegation is followed nowhere.
            if matches!(client.next(), Of::Ready | Of::Found(_)) {
                check_delegations(client).map_err(by(repository.clone()))?;
            }
            match client.next() {
                // 5.4.4.2 steps 6 to 9: root, timestamp, snapshot and targets of the image repository.
                Of::Fetch(_) => return Ok(()),
                Of::Found(found) if self.is_searching => {
                    self.is_searching = false;
                    self.named_in.extend(client.found_in().map(|role| (path.clone(), role.clone())));
                    let named = found.ok_or_else(|| {
                        Refused::new("5.4.4.2 step 10.1", repository.clone(), Cause::Unnamed(path.clone()))
                    })?;
                    if let Some(check) = self.checks.pop_front() {
                        self.compare(&check, &named, repository)?;
                    }
                }
                // 5.4.4.2 step 10.1: the metadata of exactly the same path, by resolving delegations (5.4.4.7).
                Of::Ready | Of::Found(_) => {
                    client.search(path.clone()).map_err(|refusal| tuf(&repository, refusal))?;
                    self.is_searching = true;
                }
            }
        }
    }

    /// The director's targets, as 5.4.4.6 has a primary check them.
    fn read_directive(&self) -> Result<Directed, Refused> {
        let refused = |step, cause| Refused::new(step, Repository::Director, cause);
        let bytes = self.director.received(&RoleName::targets());
        let bytes = bytes.ok_or_else(|| refused("5.4.4.6 step 1", Cause::Missing))?;
        // 5.4.4.6 steps 6 and 7: no delegations, and no device more than once.
        let (_, directed) =
            Directive::parse(bytes).map_err(|invalid| refused(directive_step(&invalid), invalid.into()))?;
        // 5.2.3.1: for this gateway, so that no other one's is replayed here.
        if directed.gateway != self.bound.gateway {
            return Err(refused("5.2.3.1", Cause::Gateway(directed.gateway)));
        }
        for order in &directed.orders {
            self.check_order(&directed, order)?;
        }
        Ok(directed)
    }

    fn check_order(&self, directed: &Directed, order: &Order) -> Result<(), Refused> {
        let refused = |step, cause| Refused::new(step, Repository::Director, cause);
        for assignment in &order.assignments {
            // 5.4.4.6 step 8: every device that is listed is here.
            let state = self.state(&assignment.device);
            let absent = || refused("5.4.4.6 step 8", Cause::Absent(assignment.device.clone()));
            check_assignment(order, assignment, state.ok_or_else(absent)?).map_err(by(Repository::Director))?;
        }
        // [0029]: on every device of each member that is here.
        if !order.package.atomic.is_empty() {
            let given = |state: &State| {
                let package = directed.order_for(&state.characteristics.device).map(|(order, _)| &order.package);
                (state.characteristics.models(), package)
            };
            let given = self.bound.present.iter().map(given).map(|(models, package)| Given { models, package });
            check_set(&order.package, &given.collect::<Vec<_>>()).map_err(by(Repository::Director))?;
        }
        // 5.2.3.1.1: an encrypted image is for a key that this gateway has.
        if let Some(encrypted) = &order.encrypted {
            let key = self.bound.key.as_ref().ok_or(NotForUs::Key);
            let check = key.and_then(|key| encrypted.check_for(&self.bound.gateway, key));
            check.map_err(|other| refused("5.4.3.4 step 6", other.into()))?;
        }
        Ok(())
    }

    /// 5.4.4.2 step 10: what has to match. Step 6: nothing, where all that is directed is installed already.
    fn checks_of(&self, directed: &Directed) -> VecDeque<Check> {
        if directed.orders.iter().all(|order| self.is_done(order)) {
            return VecDeque::new();
        }
        let mut checks = VecDeque::new();
        for (index, order) in directed.orders.iter().enumerate() {
            let manufacturer = &order.package.manufacturer;
            let check =
                |path: &TargetPath, what| Check { manufacturer: manufacturer.clone(), path: path.clone(), what };
            checks.push_back(check(&order.path, What::Package(index)));
            let deltas: BTreeSet<_> =
                order.assignments.iter().filter_map(|assignment| assignment.delta.clone()).collect();
            checks.extend(deltas.into_iter().map(|file| check(&file.path.clone(), What::Delta(index, file))));
        }
        checks
    }

    fn is_done(&self, order: &Order) -> bool {
        order
            .assignments
            .iter()
            .all(|assignment| self.state(&assignment.device).is_some_and(|state| order.package.is_installed_on(state)))
    }

    /// 5.4.4.2 step 10.2
    fn compare(&mut self, check: &Check, named: &Target, repository: Repository) -> Result<(), Refused> {
        let orders = self.directed.as_ref().map(|directed| &directed.orders);
        let order = |index: usize| orders.and_then(|orders| orders.get(index));
        match &check.what {
            What::Package(index) => {
                let Some(order) = order(*index) else { return Ok(()) };
                check_match(order, named).map_err(by(repository))
            }
            What::Delta(index, file) => {
                let Some(order) = order(*index) else { return Ok(()) };
                let differs = |what| Cause::Differs { path: check.path.clone(), what };
                if !file.is(named) {
                    return Err(Refused::new("5.4.4.2 step 10.2.1", repository, differs("length or hash")));
                }
                match Release::of(&check.path, named) {
                    Ok(Some(Release::Delta(delta)))
                        if delta.result.path == order.path && delta.result.is(&order.target) =>
                    {
                        self.deltas.insert(check.path.clone(), delta);
                        Ok(())
                    }
                    Ok(_) => Err(Refused::new("5.4.4.2 step 10.2.2", repository, differs("what the delta leads to"))),
                    Err(invalid) => Err(Refused::new("5.4.4.2 step 10.2.2", repository, invalid)),
                }
            }
        }
    }

    /// What to hand on to a device with what it may install (Uptane 5.4.2.6), as it was received.
    pub fn handed_on(&self, install: &Install) -> Option<HandedOn<'_>> {
        let images = self.images.get(&install.package.manufacturer)?;
        let manufacturer = images.received(self.named_in.get(&install.path)?)?;
        let (server, delegator) =
            (self.director.received(&RoleName::targets())?, images.received(&RoleName::targets())?);
        Some(HandedOn { server, manufacturer, delegator })
    }

    fn state(&self, device: &Device) -> Option<&State> {
        self.bound.present.iter().find(|state| state.characteristics.device == *device)
    }

    /// What may be installed: by atomic set where there is one, by device otherwise.
    fn transactions(&self, directed: &Directed) -> Vec<Transaction> {
        let mut alone = Vec::new();
        let mut sets: BTreeMap<BTreeSet<AtomicMember>, Vec<Install>> = BTreeMap::new();
        for order in &directed.orders {
            for assignment in &order.assignments {
                let Some(state) = self.state(&assignment.device) else { continue };
                if order.package.is_installed_on(state) {
                    continue;
                }
                let install = Install {
                    device: assignment.device.clone(),
                    path: order.path.clone(),
                    target: order.target.clone(),
                    package: order.package.clone(),
                    shortcut: assignment.delta.as_ref().and_then(|file| self.shortcut(file, state)),
                    added: assignment.added.clone(),
                    encrypted: order.encrypted.clone(),
                    when: assignment.when,
                };
                if order.package.atomic.is_empty() {
                    alone.push(Transaction { installs: vec![install] });
                } else {
                    sets.entry(order.package.set()).or_default().push(install);
                }
            }
        }
        sets.into_values().map(|installs| Transaction { installs }).chain(alone).collect()
    }

    /// The delta, where the device's image is its source.
    fn shortcut(&self, file: &BoundFile, state: &State) -> Option<Shortcut> {
        let Delta { format, source, .. } = self.deltas.get(&file.path)?;
        let image = state.image.as_ref()?;
        let is_source = image.length == source.length && image.sha256 == source.sha256;
        is_source.then(|| Shortcut { file: file.clone(), format: *format, source: source.clone() })
    }
}

fn root_step(of: &Repository) -> &'static str {
    match of {
        Repository::Director => "5.4.4.2 step 2",
        Repository::Image(_) => "5.4.4.2 step 6",
    }
}

/// The step of 5.4.4.2 in which TUF's workflow failed: TUF 5.3 is root, 5.4 timestamp, 5.5 snapshot, 5.6 targets.
fn tuf(of: &Repository, refusal: Refusal) -> Refused {
    let section = refusal.step.0.get(..3).unwrap_or_default();
    let step = match (of, section) {
        (_, "5.2" | "5.3") => root_step(of),
        (Repository::Director, "5.4") => "5.4.4.2 step 3",
        (Repository::Director, "5.5") => "5.4.4.2 step 4",
        (Repository::Director, _) => "5.4.4.2 step 5",
        (Repository::Image(_), "5.4") => "5.4.4.2 step 7",
        (Repository::Image(_), "5.5") => "5.4.4.2 step 8",
        (Repository::Image(_), _) if refusal.step.0.starts_with("5.6.7") => "5.4.4.2 step 10.1",
        (Repository::Image(_), _) => "5.4.4.2 step 9",
    };
    Refused::new(step, of.clone(), refusal)
}

pub(super) const fn directive_step(invalid: &crate::director::InvalidDirective) -> &'static str {
    use crate::director::InvalidDirective as Of;
    match invalid {
        Of::Metadata(_) => "5.4.4.6 step 3",
        Of::Delegations => "5.4.4.6 step 6",
        Of::Twice(_) => "5.4.4.6 step 7",
        Of::TooMany { .. } => "5.4.4.6 step 8",
        Of::Empty => "5.2.3.1",
        Of::Encrypted { .. } => "5.4.3.4 step 6",
        Of::Order { .. } | Of::Assignment(..) | Of::Association(_) => "5.4.3.4 step 4",
    }
}
