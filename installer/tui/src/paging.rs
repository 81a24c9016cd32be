//! From page to page: what has to hold before the next one, and where the focus is there.

use xenolith_answers::StorageKind;
use xenolith_installer::plan;
use xenolith_machine::Disk;
use xenolith_settings::Problem;

use crate::app::{App, Effect};
use crate::page::{Button, Item, Page, items};

impl App {
    pub(crate) fn back(&mut self) -> Effect {
        match self.page {
            Page::Welcome => return Effect::Leave,
            Page::Progress if self.records.is_open() => {
                self.records.close();
                self.focus = 0;
            }
            Page::Progress if self.progress.log.is_open() => self.progress.log.close(),
            // What has begun is not taken back.
            Page::Progress => {}
            page => self.go(page.before(&self.form)),
        }
        Effect::None
    }

    /// The chosen disk, if nothing is lost by it and all else is as it was proposed.
    pub(crate) fn proposed(&self) -> Option<&Disk> {
        let [only] = self.form.disks.as_slice() else { return None };
        let disk = self.machine.disks.get(*only)?;
        (self.page == Page::Welcome && self.form.is_as_proposed(*only) && disk.content.is_empty())
            .then_some(disk)
    }

    /// To the pages that are left when all else stays as it is proposed; page by page where that cannot be.
    pub(crate) fn take_proposed(&mut self) {
        let problems = self.form.checked(&self.machine).err().unwrap_or_default();
        let elsewhere = problems.iter().any(|problem| !Page::Access.owns(&problem.at));
        self.form.short = !elsewhere && self.make_plan().is_none();
        self.go(self.page.after(&self.form));
    }

    pub(crate) fn next(&mut self) {
        if self.page == Page::Welcome {
            self.form.short = false;
        }
        let mut problems = self.form.checked(&self.machine).err().unwrap_or_default();
        let zone = self.form.time_zone.trim();
        if !zone.is_empty() && !self.zones.contains(zone) {
            let problem = Problem { at: "host.time_zone".to_owned(), what: self.no_zone(zone) };
            problems.retain(|known| known.at != problem.at);
            problems.push(problem);
        }
        problems.retain(|problem| self.page.owns(&problem.at));
        if problems.is_empty() && self.page >= Page::Disk {
            problems.extend(self.make_plan());
        }
        if problems.is_empty() {
            self.go(self.page.after(&self.form));
        } else {
            self.problems = problems;
        }
    }

    fn no_zone(&self, zone: &str) -> String {
        let lower = zone.to_ascii_lowercase();
        let like = self.zones.iter().find(|known| known.to_ascii_lowercase().contains(&lower));
        like.map_or_else(
            || "is no time zone of this image".to_owned(),
            |like| format!("is no time zone of this image; did you mean {like}?"),
        )
    }

    /// The plan for the chosen disk; other pages do not change it.
    fn make_plan(&mut self) -> Option<Problem> {
        match plan(&self.machine, &self.form.unchecked(&self.machine, &mut |_, _| ()), &self.image, self.seed)
        {
            Ok(plan) => {
                self.plan = Some(plan);
                None
            }
            // A disk that is too small for storage does for the system: that is told where storage is chosen.
            Err(_)
                if self.page == Page::Disk && self.form.storage_kind(&self.machine) != StorageKind::None =>
            {
                None
            }
            Err(why) => Some(Problem { at: "disk".to_owned(), what: why.to_string() }),
        }
    }

    pub(crate) fn go(&mut self, page: Page) {
        self.page = page;
        self.problems.clear();
        self.waiting.stay();
        self.focus = 0;
        // Where everything may stay as it is, Enter goes on.
        let all = items(self);
        let focusable: Vec<&Item> = all.iter().filter(|item| item.takes_focus()).collect();
        let next =
            focusable.iter().position(|item| matches!(item, Item::Button(Button::Proposed | Button::Next)));
        let chosen = page == Page::Disk && !self.form.disks.is_empty();
        if let Some(next) = next.filter(|_| {
            chosen || matches!(page, Page::Welcome | Page::Storage | Page::Network | Page::Host | Page::Pool)
        }) {
            self.focus = next;
        }
    }
}
