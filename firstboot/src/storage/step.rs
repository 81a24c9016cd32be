//! The steps that make storage, each with the programs that carry it out. The list is closed, and so is that of the programs.

use std::fmt;

use uuid::Uuid;

use super::{ARRAY_NAME, UNFINISHED};

/// One step to local storage. What each of them leaves when power goes is in the table of [`super`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A mirror of empty partitions.
    MakeArray {
        /// Its UUID.
        array: Uuid,
        /// Where udev links it.
        device: String,
        /// The partitions.
        members: Vec<String>,
    },
    /// An empty partition joins a mirror that runs.
    AddMember {
        /// The mirror.
        device: String,
        /// The partition.
        member: String,
    },
    /// An empty partition or mirror becomes a physical volume.
    MakePhysicalVolume {
        /// The partition or mirror.
        device: String,
        /// What the volume is known by.
        uuid: String,
    },
    /// A physical volume becomes a group.
    MakeGroup {
        /// The group's name.
        group: String,
        /// The physical volume.
        device: String,
    },
    /// A physical volume joins a group.
    ExtendGroup {
        /// The group's name.
        group: String,
        /// The physical volume.
        device: String,
    },
    /// All of a group becomes one logical volume, which is tagged as unfinished.
    MakeVolume {
        /// The group's name.
        group: String,
        /// The volume's name.
        volume: String,
    },
    /// A volume that is unfinished gets a file system.
    MakeFileSystem {
        /// Group and volume.
        volume: String,
        /// The file system's UUID.
        uuid: Uuid,
    },
    /// A volume is finished.
    Finish {
        /// Group and volume.
        volume: String,
    },
    /// A mount unit that was written is started.
    Mount {
        /// Its name.
        unit: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeArray { array, members, .. } => {
                write!(f, "mirror {array} of {}", members.join(" and "))
            }
            Self::AddMember { member, .. } => write!(f, "{member} joins the mirror"),
            Self::MakePhysicalVolume { device, uuid } => write!(f, "physical volume {uuid} on {device}"),
            Self::MakeGroup { group, device } => write!(f, "volume group {group} of {device}"),
            Self::ExtendGroup { group, device } => write!(f, "volume group {group} gets {device}"),
            Self::MakeVolume { group, volume } => write!(f, "volume {volume} of all of {group}"),
            Self::MakeFileSystem { volume, .. } => write!(f, "ext4 on {volume}"),
            Self::Finish { volume } => write!(f, "{volume} is finished"),
            Self::Mount { unit } => write!(f, "{unit} is mounted"),
        }
    }
}

/// A program of dom0 that storage is made with, or looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its program")]
pub enum Program {
    Lvchange,
    Lvcreate,
    Lvs,
    Mdadm,
    MkfsExt4,
    Pvcreate,
    Pvs,
    Systemctl,
    Udevadm,
    Vgcreate,
    Vgextend,
    Wipefs,
}

impl Program {
    /// Where it is.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Lvchange => "/usr/sbin/lvchange",
            Self::Lvcreate => "/usr/sbin/lvcreate",
            Self::Lvs => "/usr/sbin/lvs",
            Self::Mdadm => "/usr/sbin/mdadm",
            Self::MkfsExt4 => "/usr/sbin/mkfs.ext4",
            Self::Pvcreate => "/usr/sbin/pvcreate",
            Self::Pvs => "/usr/sbin/pvs",
            Self::Systemctl => "/usr/bin/systemctl",
            Self::Udevadm => "/usr/bin/udevadm",
            Self::Vgcreate => "/usr/sbin/vgcreate",
            Self::Vgextend => "/usr/sbin/vgextend",
            Self::Wipefs => "/usr/sbin/wipefs",
        }
    }
}

/// A run of a program. It reads nothing: where one of them asks, that is a no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: Program,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Command {
    pub(super) fn new(program: Program, args: &[&str]) -> Self {
        Self { program, args: args.iter().map(|&arg| arg.to_owned()).collect() }
    }

    fn and(mut self, more: &[String]) -> Self {
        self.args.extend_from_slice(more);
        self
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program.path(), self.args.join(" "))
    }
}

impl Step {
    /// The programs that carry it out, in this order.
    pub fn commands(&self) -> Vec<Command> {
        use Program::*;
        let made = format!("/dev/md/{ARRAY_NAME}");
        // The link has to be there for the step that comes next.
        let linked = |device: &str| Command::new(Udevadm, &["wait", "--timeout=60", "--settle", device]);
        match self {
            Self::MakeArray { array, device, members } => {
                let count = format!("--raid-devices={}", members.len());
                let (name, uuid) = (format!("--name={ARRAY_NAME}"), format!("--uuid={array}"));
                // --run: mdadm asks whether metadata at the start is meant, of a mirror that nobody boots from. It would take partitions
                // that are not empty, too: those never come here. A bitmap, so that a cut costs no whole synchronisation.
                let args =
                    ["--create", &made, "--run", "--level=1", &count, "--metadata=1.2", "--bitmap=internal"];
                let args = [&args[..], &["--homehost=any", &name, &uuid]].concat();
                vec![Command::new(Mdadm, &args).and(members), linked(device)]
            }
            Self::AddMember { device, member } => {
                vec![Command::new(Mdadm, &["--manage", device, "--add", member])]
            }
            // Without --yes or --force: whatever it finds on the device ends it. Room for the metadata of thousands of volumes, as sm has.
            Self::MakePhysicalVolume { device, uuid } => {
                let args = ["--uuid", uuid, "--norestorefile", "--metadatasize", "10m", device];
                vec![Command::new(Pvcreate, &args)]
            }
            Self::MakeGroup { group, device } => vec![Command::new(Vgcreate, &[group, device])],
            Self::ExtendGroup { group, device } => vec![Command::new(Vgextend, &[group, device])],
            // --yes is about what is left over in the new volume.
            Self::MakeVolume { group, volume } => {
                let args =
                    ["--yes", "--wipesignatures", "y", "--extents", "100%FREE", "--addtag", UNFINISHED];
                vec![Command::new(Lvcreate, &[&args[..], &["--name", volume, group]].concat())]
            }
            // -m 0: nobody but guests fills it. -F: the volume is unfinished, whatever is on it.
            Self::MakeFileSystem { volume, uuid } => vec![
                Command::new(Lvchange, &["--activate", "y", volume]),
                Command::new(
                    MkfsExt4,
                    &["-q", "-F", "-m", "0", "-U", &uuid.to_string(), &format!("/dev/{volume}")],
                ),
            ],
            Self::Finish { volume } => {
                vec![Command::new(Lvchange, &["--deltag", UNFINISHED, volume])]
            }
            Self::Mount { unit } => {
                vec![Command::new(Systemctl, &["daemon-reload"]), Command::new(Systemctl, &["start", unit])]
            }
        }
    }
}
