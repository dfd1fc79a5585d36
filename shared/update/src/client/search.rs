//! The search for a target through the delegations (TUF section 5.6.7): pre-order, depth first, without recursion.

use super::top::TargetsSteps;
use super::{Client, Command, File, Refusal, Step, Why};
use crate::limits::MAX_DELEGATIONS;
use crate::metadata::{Delegation, RoleName, Target, TargetPath};

/// A role that is still to be visited, and who delegates to it.
#[derive(Clone, Debug)]
struct Visit {
    role: RoleName,
    delegator: Option<RoleName>,
}

/// A search under way.
#[derive(Clone, Debug)]
pub(super) struct Search {
    path: TargetPath,
    /// Whom to visit, the next one last.
    stack: Vec<Visit>,
    visited: Vec<RoleName>,
    /// The role whose metadata is wanted.
    wanted: Option<Visit>,
    found: Option<Target>,
}

impl Search {
    pub(super) fn new(path: TargetPath) -> Self {
        let top = Visit { role: RoleName::targets(), delegator: None };
        Self { path, stack: vec![top], visited: Vec::new(), wanted: None, found: None }
    }

    /// The role whose metadata is wanted; none: the search has ended.
    pub(super) fn wanted(&self) -> Option<&RoleName> {
        self.wanted.as_ref().map(|visit| &visit.role)
    }

    pub(super) const fn found(&self) -> Option<&Target> {
        self.found.as_ref()
    }

    /// The role that names the target: the one that was visited last.
    pub(super) fn found_in(&self) -> Option<&RoleName> {
        self.found.as_ref().and_then(|_| self.visited.last())
    }
}

impl Client {
    /// Goes on until a role's metadata is wanted, or the search has ended.
    pub(super) fn walk(&mut self, search: &mut Search) -> Result<(), Refusal> {
        while let Some(visit) = search.stack.pop() {
            // 5.6.7.1: cycles end here, and so does a graph that is too large.
            if search.visited.contains(&visit.role) {
                continue;
            }
            if search.visited.len() > MAX_DELEGATIONS {
                search.stack.clear();
                break;
            }
            if let Some(delegator) = visit.delegator.clone() {
                let file = File::Targets(visit.role.clone());
                let missing = || Refusal::new(Step("5.6.7.1"), &file, Why::Missing);
                let (keys, known) = self.delegation_keys(&delegator, &visit.role).ok_or_else(missing)?;
                if !self.load_stored(&visit.role, &keys, &known) {
                    // A role that the snapshot does not list cannot be downloaded.
                    let is_listed =
                        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.role.file(&visit.role).is_some());
                    if !is_listed {
                        return Err(missing());
                    }
                    search.wanted = Some(visit);
                    return Ok(());
                }
            }
            self.visit(search, &visit.role);
            if search.found.is_some() {
                break;
            }
        }
        search.wanted = None;
        Ok(())
    }

    /// Looks for the target in a trusted role, or puts on the stack whom the role delegates it to.
    fn visit(&self, search: &mut Search, role: &RoleName) {
        search.visited.push(role.clone());
        let Some(targets) = self.targets.get(role).map(|signed| &signed.role) else { return };
        if let Some(target) = targets.targets.get(&search.path) {
            search.found = Some(target.clone());
            return;
        }
        // 5.6.7.2: in order of appearance; after a terminating delegation nobody else is asked.
        let mut next = Vec::new();
        for delegation in targets.delegated().filter(|delegation| delegation.paths.cover(&search.path)) {
            next.push(Visit { role: delegation.name.clone(), delegator: Some(role.clone()) });
            if delegation.terminating {
                search.stack.clear();
                break;
            }
        }
        search.stack.extend(next.into_iter().rev());
    }

    /// The metadata of the role that the search wants.
    pub(super) fn take_delegated(&mut self, bytes: Vec<u8>) -> Result<Vec<Command>, Refusal> {
        let super::Stage::Searching(search) = &self.stage else { return Ok(Vec::new()) };
        let mut search = search.clone();
        let Some(visit) = search.wanted.take() else { return Ok(Vec::new()) };
        let file = File::Targets(visit.role.clone());
        let missing = Refusal::new(Step("5.6.7.1"), &file, Why::Missing);
        let delegator = visit.delegator.as_ref();
        let (keys, known) =
            delegator.and_then(|delegator| self.delegation_keys(delegator, &visit.role)).ok_or(missing)?;
        // The same checks as for the top-level role, 5.6.2 to 5.6.6.
        let steps = TargetsSteps { hash: "5.6.7.1", signatures: "5.6.7.1", version: "5.6.7.1", expiry: "5.6.7.1" };
        let command = self.take_targets_role(&visit.role, bytes, &keys, &known, &steps)?;
        self.visit(&mut search, &visit.role);
        if search.found.is_none() {
            self.walk(&mut search)?;
        }
        self.stage = super::Stage::Searching(search);
        Ok(vec![command])
    }

    fn delegation_keys(
        &self,
        delegator: &RoleName,
        role: &RoleName,
    ) -> Option<(crate::metadata::RoleKeys, std::collections::BTreeMap<crate::key::KeyId, crate::key::Key>)> {
        let delegations = self.targets.get(delegator)?.role.delegations.as_ref()?;
        let delegation: &Delegation = delegations.roles.iter().find(|delegation| delegation.name == *role)?;
        Some((delegation.keys.clone(), delegations.keys.clone()))
    }
}
