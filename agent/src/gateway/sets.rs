//! Atomic sets with members that verify for themselves (Distribution, paragraph 0029): all are prepared before the first changes over, all work before the first forgets what it
//! ran, and where one cannot, all go back.
//!
//! A gateway asks such a device for nothing and waits for what it says ([`crate::bundle`]); what it has said itself lies in the device's bundle until the device has followed it. Those
//! for which the gateway installs change over last, with the journal of `change_over`: that takes a moment, and goes back where one of them cannot.

use super::change_over::Changed;
use super::devices::Passive;
use super::preparing::Unprepared;
use super::round::{LOOK_AGAIN_SECS, Ready, Round, RoundEnd, try_again_at};
use super::store::{
    Change, ChangeOverPhase, Journal, OfDevice, Part, SetPhase, SetUnderWay, Sets, StoreError, Verifying, Work,
};
use super::troubles::Source;
use super::{GatewayError, Shared};
use crate::bundle::{self, Say, Standing, Step, Word};
use crate::clock;
use std::time::Duration;
use wardlink_protocol::Device;
use wardlink_update::director::When;
use wardlink_update::metadata::Version;
use wardlink_update::package::Note;
use wardlink_update::uptane::{Full, Install, Notification, Outcome, Transaction};

/// How long those that change over have to prove themselves.
const PATIENCE: Duration = Duration::from_hours(1);

impl SetUnderWay {
    /// What this directive says of a set, with those of its devices that verify for themselves.
    fn new(directive: Version, transaction: &Transaction, verifying: &[Device]) -> Self {
        let installs = transaction.installs.iter().filter(|install| verifying.contains(&install.device));
        let member = |install: &Install| Some((install.device.clone(), install.path.clone(), install.target.sha256()?));
        let (members, parts) = (installs.filter_map(member).collect(), Vec::new());
        let (phase, reason, since) = (SetPhase::Commit, String::new(), clock::now());
        Self { directive, phase, reason, members, parts, since }
    }

    /// Whether this is that set, however far it is.
    fn is(&self, other: &Self) -> bool {
        (self.directive, &self.members) == (other.directive, &other.members)
    }

    /// Whether a device is a member that has to go on with it: nothing else is begun with one until then.
    pub(super) fn holds(&self, device: &Device, known: &Verifying) -> bool {
        let is_member = self.members.iter().any(|(member, ..)| member == device);
        match self.phase {
            SetPhase::Commit | SetPhase::Passive => is_member || self.has_prepared(device),
            SetPhase::Settle | SetPhase::Abort => is_member && self.step_of(known.of(device)).is_some(),
        }
    }

    /// Whether the gateway has prepared it for a device, whose change-over is still to come, or under way.
    pub(super) fn has_prepared(&self, device: &Device) -> bool {
        let is_to_come = matches!(self.phase, SetPhase::Commit | SetPhase::Passive);
        is_to_come && self.parts.iter().any(|(part, _)| part.after.characteristics.device == *device)
    }

    /// Whether a standing is that of a member.
    fn is_of(&self, device: &Device, standing: &Standing) -> bool {
        let mut members = self.members.iter();
        standing.directive == self.directive
            && members.any(|(member, path, _)| member == device && *path == standing.path)
    }

    /// How far a member is, as it said last; none where it has ended it, one way or the other.
    fn step_of(&self, known: Option<&OfDevice>) -> Option<Step> {
        let known = known?;
        let standing = known.standing.as_ref()?;
        self.is_of(&known.state.characteristics.device, standing).then_some(standing.step)
    }

    /// How the members stand: how far each is that is still at it, and whether those that are not have installed it.
    fn look(&self, known: &Verifying) -> Look {
        let mut look = Look { under_way: 0, working: 0, left: None };
        for (device, _, image) in &self.members {
            let of = known.of(device);
            match self.step_of(of) {
                Some(step) => {
                    look.under_way = look.under_way.saturating_add(1);
                    look.working = look.working.saturating_add(usize::from(step == Step::Works));
                }
                None if of.and_then(|of| of.state.image.as_ref()).is_some_and(|is| is.sha256 == *image) => {}
                None => {
                    let why = of.and_then(|of| of.failed.clone()).unwrap_or_else(|| "it has given it up".to_owned());
                    look.left.get_or_insert_with(|| format!("{device}: {why}"));
                }
            }
        }
        look
    }
}

