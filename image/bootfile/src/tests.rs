//! The writer against an independent PE reader, and everything against damaged input.

use object::pe::ImageNtHeaders64;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile};
use object::{LittleEndian as LE, Object, ObjectSection};
use proptest::prelude::*;

use crate::fixture::{IMAGE_BASE, xen_like};
use crate::*;

const CONFIG: &[u8] = b"[global]\ndefault=a\n\n[a]\noptions=\nkernel=dom0 quiet\n";

fn two<'a>(kernel: &'a [u8]) -> [Section<'a>; 2] {
    [Section { name: ".config", data: CONFIG }, Section { name: ".kernel", data: kernel }]
}

fn boot_file() -> Vec<u8> {
    assemble(&xen_like(), &two(&[7; 5000])).unwrap()
}

fn object(image: &[u8]) -> PeFile<'_, ImageNtHeaders64> {
    PeFile::parse(image).unwrap()
}

#[test]
fn another_reader_finds_xens_sections_where_they_were_and_ours_behind_them() {
    let image = boot_file();
    let file = object(&image);
    let found: Vec<(String, u64, usize)> = file
        .sections()
        .map(|s| (s.name().unwrap().to_owned(), s.address() - IMAGE_BASE, s.data().unwrap().len()))
        .collect();
    let expected = [
        (".text", 0x20_0000, 100),
        (".rodata", 0x40_0000, 0x140),
        (".buildid", 0x40_0140, 53),
        (".data.re", 0x60_0000, 40),
        (".bss", 0x60_0040, 0),
        (".reloc", 0x60_1280, 12),
        (".config", 0x80_0000, CONFIG.len()),
        (".kernel", 0xa0_0000, 5000),
    ];
    assert_eq!(found, expected.map(|(name, rva, len)| (name.to_owned(), rva, len)));
    let xen = xen_like();
    for (before, after) in object(&xen).sections().zip(file.sections()).take(6) {
        assert_eq!(before.size(), after.size(), "{:?}", after.name());
        if before.name() != Ok(".buildid") {
            assert_eq!(before.data(), after.data(), "{:?}", after.name());
        }
    }
    assert_eq!(file.section_by_name(".kernel").unwrap().data(), Ok(&[7; 5000][..]));
}

#[test]
fn the_headers_are_those_of_a_stripped_image_without_time() {
    let image = boot_file();
    let file = object(&image);
    let (coff, optional) = (file.nt_headers().file_header(), file.nt_headers().optional_header());
    assert_eq!(coff.time_date_stamp.get(LE), 0);
    assert_eq!((coff.pointer_to_symbol_table.get(LE), coff.number_of_symbols.get(LE)), (0, 0));
    assert_eq!(coff.characteristics.get(LE), 0x22e);
    assert_eq!((optional.check_sum(), optional.address_of_entry_point()), (0, 0x20_0010));
    assert_eq!(optional.size_of_image(), 0xc0_0000);
    assert_eq!(optional.size_of_headers() as usize % 32, 0);
    let first = file.sections().next().unwrap().file_range().unwrap().0;
    assert_eq!(u64::from(optional.size_of_headers()), first);
    for section in file.section_table().iter() {
        assert_eq!(section.pointer_to_raw_data.get(LE) % 32, 0);
        assert_eq!(section.size_of_raw_data.get(LE) % 32, 0);
    }
    for section in file.section_table().iter().skip(6) {
        assert_eq!(section.characteristics.get(LE), 0x4000_0040);
        assert_eq!(section.virtual_address.get(LE) % ADDED_SECTION_ALIGNMENT, 0);
    }
}

#[test]
fn relocations_and_build_id_are_still_found() {
    let image = boot_file();
    let file = object(&image);
    let reloc = file.data_directory(object::pe::IMAGE_DIRECTORY_ENTRY_BASERELOC).unwrap();
    assert_eq!(reloc.address_range(), (0x60_1280, 12));
    // The file offset in the debug directory leads to the data that the address names.
    let section = file.section_by_name(".buildid").unwrap();
    let data = section.data().unwrap();
    let offset = u32::from_le_bytes(data[24..28].try_into().unwrap()) as usize;
    assert_eq!(&image[offset..offset + 4], b"RSDS");
    assert_eq!(offset as u64, section.file_range().unwrap().0 + 28);
}

