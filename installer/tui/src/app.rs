//! The state of the screens, and what a key makes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use xenolith_answers::Answers;
use xenolith_installer::{Event, Image, Plan};
use xenolith_layout::{Seed, seal::RecoveryKey};
use xenolith_machine::{Machine, judge};
use xenolith_settings::Problem;
use xenolith_terminal::Key;

use crate::field::Field;
use crate::form::Form;
use crate::page::{Button, Item, Page, items};
use crate::progress::Progress;
use crate::records::{Records, Volume};
use crate::waiting::Waiting;

/// The longest text that a field takes; an RSA key of 16384 bits fits.
const LONGEST: usize = 4096;

/// A keyboard that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyboard {
    /// Its name, as answers have it.
    pub name: String,
    /// What people call it.
    pub label: String,
}

/// What whoever runs the screens has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing but drawing.
    None,
    /// See whether what was confirmed can be done on the machine as it is now; [`App::begin`], [`App::refuse`] or [`App::changed`]
    /// tells what came of it. Whoever has [taken it back](App::is_confirmed) by then does not want it any more.
    Install,
    /// Go on with the step that failed.
    Retry,
    /// Load this keyboard, so that what is typed next is what it says; [`App::keyboard_note`] tells what came of it.
    Keyboard(String),
    /// Leave the screens for a shell, and come back.
    Shell,
    /// Look for volumes that records can be saved on; [`App::volumes`] tells which there are.
    LookForVolumes,
    /// Save records on this device; [`App::saved`] tells how that ended.
    SaveTo(String),
    /// Send logs to this server: a URL and why it is believed. [`App::saved`] tells how that ended.
    SendTo(String),
    /// Start the machine anew.
    Restart,
    /// Switch the machine off.
    PowerOff,
    /// End without having done anything.
    Leave,
}

/// The screens.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) machine: Machine,
    pub(crate) image: Image,
    pub(crate) page: Page,
    pub(crate) form: Form,
    /// Which of the items that take it has the focus.
    pub(crate) focus: usize,
    pub(crate) problems: Vec<Problem>,
    pub(crate) plan: Option<Plan>,
    pub(crate) progress: Progress,
    pub(crate) records: Records,
    pub(crate) help: bool,
    pub(crate) keyboards: Vec<Keyboard>,
    pub(crate) keyboard_note: Option<String>,
    pub(crate) seed: Seed,
    pub(crate) zones: BTreeSet<String>,
    pub(crate) waiting: Waiting,
}

impl App {
    /// The first page. `seed` is where GUIDs come from, `zones` are the time zones that the image knows.
    pub fn new(machine: Machine, image: Image, seed: Seed, zones: BTreeSet<String>) -> Self {
        let offered: Vec<usize> = machine
            .disks
            .iter()
            .enumerate()
            .filter(|(_, disk)| judge(&machine, disk).is_offered())
            .map(|(index, _)| index)
            .collect();
        // A single disk is no choice, but only if nothing is lost by it.
        let disks = match offered.as_slice() {
            [only] if machine.disks[*only].content.is_empty() => vec![*only],
            _ => Vec::new(),
        };
        let form = Form { disks, ..Form::default() };
        let mut app = Self {
            machine,
            image,
            page: Page::Welcome,
            form,
            focus: 0,
            problems: Vec::new(),
            plan: None,
            progress: Progress::default(),
            records: Records::default(),
            help: false,
            keyboards: Vec::new(),
            keyboard_note: None,
            seed,
            zones,
            waiting: Waiting::default(),
        };
        app.go(Page::Welcome);
        app
    }

    /// With a choice of keyboards, of which the first one is what the console has now. Without one nothing is asked.
    #[must_use]
    pub fn with_keyboards(mut self, keyboards: Vec<Keyboard>) -> Self {
        self.keyboards = keyboards;
        self.go(self.page);
        self
    }

    /// What came of loading a keyboard, in words for whoever has chosen it.
    pub fn keyboard_note(&mut self, words: impl Into<String>) {
        self.keyboard_note = Some(words.into());
    }

    /// The page that is shown.
    pub fn page(&self) -> Page {
        self.page
    }