/// How the members of a set stand.
struct Look {
    under_way: usize,
    working: usize,
    /// Why the first one that could not install it could not.
    left: Option<String>,
}

impl Shared {
    /// Goes on with every set that is under way.
    pub(super) fn go_on_with_sets(&self, end: &mut RoundEnd) -> Result<(), GatewayError> {
        let Sets(sets) = self.store.value()?.unwrap_or_default();
        for set in sets {
            let next = self.go_on_with_set(set.clone(), end)?;
            self.store.change(|change| replace(change, &set, next))?;
        }
        Ok(self.end_strays(end)?)
    }

    /// A device that has changed over for a set which this gateway does not know, such as one before it, waits for a word that nobody else gives: it goes back. Words that have been
    /// heard are taken away.
    fn end_strays(&self, end: &mut RoundEnd) -> Result<(), StoreError> {
        let Sets(sets) = self.store.value()?.unwrap_or_default();
        let Verifying(known) = self.store.value()?.unwrap_or_default();
        for one in known {
            let device = &one.state.characteristics.device;
            let is_known = |standing: &Standing| sets.iter().any(|set| set.is_of(device, standing));
            let word = match &one.standing {
                Some(standing) if is_known(standing) => continue,
                Some(Standing { path, directive, step: Step::Tries | Step::Works }) => {
                    let say = Say::Abort(Note::cut("its gateway knows of no such set"));
                    Some(Word { path: path.clone(), directive: *directive, say })
                }
                _ => None,
            };
            self.say_of_set(device, word.as_ref(), end);
        }
        Ok(())
    }

    /// Goes on with a set; none where it has ended.
    fn go_on_with_set(&self, mut set: SetUnderWay, end: &mut RoundEnd) -> Result<Option<SetUnderWay>, GatewayError> {
        let known: Verifying = self.store.value()?.unwrap_or_default();
        let look = set.look(&known);
        if set.phase == SetPhase::Commit {
            // A clock that was ahead gives nobody more time.
            set.since = set.since.min(clock::now());
            let until = set.since.after(PATIENCE);
            let late = (clock::now() >= until).then(|| "a member has not proved itself in time".to_owned());
            if let Some(why) = look.left.clone().or(late) {
                self.give_up(&mut set, why)?;
            } else if look.working < set.members.len() {
                end.again(until.as_secs());
            } else if self.may_change_over(&set)? {
                set.phase = if set.parts.is_empty() { SetPhase::Settle } else { SetPhase::Passive };
                self.begin_passive(&set)?;
            } else {
                end.again(clock::now().as_secs().saturating_add(LOOK_AGAIN_SECS));
            }
        }
        if set.phase == SetPhase::Passive {
            match self.change_over()? {
                Changed::Stuck => {
                    end.again(try_again_at());
                    return Ok(Some(set));
                }
                Changed::Restart => return Err(GatewayError::Restart),
                Changed::Nothing | Changed::Ended => {}
            }
            let mut all = true;
            for (part, _) in &set.parts {
                let passive = self.device(&part.after.characteristics.device);
                match passive.map(|passive| self.state_now(passive)).transpose()? {
                    Some(Ok(state)) => all &= state == part.after,
                    None => all = false,
                    // Its record cannot be read: nobody knows until it can.
                    Some(Err(error)) => {
                        let what = part.after.characteristics.device.to_string();
                        self.troubles.find(Source::Round, what, error.to_string());
                        end.again(try_again_at());
                        return Ok(Some(set));
                    }
                }
            }
            set.phase = if all { SetPhase::Settle } else { SetPhase::Abort };
            if !all {
                "a member for which the gateway installs could not change over".clone_into(&mut set.reason);
            }
            // Stored before it is said.
            self.store.change(|change| put(change, &set))?;
            self.keep_what_runs();
        }
        let say = match set.phase {
            SetPhase::Commit | SetPhase::Passive => Say::Commit,
            SetPhase::Settle => Say::Settle,
            SetPhase::Abort => Say::Abort(Note::cut(&set.reason)),
        };
        for (device, path, _) in &set.members {
            let word = Word { path: path.clone(), directive: set.directive, say: say.clone() };
            self.say_of_set(device, set.step_of(known.of(device)).map(|_| &word), end);
        }
        let is_over = matches!(set.phase, SetPhase::Settle | SetPhase::Abort) && look.under_way == 0;
        Ok((!is_over).then_some(set))
    }

