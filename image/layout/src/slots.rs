//! Which slot boots. The promise that every upgrade keeps: **at any moment there is a slot that can boot.**
//!
//! ```text
//!                 commit            boot            boot            boot
//!   no entry ──────────────▶ +3-0 ────────▶ +2-1 ────────▶ +1-2 ────────▶ +0-3  (spent: never chosen again)
//!      ▲                                     │              │              │
//!      │                                     └──── bless ───┴──── bless ───┘
//!      │                                                    ▼
//!      └──────────────── erase ──────────────────────── no suffix (good)
//!            only the slot that does not run,
//!            and only while the running one is good
//! ```
//! A slot on trial relies on the other slot as its way back; so as long as the running slot is on trial, the
//! other one cannot be erased. Methods never name a slot: they act on the one that runs (`here`) or on the one
//! that does not (`there`). Erasing the slot under one's feet cannot be expressed.
//!
//! What a power cut leaves: `erase` and `commit` are one directory change each, so a host has the state before or
//! the state after; between the two the running slot, which is good, is the only entry.
//!
//! Pure: whether `here` is A or B, and how a state is written (in [`crate::names::EntryName`], in an environment
//! block) is for the boot control to know. Left out: version numbers, since only a newer version is ever committed
//! and "newest entry first" then means "trial first"; and going back by hand, which is an erase and a commit.
//! Source: Boot Loader Specification, "Boot counting"; behaviour measured with systemd-boot 257.13.

use std::num::NonZeroU8;

/// How far the loader trusts the image in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Written and verified, but it has never passed the health gate.
    Trial {
        /// Boots still to come; with none left the slot is spent.
        left: u8,
    },
    /// It passed the health gate; its boots are no longer counted.
    Good,
}

/// The slot that runs, and the other one, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    here: Proof,
    there: Option<Proof>,
}

/// The other slot has no boot entry any more: its partitions may be overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased(Slots);

/// Refused: the running slot has not passed the health gate yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other slot is kept: the running one is on trial and may have to go back to it")]
pub struct OnTrial;

impl Slots {
    /// What an installation leaves.
    pub const INSTALLED: Self = Self { here: Proof::Good, there: None };

    /// The state that a boot control has read.
    pub const fn found(here: Proof, there: Option<Proof>) -> Self {
        Self { here, there }
    }

    /// The slot that runs.
    pub const fn here(self) -> Proof {
        self.here
    }

    /// The slot that does not run.
    pub const fn there(self) -> Option<Proof> {
        self.there
    }

    /// Takes the other slot's boot entry away, as the first step of an upgrade.
    ///
    /// # Errors
    /// [`OnTrial`] while the other slot is the way back of this one.
    pub fn erase(self) -> Result<Erased, OnTrial> {
        match self.here {
            Proof::Good => Ok(Erased(Self { there: None, ..self })),
            Proof::Trial { .. } => Err(OnTrial),
        }
    }

    /// The health gate has passed: the running slot is good, even if this was its last try.
    pub fn bless(self) -> Self {
        Self { here: Proof::Good, ..self }
    }

    /// What the loader makes of this at power-on: a trial goes before a good slot and uses up one boot, a spent
    /// slot is passed over. `None` if no slot is left that could boot.
    pub fn boot(self) -> Option<Self> {
        let Self { here, there } = self;
        if let Some(Proof::Trial { left: left @ 1.. }) = there {
            return Some(Self { here: Proof::Trial { left: left - 1 }, there: Some(here) });
        }
        match (here, there) {
            (Proof::Trial { left: left @ 1.. }, _) => {
                Some(Self { here: Proof::Trial { left: left - 1 }, there })
            }
            (Proof::Good, _) => Some(self),
            (Proof::Trial { left: 0 }, Some(Proof::Good)) => {
                Some(Self { here: Proof::Good, there: Some(here) })
            }
            (Proof::Trial { left: 0 }, None | Some(Proof::Trial { .. })) => None,
        }
    }
}

impl Erased {
    /// Offers what was written to the other slot and verified there, for `tries` boots: the commit of an upgrade.
    pub fn commit(self, tries: NonZeroU8) -> Slots {
        Slots { there: Some(Proof::Trial { left: tries.get() }), ..self.0 }
    }

    /// Leaves the other slot empty.
    pub fn give_up(self) -> Slots {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Boot,
        Bless,
        CutAfterErase,
        Upgrade(NonZeroU8),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Boot),
            Just(Event::Bless),
            Just(Event::CutAfterErase),
            any::<NonZeroU8>().prop_map(Event::Upgrade),
        ]
    }

    /// Refusals leave everything as it was, as they do on a host.
    fn apply(slots: Slots, event: Event) -> Slots {
        match event {
            Event::Boot => slots.boot().expect("some slot boots"),
            Event::Bless => slots.bless(),
            Event::CutAfterErase => slots.erase().map_or(slots, Erased::give_up),
            Event::Upgrade(tries) => slots.erase().map_or(slots, |erased| erased.commit(tries)),
        }
    }

    proptest! {
        #[test]
        fn a_host_that_is_never_blessed_again_comes_to_rest_on_a_good_slot(
            events in prop::collection::vec(event(), 0..40)
        ) {
            let mut slots = Slots::INSTALLED;
            for event in events {
                slots = apply(slots, event);
                // At most 255 tries can be left, so one boot more must have settled.
                let mut rest = slots;
                for _ in 0..=usize::from(u8::MAX) {
                    rest = rest.boot().expect("some slot boots");
                }
                prop_assert_eq!(rest.here(), Proof::Good, "after {:?}", slots);
                prop_assert_eq!(rest.boot(), Some(rest));
            }
        }
    }

    #[test]
    fn an_upgrade_that_never_becomes_healthy_falls_back_after_its_tries() {
        let tries = NonZeroU8::new(2).unwrap();
        let offered = Slots::INSTALLED.erase().unwrap().commit(tries);
        let boots: Vec<Proof> = std::iter::successors(Some(offered), |slots| slots.boot())
            .skip(1)
            .map(Slots::here)
            .take(3)
            .collect();
        assert_eq!(boots, [Proof::Trial { left: 1 }, Proof::Trial { left: 0 }, Proof::Good]);
    }

    #[test]
    fn the_way_back_of_a_trial_cannot_be_erased() {
        let trial = Slots::INSTALLED.erase().unwrap().commit(NonZeroU8::MIN).boot().unwrap();
        assert_eq!(trial.erase(), Err(OnTrial));
        assert!(trial.bless().erase().is_ok());
    }

    #[test]
    fn two_spent_slots_do_not_boot() {
        let spent = Proof::Trial { left: 0 };
        assert_eq!(Slots::found(spent, Some(spent)).boot(), None);
        assert_eq!(Slots::found(spent, None).boot(), None);
    }
}
