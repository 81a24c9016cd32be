//! New development keys.

use std::io;
use std::path::Path;

use rand_core::OsRng;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::files::{Access, Draft};
use super::settings::{Settings, certificate_path};
use super::{InitOptions, KeyError, OWNER, SETTINGS};
use crate::cert::{self, CertError, Purpose};
use crate::dsse::UpdateKey;
use crate::enrol::Variable;

const BITS: usize = 2048;

/// Whether new keys may be put there: the place is free, or an empty folder. Keys may be there already: `false`.
pub(super) fn is_vacant(dir: &Path) -> Result<bool, KeyError> {
    let mut entries = match fs_err::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(source) => return Err(KeyError::Read { path: dir.to_owned(), source }),
    };
    if entries.next().is_none() {
        return Ok(true);
    }
    let has_keys = [SETTINGS, OWNER, "pk.key", "kek.key", "db.key", "db.crt", "update.key"];
    if has_keys.iter().any(|name| dir.join(name).exists()) {
        Ok(false)
    } else {
        Err(KeyError::Occupied { dir: dir.to_owned() })
    }
}

/// All files of a new set, beside `dir` and not yet in place.
pub(super) fn draft(dir: &Path, options: &InitOptions) -> Result<Draft, KeyError> {
    let [pk, kek, db] = std::thread::scope(|scope| {
        Variable::ALL
            .map(|variable| scope.spawn(move || certified(dir, variable, options)))
            .map(|thread| thread.join().expect("making a key does not panic"))
    });
    let update = UpdateKey::generate();
    let not_encoded = |source| KeyError::Update { path: dir.join("update.key"), source };
    let refused = |source| KeyError::Write { dir: dir.to_owned(), source };
    let draft = Draft::beside(dir).map_err(refused)?;
    let write = |name: &str, access, bytes: &[u8]| draft.write(name, access, bytes).map_err(refused);
    for (stem, made) in [("pk", pk?), ("kek", kek?), ("db", db?)] {
        write(&format!("{stem}.key"), Access::Owner, made.key.as_bytes())?;
        write(&format!("{stem}.crt"), Access::Everybody, made.certificate.as_bytes())?;
    }
    write("update.key", Access::Owner, update.to_pem().map_err(not_encoded)?.as_bytes())?;
    write("update.pub", Access::Everybody, update.public().to_pem().map_err(not_encoded)?.as_bytes())?;
    write(OWNER, Access::Everybody, format!("{}\n", random_guid()).as_bytes())?;
    write(".gitignore", Access::Everybody, b"*\n")?;
    write(SETTINGS, Access::Everybody, Settings::development().as_bytes())?;
    Ok(draft)
}

struct Made {
    key: Zeroizing<String>,
    certificate: String,
}

fn certified(dir: &Path, variable: Variable, options: &InitOptions) -> Result<Made, KeyError> {
    let refused = |source: CertError| KeyError::Certificate { path: certificate_path(dir, variable), source };
    let purpose = match variable {
        Variable::Pk | Variable::Kek => Purpose::Variables,
        Variable::Db => Purpose::Code,
    };
    let label = options.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    let name = format!("Xenolith development {}{label}", variable.name());
    let key = RsaPrivateKey::new(&mut OsRng, BITS).map_err(KeyError::Generate)?;
    let certificate =
        cert::self_signed(&key, &name, purpose).and_then(|cert| cert.to_pem()).map_err(refused)?;
    let key = key.to_pkcs8_pem(LineEnding::LF).map_err(KeyError::Encode)?;
    Ok(Made { key, certificate })
}

fn random_guid() -> Uuid {
    use rand_core::RngCore;
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