#[test]
fn the_same_input_gives_the_same_bytes_and_time_and_symbols_do_not_matter() {
    let mut other = xen_like();
    other[0x88] ^= 1; // timestamp
    let len = other.len();
    other[len - 40] ^= 1; // the symbol
    assert_eq!(assemble(&other, &two(&[7; 5000])), Ok(boot_file()));
}

#[test]
fn a_boot_file_says_what_is_in_it() {
    let image = boot_file();
    let found = inspect(&image).unwrap();
    let names: Vec<&str> = found.sections.iter().map(|section| section.name.as_str()).collect();
    assert_eq!(names, [".text", ".rodata", ".buildid", ".data.re", ".bss", ".reloc", ".config", ".kernel"]);
    assert_eq!(found.section(".config"), Some(CONFIG));
    assert_eq!(found.config().unwrap().unwrap().blocks[0].dom0_cmdline, "quiet");
    assert!(found.os_release().is_none() && !found.is_signed() && found.timestamp == 0);
    let original = xen_like();
    let names: Vec<String> =
        inspect(&original).unwrap().sections.into_iter().map(|section| section.name).collect();
    assert!(names.contains(&".data.read_mostly".into()) && names.contains(&".debug_info".into()));
}

#[test]
fn sections_that_no_reader_would_find_are_refused() {
    let add = |name: &str, data: &[u8]| assemble(&xen_like(), &[Section { name, data }]).unwrap_err();
    let problem = |name: &str, problem| PeError::Section { name: name.into(), problem };
    for name in ["", ".", "config", ".toolong8", ".a b", ".é", "/4"] {
        assert_eq!(add(name, b"x"), problem(name, SectionProblem::Name));
    }
    assert_eq!(add(".text", b"x"), problem(".text", SectionProblem::Twice));
    assert_eq!(add(".config", b""), problem(".config", SectionProblem::Empty));
    let twice = [Section { name: ".a", data: b"x" }, Section { name: ".a", data: b"x" }];
    assert_eq!(assemble(&xen_like(), &twice), Err(problem(".a", SectionProblem::Twice)));
}

#[test]
fn files_that_are_no_such_image_are_refused() {
    assert_eq!(inspect(b"").unwrap_err(), PeError::NotPe("the DOS signature"));
    assert_eq!(inspect(&[b'M', b'Z', 0]).unwrap_err(), PeError::Truncated("DOS header"));
    let mut arm = xen_like();
    arm[0x84..0x86].copy_from_slice(&0xaa64_u16.to_le_bytes());
    assert_eq!(inspect(&arm).unwrap_err(), PeError::Unsupported { field: "the machine", value: 0xaa64 });
    let cut = &xen_like()[..0x500];
    assert!(matches!(inspect(cut).unwrap_err(), PeError::Section { .. } | PeError::Truncated(_)));
}

#[test]
fn a_signature_can_be_put_on_and_taken_off() {
    let image = boot_file();
    for der in [&[0x30, 0x03, 1, 2, 3][..], &[0x30; 8], &[0x30; 1501]] {
        let signed = attach_signature(&image, der).unwrap();
        assert_eq!(signed.len() % 8, 0);
        assert_eq!(inspect(&signed).unwrap().signatures, [der]);
        assert_eq!(authenticode_digest(&signed), authenticode_digest(&image));
        assert_eq!(strip_signature(&signed), Ok(image.clone()));
        assert_eq!(attach_signature(&signed, der), Err(PeError::Signed));
        assert_eq!(assemble(&signed, &[]), Ok(image.clone()), "a signature is not taken along");
    }
    assert_eq!(strip_signature(&image), Ok(image.clone()));
    assert!(attach_signature(&image, b"").is_err());
}

#[test]
fn a_file_of_any_length_has_one_digest_signed_or_not() {
    for extra in 0..9 {
        let mut image = xen_like();
        image.resize(image.len() + extra, 0x77);
        let signed = attach_signature(&image, &[0x30; 9]).unwrap();
        assert_eq!(authenticode_digest(&signed), authenticode_digest(&image));
        let stripped = strip_signature(&signed).unwrap();
        assert!(stripped.len() >= image.len() && stripped.len() < image.len() + 8);
        assert_eq!(authenticode_digest(&stripped), authenticode_digest(&image));
    }
}

