//! Assembles a boot file from files, for experiments:
//! `assemble xen.efi out.efi .config=xen.cfg .kernel=vmlinuz .ramdisk=initrd .osrel=os-release`.
//! With `digest FILE` it prints the Authenticode digest, with `attach FILE PKCS7 OUT` it attaches a signature.

use std::error::Error;

use xenolith_bootfile::{Section, assemble, attach_signature, authenticode_digest, inspect};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["digest", file] => {
            let digest = authenticode_digest(&fs_err::read(file)?)?;
            println!("{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        ["attach", file, pkcs7, out] => {
            fs_err::write(out, attach_signature(&fs_err::read(file)?, &fs_err::read(pkcs7)?)?)?;
        }
        [xen, out, sections @ ..] => {
            let named = sections.iter().map(|pair| pair.split_once('=').ok_or("expected .name=file"));
            let contents = named
                .map(|pair| pair.map_err(Into::into).and_then(|(name, path)| Ok((name, fs_err::read(path)?))))
                .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
            let sections: Vec<Section> = contents.iter().map(|(name, data)| Section { name, data }).collect();
            let image = assemble(&fs_err::read(xen)?, &sections)?;
            for section in inspect(&image)?.sections {
                println!(
                    "{:10} at {:#010x} {:>9} {}",
                    section.name,
                    section.rva,
                    section.size.get(),
                    section.sha256
                );
            }
            fs_err::write(out, image)?;
        }
        _ => {
            return Err(
                "usage: assemble XEN OUT [.NAME=FILE]... | digest FILE | attach FILE PKCS7 OUT".into()
            );
        }
    }
    Ok(())
}
