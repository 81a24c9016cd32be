//! The boot chain, followed as a host follows it: each link says which next one it accepts, and that is checked now.
//!
//! ```text
//!   firmware keys ──signature──▶ loader ──(firmware again)──▶ boot file ──root hash──▶ verity tree ──▶ root image
//!   update key ──signature──▶ update set, provenance ──SHA-256──▶ every result
//! ```
//! A check that cannot be made (keys kept elsewhere, cache cleaned) says so; it is never left out.

use std::{io::BufReader, path::Path};

use fs_err as fs;
use xenolith_layout::{RootHash, names};
use xenolith_store::{LastBuild, Store, digest_bytes};
use xenolith_trust::{
    Cert, KeySet, UpdatePublicKey,
    provenance::{PAYLOAD_TYPE, Statement},
    verify_dsse, verify_pe,
};

use super::{
    model::{Check, Link, Section, Verdict},
    step_output,
};
use crate::{
    project,
    steps::{
        describe::{manifest, manifest::Manifest, provenance},
        media::{UPDATE_INDEX_TYPE, UpdateIndex},
    },
};

/// Text sections up to this length are shown.
const SHOWN_TEXT: usize = 8 << 10;

/// Follows the chain.
pub fn chain(
    manifest: &Manifest,
    out: &Path,
    keys: Option<&Path>,
    (store, last): (&Store, Option<&LastBuild>),
) -> Vec<Link> {
    let keys = project::keys_folder(keys)
        .map_err(|failure| failure.to_string())
        .and_then(|folder| KeySet::load(&folder).map_err(|error| causes(&error)))
        .and_then(|keys| match keys.update().public().id().to_string() == manifest.update_key {
            true => Ok(keys),
            false => Err("the keys at hand are not those of this build".to_owned()),
        });
    let boot_name = format!("xenolith-{}.efi", manifest.identity.version);
    let boot = read(&out.join(&boot_name));
    let loader = step_output(store, last, "signed")
        .ok_or_else(|| "the cache no longer has it".to_owned())
        .and_then(|folder| match &boot {
            Ok(boot) if *boot == read(&folder.join("boot/xenolith.efi"))? => {
                read(&folder.join("boot/systemd-bootx64.efi"))
            }
            Ok(_) | Err(_) => Err("the cache holds another build than the folder".to_owned()),
        });
    vec![
        firmware(&keys),
        program(
            "Loader",
            "systemd-boot. Firmware starts it only with a signature that db vouches for; it offers the boot files and counts their tries.",
            &loader,
            None,
            &keys,
        ),
        boot_file(manifest, &boot_name, &boot, &keys),
        root_image(manifest, out, store, last),
        statements(manifest, out, &keys),
    ]
}

/// A file, or why there is none, without the places of this machine.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{name} is not there"),
        kind => format!("{name} cannot be read: {kind}"),
    })
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn length(bytes: u64) -> String {
    format!("{} bytes", indicatif::HumanCount(bytes))
}

fn check(about: impl Into<String>, verdict: Verdict) -> Check {
    Check { about: about.into(), verdict }
}

fn holds(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Verdict::Holds } else { Verdict::Broken(otherwise()) }
}

fn firmware(keys: &Result<KeySet, String>) -> Link {
    let mut facts = Vec::new();
    let mut checks = Vec::new();
    match keys {
        Ok(keys) => {
            let described = keys.describe();
            let kind = match keys.kind() {
                xenolith_trust::Kind::Development => {
                    "development: for machines that trust their maker's disk"
                }
                xenolith_trust::Kind::Release => "release",
            };
            facts.push(("Kind".to_owned(), kind.to_owned()));
            for certificate in &described.certificates {
                let until = certificate.not_after.split('T').next().unwrap_or_default();
                facts.push((
                    certificate.name.to_owned(),
                    format!("{}, until {until}\n{}", certificate.subject, certificate.fingerprint),
                ));
            }
        }
        Err(why) => checks.push(check("The keys of this build", Verdict::NotMade(why.clone()))),
    }
    Link {
        title: "Firmware",
        says: "Holds PK, KEK and db. With Secure Boot on it starts only programs that a certificate in db vouches for."
            .into(),
        facts,
        checks,
        sections: Vec::new(),
    }
}

