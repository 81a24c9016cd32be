//! The headers of a PE32+ image for x86-64, read with every bound checked.
//!
//! ```text
//!   0x00      "MZ", DOS header; at 0x3c the offset of:
//!   signature "PE\0\0"
//!   COFF      20 bytes: machine, number of sections, timestamp, symbol table, length of the next part
//!   optional  112 bytes, then up to 16 data directories of 8 bytes
//!   sections  40 bytes each: name, size and place in memory, size and place in the file, flags
//!   data      of the sections, and behind it perhaps symbols and certificates
//! ```
//! Source: Microsoft PE format specification; offsets below are those of its tables for COFF header, optional header
//! (PE32+) and section table.

/// Why a PE image cannot be read or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The bytes are no PE image at all.
    #[error("not a PE image: {0} is missing")]
    NotPe(&'static str),
    /// The file ends too early, or a length in it is too large.
    #[error("the PE image ends within its {0}")]
    Truncated(&'static str),
    /// A header says something that we do not handle.
    #[error("unsupported PE image: {field} is {value:#x}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// A section cannot be as it is.
    #[error("section {name:?} {problem}")]
    Section {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: SectionProblem,
    },
    /// A data directory points to something that is not kept.
    #[error("the {0} directory of the PE image does not lie in a section with data")]
    Directory(&'static str),
    /// The section table would run into the first section.
    #[error("{sections} section headers do not fit before the first section")]
    HeadersFull {
        /// The number of sections.
        sections: usize,
    },
    /// Sizes or addresses do not fit into 32 bits.
    #[error("the PE image would be larger than 4 GiB")]
    TooLarge,
    /// Bytes of the file belong to no section or to two, so that programs disagree about its digest.
    #[error(
        "the data of the PE image are not contiguous at {at:#x}, so its Authenticode digest is ambiguous"
    )]
    Gap {
        /// The offset in the file.
        at: u64,
    },
    /// The certificate table is not a list of certificates at the end of the file.
    #[error("the certificate table of the PE image is malformed: {0}")]
    Certificates(&'static str),
    /// A signature is there already.
    #[error("the PE image is signed already; strip that signature first")]
    Signed,
}

/// What is wrong with a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionProblem {
    /// Its data are not in the file.
    #[error("lies outside of the file")]
    OutsideFile,
    /// Sections must be sorted by address and apart.
    #[error("overlaps what comes before it in memory")]
    Overlap,
    /// Xen and the loader know names of a dot and up to seven letters, digits or underscores.
    #[error("must be named with a dot and 1 to 7 letters, digits or underscores")]
    Name,
    /// There is one with this name.
    #[error("is there twice")]
    Twice,
    /// Readers take an empty section for a missing one.
    #[error("is empty")]
    Empty,
}

impl SectionProblem {
    pub(crate) fn of(self, name: &str) -> PeError {
        PeError::Section { name: name.into(), problem: self }
    }
}

/// Offsets from the COFF header.
pub(crate) mod coff {
    pub const MACHINE: usize = 0;
    pub const NUMBER_OF_SECTIONS: usize = 2;
    pub const TIMESTAMP: usize = 4;
    pub const SYMBOL_TABLE: usize = 8;
    pub const NUMBER_OF_SYMBOLS: usize = 12;
    pub const OPTIONAL_LEN: usize = 16;
    pub const CHARACTERISTICS: usize = 18;
    pub const LEN: usize = 20;
    pub const LOCAL_SYMBOLS_STRIPPED: u16 = 0x0008;
    pub const DEBUG_STRIPPED: u16 = 0x0200;
}

/// Offsets from the optional header.
pub(crate) mod optional {
    pub const SIZE_OF_INITIALIZED_DATA: usize = 8;
    pub const SECTION_ALIGNMENT: usize = 32;
    pub const FILE_ALIGNMENT: usize = 36;
    pub const SIZE_OF_IMAGE: usize = 56;
    pub const SIZE_OF_HEADERS: usize = 60;
    pub const CHECKSUM: usize = 64;
    pub const NUMBER_OF_DIRECTORIES: usize = 108;
    pub const DIRECTORIES: usize = 112;
}

