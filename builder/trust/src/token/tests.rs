//! Against SoftHSM, if it is there. Its settings come from an environment variable that only a new process can have, so
//! each test that needs the token starts this test program again for itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};

use super::*;
use crate::keys::KeySet;
use crate::signer::{Signer, SignerError};
use crate::testing::development_keys;

const PLACES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
const PIN: &str = "4711";

fn soft_hsm() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.exists())
}

#[test]
fn a_token_signs_as_the_same_key_in_a_file_does() {
    let Some(module) = soft_hsm() else {
        eprintln!("SKIPPED: no SoftHSM module found (package softhsm2); looked in {PLACES:?}");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    fs_err::create_dir(&tokens).unwrap();
    let settings = dir.path().join("softhsm2.conf");
    fs_err::write(&settings, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "token::tests::inside_soft_hsm", "--ignored", "--nocapture"])
        .env("SOFTHSM2_CONF", &settings)
        .env(MODULE_VARIABLE, module)
        .env(PIN_VARIABLE, PIN)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "started by a_token_signs_as_the_same_key_in_a_file_does, with the environment it needs"]
fn inside_soft_hsm() {
    let keys = development_keys();
    let pem = fs_err::read_to_string(keys.dir().join("db.key")).unwrap();
    let access = Access::from_env();
    let module = access.module.clone().unwrap();
    fill_token(&module, &RsaPrivateKey::from_pkcs8_pem(&pem).unwrap());
    let certificate = keys.db().certificate();
    let open =
        |uri: &str, access: &Access| TokenKey::open(&uri.parse().unwrap(), certificate.clone(), access);

    let token = Signer::Pkcs11(open("pkcs11:token=Xenolith%20test;object=db", &access).unwrap());
    let file = keys.db().signer().unwrap();
    assert_eq!(token.sign(b"message").unwrap(), file.sign(b"message").unwrap());
    assert!(!format!("{token:?}").contains(PIN));

    // Each of these differs in one thing from the one above, and each must be found out.
    let tokens = open("pkcs11:token=Other;object=db", &access).unwrap_err();
    assert_eq!(
        tokens.to_string(),
        "0 tokens match pkcs11:token=Other;object=db, not one; there are: 'Xenolith test'"
    );
    let missing = open("pkcs11:token=Xenolith%20test;object=other", &access);
    assert!(matches!(missing, Err(TokenError::Keys { found: 0, .. })));
    let both = open("pkcs11:token=Xenolith%20test", &access);
    assert!(matches!(both, Err(TokenError::Keys { found: 2, .. })), "db and the wrong one");
    let nowhere = open("pkcs11:object=db", &Access::default());
    assert!(matches!(nowhere, Err(TokenError::NoModule { .. })));
    let wrong = Signer::Pkcs11(open("pkcs11:token=Xenolith%20test;object=wrong", &access).unwrap());
    assert!(matches!(wrong.sign(b"message"), Err(SignerError::NotAPair { .. })));

    release_keys_with_db_in_the_token(keys);
}

fn release_keys_with_db_in_the_token(keys: &KeySet) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["owner.guid", "pk.crt", "kek.crt", "db.crt", "update.pub", "update.key"] {
        fs_err::copy(keys.dir().join(name), dir.path().join(name)).unwrap();
    }
    let settings =
        "format = 1\nkind = \"release\"\n[keys]\ndb = \"pkcs11:token=Xenolith%20test;object=db\"\n";
    fs_err::write(dir.path().join("keys.toml"), settings).unwrap();
    let release = KeySet::load(dir.path()).unwrap();
    let signature = release.db().signer().unwrap().sign(b"message").unwrap();
    assert_eq!(signature, keys.db().signer().unwrap().sign(b"message").unwrap());
    assert!(matches!(release.pk().signer(), Err(KeyError::Absent { name: "PK" })));
    let description = release.describe();
    assert_eq!(description.certificates[0].key, None);
    assert_eq!(description.certificates[2].key.as_deref(), Some("pkcs11:token=Xenolith%20test;object=db"));
}

/// Makes a token that holds `key` as `db` and another key as `wrong`.
fn fill_token(module: &Path, key: &RsaPrivateKey) {
    let module = Pkcs11::new(module).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_token().unwrap()[0];
    let officer = AuthPin::from("0815");
    module.init_token(slot, &officer, "Xenolith test").unwrap();
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&officer)).unwrap();
    session.init_pin(&AuthPin::from(PIN)).unwrap();
    session.logout().unwrap();
    session.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
    let wrong = RsaPrivateKey::new(&mut rand_core::OsRng, 2048).unwrap();
    for (label, key) in [("db", key), ("wrong", &wrong)] {
        session.create_object(&private_key(label, key)).unwrap();
    }
    session.logout().unwrap();
}

fn private_key(label: &str, key: &RsaPrivateKey) -> Vec<Attribute> {
    let [p, q] = key.primes() else { panic!("two primes") };
    vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Sign(true),
        Attribute::Label(label.into()),
        Attribute::Modulus(key.n().to_bytes_be()),
        Attribute::PublicExponent(key.e().to_bytes_be()),
        Attribute::PrivateExponent(key.d().to_bytes_be()),
        Attribute::Prime1(p.to_bytes_be()),
        Attribute::Prime2(q.to_bytes_be()),
        Attribute::Exponent1(key.dp().unwrap().to_bytes_be()),
        Attribute::Exponent2(key.dq().unwrap().to_bytes_be()),
        Attribute::Coefficient(key.crt_coefficient().unwrap().to_bytes_be()),
    ]
}
