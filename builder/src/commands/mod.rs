//! One module for each command.

pub mod build;
pub mod flash;
pub mod gc;
pub mod inspect;
pub mod keys;
pub mod lock;
pub mod path;
pub mod run;
pub mod setup;
pub mod verify;