/// Numbers of data directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directory {
    Certificates = 4,
    Relocations = 5,
    Debug = 6,
}

pub(crate) const SECTION_HEADER_LEN: usize = 40;
pub(crate) const INITIALIZED_DATA: u32 = 0x0000_0040;
pub(crate) const MEM_READ: u32 = 0x4000_0000;

/// A section header, with its name looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SectionHeader {
    pub name: String,
    pub virtual_size: u32,
    pub rva: u32,
    pub raw_size: u32,
    pub raw_at: u32,
    pub flags: u32,
}

impl SectionHeader {
    /// Where the section ends in memory. Without a virtual size the loader takes the size in the file.
    pub fn end(&self) -> u64 {
        let size = if self.virtual_size == 0 { self.raw_size } else { self.virtual_size };
        u64::from(self.rva) + u64::from(size)
    }

    /// Its bytes in `file`, as stored there; none if it has only a size in memory.
    pub fn raw<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], PeError> {
        if self.raw_size == 0 {
            return Ok(&[]);
        }
        let range = index(self.raw_at)..index(self.raw_at).saturating_add(index(self.raw_size));
        file.get(range).ok_or_else(|| SectionProblem::OutsideFile.of(&self.name))
    }

    /// Its bytes in `file` without what fills them up to the file alignment.
    pub fn data<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], PeError> {
        let raw = self.raw(file)?;
        let len = if self.virtual_size == 0 { raw.len() } else { raw.len().min(index(self.virtual_size)) };
        Ok(&raw[..len])
    }
}

/// A PE32+ image for x86-64.
#[derive(Clone, Debug)]
pub(crate) struct Pe<'a> {
    pub bytes: &'a [u8],
    /// Offset of the COFF header.
    pub coff: usize,
    /// Offset of the optional header.
    pub optional: usize,
    /// Offset of the section table.
    pub section_table: usize,
    pub section_alignment: u32,
    pub file_alignment: u32,
    pub size_of_headers: u32,
    directories: u32,
    pub sections: Vec<SectionHeader>,
}

