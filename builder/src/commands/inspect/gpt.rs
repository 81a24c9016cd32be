//! The partition table of a disk or medium, as it is shown, and whether the copy at its end says the same.

use serde::Serialize;
use uuid::Uuid;
use xenolith_disk::table::{self, TableError};
use xenolith_layout::{SectorSize, TypeGuid};

use super::window::Window;

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// The disk's GUID.
    pub guid: Uuid,
    /// Bytes in a sector: what positions count in.
    pub sector: u64,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// How the copy at the end is.
    pub backup: Backup,
}

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its label.
    pub label: String,
    /// The type's name, if it is one that we know.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// The type.
    pub type_guid: Uuid,
    /// Its own GUID.
    pub guid: Uuid,
    /// Its first sector.
    pub first_lba: u64,
    /// Its last sector, which belongs to it.
    pub last_lba: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Attribute bits.
    pub attributes: u64,
}

/// The copy of the table at the end of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Backup {
    /// It says the same.
    Same,
    /// It says something else.
    Differs,
    /// It cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// The names of the types that stand on our disks and media.
fn type_name(guid: Uuid) -> Option<&'static str> {
    let names = [
        (TypeGuid::ESP, "EFI system"),
        (TypeGuid::BIOS_BOOT, "BIOS boot"),
        (TypeGuid::ROOT, "Xenolith root"),
        (TypeGuid::VERITY, "Xenolith verity"),
        (TypeGuid::STATE, "Xenolith state"),
        (TypeGuid::LOCAL_SR, "Xenolith local SR"),
        (TypeGuid::RESERVED, "Xenolith reserved"),
    ];
    let basic = uuid::uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
    let known = names.into_iter().find(|(kind, _)| kind.uuid() == guid).map(|(_, name)| name);
    known.or((guid == basic).then_some("basic data"))
}

/// Reads the table of a disk with either sector size.
///
/// # Errors
/// [`TableError::Missing`] if neither size finds a header, else what is wrong with the one that was found.
pub fn read(disk: &Window) -> Result<Table, TableError> {
    let mut found = TableError::Missing;
    for sector in [SectorSize::B512, SectorSize::B4096] {
        match table::Table::read(&mut disk.clone(), sector) {
            Err(TableError::Missing) => {}
            Err(error) => found = error,
            Ok(table) => return Ok(shown(&table, disk, sector)),
        }
    }
    Err(found)
}

fn shown(table: &table::Table, disk: &Window, sector: SectorSize) -> Table {
    let backup = match table::Table::read_at(&mut disk.clone(), sector, table.alternate_lba) {
        Ok(copy) if copy.guid == table.guid && copy.partitions == table.partitions => Backup::Same,
        Ok(_) => Backup::Differs,
        Err(TableError::Missing) => Backup::Unreadable { why: "it is not where the table says".into() },
        Err(error) => Backup::Unreadable { why: error.to_string() },
    };
    let partitions = table.partitions.iter().map(|partition| Partition {
        number: partition.number,
        label: partition.label.clone(),
        kind: type_name(partition.kind),
        type_guid: partition.kind,
        guid: partition.guid,
        first_lba: partition.first_lba,
        last_lba: partition.last_lba,
        offset: partition.place.offset,
        size: partition.place.length,
        attributes: partition.attributes,
    });
    Table { guid: table.guid, sector: sector.bytes().get(), partitions: partitions.collect(), backup }
}
