use super::*;
use crate::testing::{development_keys, outline, tiny_pe};

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn db() -> Vec<Cert> {
    vec![development_keys().db().certificate().clone()]
}

fn signed() -> Vec<u8> {
    development_keys().sign_pe(&tiny_pe()).unwrap()
}

#[test]
fn the_same_key_signs_the_same_bytes() {
    assert_eq!(signed(), signed());
}

#[test]
fn a_signed_program_names_its_signer() {
    let info = verify_pe(&signed(), &db()).unwrap();
    assert_eq!(info.signer, "CN=Xenolith development db");
    assert_eq!(info.fingerprint, db()[0].fingerprint());
    assert_eq!(info.trusted_by, Some(db()[0].fingerprint()));
    assert_eq!(read_signatures(&signed()).unwrap(), [SignatureInfo { trusted_by: None, ..info }]);
}

#[test]
fn the_structure_is_what_firmware_and_signing_tools_expect() {
    let keys = development_keys();
    let der = sign_digest(&[0x11; 32], keys.db().signer().unwrap()).unwrap();
    let certificate = keys.db().certificate();
    insta::assert_snapshot!("program_signature", outline(&der, &[("certificate", certificate.der())]));
    insta::assert_snapshot!("db_certificate", outline(certificate.der(), &[]));
    let auth = &keys.enrolment(crate::EfiTime::FIRST, &[]).unwrap()[0].auth;
    let length = usize::try_from(u32_at(auth, 16).unwrap()).unwrap();
    let known = [("certificate", keys.pk().certificate().der())];
    insta::assert_snapshot!("variable_signature", outline(&auth[40..16 + length], &known));
}

#[test]
fn every_byte_that_counts_is_covered() {
    let pe = signed();
    let end = tiny_pe().len();
    // Three fields do not count, by definition: checksum, and the certificate table's place and length.
    let free = [0x58 + 64..0x58 + 68, 0xe8..0xf0];
    for at in (0..end).filter(|at| !free.iter().any(|range| range.contains(at))) {
        let mut changed = pe.clone();
        changed[at] ^= 0x01;
        assert!(verify_pe(&changed, &db()).is_err(), "byte {at:#x} was changed without notice");
    }
}

#[test]
fn a_changed_program_is_told_from_a_changed_signature() {
    let mut changed = signed();
    changed[0x200] ^= 1;
    assert!(matches!(verify_pe(&changed, &db()), Err(TrustError::Changed { .. })));
    let mut changed = signed();
    let last =
        tiny_pe().len() + 8 + sign_digest(&[0; 32], development_keys().db().signer().unwrap()).unwrap().len()
            - 1;
    changed[last] ^= 1;
    assert!(matches!(verify_pe(&changed, &db()), Err(TrustError::Signature(_))));
}

#[test]
fn bytes_after_the_signed_program_are_noticed() {
    let mut longer = signed();
    longer.extend([0; 8]);
    assert!(verify_pe(&longer, &db()).is_err());
}

#[test]
fn unsigned_foreign_and_damaged_programs_are_refused() {
    assert!(matches!(verify_pe(&tiny_pe(), &db()), Err(TrustError::Unsigned)));
    let kek = [development_keys().kek().certificate().clone()];
    let error = verify_pe(&signed(), &kek).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program is signed by CN=Xenolith development db, whom none of the given certificates vouches for"
    );
    assert!(matches!(verify_pe(&signed(), &[]), Err(TrustError::Untrusted { .. })));
    assert!(matches!(verify_pe(b"MZ", &db()), Err(TrustError::Image(_))));
    let cut = &signed()[..tiny_pe().len() + 40];
    assert!(verify_pe(cut, &db()).is_err());
}

#[test]
fn a_program_is_not_signed_twice() {
    let error = development_keys().sign_pe(&signed()).unwrap_err();
    assert!(matches!(error, TrustError::Image(xenolith_bootfile::PeError::Signed)), "{error:?}");
}

