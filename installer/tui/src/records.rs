//! Saving what happened and what was answered: the last thing that can be done on the last page.

use crate::app::Effect;
use crate::field::Field;
use crate::page::{Button, Item};

/// A volume that records can be saved on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its device.
    pub device: String,
    /// What people know it by.
    pub label: String,
}

const WHAT: &str = "The log, the plan, the journal of this system and what was found on this machine, in a folder of its own; on a stick \
                    also the answers, in which passwords are hashes.";
const NO_VOLUME: &str = "    None. Plug a stick with a FAT or ext4 file system in, and look again. Disks of the machine are not offered.";
const URL: &str = "    Followed by sha256=<hash> or insecure where its certificate is not known. If it ends in /, each file is put below it.";

/// What of it is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stand {
    #[default]
    Idle,
    /// In words.
    Busy(String),
    Said(Result<String, String>),
}

/// The state of saving.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    open: bool,
    /// Nothing, as long as nobody has looked.
    volumes: Option<Vec<Volume>>,
    stand: Stand,
}

impl Records {
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    /// Shows it, and has volumes looked for.
    pub(crate) fn open(&mut self) -> Effect {
        *self = Self { open: true, ..Self::default() };
        Effect::LookForVolumes
    }

    pub(crate) fn look_again(&mut self) -> Effect {
        if self.is_busy() {
            return Effect::None;
        }
        self.open()
    }

    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    pub(crate) fn found(&mut self, volumes: Vec<Volume>) {
        self.volumes = Some(volumes);
    }

    /// How it ended, in words.
    pub(crate) fn ended(&mut self, how: Result<String, String>) {
        self.stand = Stand::Said(how);
    }

    pub(crate) fn save(&mut self, index: usize) -> Effect {
        let Some(volume) = self.volumes.as_ref().and_then(|volumes| volumes.get(index)) else {
            return Effect::None;
        };
        if self.is_busy() {
            return Effect::None;
        }
        let device = volume.device.clone();
        self.stand = Stand::Busy(format!("Saving on {device} ..."));
        Effect::SaveTo(device)
    }

    pub(crate) fn send(&mut self, url: &str) -> Effect {
        if self.is_busy() {
            return Effect::None;
        }
        if url.trim().is_empty() {
            self.ended(Err("give the address of a server".to_owned()));
            return Effect::None;
        }
        self.stand = Stand::Busy("Sending ...".to_owned());
        Effect::SendTo(url.trim().to_owned())
    }

    fn is_busy(&self) -> bool {
        matches!(self.stand, Stand::Busy(_))
    }

    pub(crate) fn items(&self, url: &str) -> Vec<Item> {
        let words = |text: &str| Item::Words(text.to_owned());
        let mut items = vec![words(WHAT), words(""), words("Save on (Enter saves):")];
        match self.volumes.as_deref() {
            None => items.push(words("    Looking for sticks ...")),
            Some([]) => items.push(words(NO_VOLUME)),
            Some(volumes) => items.extend(volumes.iter().enumerate().map(|(index, volume)| Item::Option {
                index,
                label: volume.label.clone(),
                chosen: false,
            })),
        }
        items.extend([
            words(""),
            Item::Input {
                field: Field::RecordsUrl,
                label: "Or send to URL",
                value: url.to_owned(),
                secret: false,
            },
            words(URL),
            words(""),
        ]);
        match &self.stand {
            Stand::Idle => {}
            Stand::Busy(what) => items.push(words(what)),
            Stand::Said(Ok(said)) => items.push(words(said)),
            Stand::Said(Err(why)) => {
                items.push(words("Nothing was saved:"));
                items.push(Item::Problem(why.clone()));
            }
        }
        items.push(words(""));
        items.extend([Button::Send, Button::LookAgain, Button::Close].map(Item::Button));
        items
    }
}
