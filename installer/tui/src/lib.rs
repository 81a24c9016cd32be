//! The installer's screens: a state, what a key makes of it, and how it looks. No terminal, no disk and no clock is touched here.
//!
//! ```text
//!   key ─▶ App::key ─▶ Effect ─▶ whoever runs it ─▶ engine
//!            │  ▲                                      │
//!            ▼  └────────── App::tell ◀── events ──────┘
//!          draw
//! ```
//! Made for 80×24 and a serial line: arrows, Tab and Enter suffice, nothing is said by colour alone, a page scrolls where it is longer
//! than the screen, and all mistakes of a page are shown at once, each below its field. **The answers that a person gives here are the
//! same document that an unattended installation reads**, checked by the same rules, and can be kept as a file.

mod app;
mod disks;
mod draw;
mod field;
mod form;
mod log;
mod network;
mod page;
mod paging;
mod pool;
mod progress;
mod records;
mod waiting;

pub use app::{App, Effect, Keyboard};
pub use draw::draw;
pub use form::Form;
pub use page::Page;
pub use progress::Progress;
pub use records::Volume;
