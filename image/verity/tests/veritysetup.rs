//! Against the real program. `cargo test -p xenolith-verity -- --ignored` where veritysetup is in the path; the sums in
//! `golden.txt`, made by veritysetup 2.7.5, keep the same comparison for machines without it.
#![allow(clippy::unwrap_used)]

use fs_err::File;
use std::path::Path;
use std::process::{Command, Output};

use xenolith_layout::Bytes;
use xenolith_verity::{RootHash, VERITY_SALT, build, verify, verity_uuid};

fn veritysetup(args: &[&str]) -> Output {
    Command::new("veritysetup").args(args).output().expect("veritysetup is in the path")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
#[ignore = "needs veritysetup"]
fn veritysetup_writes_the_same_bytes_and_accepts_ours() {
    let dir = tempfile::tempdir().unwrap();
    let [data, theirs, ours] = ["data", "theirs", "ours"].map(|name| dir.path().join(name));
    let salt: String = VERITY_SALT.iter().map(|byte| format!("{byte:02x}")).collect();
    for blocks in [1_u64, 2, 127, 128, 129, 5000, 16384, 16385, 40000] {
        let bytes: Vec<u8> =
            (0..blocks * 512).flat_map(|n| (n.wrapping_mul(n) ^ blocks).to_le_bytes()).collect();
        fs_err::write(&data, &bytes).unwrap();
        let mut out = File::create(&ours).unwrap();
        let root = build(&mut &*bytes, Bytes::new(blocks * 4096), &mut out).unwrap();

        File::create(&theirs).unwrap();
        let (salt, uuid) = (format!("--salt={salt}"), format!("--uuid={}", verity_uuid(&root)));
        let options = ["--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096", &salt, &uuid];
        let made = veritysetup(&[&["format"], &options[..], &[text(&data), text(&theirs)]].concat());
        let report = String::from_utf8(made.stdout).unwrap();
        let line = report.lines().find_map(|line| line.strip_prefix("Root hash:")).expect(&report);
        assert_eq!(line.trim().parse::<RootHash>().unwrap(), root, "{blocks} blocks");
        let mut expected = fs_err::read(&theirs).unwrap();
        expected.resize(expected.len().next_multiple_of(4096), 0); // a superblock alone may be left at 512 bytes
        assert!(fs_err::read(&ours).unwrap() == expected, "{blocks} blocks: the trees differ");

        let accepted = veritysetup(&["verify", text(&data), text(&ours), &root.to_string()]);
        assert!(accepted.status.success(), "{blocks} blocks: {accepted:?}");
        verify(&mut &*bytes, &mut File::open(&theirs).unwrap(), &root).unwrap();
    }
}
