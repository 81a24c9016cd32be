//! What several commands need first: the recipe, the lock, the keys, the graph.

use std::path::Path;

use fs_err as fs;
use xenolith_archive::{
    lock::Lock,
    mirror::{Mirrors, Places},
    resolve::GroupSpec,
};
use xenolith_layout::Version;
use xenolith_store::{Graph, Store};
use xenolith_trust::{InitOptions, KeySet};

use crate::{
    cli::MirrorArgs,
    exit::{Class, Classify as _, Failure},
    project::Project,
    recipe::{Group, PackageList, Recipe, read_toml},
    steps::{self, compile::CompileRecipe, image::Identity},
};

/// The recipe with the package lists of the folders that own them.
pub struct Wanted {
    /// `image/image.toml`.
    pub recipe: Recipe,
    /// `dom0-rootfs/packages.toml`.
    pub dom0: PackageList,
    /// `hypervisor-src/packages.toml`.
    pub build: PackageList,
    /// `hypervisor-src/build.toml`.
    pub compile: CompileRecipe,
}

impl Wanted {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`Class::Input`] with the file and line; [`Class::Unsupported`] for a `build.toml` of another format.
    pub fn read(project: &Project) -> Result<Self, Failure> {
        Ok(Self {
            recipe: read_toml(&project.recipe())?,
            dom0: read_toml(&project.root.join("dom0-rootfs/packages.toml"))?,
            build: read_toml(&project.root.join("hypervisor-src/packages.toml"))?,
            compile: read_toml(&project.root.join("hypervisor-src/build.toml"))?,
        })
    }

    /// The package groups, as the resolver wants them.
    ///
    /// # Errors
    /// [`Class::Input`] for a name that cannot be one.
    pub fn groups(&self) -> Result<Vec<GroupSpec>, Failure> {
        let mut groups = Vec::new();
        for (name, group) in &self.recipe.group {
            groups.push(group_spec(name, group)?);
        }
        groups.push(list_spec("build", &self.build)?);
        groups.push(list_spec("dom0", &self.dom0)?);
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }
}

fn group_spec(name: &str, group: &Group) -> Result<GroupSpec, Failure> {
    let bad = |what: &str| format!("group {name}: {what} is no name");
    Ok(GroupSpec {
        name: name.parse().class(Class::Input, bad(name))?,
        packages: group
            .packages
            .iter()
            .map(|package| package.parse().class(Class::Input, bad(package)))
            .collect::<Result<_, _>>()?,
        essential: group.essential,
        recommends: false,
        exclude: group
            .exclude
            .iter()
            .map(|package| package.parse().class(Class::Input, bad(package)))
            .collect::<Result<_, _>>()?,
    })
}

fn list_spec(name: &str, list: &PackageList) -> Result<GroupSpec, Failure> {
    let written = |package: &crate::recipe::ListedPackage| match &package.suite {
        Some(suite) => format!("{}@{suite}", package.name),
        None => package.name.clone(),
    };
    let group = Group {
        essential: true,
        packages: list.package.iter().map(written).collect(),
        exclude: list.exclude.iter().map(|package| package.name.clone()).collect(),
    };
    group_spec(name, &group)
}

/// Reads the lock.
///
/// # Errors
/// [`Class::Input`]; a missing lock says how to make one.
pub fn read_lock(project: &Project) -> Result<Lock, Failure> {
    let path = project.lock();
    let text = fs::read_to_string(&path)
        .class(Class::Input, "there is no lock to build from")
        .map_err(|failure| failure.hint("run `xenolith lock` once"))?;
    Lock::parse(&text).class(Class::Input, format!("cannot use {}", path.display()))
}

/// The mirrors that the user named, configured, or has in apt's sources.
///
/// # Errors
/// [`Class::Host`] when there is none.
pub fn mirrors(args: &MirrorArgs) -> Result<Mirrors, Failure> {
    Mirrors::find(&Places::of_host(args.mirror.clone(), args.security_mirror.clone()))
        .class(Class::Host, "there is no mirror to download from")
}

