//! Every file in `accept/` is read as the JSON beside it, every one in `reject/` is refused with the words and the exit
//! code beside it. The folder says which document it is: `image`, `packages`, `build`.

use std::path::PathBuf;

use super::*;
use crate::steps::compile::CompileRecipe;

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipe").join(kind)
}

/// The documents of a folder; a file without its pair fails.
fn documents(kind: &str, pair: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (documents, pairs): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let expected: Vec<PathBuf> = documents.iter().map(|path| path.with_extension(pair)).collect();
    assert_eq!(pairs, expected, "{kind}: each document has its .{pair}");
    assert!(!documents.is_empty(), "{kind} is empty");
    documents
}

fn refusal<T: Document>(path: &Path) -> String {
    match parse::<T>(&fs::read_to_string(path).unwrap()) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(refusal) => format!("{refusal}\nexit code {}\n", refusal.class() as u8),
    }
}

fn compare(path: &Path, found: &str) {
    assert_eq!(found, fs::read_to_string(path).unwrap_or_default(), "{}", path.display());
}

fn refused<T: Document>(kind: &str) {
    for path in documents(kind, "err") {
        compare(&path.with_extension("err"), &refusal::<T>(&path));
    }
}

fn accepted<T: Document + Serialize>(kind: &str) {
    for path in documents(kind, "json") {
        let document: T = parse(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", path.display()));
        let json = serde_json::to_string_pretty(&document).unwrap();
        compare(&path.with_extension("json"), &format!("{json}\n"));
    }
}

#[test]
fn the_recipes_of_this_checkout_are_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let recipe: Recipe = read_toml(&root.join("image/image.toml")).unwrap();
    assert!(recipe.variant.contains_key("default"));
    for list in ["dom0-rootfs/packages.toml", "hypervisor-src/packages.toml"] {
        read_toml::<PackageList>(&root.join(list)).unwrap();
    }
    read_toml::<CompileRecipe>(&root.join("hypervisor-src/build.toml")).unwrap();
}

#[test]
fn a_recipe_is_read_as_it_was_meant() {
    accepted::<Recipe>("image/accept");
    accepted::<PackageList>("packages/accept");
}

#[test]
fn a_recipe_that_must_be_refused_is_refused_with_its_exact_words() {
    refused::<Recipe>("image/reject");
    refused::<PackageList>("packages/reject");
    refused::<CompileRecipe>("build/reject");
}

#[test]
fn a_refused_file_is_named_with_its_class() {
    let path = folder("build/reject").join("format-newer.toml");
    let failure = read_toml::<CompileRecipe>(&path).unwrap_err();
    assert_eq!(failure.class, Class::Unsupported);
    assert!(failure.to_string().ends_with("format-newer.toml"), "{failure}");
    let failure = read_toml::<Recipe>(&folder("image").join("no-such-file.toml")).unwrap_err();
    assert_eq!(failure.class, Class::Input);
}

#[test]
fn sizes_need_a_known_suffix_and_do_not_overflow() {
    assert_eq!(Size::parse("2 GiB"), Some(Size(2 << 30)));
    assert_eq!(Size::parse("400 MB"), Some(Size(400_000_000)));
    assert_eq!(Size::parse("400"), None);
    assert_eq!(Size::parse("-1 B"), None);
    assert_eq!(Size::parse("99999999999999999999 B"), None);
    assert_eq!(Size::parse("18446744073709551615 GiB"), None);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text: String) {
        let _ = parse::<Recipe>(&text);
        let _ = parse::<PackageList>(&text);
        let _ = parse::<CompileRecipe>(&text);
        let _ = Size::parse(&text);
    }
}
