//! The fixture is a real InRelease of trixie-updates, signed by the automatic keys of releases 12 and 13.

use pgp::composed::{ArmorOptions, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::types::Password;

use super::*;

const MESSAGE: &str = include_str!("../../tests/signature/trixie-updates.InRelease");

fn day(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn at() -> Timestamp {
    day("2026-11-20T00:00:00Z")
}

fn refused(message: &str) -> String {
    Keyring::debian().verify(message.as_bytes(), at()).unwrap_err().to_string()
}

#[test]
fn all_embedded_keys_are_read() {
    assert_eq!(Keyring::debian().keys.len(), DEBIAN_KEYS.len());
    let subkeys: usize = Keyring::debian().keys.iter().map(|key| key.public_subkeys.len()).sum();
    assert_eq!(subkeys, 4);
}

#[test]
fn the_signed_text_of_a_real_suite_comes_out() {
    let text = Keyring::debian().verify(MESSAGE.as_bytes(), at()).unwrap();
    assert!(text.starts_with("Origin: Debian\nLabel: Debian\n"));
    assert!(!text.contains("-----") && !text.contains('\r') && !text.contains("\nHash: "));
    let release = Release::parse(&text).unwrap();
    assert_eq!(release.codename, "trixie-updates");
    assert!(release.file("main/binary-amd64/Packages.xz").is_some());
}

#[test]
fn each_of_its_signatures_is_enough_alone_and_no_other_key_is() {
    let keyring = |names: [&str; 1]| {
        let files = names.map(|name| fs_err::read(format!("keys/debian-archive-{name}.gpg")).unwrap());
        Keyring::read(&files.concat()).unwrap()
    };
    let verified = |name| keyring([name]).verify(MESSAGE.as_bytes(), at());
    assert!(verified("trixie-automatic").is_ok());
    assert!(verified("bookworm-automatic").is_ok());
    for other in ["trixie-stable", "trixie-security-automatic", "bookworm-stable"] {
        let error = verified(other).unwrap_err().to_string();
        assert!(error.contains("4CB50190207B4758A3F73A796ED0E7B82643E131"), "{error}");
    }
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let text = MESSAGE.replacen("Suite: stable-updates", "Suite: stable-updatez", 1);
    assert!(refused(&text).starts_with("none of the signatures is a good one"));
    let digit = MESSAGE.replacen(" 0 contrib/Contents-all", " 1 contrib/Contents-all", 1);
    assert_ne!(digit, MESSAGE);
    assert!(refused(&digit).starts_with("none of the signatures is a good one"));
}

#[test]
fn a_text_without_its_signature_is_refused() {
    let start = MESSAGE.find(SIGNATURE).unwrap();
    let rest: String = MESSAGE[..start].to_owned();
    assert!(refused(&rest).ends_with("the text has no signature"));
    assert!(refused(&format!("{rest}{SIGNATURE}\n\n{END}\n")).contains("signed"));
    assert_eq!(refused("Origin: Debian\n"), "line 1: a signed message must start on the first line");
    assert_eq!(refused(""), "line 1: a signed message must start on the first line");
}

#[test]
fn text_around_the_message_is_refused() {
    assert_eq!(
        refused(&format!("Origin: Evil\n\n{MESSAGE}")),
        "line 1: a signed message must start on the first line"
    );
    assert_eq!(refused(&format!("\n{MESSAGE}")), "line 1: a signed message must start on the first line");
    assert!(refused(&format!("{MESSAGE}Origin: Evil\n")).ends_with("something follows the signature"));
    assert!(refused(&format!("{MESSAGE}{MESSAGE}")).ends_with("there is more than one signed message"));
    let inside = MESSAGE.replacen("\nOrigin", &format!("\n{BEGIN}\nOrigin"), 1);
    assert!(refused(&inside).ends_with("there is more than one signed message"));
}

#[test]
fn a_header_that_is_not_signed_is_refused() {
    let header = MESSAGE.replacen("Hash: SHA256", "Hash: SHA256\nOrigin: Evil", 1);
    assert_eq!(refused(&header), "the signed message cannot be read");
}

#[test]
fn a_signature_from_the_future_does_not_count() {
    let before = Keyring::debian().verify(MESSAGE.as_bytes(), day("2026-11-10T00:00:00Z"));
    assert!(matches!(before, Err(SignatureError::NotTrusted { .. })));
}

#[test]
fn a_release_that_ran_out_or_is_from_the_future_is_refused() {
    let text = Keyring::debian().verify(MESSAGE.as_bytes(), at()).unwrap();
    let release = Release::parse(&text).unwrap();
    assert!(check_fresh(&release, at()).is_ok());
    assert!(check_fresh(&release, day("2026-11-26T02:12:54Z")).is_ok());
    let late = check_fresh(&release, day("2026-11-26T02:12:55Z")).unwrap_err().to_string();
    assert!(late.contains("was valid until 2026-11-26T02:12:54Z"), "{late}");
    let early = check_fresh(&release, day("2026-11-17T00:00:00Z")).unwrap_err().to_string();
    assert!(early.contains("was made at 2026-11-19T02:12:54Z"), "{early}");
}

fn key(can_sign: bool) -> SignedSecretKey {
    let mut parameters = SecretKeyParamsBuilder::default();
    parameters.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(can_sign);
    parameters.primary_user_id("Test <test@mirror.example>".into());
    parameters.build().unwrap().generate(rand_core::OsRng).unwrap()
}

fn signed_by(key: &SignedSecretKey, text: &str) -> String {
    let message = CleartextSignedMessage::sign(rand_core::OsRng, text, &key.primary_key, &Password::empty());
    message.unwrap().to_armored_string(ArmorOptions::default()).unwrap()
}

#[test]
fn a_key_counts_once_it_is_in_the_keyring_and_may_sign() {
    let text = "Origin: Test\n- a list\n-----BEGIN\nSuite: x\n";
    let (good, certifier, now) = (key(true), key(false), Timestamp::now());
    let keyring = Keyring { keys: vec![good.to_public_key(), certifier.to_public_key()] };
    let message = signed_by(&good, text);
    assert_eq!(keyring.verify(message.as_bytes(), now).unwrap().trim_end(), text.trim_end());
    let not_for_signing = keyring.verify(signed_by(&certifier, text).as_bytes(), now);
    assert!(matches!(not_for_signing, Err(SignatureError::NotTrusted { .. })));
    assert!(matches!(
        Keyring::debian().verify(message.as_bytes(), now),
        Err(SignatureError::NotTrusted { .. })
    ));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_verifier_panic_or_agree(at in 0_usize..MESSAGE.len(), byte: u8) {
        let mut message = MESSAGE.as_bytes().to_vec();
        let changed = message[at] != byte;
        message[at] = byte;
        if let Ok(text) = Keyring::debian().verify(&message, self::at()) {
            // What is not signed (blanks at the end of a line, the armor, one of two signatures) may change.
            let untouched = Keyring::debian().verify(MESSAGE.as_bytes(), self::at()).unwrap();
            proptest::prop_assert!(!changed || text == untouched);
        }
    }
}
