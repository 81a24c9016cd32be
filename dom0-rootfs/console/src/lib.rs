//! The console: what the host says of itself to whoever stands before it, and behind a login the menus that change it.
//!
//! **Before a login nothing can be changed, and nothing that stops guests or cuts somebody off is done without being asked twice.**
//!
//! ```text
//!   key, line, time ─▶ App ─▶ Effect ─▶ whoever runs it (the program) ─▶ xenolith-firstboot, systemctl, journalctl, …
//!                       │ ▲                                                         │
//!            draw, plain ◀┘ └──────────────── App::told_* ◀────────────────────────┘
//! ```
//! [`App`] is a state; it touches no terminal, no file and no clock. Two faces show it: [`draw`] for terminals that pictures can be drawn
//! on, and [`plain`] with numbered lines for those that only take text. What is set here goes through first boot's own tasks
//! (`xenolith_firstboot::amend`), so that each file keeps its one writer and a boot does not undo it.
//!
//! On a screen of the machine the status is a picture. **On a serial line it is text, and stays text until Enter**: a serial line is also a
//! log, and nothing is sent that would make a log unreadable. Then the other end is asked where its cursor is. Who answers gets pictures,
//! as large as it says that it is; who does not gets numbered lines.

mod app;
mod draw;
mod edit;
mod form;
mod lock;
mod look;
mod menus;
mod page;
mod pager;
pub mod ping;
pub mod plain;
mod qr;
mod secret;
pub mod stick;
pub mod support;
mod tool;
mod view;

pub use app::{Action, App, Effect, LOGGED_OUT_AFTER, Read, Stage, TRIAL};
pub use draw::draw;
pub use edit::Edit;
pub use form::{Field, Form};
pub use lock::Lock;
pub use look::{Address, Doors, Known, Look, OnEnter, SshService, on_enter, serial};
pub use page::{Button, Item, Page, items};
pub use pager::Pager;
pub use qr::half_blocks;
pub use secret::Secret;
pub use tool::{Installed, Programs, Tool, clean, guests};
