//! ISOs that are made in the tests, customized by the command as a user gives it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use fs_err as fs;
use xenolith_disk::reserved::{Content, Name, read};
use xenolith_trust::{InitOptions, KeySet};

use crate::{
    cli::{Cli, Command},
    commands::inspect::testing,
    exit::{Class, Failure},
};

const ANSWERS: &str = "version = 1
# which disk
[target]
disks = [{ path = \"vda\" }]
[network]
[access]
ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g a\"]
";
const HASH: &str = "root_password_hash = \"$6$salt$a-hash-of-nothing\"\n";
const SEED: &str = "version = 1\n[host]\nname = \"medium\"\n";

/// A folder with an ISO and files to put into it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self::with(&Content::default().image())
    }

    fn with(area: &[u8]) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let root = testing::root();
        testing::iso_with(bench.0.path(), &testing::boot_file(&root.hash, b"ramdisk"), &root, area);
        bench.write("answers.toml", ANSWERS);
        bench.write("seed.toml", SEED);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Words that begin with `@` are files of the folder.
    fn run(&self, words: &str) -> Result<(), Failure> {
        let path = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.into(),
        };
        let words =
            ["xenolith", "iso", "customize"].map(Into::into).into_iter().chain(words.split(' ').map(path));
        let cli = Cli::try_parse_from(words).unwrap();
        let Command::Iso(args) = &cli.command else { panic!("another command") };
        super::run(&cli.global, args)
    }

    fn refused(&self, words: &str) -> (Class, String) {
        let before = fs::read(self.path("test.iso")).unwrap();
        let failure = self.run(words).unwrap_err();
        assert!(fs::read(self.path("test.iso")).unwrap() == before, "a refusal changed the ISO");
        let causes: Vec<String> =
            failure.source.iter().flat_map(|source| source.chain()).map(ToString::to_string).collect();
        let text = format!("{failure}: {}", causes.join(": "));
        (failure.class, text.replace(&format!("{}/", self.0.path().display()), ""))
    }

    fn content(&self, iso: &str) -> Content {
        content(&self.path(iso))
    }
}

