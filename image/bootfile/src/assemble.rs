//! Puts a boot file together. **The sections of Xen keep their addresses and bytes; the same input gives the same output.**
//!
//! ```text
//!   xen.efi                          boot file
//!   headers, n sections              headers, n - debug + added sections
//!   .text … .reloc                   .text … .reloc         same RVAs, raw data moved down or up
//!   .debug_*, .annobin*, symbols     –
//!                                    .config .kernel …      each at the next 2 MiB of address space,
//!                                                           at the next file alignment (32 bytes) of the file
//! ```
//! What is particular about Xen 4.20's image, as built with GNU ld 2.44:
//! - Its headers have no room for another section header, so all raw data move. The one place in the data that names
//!   a file offset is the debug directory (in `.buildid`): it is corrected.
//! - It takes the data of an added section from the loaded image, at the RVA, with VirtualSize as the length. So
//!   VirtualSize is the exact length and the flags make loaders load it.
//! - Sections may begin at any address although the section alignment is 2 MiB; they are left where they are.
//! - Debug sections have addresses behind all others. They are dropped before the first free address is sought,
//!   or the image would be mapped with tens of MiB of holes.
//! - `.data.read_mostly` has a name from the string table, which goes with the symbols. Images have no string table by
//!   the specification, so the name is cut to 8 bytes.
//!
//! Timestamp and checksum become 0: neither is looked at by firmware, and the checksum is not part of what is signed. A
//! signature of the input is dropped. Raw data are contiguous from the headers to the end of the file, so that
//! all programs compute the same Authenticode digest.
//!
//! Tried and dropped: objcopy (stamps the time, needs addresses computed outside) and ukify (refuses Xen's writable and
//! executable `.init`).

use crate::pe::{
    Directory, INITIALIZED_DATA, MEM_READ, Pe, PeError, SECTION_HEADER_LEN, SectionHeader, SectionProblem,
    coff, index, optional, put, u16_at, u32_at,
};

/// Added sections begin at multiples of this, in memory.
pub const ADDED_SECTION_ALIGNMENT: u32 = 2 << 20;

/// A section to add.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its name, such as `.config`: a dot and up to seven letters, digits or underscores.
    pub name: &'a str,
    /// Its content, at least one byte.
    pub data: &'a [u8],
}

/// Adds `sections` to `xen_efi`, in this order, without symbols and debug information.
///
/// # Errors
/// If `xen_efi` is not a PE32+ image for x86-64 whose sections lie in order, if a section's name is not allowed or taken,
/// if a section is empty, or if the result would not fit into 32-bit sizes.
pub fn assemble(xen_efi: &[u8], sections: &[Section<'_>]) -> Result<Vec<u8>, PeError> {
    let pe = Pe::parse(xen_efi)?;
    let kept: Vec<&SectionHeader> = pe.sections.iter().filter(|section| !is_debug(&section.name)).collect();
    check_order(&pe, &kept)?;
    check_directories(&pe, &kept)?;
    check_names(&kept, sections)?;

    let placed = place(&pe, &kept, sections)?;
    let mut out = headers(&pe, &placed)?;
    for part in &placed {
        if part.header.raw_size > 0 {
            out.extend_from_slice(part.data);
            out.resize(index(part.header.raw_at) + index(part.header.raw_size), 0);
        }
    }
    move_debug_entries(&pe, &placed, &mut out)?;
    Ok(out)
}

/// A section as it will be, and its bytes in the file.
struct Placed<'a> {
    header: SectionHeader,
    data: &'a [u8],
}

fn is_debug(name: &str) -> bool {
    [".debug", ".zdebug", ".annobin", ".gnu.build.attributes"].iter().any(|prefix| name.starts_with(prefix))
}

fn check_order(pe: &Pe<'_>, kept: &[&SectionHeader]) -> Result<(), PeError> {
    let mut free = u64::from(pe.size_of_headers);
    for section in kept {
        if u64::from(section.rva) < free {
            return Err(SectionProblem::Overlap.of(&section.name));
        }
        free = section.end();
    }
    Ok(())
}

/// Relocations and debug entries must be among what is kept.
fn check_directories(pe: &Pe<'_>, kept: &[&SectionHeader]) -> Result<(), PeError> {
    for (which, name) in [(Directory::Relocations, "relocation"), (Directory::Debug, "debug")] {
        if let Some((rva, size)) = pe.directory(which)? {
            let end = u64::from(rva) + u64::from(size);
            let holds = |section: &&&SectionHeader| {
                section.rva <= rva && end <= u64::from(section.rva) + u64::from(section.raw_size)
            };
            kept.iter().find(holds).ok_or(PeError::Directory(name))?;
        }
    }
    Ok(())
}