/// As other signers leave it: a second entry in the table.
fn with_second_signature(mut pe: Vec<u8>, der: &[u8]) -> Vec<u8> {
    let length = u32::try_from((8 + der.len()).next_multiple_of(8)).unwrap();
    pe.extend(length.to_le_bytes());
    pe.extend([0x00, 0x02, 0x02, 0x00]);
    pe.extend(der);
    pe.resize(pe.len().next_multiple_of(8), 0);
    let size = u32_at(&pe, 0xec).unwrap() + length;
    pe[0xec..0xf0].copy_from_slice(&size.to_le_bytes());
    pe
}

#[test]
fn one_good_signature_among_several_is_enough() {
    let keys = development_keys();
    let foreign = sign_pe(&tiny_pe(), keys.kek().signer().unwrap()).unwrap();
    let digest = authenticode_digest(&tiny_pe()).unwrap();
    let ours = sign_digest(&digest, keys.db().signer().unwrap()).unwrap();
    let both = with_second_signature(foreign, &ours);
    assert_eq!(verify_pe(&both, &db()).unwrap().fingerprint, db()[0].fingerprint());
    assert_eq!(read_signatures(&both).unwrap().len(), 2);
}

#[test]
fn a_signature_for_a_variable_is_none_for_a_program() {
    let keys = development_keys();
    let digest = authenticode_digest(&tiny_pe()).unwrap();
    let bare = pkcs7::sign_detached(keys.db().signer().unwrap(), &digest).unwrap();
    let pe = attach_signature(&tiny_pe(), &bare).unwrap();
    assert!(matches!(verify_pe(&pe, &db()), Err(TrustError::Signature(Pkcs7Error::Parse(_)))));
}

#[test]
fn a_signature_moved_to_another_program_is_refused() {
    let digest = [0x11; 32];
    let der = sign_digest(&digest, development_keys().db().signer().unwrap()).unwrap();
    let pe = attach_signature(&tiny_pe(), &der).unwrap();
    assert!(matches!(verify_pe(&pe, &db()), Err(TrustError::Changed { .. })));
}

/// The signature over a certificate leaves out the algorithm that is named beside it; RFC 5280 §4.1.1.2 binds it otherwise.
#[test]
fn no_bit_of_the_signers_certificate_may_change() {
    let pe = signed();
    let cert = db()[0].der().to_vec();
    let start = pe.windows(cert.len()).position(|window| window == cert).unwrap();
    for (at, bit) in (start..start + cert.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut changed = pe.clone();
        changed[at] ^= 1 << bit;
        assert!(verify_pe(&changed, &db()).is_err(), "bit {bit} of byte {at:#x} was changed without notice");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn no_damage_to_the_signature_makes_the_check_panic_or_pass(at in 1024usize..2400, to: u8) {
        let mut pe = signed();
        if at < pe.len() && pe[at] != to {
            pe[at] = to;
            if let Ok(info) = verify_pe(&pe, &db()) {
                // Only padding and redundant fields may differ; who signed what may not.
                proptest::prop_assert_eq!(info.fingerprint, db()[0].fingerprint());
            }
        }
    }
}

/// Leaves files behind for other programs to check: `XENOLITH_SIGN_OUT=dir [XENOLITH_SIGN_PE=file] cargo test … -- --ignored`.
#[test]
#[ignore = "writes files for sbverify, osslsigncode and firmware"]
fn write_signed_files_for_other_tools() {
    let out = std::path::PathBuf::from(
        std::env::var_os("XENOLITH_SIGN_OUT").expect("XENOLITH_SIGN_OUT names a folder"),
    );
    let keys = crate::KeySet::init(&out.join("keys"), &crate::InitOptions::default()).unwrap();
    let pe = std::env::var_os("XENOLITH_SIGN_PE").map_or_else(tiny_pe, |path| fs_err::read(path).unwrap());
    fs_err::write(out.join("signed.efi"), keys.sign_pe(&pe).unwrap()).unwrap();
    for variable in keys.enrolment(crate::EfiTime::FIRST, &[]).unwrap() {
        for (name, bytes) in variable.files() {
            fs_err::write(out.join(name), bytes).unwrap();
        }
    }
}
