//! Against objcopy, objdump and pesign, on a real Xen: `XENOLITH_XEN_EFI=/boot/xen.efi cargo test -p xenolith-bootfile -- --ignored`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use xenolith_bootfile::{Section, assemble, authenticode_digest, inspect};

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("SOURCE_DATE_EPOCH", "0").output().expect(program);
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn xen_efi() -> Vec<u8> {
    fs_err::read(std::env::var("XENOLITH_XEN_EFI").expect("XENOLITH_XEN_EFI names a xen.efi")).unwrap()
}

/// What objdump says of headers and sections, without what differs by intent: our checksum is 0, and names longer
/// than 8 characters are cut.
fn described(path: &Path) -> Vec<String> {
    let text = run("objdump", &["-p", "-h", path.to_str().unwrap()]);
    let text = text.replace(".data.read_mostly", ".data.re      ");
    let kept = text.lines().skip(3).filter(|line| !line.starts_with("CheckSum"));
    kept.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
#[ignore = "needs objcopy, objdump and a xen.efi"]
fn objcopy_makes_the_same_image_from_the_same_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let contents =
        [(".config", vec![b'c'; 251]), (".kernel", vec![7; 5_000_001]), (".osrel", vec![b'o'; 96])];
    let sections: Vec<Section> = contents.iter().map(|(name, data)| Section { name, data }).collect();
    let ours = assemble(&xen_efi(), &sections).unwrap();
    fs_err::write(path("ours"), &ours).unwrap();
    fs_err::write(path("xen"), xen_efi()).unwrap();

    let found = inspect(&ours).unwrap();
    let mut args = [
        "--strip-all",
        "--remove-section=.annobin*",
        "--section-alignment=0x200000",
        "--file-alignment=0x20",
    ]
    .map(String::from)
    .to_vec();
    for (name, data) in &contents {
        let file = path(&name[1..]);
        fs_err::write(&file, data).unwrap();
        let rva = found.sections.iter().find(|section| section.name == *name).unwrap().rva;
        args.extend(["--add-section".into(), format!("{name}={}", file.display())]);
        args.extend([
            "--change-section-vma".into(),
            format!("{name}={:#x}", 0xffff_82d0_4000_0000 + u64::from(rva)),
        ]);
        args.extend(["--set-section-flags".into(), format!("{name}=contents,alloc,load,readonly,data")]);
    }
    args.extend(["xen", "theirs"].map(|name| path(name).to_str().unwrap().to_owned()));
    run("objcopy", &args.iter().map(String::as_str).collect::<Vec<_>>());

    assert_eq!(described(&path("ours")), described(&path("theirs")));
    let theirs = fs_err::read(path("theirs")).unwrap();
    let theirs = inspect(&theirs).unwrap();
    assert_eq!(found.sections.len(), theirs.sections.len());
    for (our, their) in found.sections.iter().zip(&theirs.sections) {
        assert_eq!((our.rva, our.virtual_size, our.sha256), (their.rva, their.virtual_size, their.sha256));
    }
}

#[test]
#[ignore = "needs pesign and a xen.efi"]
fn pesign_computes_the_same_digest() {
    let dir = tempfile::tempdir().unwrap();
    let made = assemble(&xen_efi(), &[Section { name: ".config", data: b"odd" }]).unwrap();
    for (name, image) in [("xen", xen_efi()), ("made", made)] {
        let path = dir.path().join(name);
        fs_err::write(&path, &image).unwrap();
        let digest: String =
            authenticode_digest(&image).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        let said = run("pesign", &["-h", "-d", "sha256", "-i", path.to_str().unwrap()]);
        assert!(said.contains(&digest), "{name}: {said} instead of {digest}");
    }
}