    /// It is taken back: told at once for those for which the gateway speaks.
    fn give_up(&self, set: &mut SetUnderWay, why: String) -> Result<(), StoreError> {
        (set.phase, set.reason) = (SetPhase::Abort, why);
        self.store.change(|change| {
            for (part, _) in &set.parts {
                let device = part.after.characteristics.device.clone();
                change.set_work(&device, &Work { ended: true, ..Work::new(set.directive) })?;
                let path = Some(part.path.clone());
                let outcome = Outcome::failed(&set.reason);
                change.tell(&Notification { device, directive: set.directive, path, outcome })?;
            }
            put(change, set)
        })?;
        // What was prepared is of no use any more; what another change-over needs stays.
        if self.store.value::<Journal>()?.is_none() {
            self.keep_what_runs();
        }
        Ok(())
    }

    /// Whether those for which the gateway installs may change over now: it is long ago that they were asked. Nobody else's journal is under way then.
    fn may_change_over(&self, set: &SetUnderWay) -> Result<bool, StoreError> {
        let now = clock::now().as_secs();
        let may = |(part, when): &(Part, When)| {
            let is_busy = self.device(&part.after.characteristics.device).is_some_and(Passive::is_busy);
            let waits = match when {
                When::AtOnce | When::OnConfirmation => false,
                When::NextSafeMoment => is_busy,
                When::Window { from, until } => !(*from..*until).contains(&now),
            };
            !waits && (part.during_therapy || !is_busy)
        };
        Ok(set.parts.iter().all(may) && self.store.value::<Journal>()?.is_none())
    }

    /// The others change over: from now on there is a journal.
    fn begin_passive(&self, set: &SetUnderWay) -> Result<(), StoreError> {
        self.store.change(|change| {
            if !set.parts.is_empty() {
                let parts = set.parts.iter().map(|(part, _)| part.clone()).collect();
                let phase = ChangeOverPhase::Commit;
                change.set(&Journal { directive: set.directive, phase, reason: String::new(), parts })?;
            }
            put(change, set)
        })
    }

    /// What is said to a member; none: nothing any more. Its folder holds up nobody else.
    fn say_of_set(&self, device: &Device, word: Option<&Word>, end: &mut RoundEnd) {
        let Some(ports) = &self.settings.ports else { return };
        if let Err(error) = bundle::put_word(&bundle::folder(ports, device), word) {
            self.troubles.find(Source::Round, format!("updates of {device}"), format!("its folder: {error}"));
            end.again(try_again_at());
        }
    }
}

/// When a part may change over.
fn when_of(transaction: &Transaction, part: &Part) -> When {
    let mut installs = transaction.installs.iter();
    let install = installs.find(|install| install.device == part.after.characteristics.device);
    install.map_or(When::AtOnce, |install| install.when)
}

/// Those of a transaction for which the gateway installs.
fn others(transaction: &Transaction, verifying: &[Device]) -> Transaction {
    let installs = transaction.installs.iter().filter(|install| !verifying.contains(&install.device));
    Transaction { installs: installs.cloned().collect() }
}

/// Stores how far a set is.
fn put(change: &Change<'_>, set: &SetUnderWay) -> Result<(), StoreError> {
    replace(change, set, Some(set.clone()))
}

/// Stores what a set is now; none: it has ended.
fn replace(change: &Change<'_>, set: &SetUnderWay, now: Option<SetUnderWay>) -> Result<(), StoreError> {
    let Sets(mut sets) = change.value()?.unwrap_or_default();
    sets.retain(|other| !other.is(set));
    sets.extend(now);
    change.set(&Sets(sets))
}