/// A signed program: its sum, its signature, its sections.
fn program(
    title: &'static str,
    says: &str,
    bytes: &Result<Vec<u8>, String>,
    expected: Option<&str>,
    keys: &Result<KeySet, String>,
) -> Link {
    let mut link =
        Link { title, says: says.into(), facts: Vec::new(), checks: Vec::new(), sections: Vec::new() };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(why) => {
            link.checks.push(check("Signature", Verdict::NotMade(why.clone())));
            return link;
        }
    };
    let sum = digest_bytes(bytes).to_string();
    link.facts.push(("Size".into(), length(bytes.len() as u64)));
    link.facts.push(("SHA-256".into(), sum.clone()));
    if let Some(expected) = expected {
        link.checks.push(check(
            "Is the file of the manifest",
            holds(sum == expected, || format!("that has {expected}")),
        ));
    }
    link.checks.push(signature(bytes, keys, &mut link.facts));
    match xenolith_bootfile::inspect(bytes) {
        Ok(image) => {
            link.sections = image
                .sections
                .iter()
                .map(|section| Section {
                    name: section.name.clone(),
                    size: section.size.get(),
                    sha256: section.sha256.to_string(),
                    text: text_of(&section.name, image.section(&section.name)),
                })
                .collect();
        }
        Err(error) => link.checks.push(check("Is a program for UEFI", Verdict::Broken(causes(&error)))),
    }
    link
}

fn text_of(name: &str, data: Option<&[u8]>) -> Option<String> {
    let data = data.filter(|data| data.len() <= SHOWN_TEXT)?;
    [".config", ".osrel"]
        .contains(&name)
        .then(|| String::from_utf8_lossy(data).trim_end_matches('\0').to_owned())
}

fn signature(bytes: &[u8], keys: &Result<KeySet, String>, facts: &mut Vec<(String, String)>) -> Check {
    let about = "Signature vouched for by db";
    let keys = match keys {
        Ok(keys) => keys,
        Err(why) => return check(about, Verdict::NotMade(why.clone())),
    };
    let trusted: Vec<Cert> = vec![keys.db().certificate().clone()];
    match verify_pe(bytes, &trusted) {
        Ok(info) => {
            facts.push(("Signed digest".into(), hex::encode(info.digest)));
            facts.push(("Signed by".into(), format!("{}\n{}", info.signer, info.fingerprint)));
            check(about, Verdict::Holds)
        }
        Err(error) => check(about, Verdict::Broken(causes(&error))),
    }
}

fn boot_file(
    manifest: &Manifest,
    name: &str,
    bytes: &Result<Vec<u8>, String>,
    keys: &Result<KeySet, String>,
) -> Link {
    let expected = manifest.file(name).map(|file| file.sha256.as_str());
    let says = "Xen with its options, dom0's kernel and initrd in one program under one signature. Its options name the root hash.";
    let mut link = program("Boot file", says, bytes, expected, keys);
    let Ok(bytes) = bytes else { return link };
    let embedded = embedded_root_hash(bytes);
    let verdict = match &embedded {
        Ok(hash) => holds(*hash == manifest.root.hash, || format!("it names {hash}")),
        Err(why) => Verdict::Broken(why.clone()),
    };
    link.checks.push(check("Names the root hash of the manifest", verdict));
    link
}

/// The root hash on dom0's command line in a boot file.
fn embedded_root_hash(bytes: &[u8]) -> Result<RootHash, String> {
    let image = xenolith_bootfile::inspect(bytes).map_err(|error| causes(&error))?;
    let config = image.config().ok_or("it has no .config section")?.map_err(|error| causes(&error))?;
    let block = config.default_block().ok_or("its .config has no default block")?;
    let prefix = format!("{}=", names::KARG_ROOT_HASH);
    let word = block.dom0_cmdline.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
    word.ok_or("dom0's command line names none")?
        .parse()
        .map_err(|_| "it names something else than a hash".into())
}

