//! First boot: makes of an image the host that somebody wants.
//!
//! ```text
//!   state/settings.toml? ──yes──────────────────────────────────────────┐
//!          │ no                                                          ▼
//!   claimed, or no volume labelled XENOLITH? ─▶ nothing to do       for each task that is not done:
//!          │                                                          decide ─▶ changes ─▶ host
//!   seed.toml ─▶ parse (all or nothing) ─▶ state/settings.toml ──▶         └─▶ state/firstboot.json
//!                                                                        ▼
//!                                                                   state/claimed
//! ```
//! **A host takes its settings at most once, and only before it belongs to anybody.** From a volume they come if `boot.json` says that
//! this is a first boot; an installation leaves them in the state beforehand. Settings with a mistake change nothing, fail the unit, and
//! leave the host unclaimed.
//!
//! **No task waits for another one, and none is done twice.** A task that fails says why, in the journal and in `xenolith-status`, and is
//! tried again at the next boot; what was done stays as it is, so that what somebody changes later is not set back. Every change may be
//! repeated: it writes whole files, by rename; what is made of disks, and what a cut leaves there, is said in [`storage`]. A power cut
//! anywhere leaves a task done or undone, never half of the journal. What waits for disks or other hosts runs apart, after the rest (`--late`).
//!
//! What somebody changes later, at the console, goes the same way: into the settings, then through the tasks ([`amend`]); a change of the
//! network is tried first ([`try_network`]).
//!
//! Whoever writes holds a lock, so that of two runs one waits ([`Lock`]).
//!
//! On media the state is in RAM, so each boot is a first one. What settings may say is data, never a program.

mod amend;
mod certificate;
mod change;
mod decide;
mod former;
mod host_keys;
mod identity;
mod journal;
mod keyboard;
mod lock;
mod network;
mod partly;
mod pool;
mod ready;
mod run;
mod settings_file;
pub mod storage;
mod task;
mod trial;
mod tuning;
mod xenapi;
mod zones;

pub use amend::{Amend, AmendError, amend};
pub use certificate::{CERTIFICATE, CertificateError, CertificateNames, Shown, host_certificate};
pub use change::{Change, Reload, System, ThisHost};
pub use decide::{Decision, Facts, SHADOW, SSH_KEYS, decide};
pub use former::{EtcFiles, Former, FormerError, KeptIdentity};
pub use host_keys::{HostKey, make_host_keys};
pub use identity::{HOST_KEY, IDENTITY, host_uuid};
pub use journal::{Entry, Journal, JournalError, MAX_JOURNAL, Outcome};
pub use keyboard::{COMMON, KEYMAPS, common_keyboards, is_screen, keyboards, load_keyboard};
pub use lock::{Lock, LockError};
pub use pool::{Join, PoolFacts, Secret};
pub use ready::{left_to_do, not_done};
pub use run::{Paths, Run, RunError, run};
pub use settings_file::{current_settings, parse_settings, read_settings};
pub use task::Task;
pub use trial::{is_running as is_trial_running, keep, settle, try_network};
pub use tuning::{TUNING, TuningFacts};
pub use xenapi::{TOOLSTACK, XenApiError, parse_reply};
pub use zones::time_zones;
