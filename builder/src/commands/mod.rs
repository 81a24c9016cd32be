//! One module for each command.

pub mod build;
pub mod keys;
pub mod lock;
pub mod path;
pub mod report;
pub mod run;
pub mod setup;