fn check_names(kept: &[&SectionHeader], added: &[Section<'_>]) -> Result<(), PeError> {
    let mut taken: Vec<&str> = kept.iter().map(|section| section.name.as_str()).collect();
    for Section { name, data } in added {
        let word = name.strip_prefix('.').unwrap_or_default();
        let letters = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if word.is_empty() || word.len() > 7 || !letters {
            return Err(SectionProblem::Name.of(name));
        }
        if taken.contains(name) {
            return Err(SectionProblem::Twice.of(name));
        }
        if data.is_empty() {
            return Err(SectionProblem::Empty.of(name));
        }
        taken.push(name);
    }
    Ok(())
}

/// Gives every section its place in memory and in the file.
fn place<'a>(
    pe: &Pe<'a>,
    kept: &[&SectionHeader],
    added: &[Section<'a>],
) -> Result<Vec<Placed<'a>>, PeError> {
    let count = kept.len() + added.len();
    let table_end = pe.section_table + count * SECTION_HEADER_LEN;
    let mut raw_end = align(table_end as u64, pe.file_alignment);
    let first = kept.first().map_or(u64::MAX, |section| u64::from(section.rva));
    if raw_end > first || count > 96 {
        return Err(PeError::HeadersFull { sections: count });
    }
    let mut raw = |len: usize| -> Result<(u32, u32), PeError> {
        let size = align(len as u64, pe.file_alignment);
        let at = if size == 0 { 0 } else { raw_end };
        raw_end += size;
        Ok((fit(at)?, fit(size)?))
    };
    let mut placed = Vec::with_capacity(count);
    let mut end = 0;
    for &section in kept {
        let data = section.raw(pe.bytes)?;
        let (raw_at, raw_size) = raw(data.len())?;
        end = section.end();
        placed.push(Placed { header: SectionHeader { raw_at, raw_size, ..section.clone() }, data });
    }
    for section in added {
        let (raw_at, raw_size) = raw(section.data.len())?;
        let header = SectionHeader {
            name: section.name.into(),
            virtual_size: fit(section.data.len() as u64)?,
            rva: fit(align(end, ADDED_SECTION_ALIGNMENT.max(pe.section_alignment)))?,
            raw_size,
            raw_at,
            flags: INITIALIZED_DATA | MEM_READ,
        };
        end = header.end();
        placed.push(Placed { header, data: section.data });
    }
    fit(raw_end)?;
    Ok(placed)
}

/// All bytes up to the first section's data.
fn headers(pe: &Pe<'_>, placed: &[Placed<'_>]) -> Result<Vec<u8>, PeError> {
    let size = align((pe.section_table + placed.len() * SECTION_HEADER_LEN) as u64, pe.file_alignment);
    let count = u16::try_from(placed.len()).map_err(|_| PeError::HeadersFull { sections: placed.len() })?;
    let image_end = placed.iter().map(|part| part.header.end()).max().unwrap_or(size);
    let holds_data = |part: &&Placed<'_>| part.header.flags & INITIALIZED_DATA != 0;
    let initialized = placed.iter().filter(holds_data).map(|part| u64::from(part.header.raw_size)).sum();

    let mut out = pe.bytes.get(..pe.section_table).ok_or(PeError::Truncated("headers"))?.to_vec();
    let characteristics = u16_at(&out, pe.coff + coff::CHARACTERISTICS, "COFF header")?
        | coff::LOCAL_SYMBOLS_STRIPPED
        | coff::DEBUG_STRIPPED;
    put(&mut out, pe.coff + coff::NUMBER_OF_SECTIONS, &count.to_le_bytes());
    put(&mut out, pe.coff + coff::CHARACTERISTICS, &characteristics.to_le_bytes());
    for field in [coff::TIMESTAMP, coff::SYMBOL_TABLE, coff::NUMBER_OF_SYMBOLS] {
        put(&mut out, pe.coff + field, &[0; 4]);
    }
    for (field, value) in [
        (optional::SIZE_OF_INITIALIZED_DATA, initialized),
        (optional::SIZE_OF_IMAGE, align(image_end, pe.section_alignment)),
        (optional::SIZE_OF_HEADERS, size),
        (optional::CHECKSUM, 0),
    ] {
        put(&mut out, pe.optional + field, &fit(value)?.to_le_bytes());
    }
    if let Some(at) = pe.directory_at(Directory::Certificates) {
        put(&mut out, at, &[0; 8]);
    }
    for part in placed {
        out.extend_from_slice(&section_header(&part.header));
    }
    out.resize(index(fit(size)?), 0);
    Ok(out)
}

fn section_header(header: &SectionHeader) -> [u8; SECTION_HEADER_LEN] {
    let mut bytes = [0; SECTION_HEADER_LEN];
    let name = header.name.as_bytes();
    put(&mut bytes, 0, &name[..name.len().min(8)]);
    put(&mut bytes, 8, &header.virtual_size.to_le_bytes());
    put(&mut bytes, 12, &header.rva.to_le_bytes());
    put(&mut bytes, 16, &header.raw_size.to_le_bytes());
    put(&mut bytes, 20, &header.raw_at.to_le_bytes());
    put(&mut bytes, 36, &header.flags.to_le_bytes());
    bytes
}

/// Debug directory entries (28 bytes) name their data by address, at 20, and by file offset, at 24.
fn move_debug_entries(pe: &Pe<'_>, placed: &[Placed<'_>], out: &mut [u8]) -> Result<(), PeError> {
    let Some((rva, size)) = pe.directory(Directory::Debug)? else { return Ok(()) };
    let offset_of = |rva: u32| {
        let inside = |part: &&Placed<'_>| {
            part.header.rva <= rva
                && u64::from(rva) < u64::from(part.header.rva) + u64::from(part.header.raw_size)
        };
        placed.iter().find(inside).map(|part| part.header.raw_at + (rva - part.header.rva))
    };
    let missing = PeError::Directory("debug");
    let table = offset_of(rva).map(index).ok_or(missing.clone())?;
    for entry in (table..).step_by(28).take(index(size) / 28) {
        let data = u32_at(out, entry + 20, "debug directory")?;
        if data != 0 {
            let offset = offset_of(data).ok_or(missing.clone())?;
            put(out, entry + 24, &offset.to_le_bytes());
        }
    }
    Ok(())
}

fn align(value: u64, to: u32) -> u64 {
    value.next_multiple_of(u64::from(to))
}

fn fit(value: u64) -> Result<u32, PeError> {
    u32::try_from(value).map_err(|_| PeError::TooLarge)
}