impl Round<'_> {
    /// Whether a device of this transaction has to go on with a set that is under way.
    pub(super) fn is_held(&self, transaction: &Transaction) -> Result<bool, StoreError> {
        let Sets(sets) = self.shared.store.value()?.unwrap_or_default();
        let known: Verifying = self.shared.store.value()?.unwrap_or_default();
        Ok(transaction.installs.iter().any(|install| sets.iter().any(|set| set.holds(&install.device, &known))))
    }

    /// Hands a set on, and has it changed over as soon as all of it is prepared. Whether something of it still waits.
    pub(super) async fn install_set(
        &self,
        full: &Full,
        (transaction, verifying, ready): (&Transaction, &[Device], &[Ready<'_>]),
        version: Version,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        let is_verifying = |one: &&Ready<'_>| verifying.contains(&one.0.device);
        let mut set = SetUnderWay::new(version, transaction, verifying);
        for one in ready.iter().filter(is_verifying) {
            if let Err(why) = self.hand_on(full, one, end).await? {
                let alone = Transaction { installs: vec![one.0.clone()] };
                self.failed(&alone, version, &why)?;
                let why = format!("{}: {why}", one.0.device);
                return self.end_set(set, transaction, verifying, &why, end);
            }
        }
        let known: Verifying = self.shared.store.value()?.unwrap_or_default();
        let prepared = |(device, ..): &(Device, _, _)| set.step_of(known.of(device)) == Some(Step::Prepared);
        if !set.members.iter().all(prepared) {
            return Ok(true);
        }
        if self.is_overtaken(version)? {
            return self.gives_way(end);
        }
        let others = others(transaction, verifying);
        if !others.installs.is_empty() {
            if self.shared.store.value::<Journal>()?.is_some() {
                // What another change-over may go back to stays as it is.
                end.again(try_again_at());
                return Ok(true);
            }
            if let Err((device, why)) = self.may_begin(&others, version)? {
                return self.postponed(&others, &device, why, version, end);
            }
            let ready: Vec<Ready<'_>> = ready.iter().filter(|one| !is_verifying(one)).cloned().collect();
            // What is written waits from now on for those that write for themselves.
            for install in &others.installs {
                self.tell(&install.device, version, Some(install), Outcome::Begun)?;
            }
            match self.prepare(&others, &ready) {
                Ok(parts) => {
                    set.parts = parts.into_iter().map(|part| (part.clone(), when_of(&others, &part))).collect();
                }
                Err(Unprepared::NotNow(device, why)) => return self.not_now(&others, (&device, &why), version, end),
                Err(Unprepared::Failed(why)) => return self.end_set(set, transaction, verifying, &why, end),
            }
        }
        self.shared.store.change(|change| put(change, &set))?;
        self.shared.go_on_with_sets(end)?;
        Ok(true)
    }

    /// One member cannot: those that verify for themselves are told, and the server of the others. Whether something of it still waits.
    fn end_set(
        &self,
        mut set: SetUnderWay,
        transaction: &Transaction,
        verifying: &[Device],
        why: &str,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        (set.phase, set.reason) = (SetPhase::Abort, why.to_owned());
        let mut untold = Vec::new();
        for install in others(transaction, verifying).installs {
            if !self.shared.store.work(&install.device, set.directive)?.ended {
                untold.push(install);
            }
        }
        self.failed(&Transaction { installs: untold }, set.directive, why)?;
        self.shared.store.change(|change| put(change, &set))?;
        self.shared.go_on_with_sets(end)?;
        Ok(true)
    }

    /// A member has ended it by itself while others are still at it: those are told.
    pub(super) fn end_set_of(
        &self,
        transaction: &Transaction,
        verifying: &[Device],
        version: Version,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        let known: Verifying = self.shared.store.value()?.unwrap_or_default();
        let set = SetUnderWay::new(version, transaction, verifying);
        let look = set.look(&known);
        let mut are_told = true;
        for install in others(transaction, verifying).installs {
            are_told &= self.shared.store.work(&install.device, version)?.ended;
        }
        if look.under_way == 0 && are_told {
            return Ok(false);
        }
        let why = look.left.unwrap_or_else(|| "a member could not be installed".to_owned());
        self.end_set(set, transaction, verifying, &why, end)
    }
}

#[cfg(test)]
mod tests;