/// The keys; development keys are made on first use, and that is said.
///
/// # Errors
/// [`Class::Trust`].
pub fn keys(folder: &Path) -> Result<KeySet, Failure> {
    if !folder.join("db.crt").exists() {
        eprintln!("making development keys in {}; release keys: see docs/keys.md", folder.display());
        return KeySet::init(folder, &InitOptions::default())
            .class(Class::Trust, format!("cannot make keys in {}", folder.display()));
    }
    KeySet::load(folder).class(Class::Trust, format!("cannot use the keys in {}", folder.display()))
}

/// Names a key set by what reaches the results: its owner, the fingerprints of its certificates, its update key, and whether it can
/// make enrolment files. Where private keys are makes no difference otherwise: they sign alike.
pub fn keys_id(keys: &KeySet) -> String {
    let certificates =
        [keys.pk(), keys.kek(), keys.db()].map(|identity| identity.certificate().fingerprint().to_string());
    let enrols = if keys.can_enrol() { "enrols" } else { "does not enrol" };
    format!("{} {} {} {enrols}", keys.owner(), certificates.join(" "), keys.update().public().id())
}

/// The commit of the checkout, `-dirty` if it differs, `unknown` without git.
pub fn revision(root: &Path) -> String {
    let git = |args: &[&str]| {
        #[allow(clippy::disallowed_methods, reason = "the host's git is not a program of the tools tree")]
        let command = duct::cmd("git", args).dir(root).stderr_null().stdin_null();
        command.read().ok()
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown".into() };
    let clean =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit}-dirty") }
}

/// Puts everything together that the graph is made from.
///
/// # Errors
/// By class of what is missing.
pub fn plan(
    project: &Project,
    store: &Store,
    variant: &str,
    keys_folder: &Path,
) -> Result<steps::Plan, Failure> {
    let wanted = Wanted::read(project)?;
    let lock = read_lock(project)?;
    let stale = lock.stale_groups(&wanted.groups()?);
    if let Some(first) = stale.first() {
        return Err(Failure::new(Class::Input, format!("xenolith.lock does not fit the recipe: {first}"))
            .hint("run `xenolith lock`"));
    }
    if !wanted.recipe.variant.contains_key(variant) {
        let known: Vec<&str> = wanted.recipe.variant.keys().map(String::as_str).collect();
        return Err(Failure::new(Class::Usage, format!("the recipe has no variant {variant:?}"))
            .hint(format!("it has: {}", known.join(", "))));
    }
    let keys = keys(keys_folder)?;
    let image = &wanted.recipe.image;
    let version: Version =
        image.version.parse().class(Class::Input, "image.toml has a version that cannot be one")?;
    let identity = Identity {
        id: image.id.clone(),
        name: image.name.clone(),
        version: image.version.clone(),
        variant: variant.to_owned(),
        revision: revision(&project.root),
        lock: lock.hash().to_string(),
    };
    Ok(steps::Plan {
        root: project.root.clone(),
        store: store.clone(),
        keys_id: keys_id(&keys),
        keys: keys_folder.to_path_buf(),
        recipe: wanted.recipe,
        dom0: wanted.dom0,
        compile: wanted.compile,
        lock,
        identity,
        version,
    })
}

/// The graph of a plan, to be remembered under the name `history` ([`steps::WHOLE`] or [`steps::PARTS`]).
///
/// # Errors
/// [`Class::Input`] when the lock lacks a group or source that the recipe needs.
pub fn graph(plan: &steps::Plan, history: &'static str) -> Result<Graph, Failure> {
    steps::graph(plan, history).map_err(|error| {
        Failure::new(Class::Input, "the recipe cannot be built").because(anyhow::anyhow!(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_without_the_private_keys_for_enrolment_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let whole = keys_id(&KeySet::init(&folder, &InitOptions::default()).unwrap());
        assert_eq!(keys_id(&KeySet::load(&folder).unwrap()), whole);
        fs::write(folder.join("keys.toml"), "format = 1\nkind = \"release\"\n").unwrap();
        for name in ["pk.key", "kek.key"] {
            fs::remove_file(folder.join(name)).unwrap();
        }
        assert_ne!(keys_id(&KeySet::load(&folder).unwrap()), whole);
    }
}
