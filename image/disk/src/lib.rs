//! What is on a disk that boots: its partition table and its ESP, written without mounts or loop devices. The builder makes images
//! of it, the installer disks. And what is read of a medium that may have been anywhere: its partition table and its reserved area.

pub mod disk;
pub mod esp;
pub mod fat12;
pub mod long_name;
pub mod reserved;
pub mod sparse;
pub mod table;