fn root_image(manifest: &Manifest, out: &Path, store: &Store, last: Option<&LastBuild>) -> Link {
    let folder = [Some(out.join("netboot")), step_output(store, last, "root")]
        .into_iter()
        .flatten()
        .find(|folder| folder.join("root.erofs").is_file() && folder.join("root.verity").is_file());
    let verdict = match folder {
        Some(folder) => match verify(&folder, &manifest.root.hash) {
            Ok(()) => Verdict::Holds,
            Err(why) => Verdict::Broken(why),
        },
        None => Verdict::NotMade("neither the netboot set nor the cache has it".into()),
    };
    Link {
        title: "Root image",
        says: "Read-only. The kernel compares every block that it reads with the verity tree, and the tree with the root hash; a block that differs ends the boot."
            .into(),
        facts: vec![
            ("Root hash".into(), manifest.root.hash.to_string()),
            ("Image".into(), length(manifest.root.size)),
            ("Verity tree".into(), length(manifest.root.verity_size)),
        ],
        checks: vec![check("Every block is what the root hash stands for", verdict)],
        sections: Vec::new(),
    }
}

fn verify(folder: &Path, hash: &RootHash) -> Result<(), String> {
    let open = |name: &str| {
        let file = fs::File::open(folder.join(name)).map_err(|error| error.to_string())?;
        Ok::<_, String>(BufReader::with_capacity(1 << 20, file))
    };
    let (mut data, mut tree) = (open("root.erofs")?, open("root.verity")?);
    xenolith_verity::verify(&mut data, &mut tree, hash).map_err(|error| causes(&error))
}

fn statements(manifest: &Manifest, out: &Path, keys: &Result<KeySet, String>) -> Link {
    let mut checks = Vec::new();
    match keys.as_ref().map(|keys| keys.update().public()) {
        Ok(key) => {
            checks.push(statement(
                "Provenance is signed and lists every result with its sum",
                &out.join(provenance::FILE),
                |text| provenance_lists_all(manifest, out, &key, text),
            ));
            checks.push(statement(
                "Update index is signed and names the root hash",
                &out.join("update/index.dsse.json"),
                |text| index_names_root(manifest, &key, text),
            ));
        }
        Err(why) => checks.push(check("Signatures of the update key", Verdict::NotMade(why.clone()))),
    }
    Link {
        title: "Updates and provenance",
        says: "Not needed to boot: what an updater and an auditor check before they believe the files beside it."
            .into(),
        facts: vec![("Update key".to_owned(), manifest.update_key.clone())],
        checks,
        sections: Vec::new(),
    }
}

/// Checks a signed statement; one that is not there is not checked, and that is said.
fn statement(about: &str, path: &Path, holds: impl FnOnce(&str) -> Result<(), String>) -> Check {
    let verdict = match read(path) {
        Err(why) => Verdict::NotMade(why),
        Ok(bytes) => match holds(&String::from_utf8_lossy(&bytes)) {
            Ok(()) => Verdict::Holds,
            Err(why) => Verdict::Broken(why),
        },
    };
    check(about, verdict)
}

fn provenance_lists_all(
    manifest: &Manifest,
    out: &Path,
    key: &UpdatePublicKey,
    text: &str,
) -> Result<(), String> {
    let verified =
        verify_dsse(text, PAYLOAD_TYPE, std::slice::from_ref(key)).map_err(|error| causes(&error))?;
    let statement = Statement::parse(&verified.payload).map_err(|error| causes(&error))?;
    let own = digest_bytes(&read(&out.join(manifest::FILE))?).to_string();
    let files = manifest.files.iter().map(|file| (file.name.as_str(), file.sha256.as_str()));
    for (name, sum) in files.chain([(manifest::FILE, own.as_str())]) {
        let subject = statement.subject.iter().find(|subject| subject.name == name);
        let listed = subject.and_then(|subject| subject.digest.get("sha256"));
        if listed.map(String::as_str) != Some(sum) {
            return Err(format!("it does not list {name} with the sum of the manifest"));
        }
    }
    Ok(())
}

fn index_names_root(manifest: &Manifest, key: &UpdatePublicKey, text: &str) -> Result<(), String> {
    let verified =
        verify_dsse(text, UPDATE_INDEX_TYPE, std::slice::from_ref(key)).map_err(|error| causes(&error))?;
    let index: UpdateIndex = serde_json::from_slice(&verified.payload).map_err(|error| error.to_string())?;
    if index.root_hash == manifest.root.hash.to_string() {
        Ok(())
    } else {
        Err(format!("it names {}", index.root_hash))
    }
}
