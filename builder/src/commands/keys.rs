//! `xenolith keys`: make and show signing keys.

use xenolith_trust::{Description, InitOptions, KeySet};

use crate::{
    cli::{Global, KeysArgs, KeysCommand},
    exit::{Class, Classify as _, Failure},
    project,
};

/// Runs the command.
///
/// # Errors
/// [`Class::Trust`] when keys cannot be made or read.
pub fn run(global: &Global, args: &KeysArgs) -> Result<(), Failure> {
    let folder = project::keys_folder(args.keys.as_deref())?;
    let keys = match args.command {
        KeysCommand::Init => KeySet::init(&folder, &InitOptions::default())
            .class(Class::Trust, format!("no keys were made in {}", folder.display()))?,
        KeysCommand::Show => KeySet::load(&folder)
            .class(Class::Trust, format!("cannot show the keys in {}", folder.display()))
            .map_err(|failure| failure.hint("make development keys with `xenolith keys init`"))?,
    };
    let description = keys.describe();
    if global.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&description).class(Class::Bug, "cannot print the keys")?
        );
    } else {
        print(&description);
    }
    Ok(())
}

fn print(keys: &Description) {
    println!("{}", keys.directory.display());
    println!("owner       {}", keys.owner);
    for certificate in &keys.certificates {
        println!("{:<11} {}", certificate.name, certificate.subject);
        println!("            SHA-256 {}", certificate.fingerprint);
        println!("            valid {} to {}", certificate.not_before, certificate.not_after);
        println!(
            "            key: {}",
            certificate.key.as_deref().unwrap_or("not here; this part can only verify")
        );
    }
    println!("update      {}", keys.update_public_key.display());
    println!("            SHA-256 {}", keys.update_key_id);
}