fn content(iso: &Path) -> Content {
    read(&mut fs::File::open(iso).unwrap()).unwrap().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_go_into_the_area_and_nothing_else_of_the_iso_changes() {
    let bench = Bench::new();
    let keys = KeySet::init(&bench.path("keys"), &InitOptions::default()).unwrap();
    let ca = keys.db().certificate().to_pem().unwrap();
    bench.write("ca.crt", &ca);
    let before = fs::read(bench.path("test.iso")).unwrap();
    bench.run("@test.iso --answers @answers.toml --ca @ca.crt --seed @seed.toml").unwrap();
    let content = bench.content("test.iso");
    assert_eq!(content.get(Name::AnswersToml), Some(ANSWERS.as_bytes()), "as they were, comments and all");
    assert_eq!(content.get(Name::Ca), Some(ca.as_bytes()));
    assert_eq!(content.get(Name::Seed), Some(SEED.as_bytes()));
    bench.run("@test.iso --show").unwrap();
    let after = fs::read(bench.path("test.iso")).unwrap();
    let area = before.windows(8).position(|part| part == b"MSDOS5.0").map(|at| at - 3);
    let changed = before.iter().zip(&after).position(|(a, b)| a != b).unwrap();
    assert!(area.is_none_or(|area| changed > area) && before.len() == after.len());
    // What is named is all that it holds.
    bench.run("@test.iso --seed @seed.toml").unwrap();
    assert_eq!(bench.content("test.iso").files().map(|(name, _)| name).collect::<Vec<_>>(), [Name::Seed]);
    bench.run("@test.iso --clear").unwrap();
    assert!(fs::read(bench.path("test.iso")).unwrap() == before, "cleared it is the ISO of the build again");
}

#[test]
fn a_copy_leaves_the_iso_alone_and_hides_a_hash_from_others() {
    let bench = Bench::new();
    fs::set_permissions(bench.path("test.iso"), PermissionsExt::from_mode(0o644)).unwrap();
    bench.write("hash.toml", &format!("{ANSWERS}{HASH}"));
    let before = fs::read(bench.path("test.iso")).unwrap();
    bench.run("@test.iso --answers @answers.toml --output @open.iso").unwrap();
    bench.run("@test.iso --answers @hash.toml --output @private.iso").unwrap();
    assert!(fs::read(bench.path("test.iso")).unwrap() == before);
    assert_eq!((mode(&bench.path("open.iso")), mode(&bench.path("private.iso"))), (0o644, 0o600));
    assert!(bench.content("private.iso").get(Name::AnswersToml).unwrap().ends_with(HASH.as_bytes()));
    let (class, why) = bench.refused("@test.iso --answers @answers.toml --output @open.iso");
    assert_eq!((class, why.as_str()), (Class::Usage, "open.iso is there already: "));
    let left: Vec<String> = fs::read_dir(bench.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_dry_run_checks_everything_and_writes_nothing() {
    let bench = Bench::new();
    let before = fs::read(bench.path("test.iso")).unwrap();
    bench.run("@test.iso --answers @answers.toml --dry-run").unwrap();
    bench.run("@test.iso --answers @answers.toml --dry-run --output @copy.iso --json").unwrap();
    assert!(fs::read(bench.path("test.iso")).unwrap() == before && !bench.path("copy.iso").exists());
    bench.write("answers.toml", "version = 2\n");
    assert_eq!(bench.refused("@test.iso --answers @answers.toml --dry-run").0, Class::Input);
}

#[test]
fn json_keeps_its_name_and_xml_of_the_old_installer_is_converted() {
    let bench = Bench::new();
    let answers: toml::Value = toml::from_str(ANSWERS).unwrap();
    bench.write("a.json", &serde_json::to_string(&answers).unwrap());
    bench.run("@test.iso --answers @a.json").unwrap();
    assert_eq!(bench.content("test.iso").answers().unwrap().0, Name::AnswersJson);
    let xml = |more: &str| {
        format!(
            "<installation><primary-disk>sda</primary-disk><admin-interface name=\"eth0\" proto=\"dhcp\"/>\
             <root-password type=\"hash\">$6$salt$a-hash-of-nothing</root-password>{more}</installation>"
        )
    };
    bench.write("a.xml", &xml("<script stage=\"installation-complete\">x</script>"));
    let (class, why) = bench.refused("@test.iso --answers @a.xml");
    assert!(
        class == Class::Input && why.contains("a.xml would be refused") && why.contains("script"),
        "{why}"
    );
    bench.write("a.xml", &xml(""));
    bench.run("@test.iso --answers @a.xml").unwrap();
    let content = bench.content("test.iso");
    let (name, bytes) = content.answers().unwrap();
    assert!(name == Name::AnswersToml && xenolith_answers::Answers::parse(bytes).unwrap().target.erase);
}

#[test]
fn wrong_files_are_refused_with_the_reason_and_without_a_secret() {
    let bench = Bench::new();
    bench.write("secret.toml", &format!("{ANSWERS}root_pasword_hash = \"$6$salt$a-secret\"\n"));
    bench.write("seed.toml", "version = 1\n[host]\nnmae = \"x\"\n");
    bench.write("none.pem", "no certificate\n");
    bench.write("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    bench.write("open.pem", "-----BEGIN CERTIFICATE-----\n");
    bench.write("key.pem", "-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\n");
    bench.write("long.toml", &format!("{ANSWERS}#{}", "x".repeat(256 << 10)));
    for (words, expected) in [
        ("--answers @secret.toml", "root_pasword_hash"),
        ("--seed @seed.toml", "nmae"),
        ("--ca @none.pem", "there is no certificate in PEM"),
        ("--ca @bad.pem", "a certificate in it cannot be read"),
        ("--ca @open.pem", "a certificate in it cannot be read"),
        ("--ca @key.pem", "there is a private key in it"),
        ("--answers @long.toml", "long.toml would be refused"),
        ("--answers @nothing.toml", "cannot read the answers"),
        ("--answers @answers.toml --ca @none.pem", "there is no certificate in PEM"),
    ] {
        let (class, why) = bench.refused(&format!("@test.iso {words}"));
        assert!(
            class == Class::Input && why.contains(expected) && !why.contains("a-secret"),
            "{words}: {why}"
        );
    }
}

#[test]
fn an_iso_that_cannot_be_customized_says_what_to_do() {
    let hint = |bench: &Bench, iso: &str| {
        let failure = bench.run(&format!("{iso} --answers @answers.toml")).unwrap_err();
        assert_eq!(failure.class, Class::Input);
        let cause = failure.source.as_ref().map(|source| format!(": {source}")).unwrap_or_default();
        let text = format!("{failure}{cause} ({})", failure.hint.clone().unwrap());
        text.replace(&format!("{}/", bench.0.path().display()), "")
    };
    let older = Bench::with(&[]);
    assert_eq!(
        hint(&older, "@test.iso"),
        "test.iso has no reserved area (it was built before there was one: build it again with `xenolith build`)"
    );
    assert!(hint(&older, "@seed.toml").starts_with("seed.toml is no ISO of ours: there is no ISO 9660"));
    let mut foreign = fs::read(older.path("test.iso")).unwrap();
    foreign[16 * 2048 + 40..][..8].copy_from_slice(b"DEBIAN13");
    fs::write(older.path("test.iso"), foreign).unwrap();
    assert_eq!(
        hint(&older, "@test.iso"),
        "test.iso is no ISO of ours (customize takes the ISO that `xenolith build` leaves in out/)"
    );
    let with = |at: usize, byte: u8| {
        let mut area = Content::default().image();
        area[at] = byte;
        hint(&Bench::with(&area), "@test.iso")
    };
    assert_eq!(
        with(37, 1),
        "test.iso cannot be customized: the reserved area is mounted somewhere, or was not unmounted (unmount it, or start from a \
         fresh copy of the ISO, as the build left it)"
    );
    assert!(with(510, 0).contains("the reserved area cannot be understood (start from a fresh copy"));
    assert!(hint(&older, "/dev/null").contains("is not a file (customize the ISO, then write it"));
}

#[test]
fn what_is_in_the_area_is_judged_again_when_it_is_shown() {
    let mut content = Content::default();
    content.put(Name::AnswersToml, b"version = 7\n".to_vec()).unwrap();
    let bench = Bench::with(&content.image());
    let (class, why) = bench.refused("@test.iso --show");
    assert_eq!((class, why.as_str()), (Class::Input, "test.iso holds what would be refused: "));
}

#[test]
fn the_command_line_asks_for_something_and_not_for_contradictions() {
    let parse = |words: &str| {
        let words = ["xenolith", "iso", "customize", "x.iso"].into_iter().chain(words.split_terminator(' '));
        Cli::try_parse_from(words).is_ok()
    };
    assert!(parse("--answers a") && parse("--answers a --ca b --seed c -o d -n") && parse("--clear -o d"));
    for words in ["", "-n", "--clear --answers a", "--show --clear", "--show --output d", "--show --seed a"] {
        assert!(!parse(words), "{words}");
    }
}