impl<'a> Pe<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        if !bytes.starts_with(b"MZ") {
            return Err(PeError::NotPe("the DOS signature"));
        }
        let signature = index(u32_at(bytes, 0x3c, "DOS header")?);
        if bytes.get(signature..).is_none_or(|rest| !rest.starts_with(b"PE\0\0")) {
            return Err(PeError::NotPe("the PE signature"));
        }
        let coff = signature + 4;
        let optional = coff + coff::LEN;
        let section_table = optional + usize::from(u16_at(bytes, coff + coff::OPTIONAL_LEN, "COFF header")?);
        expect("the machine", u16_at(bytes, coff + coff::MACHINE, "COFF header")?, |m| m == 0x8664)?;
        expect("the optional header's magic", u16_at(bytes, optional, HEADER)?, |magic| magic == 0x020b)?;
        let power = |value: u32| value.is_power_of_two();
        let section_alignment = u32_at(bytes, optional + optional::SECTION_ALIGNMENT, HEADER)?;
        let file_alignment = u32_at(bytes, optional + optional::FILE_ALIGNMENT, HEADER)?;
        expect("the section alignment", section_alignment, |a| power(a) && a <= 1 << 30)?;
        expect("the file alignment", file_alignment, |a| power(a) && a <= 1 << 16)?;
        let directories = u32_at(bytes, optional + optional::NUMBER_OF_DIRECTORIES, HEADER)?;
        expect("the number of data directories", directories, |n| {
            n <= 16 && optional + optional::DIRECTORIES + index(n) * 8 <= section_table
        })?;
        let count = u16_at(bytes, coff + coff::NUMBER_OF_SECTIONS, "COFF header")?;
        expect("the number of sections", count, |n| (1..=96).contains(&n))?;
        let table_end = section_table + usize::from(count) * SECTION_HEADER_LEN;
        let size_of_headers = u32_at(bytes, optional + optional::SIZE_OF_HEADERS, HEADER)?;
        if bytes.len() < index(size_of_headers).max(table_end) {
            return Err(PeError::Truncated("headers"));
        }
        expect("the size of the headers", size_of_headers, |size| index(size) >= table_end)?;
        let mut pe = Self {
            bytes,
            coff,
            optional,
            section_table,
            section_alignment,
            file_alignment,
            size_of_headers,
            directories,
            sections: Vec::new(),
        };
        pe.sections = (0..usize::from(count)).map(|number| pe.section(number)).collect::<Result<_, _>>()?;
        Ok(pe)
    }

    /// A data directory: address (for certificates: offset in the file) and size. `None` if it is not in use.
    pub fn directory(&self, which: Directory) -> Result<Option<(u32, u32)>, PeError> {
        let Some(at) = self.directory_at(which) else { return Ok(None) };
        let (address, size) = (u32_at(self.bytes, at, HEADER)?, u32_at(self.bytes, at + 4, HEADER)?);
        Ok((size != 0).then_some((address, size)))
    }

    /// Where the entry of a data directory is in the file, if the image has room for it.
    pub fn directory_at(&self, which: Directory) -> Option<usize> {
        let number = which as u32;
        (number < self.directories).then(|| self.optional + optional::DIRECTORIES + index(number) * 8)
    }

    fn section(&self, number: usize) -> Result<SectionHeader, PeError> {
        let at = self.section_table + number * SECTION_HEADER_LEN;
        let what = "section table";
        let field: &[u8] = self.bytes.get(at..at + 8).ok_or(PeError::Truncated(what))?;
        let header = SectionHeader {
            name: self.name(field)?,
            virtual_size: u32_at(self.bytes, at + 8, what)?,
            rva: u32_at(self.bytes, at + 12, what)?,
            raw_size: u32_at(self.bytes, at + 16, what)?,
            raw_at: u32_at(self.bytes, at + 20, what)?,
            flags: u32_at(self.bytes, at + 36, what)?,
        };
        header.raw(self.bytes)?;
        Ok(header)
    }

    /// A name of up to 8 bytes, or `/` and the offset of a longer one in the string table behind the symbols.
    fn name(&self, field: &[u8]) -> Result<String, PeError> {
        let short = until_nul(field);
        let offset =
            short.strip_prefix(b"/").and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        let Some(offset) = offset else { return Ok(String::from_utf8_lossy(short).into_owned()) };
        let what = "string table";
        let symbols = u32_at(self.bytes, self.coff + coff::SYMBOL_TABLE, what)?;
        let count = u32_at(self.bytes, self.coff + coff::NUMBER_OF_SYMBOLS, what)?;
        let at = u64::from(symbols) + u64::from(count) * 18 + u64::from(offset);
        let rest = usize::try_from(at).ok().and_then(|at| self.bytes.get(at..));
        let long =
            until_nul(rest.filter(|rest| symbols != 0 && !rest.is_empty()).ok_or(PeError::Truncated(what))?);
        // A longer one is no name, and copying it once per section would be work without end.
        let long = long.get(..256).unwrap_or(long);
        Ok(String::from_utf8_lossy(long).into_owned())
    }
}

const HEADER: &str = "optional header";

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn expect<T: Copy + Into<u64>>(
    field: &'static str,
    value: T,
    holds: impl Fn(T) -> bool,
) -> Result<(), PeError> {
    if holds(value) { Ok(()) } else { Err(PeError::Unsupported { field, value: value.into() }) }
}

/// A 32-bit offset as an index; the crate is for 64-bit machines, elsewhere a larger one is out of every bound.
pub(crate) fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u16, PeError> {
    Ok(u16::from_le_bytes(chunk_at(bytes, at, what)?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u32, PeError> {
    Ok(u32::from_le_bytes(chunk_at(bytes, at, what)?))
}

fn chunk_at<const N: usize>(bytes: &[u8], at: usize, what: &'static str) -> Result<[u8; N], PeError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(PeError::Truncated(what))
}

/// Overwrites part of a header that was read before.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
