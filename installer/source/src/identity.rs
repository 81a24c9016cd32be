//! What a server is told about a machine, so that one server can answer for many.

use serde::Serialize;
use xenolith_machine::{Bus, Machine};

/// Counts up when a field changes its meaning or goes; new ones come freely.
pub const IDENTITY_FORMAT: u32 = 1;

/// A machine, as it says who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// [`IDENTITY_FORMAT`].
    pub format: u32,
    /// The version that would be installed; absent where that is not known.
    pub version: Option<String>,
    /// Its maker, in DMI's words.
    pub vendor: Option<String>,
    /// Its model.
    pub product: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its UUID, in lower case.
    pub uuid: Option<String>,
    /// MAC addresses of its network interfaces, in lower case.
    pub macs: Vec<String>,
    /// Its disks.
    pub disks: Vec<IdentityDisk>,
}

/// A disk, with what a rule can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityDisk {
    /// Its name below `/dev`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its world wide name.
    pub wwn: Option<String>,
    /// How it is attached.
    pub bus: Bus,
}

impl Identity {
    /// Who this machine is. What is on its disks is nobody's business.
    pub fn of(machine: &Machine, version: Option<String>) -> Self {
        let disks = machine.disks.iter().map(|disk| IdentityDisk {
            name: disk.name.clone(),
            size: disk.size.get(),
            model: disk.model.clone(),
            serial: disk.serial.clone(),
            wwn: disk.wwn.clone(),
            bus: disk.bus,
        });
        let system = machine.system.clone();
        Self {
            format: IDENTITY_FORMAT,
            version,
            vendor: system.vendor,
            product: system.product,
            serial: system.serial,
            uuid: system.uuid,
            macs: machine.nics.iter().map(|nic| nic.mac.clone()).collect(),
            disks: disks.collect(),
        }
    }

    /// As it is sent.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always serialise")
    }
}
