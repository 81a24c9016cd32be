//! The installation engine: from what a machine is and what somebody wants to a list of steps.
//!
//! ```text
//!   Machine + Answers + Image ──[`plan`]──▶ Plan ──[`execute`]──▶ events
//!                      pure                 printed, hashed, compared
//! ```
//! **No step touches a disk that was not chosen, and nothing is written before the one confirmation.** Both are properties of the
//! list, and are tested for any machine and any answers.

mod execute;
mod found;
mod keep;
mod plan;
mod text;

pub use execute::{
    Devices, Disk, Event, ExecuteError, FileDevices, Journal, JournalError, Place, Source, StatePlace,
    StepError, execute,
};
pub use found::{Installation, Product, found, holds};
pub use keep::can_keep;
pub use plan::{DiskId, Erased, Image, KeepError, Plan, PlanError, Seal, Step, StoragePlan, Target, plan};
