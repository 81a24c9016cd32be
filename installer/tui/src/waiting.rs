//! What takes a while and is done by whoever runs the screens, on a thread of its own: meanwhile they draw and take keys.
//!
//! ```text
//!   first page ─▶ which hosts are on the disks ─▶ App::formers         the page of the disks is not left before
//!   Install    ─▶ is it the same machine, may it be ─▶ App::begin, App::refuse or App::changed       Esc takes it back
//! ```

use std::collections::BTreeMap;

use xenolith_installer::{Plan, PlanError, plan};
use xenolith_machine::Machine;
use xenolith_settings::Problem;
use xenolith_terminal::Key;

use crate::app::{App, Effect};
use crate::page::{Item, Page, items};

const FORMERS: &str = "One moment: the hosts on these disks are being asked what can be kept of them.";
const CONFIRMED: &str =
    "One moment: the machine is looked at once more, and nothing is written yet. Esc takes it back.";

/// What is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    /// Which hosts are on the disks.
    formers: bool,
    /// Somebody wants to go on from the disks when that is known.
    next: bool,
    /// What was confirmed is being checked.
    confirmed: bool,
}

impl Waiting {
    /// Nobody wants to go on any more.
    pub(crate) fn stay(&mut self) {
        self.next = false;
    }
}

impl App {
    /// With hosts on the disks that are still being looked at.
    #[must_use]
    pub fn looking_for_formers(mut self) -> Self {
        self.waiting.formers = true;
        self
    }

    /// What can be kept of the hosts that are on disks already, in words, by the places of the disks.
    pub fn formers(&mut self, formers: BTreeMap<usize, Vec<String>>) {
        let focused = items(self).into_iter().filter(Item::takes_focus).nth(self.focus);
        let goes_on = self.page == Page::Disk && self.waiting.next;
        (self.waiting.formers, self.waiting.next) = (false, false);
        self.form.formers = formers;
        // A choice may have come in between, and the focus stays on what it was on.
        let place = items(self)
            .iter()
            .filter(|item| item.takes_focus())
            .position(|item| Some(item) == focused.as_ref());
        self.focus = place.unwrap_or(self.focus);
        // With a host to be kept there is something new to choose.
        if goes_on && self.form.formers.is_empty() {
            self.next();
        }
    }

    /// What this page waits for, in words.
    pub(crate) fn waits_for(&self) -> Option<&'static str> {
        match self.page {
            Page::Disk if self.waiting.formers => Some(FORMERS),
            Page::Summary if self.waiting.confirmed => Some(CONFIRMED),
            _ => None,
        }
    }

    /// Whether what was confirmed is still wanted.
    pub fn is_confirmed(&self) -> bool {
        self.waiting.confirmed
    }

    /// What was filled in comes to this on a machine that was looked at again.
    ///
    /// # Errors
    /// Why there is no plan for it.
    pub fn plan_on(&self, machine: &Machine) -> Result<Plan, PlanError> {
        plan(machine, &self.form.unchecked(&self.machine, &mut |_, _| ()), &self.image, self.seed)
    }

    /// The machine is another one than was shown: nothing was done, and its disks are chosen anew. The hosts on them are
    /// [looked for](App::looking_for_formers) again.
    pub fn changed(&mut self, machine: Machine, how: &[String]) {
        let nics = |machine: &Machine| machine.nics.iter().map(|nic| nic.mac.clone()).collect::<Vec<_>>();
        if nics(&machine) != nics(&self.machine) {
            (self.form.interface, self.form.bond) = Default::default();
        }
        // Places in the list of the machine before.
        self.form.disks.clear();
        self.form.storage_disks.clear();
        self.form.formers.clear();
        self.form.short = false;
        (self.machine, self.plan) = (machine, None);
        self.waiting = Waiting { formers: true, ..Waiting::default() };
        self.go(Page::Disk);
        let what =
            "The machine has changed since it was looked at. Nothing was done; choose again.".to_owned();
        let said = |what| Problem { at: "disk".to_owned(), what };
        self.problems = [what].into_iter().chain(how.iter().cloned()).map(said).collect();
    }

    pub(crate) fn confirm(&mut self) -> Effect {
        self.waiting.confirmed = true;
        self.problems.clear();
        Effect::Install
    }

    pub(crate) fn no_longer_confirmed(&mut self) {
        self.waiting.confirmed = false;
    }

    /// What a key does while what was confirmed is being checked: nothing that would change it.
    pub(crate) fn key_meanwhile(&mut self, key: Key) -> Effect {
        match key {
            Key::Help | Key::Char('?') => self.help = true,
            Key::Shell => return Effect::Shell,
            Key::Back => {
                self.no_longer_confirmed();
                self.go(Page::Summary);
            }
            _ => {}
        }
        Effect::None
    }

    /// To the page after this one. What hosts the disks hold decides what is asked after their page, and is known before that.
    pub(crate) fn next_when_known(&mut self) {
        self.waiting.next = self.waiting.formers && self.page == Page::Disk;
        if !self.waiting.next {
            self.next();
        }
    }
}
