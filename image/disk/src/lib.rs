//! What is on a disk that boots: its partition table and its ESP, written without mounts or loop devices. The builder makes images
//! of it, the installer disks.

pub mod disk;
pub mod esp;
