//! EFI programs: boot files and loaders, and who signed them.

use std::{collections::BTreeMap, path::Path};

use fs_err as fs;
use sha2::{Digest as _, Sha256};
use xenolith_layout::{RootHash, names};
use xenolith_trust::{Cert, TrustError, UpdatePublicKey, read_signatures, verify_pe};

use super::model::{CommandLine, Program, Signature};

/// The largest EFI program that is read.
pub const MAX_PROGRAM: u64 = 1 << 30;

/// What signatures are checked against.
#[derive(Default)]
pub struct Trusted {
    /// Certificates that may sign programs.
    pub certificates: Vec<Cert>,
    /// Keys that may sign update sets.
    pub update_keys: Vec<UpdatePublicKey>,
}

impl Trusted {
    /// The public halves in a keys folder: `db.crt`, as firmware lets only db vouch for programs, and `update.pub`.
    /// Private keys are not touched. What is not there cannot vouch for anything.
    ///
    /// # Errors
    /// When one of the two is there and cannot be read.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let mut trusted = Self::default();
        let (certificate, key) = (folder.join("db.crt"), folder.join("update.pub"));
        if certificate.exists() {
            let bytes = fs::read(&certificate)?;
            let read =
                if bytes.starts_with(b"-----") { Cert::from_pem(&bytes) } else { Cert::from_der(&bytes) };
            trusted.certificates.push(read?);
        }
        if key.exists() {
            trusted.update_keys.push(UpdatePublicKey::from_pem(&fs::read_to_string(&key)?)?);
        }
        Ok(trusted)
    }
}

/// Looks through an EFI program.
///
/// # Errors
/// When the bytes are none.
pub fn inspect(path: &str, bytes: &[u8], trusted: &Trusted) -> Result<Program, xenolith_bootfile::PeError> {
    let found = xenolith_bootfile::inspect(bytes)?;
    let mut problems: Vec<String> = Vec::new();
    let mut os_release = BTreeMap::new();
    if let Some(text) = found.section(".osrel") {
        let text = String::from_utf8_lossy(text);
        // Loaders have an .osrel of their own, with less in it than a boot entry needs.
        if found.section(".config").is_some()
            && let Err(error) = xenolith_bootfile::OsRelease::parse(&text)
        {
            problems.push(error.to_string());
        }
        os_release = pairs(&text);
    }
    let mut command_lines = Vec::new();
    match found.config() {
        Some(Ok(config)) => {
            command_lines.extend(config.blocks.into_iter().map(|block| CommandLine {
                default: block.name == config.default,
                name: block.name,
                xen: block.xen_options,
                dom0: block.dom0_cmdline,
            }));
        }
        Some(Err(error)) => problems.push(error.to_string()),
        None => {}
    }
    let mut root_hash = None;
    if let Some(text) =
        command_lines.iter().find(|line| line.default).and_then(|line| root_hash_word(&line.dom0))
    {
        match text.parse::<RootHash>() {
            Ok(hash) => root_hash = Some(hash),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let authenticode = match &found.digest {
        Ok(digest) => Some(digest.to_string()),
        Err(error) => {
            problems.push(error.to_string());
            None
        }
    };
    Ok(Program {
        path: path.to_owned(),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
        authenticode,
        signature: signature(bytes, trusted),
        version: os_release.get("IMAGE_VERSION").cloned(),
        os_release,
        command_lines,
        root_hash,
        sections: found.sections,
        problems,
    })
}

/// The value of the root hash's word in a command line of dom0.
fn root_hash_word(line: &str) -> Option<&str> {
    line.split(' ').find_map(|word| word.strip_prefix(names::KARG_ROOT_HASH)?.strip_prefix('='))
}

/// `KEY=value` lines, without quotes; other lines are passed over.
fn pairs(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

fn signature(bytes: &[u8], trusted: &Trusted) -> Signature {
    match verify_pe(bytes, &trusted.certificates) {
        Ok(info) => Signature::Trusted { signer: info.signer, fingerprint: info.fingerprint },
        Err(TrustError::Unsigned) => Signature::Unsigned,
        Err(TrustError::Untrusted { signer }) => {
            let of_signer = |info: &xenolith_trust::SignatureInfo| info.signer == signer;
            let found = read_signatures(bytes).ok().and_then(|all| all.into_iter().find(of_signer));
            Signature::Unknown { signer, fingerprint: found.map(|info| info.fingerprint) }
        }
        Err(error) => Signature::Bad { why: super::chain(&error) },
    }
}