/// Found by fuzzing: the certificate table seemed to lie before the end of the sections.
#[test]
fn a_section_without_data_may_claim_to_be_anywhere() {
    let mut image = boot_file();
    let bss = image.windows(5).position(|bytes| bytes == b".bss\0").unwrap();
    image[bss + 20..bss + 24].copy_from_slice(&0x7fff_0000_u32.to_le_bytes());
    let signed = attach_signature(&image, b"signature").unwrap();
    assert_eq!(authenticode_digest(&signed), authenticode_digest(&image));
}

#[test]
fn an_image_with_bytes_between_its_sections_has_no_digest() {
    let mut image = boot_file();
    let table = 0x80 + 24 + 240;
    let at = table + 40 + 20; // where the second section's data are in the file
    image[at] ^= 0x20;
    assert!(matches!(authenticode_digest(&image), Err(PeError::Gap { .. })));
}

/// All that reads a PE image; the result does not matter.
fn read_in_every_way(image: &[u8]) {
    let _ = inspect(image).map(|file| (file.config().is_some(), file.os_release().is_some()));
    let _ = authenticode_digest(image);
    let _ = strip_signature(image);
    let _ = attach_signature(image, &[0x30; 17]);
    if let Ok(made) = assemble(image, &two(&[7; 100])) {
        inspect(&made).expect("what was assembled can be read");
        authenticode_digest(&made).expect("what was assembled has a digest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_content_comes_out_as_it_went_in(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5000), 0..6)
    ) {
        let names = [".a", ".b", ".c", ".d", ".e", ".f"];
        let sections: Vec<Section> =
            names.iter().zip(&contents).map(|(name, data)| Section { name, data }).collect();
        let image = assemble(&xen_like(), &sections).unwrap();
        let found = inspect(&image).unwrap();
        let mut end = 0;
        for (section, info) in sections.iter().zip(&found.sections[6..]) {
            prop_assert_eq!(found.section(section.name), Some(section.data));
            prop_assert_eq!(info.virtual_size.get(), section.data.len() as u64);
            prop_assert!(info.rva % ADDED_SECTION_ALIGNMENT == 0 && info.rva >= end);
            end = info.rva + u32::try_from(section.data.len()).unwrap();
        }
        prop_assert_eq!(assemble(&image, &[]), Ok(image));
    }

    #[test]
    fn one_changed_byte_changes_the_digest_or_is_not_covered(at: prop::sample::Index, flip in 1..=u8::MAX) {
        let image = boot_file();
        let mut other = image.clone();
        let at = at.index(image.len());
        other[at] ^= flip;
        let optional = 0x80 + 24;
        let outside = (optional + 64..optional + 68).contains(&at) || (optional + 144..optional + 152).contains(&at);
        prop_assume!(!outside);
        prop_assert_ne!(authenticode_digest(&other).ok(), authenticode_digest(&image).ok());
    }

    #[test]
    fn no_damage_to_the_headers_makes_a_reader_panic(
        changes in prop::collection::vec((0..0x300_usize, any::<u8>()), 1..8), signed: bool, cut: Option<prop::sample::Index>,
    ) {
        let mut image = if signed { attach_signature(&boot_file(), &[0x30; 99]).unwrap() } else { xen_like() };
        for (at, value) in changes {
            image[at] = value;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        read_in_every_way(&image);
    }

    /// Whole fields at once: sizes and offsets at the ends of their range.
    #[test]
    fn no_extreme_number_makes_a_reader_panic(
        changes in prop::collection::vec(
            (0x80..0x300_usize, prop_oneof![Just(u32::MAX), Just(0), Just(0x8000_0000), Just(0xffff_ff00), any::<u32>()]), 1..4),
    ) {
        for mut image in [xen_like(), attach_signature(&boot_file(), &[0x30; 99]).unwrap()] {
            for (at, value) in &changes {
                let at = at & !3;
                image[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            read_in_every_way(&image);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read_in_every_way(&bytes);
        if bytes.len() > 0x40 {
            bytes[..2].copy_from_slice(b"MZ");
            bytes[0x3c..0x40].copy_from_slice(&[0x10, 0, 0, 0]);
            bytes[0x10..0x14].copy_from_slice(b"PE\0\0");
            read_in_every_way(&bytes);
        }
    }
}