    /// What was filled in.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// The plan that was confirmed, or is to be.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// The answers that were filled in. Takes a moment, in which the password is hashed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn answers(&self) -> Result<Answers, Vec<Problem>> {
        self.form.answers(&self.machine)
    }

    /// What a key does.
    pub fn key(&mut self, key: Key) -> Effect {
        if self.help {
            self.help = false;
            return Effect::None;
        }
        if self.page == Page::Progress && self.progress.log.scroll(key) {
            return Effect::None;
        }
        if self.is_confirmed() {
            return self.key_meanwhile(key);
        }
        let items = items(self);
        let focusable: Vec<&Item> = items.iter().filter(|item| item.takes_focus()).collect();
        let focused = focusable.get(self.focus).copied();
        let last = focusable.len().saturating_sub(1);
        match key {
            Key::Help => self.help = true,
            Key::Shell => return Effect::Shell,
            Key::Up => self.focus = self.focus.saturating_sub(1),
            Key::Down => self.focus = (self.focus + 1).min(last),
            Key::PageUp | Key::Home => self.focus = 0,
            Key::PageDown | Key::End => self.focus = last,
            Key::Back => return self.back(),
            Key::Left | Key::Right => match focused {
                Some(Item::Choice { field, .. }) => return self.turn(*field, key == Key::Right),
                Some(Item::Button(_)) if key == Key::Left => self.focus = self.focus.saturating_sub(1),
                Some(Item::Button(_)) => self.focus = (self.focus + 1).min(last),
                _ => {}
            },
            Key::Enter => match focused {
                Some(Item::Button(button)) => return self.press(*button),
                Some(Item::Option { index, .. }) if self.records.is_open() => {
                    return self.records.save(*index);
                }
                Some(Item::Option { index, .. }) => self.choose(*index),
                // The last that has to be filled in.
                Some(Item::Input { field: Field::PasswordAgain, value, .. })
                    if self.form.short && !value.is_empty() =>
                {
                    self.next();
                }
                Some(Item::Choice { .. } | Item::Input { .. }) => self.focus += 1,
                _ => {}
            },
            Key::Char(character) => match focused {
                Some(Item::Input { field, .. }) => self.type_into(*field, character),
                Some(Item::Option { index, .. }) if character == ' ' && !self.records.is_open() => {
                    self.mark(*index)
                }
                Some(Item::Choice { field, .. }) if character == ' ' => return self.turn(*field, true),
                _ if character == '?' => self.help = true,
                _ if matches!(character, 'l' | 'L')
                    && self.page == Page::Progress
                    && !self.records.is_open() =>
                {
                    self.progress.toggle_log();
                }
                _ => {}
            },
            Key::Erase => {
                if let Some(text) = focused.and_then(|item| match item {
                    Item::Input { field, .. } => field.text(&mut self.form),
                    _ => None,
                }) {
                    text.pop();
                }
            }
            // Nothing changes here behind somebody's back.
            Key::Refresh => {}
        }
        Effect::None
    }

    /// What the engine says, so long after the beginning.
    pub fn tell(&mut self, event: &Event, now: Duration) {
        self.progress.tell(event, now);
    }

    /// The installation has begun, or begins again, with these steps.
    pub fn begin(&mut self) {
        self.no_longer_confirmed();
        self.progress.begin(self.plan.as_ref());
        self.go(Page::Progress);
    }

    /// Somebody else installs this machine, in these steps: they are shown as they are done, and nothing is asked.
    pub fn watch(&mut self, steps: Vec<String>) {
        self.progress.watch(steps);
        self.go(Page::Progress);
    }

    /// It has ended. The recovery key of an encrypted state is shown until the screens are left.
    pub fn done(&mut self, recovery_key: Option<RecoveryKey>) {
        self.progress.done(recovery_key);
        self.records.close();
        self.focus = 0;
    }

    /// It has failed. Nothing happens until somebody says what.
    pub fn failed(&mut self, why: &str) {
        self.progress.failed(why);
        self.focus = 0;
    }

    /// What happened so far, a line each; for records.
    pub fn log(&self) -> &[String] {
        self.progress.lines()
    }

    /// The password for the pool that the host joins, which is no part of the answers.
    pub fn pool_password(&self) -> Option<&str> {
        self.form.pool_password()
    }

    /// These volumes can take records.
    pub fn volumes(&mut self, volumes: Vec<Volume>) {
        self.records.found(volumes);
        self.focus = 0;
    }

    /// Records were saved or sent, or were not, in words.
    pub fn saved(&mut self, how: Result<String, String>) {
        self.records.ended(how);
    }

    /// It did not begin, since something would not be carried out.
    pub fn refuse(&mut self, why: &[String]) {
        self.no_longer_confirmed();
        self.go(Page::Summary);
        self.problems =
            why.iter().map(|why| Problem { at: "summary".to_owned(), what: why.clone() }).collect();
    }

    fn turn(&mut self, field: Field, forward: bool) -> Effect {
        if field == Field::Keyboard {
            return self.turn_keyboard(forward);
        }
        if field == Field::StorageKind {
            let ways = self.form.storage_ways(&self.machine);
            let chosen = self.form.storage_kind(&self.machine);
            let now = ways.iter().position(|way| *way == chosen).unwrap_or_default();
            let next = if forward { now + 1 } else { now + ways.len() - 1 };
            self.form.storage = Some(ways[next % ways.len()]);
        }
        if let Some((chosen, count)) = field.choice(&mut self.form, &self.machine) {
            *chosen = if forward { (*chosen + 1) % count } else { (*chosen + count - 1) % count };
        }
        Effect::None
    }

    /// The next keyboard, loaded as soon as it is chosen. The first one needs no answer: a host has it unless told otherwise.
    fn turn_keyboard(&mut self, forward: bool) -> Effect {
        let count = self.keyboards.len();
        let chosen = self.keyboard();
        let next = if forward { chosen + 1 } else { chosen + count.saturating_sub(1) }.checked_rem(count);
        let Some(keyboard) = next.and_then(|next| self.keyboards.get(next)) else { return Effect::None };
        self.form.keyboard = if next == Some(0) { String::new() } else { keyboard.name.clone() };
        self.keyboard_note = None;
        Effect::Keyboard(keyboard.name.clone())
    }

    /// Which keyboard is chosen, by its place.
    pub(crate) fn keyboard(&self) -> usize {
        self.keyboards.iter().position(|known| known.name == self.form.keyboard).unwrap_or_default()
    }

    fn type_into(&mut self, field: Field, character: char) {
        if let Some(text) = field.text(&mut self.form)
            && text.len() < LONGEST
            && !character.is_control()
        {
            text.push(character);
        }
    }

    /// Enter on a disk chooses it and goes to Next, so that one disk takes two strokes.
    fn choose(&mut self, index: usize) {
        if self.page != Page::Disk {
            return self.mark(index);
        }
        if !self.form.disks.contains(&index) {
            self.form.disks = vec![index];
        }
        self.form.storage_disks.retain(|disk| !self.form.disks.contains(disk));
        // Next, whatever stands above it now.
        self.focus = items(self).iter().filter(|item| item.takes_focus()).count().saturating_sub(2);
    }

    /// Space marks a disk or takes its mark away. The third that would mirror two others takes the place of the second.
    fn mark(&mut self, index: usize) {
        let on_disks = self.page == Page::Disk;
        let marked = match self.page {
            Page::Disk => &mut self.form.disks,
            Page::Network => &mut self.form.bond,
            _ => &mut self.form.storage_disks,
        };
        match marked.iter().position(|marked| *marked == index) {
            Some(place) => drop(marked.remove(place)),
            None => {
                if on_disks {
                    marked.truncate(1);
                }
                marked.push(index);
            }
        }
        self.form.storage_disks.retain(|disk| !self.form.disks.contains(disk));
    }

    fn press(&mut self, button: Button) -> Effect {
        match button {
            Button::Proposed => self.take_proposed(),
            Button::Next => self.next_when_known(),
            Button::Back => return self.back(),
            Button::Install => return self.confirm(),
            Button::Retry => return Effect::Retry,
            Button::Shell => return Effect::Shell,
            Button::SaveLogs | Button::SaveAnswers => {
                self.focus = 0;
                return self.records.open();
            }
            Button::LookAgain => return self.records.look_again(),
            Button::Send => return self.records.send(&self.form.records_url),
            Button::Close => return self.back(),
            Button::Restart => return Effect::Restart,
            Button::PowerOff => return Effect::PowerOff,
        }
        Effect::None
    }
}
