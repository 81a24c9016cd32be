//! Runs programs of a tools tree, and nothing else of the host.
//!
//! **Promise: what a step sees is the tree, its declared inputs and its output folder; no network, no
//! host file, no host variable.** A step's result can therefore depend on nothing that its key leaves out.
//!
//! ```text
//! builder ──duct──▶ stage 1: unshare user (if not root), mount, pid, ipc, uts, net
//!                      └──▶ stage 2, PID 1: new root on a tmpfs
//!                             usr bin lib …   the tools tree, read-only binds
//!                             binds           inputs read-only, scratch and output read-write
//!                             proc dev tmp run var root   fresh
//!                             └──▶ the program
//! ```
//! Both stages are this very executable, started again with a specification in the environment
//! ([`enter_if_asked`]), because namespaces want a process of one thread and the builder has many.
//! When the builder dies, however it dies, the kernel kills stage 1, and with PID 1 everything below it.
//!
//! As root no user namespace is made; as an ordinary user the namespace maps that one user to root. Nothing
//! that we build depends on the difference: giving files to others does nothing (`owner`), and the root image
//! says "root" for every file.

mod enter;
mod owner;
mod spec;
mod tool;

pub use enter::enter_if_asked;
pub use spec::{Command, Network, Sandbox, ToolError};
pub use tool::Tool;
