//! dom0's package tree: a repository of the locked packages, and mkosi installing from it without network.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use fs_err as fs;
use sha2::{Digest as _, Sha256};
use xenolith_archive::unpack::control_fields;
use xenolith_sandbox::{Sandbox, Tool};
use xenolith_store::StepContext;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A locked package, as the repository needs it.
#[derive(Clone, Debug)]
pub struct RepositoryPackage {
    /// Its name.
    pub name: String,
    /// `name_version_arch.deb`.
    pub file_name: String,
    /// In bytes.
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// The download.
    pub blob: PathBuf,
}

/// Fields of a control file that apt decides by, in the order in which archives write them.
const INDEXED: &[&str] = &[
    "Package",
    "Source",
    "Version",
    "Architecture",
    "Essential",
    "Protected",
    "Multi-Arch",
    "Priority",
    "Section",
    "Installed-Size",
    "Pre-Depends",
    "Depends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Replaces",
];
/// Fields that name what a package cannot be without.
const RELATIONS: &[&str] = &["Depends", "Pre-Depends"];

/// Writes the repository: `dists/trixie` and `pool`, packages as hard links where the file system allows.
///
/// Clauses of a dependency that name an excluded package are left out.
///
/// # Errors
/// When a package cannot be read.
pub fn write_repository(
    folder: &Path,
    packages: &[RepositoryPackage],
    exclude: &[String],
) -> Result<(), Failed> {
    let pool = folder.join("pool");
    let binary = folder.join("dists/trixie/main/binary-amd64");
    fs::create_dir_all(&pool)?;
    fs::create_dir_all(&binary)?;
    let mut index = String::new();
    for package in packages {
        let file = pool.join(&package.file_name);
        if fs::hard_link(&package.blob, &file).is_err() {
            fs::copy(&package.blob, &file)?;
        }
        let fields = control_fields(std::io::BufReader::new(fs::File::open(&package.blob)?))?;
        for name in INDEXED {
            let Some(value) = fields.get(*name) else { continue };
            let value = if RELATIONS.contains(name) { without(value, exclude) } else { value.clone() };
            if !value.is_empty() {
                writeln!(index, "{name}: {value}")?;
            }
        }
        writeln!(index, "Filename: pool/{}", package.file_name)?;
        writeln!(index, "Size: {}\nSHA256: {}\n", package.size, package.sha256)?;
    }
    fs::write(binary.join("Packages"), &index)?;
    let sum = hex::encode(Sha256::digest(index.as_bytes()));
    let release = format!(
        "Suite: trixie\nCodename: trixie\nArchitectures: amd64\nComponents: main\nSHA256:\n {sum} {} main/binary-amd64/Packages\n",
        index.len()
    );
    fs::write(folder.join("dists/trixie/Release"), release)?;
    Ok(())
}

/// A relation field without the clauses in which an excluded package is named.
fn without(relation: &str, exclude: &[String]) -> String {
    let named = |alternative: &str| {
        let name = alternative.trim().split([' ', '(', ':', '[']).next().unwrap_or_default().to_owned();
        exclude.contains(&name)
    };
    let kept: Vec<&str> = relation
        .split(',')
        .map(str::trim)
        .filter(|clause| !clause.is_empty() && !clause.split('|').any(named))
        .collect();
    kept.join(", ")
}

/// One call of mkosi.
pub struct Mkosi<'a> {
    /// The tree with mkosi.
    pub tools: &'a Path,
    /// The folder with its configuration.
    pub folder: &'a Path,
    /// What [`write_repository`] wrote.
    pub repository: &'a Path,
    /// Room to work in.
    pub scratch: &'a Path,
    /// Where the tree or image goes.
    pub out: &'a Path,
    /// What to install.
    pub packages: &'a [RepositoryPackage],
}

impl Mkosi<'_> {
    /// Runs it without network, with `more` arguments that win over the configuration. Inside, scratch is /scratch.
    ///
    /// # Errors
    /// When mkosi fails; its words are in the log.
    pub fn run(&self, more: &[&str], log: &Path) -> Result<(), Failed> {
        let sandbox = Sandbox::new(self.tools)
            .bind_ro(self.folder, "/dom0-rootfs")
            // Not /repository, a name with a meaning of its own to mkosi.
            .bind_ro(self.repository, "/mirror")
            .bind_rw(self.scratch, "/scratch")
            .bind_rw(self.out, "/out")
            .env("TMPDIR", "/scratch")
            .cwd("/dom0-rootfs");
        let mut args: Vec<String> = [
            "--directory=/dom0-rootfs",
            "--force",
            "--local-mirror=file:///mirror",
            "--output-directory=/out",
            "--workspace-directory=/scratch",
            "--package-cache-directory=/scratch/cache",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--source-date-epoch={}", xenolith_assemble::EPOCH));
        args.extend(self.packages.iter().map(|package| format!("--package={}", package.name)));
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args.push("build".into());
        Ok(sandbox.run(Tool::Mkosi, args, log)?)
    }
}

/// Runs mkosi over the repository: `rootfs/`.
///
/// # Errors
/// When mkosi fails; its words are in the log.
pub fn install(
    context: &StepContext,
    folder: &Path,
    packages: &[RepositoryPackage],
    exclude: &[String],
) -> Result<(), Failed> {
    let work = tempfile::tempdir_in(context.scratch())?;
    let (repository, scratch) = (work.path().join("repository"), work.path().join("scratch"));
    fs::create_dir_all(&scratch)?;
    write_repository(&repository, packages, exclude)?;
    let mkosi = Mkosi {
        tools: context.input("tools-tree"),
        folder,
        repository: &repository,
        scratch: &scratch,
        out: context.out(),
        packages,
    };
    mkosi.run(&[], context.log())?;
    fs::metadata(context.out().join("rootfs"))?;
    for entry in fs::read_dir(context.out())? {
        let entry = entry?;
        if entry.file_name() != "rootfs" && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_that_names_an_excluded_package_is_left_out_whole() {
        let exclude = vec!["perl".to_owned(), "initramfs-tools".to_owned()];
        let before = "libc6 (>= 2.38), perl:any, linux-initramfs-tool | initramfs-tools, perl-base";
        assert_eq!(without(before, &exclude), "libc6 (>= 2.38), perl-base");
    }
}
