//! Files for the reserved area, checked by the rules of whoever will read them: what is refused here would be refused there.

use std::{io::Read as _, path::Path};

use fs_err as fs;
use x509_cert::Certificate;
use xenolith_answers::{Answers, Conversion, Dialect, Line, MAX_ANSWERS, convert};
use xenolith_disk::reserved::{Content, Name};
use xenolith_layout::reserved::MAX_FILE;
use xenolith_settings::{MAX_SETTINGS, Settings};

use crate::{
    cli::CustomizeArgs,
    exit::{Class, Classify as _, Failure},
};

const _: () = assert!(MAX_ANSWERS as u64 <= MAX_FILE.get() && MAX_SETTINGS as u64 <= MAX_FILE.get());

/// What the area is to hold.
#[derive(Debug, Default)]
pub struct Given {
    /// Its files.
    pub content: Content,
    /// What became of XML answers.
    pub report: Vec<Line>,
}

impl Given {
    /// Reads and checks what the command line names.
    ///
    /// # Errors
    /// [`Class::Input`] with what is wrong with a file.
    pub fn read(args: &CustomizeArgs) -> Result<Self, Failure> {
        let mut given = Self::default();
        if let Some(file) = &args.answers {
            given.answers(&read(file, "the answers")?, file)?;
        }
        if let Some(file) = &args.ca {
            given.put(Name::Ca, read(file, "the certificates")?, file)?;
        }
        if let Some(file) = &args.seed {
            given.put(Name::Seed, read(file, "the seed")?, file)?;
        }
        Ok(given)
    }

    fn answers(&mut self, bytes: &[u8], file: &Path) -> Result<(), Failure> {
        let start = bytes.trim_ascii_start();
        if start.starts_with(b"{") {
            return self.put(Name::AnswersJson, bytes.to_vec(), file);
        }
        if !start.starts_with(b"<") {
            return self.put(Name::AnswersToml, bytes.to_vec(), file);
        }
        let refused = || format!("{} would be refused", file.display());
        let Conversion { answers, report } =
            convert(bytes, Dialect::default(), Vec::new()).class(Class::Input, refused())?;
        let Some(answers) = answers else {
            let lines: Vec<String> =
                report.iter().filter(|line| line.is_refused()).map(ToString::to_string).collect();
            return Err(Failure::new(Class::Input, refused())
                .because(anyhow::anyhow!(lines.join("\n")))
                .hint("take these lines out of the XML file, or say it in answers.toml yourself"));
        };
        self.report = report;
        let text = toml::to_string_pretty(&answers).class(Class::Bug, "cannot write the answers as TOML")?;
        self.put(Name::AnswersToml, text.into_bytes(), file)
    }

    fn put(&mut self, name: Name, bytes: Vec<u8>, file: &Path) -> Result<(), Failure> {
        let refused = || format!("{} would be refused", file.display());
        check(name, &bytes).class(Class::Input, refused())?;
        self.content.put(name, bytes).class(Class::Input, refused())
    }
}

/// Reads no more than a file of the area may have, and one byte to tell.
fn read(file: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    let cannot = || format!("cannot read {what}");
    let mut bytes = Vec::new();
    let open = fs::File::open(file).class(Class::Input, cannot())?;
    open.take(MAX_FILE.get() + 1).read_to_end(&mut bytes).class(Class::Input, cannot())?;
    Ok(bytes)
}

/// Whether a file would be taken by whoever reads it.
///
/// # Errors
/// With what is wrong with it; no message quotes a value.
pub fn check(name: Name, bytes: &[u8]) -> anyhow::Result<()> {
    match name {
        Name::AnswersToml | Name::AnswersJson | Name::AnswersXml => drop(Answers::parse(bytes)?),
        Name::Seed => drop(Settings::parse(bytes)?),
        Name::Ca => drop(certificates(bytes)?),
    }
    Ok(())
}

/// Whether a file that was checked holds a hash of a password, which others should not get to try.
pub fn is_secret(name: Name, bytes: &[u8]) -> bool {
    let access = match name {
        Name::AnswersToml | Name::AnswersJson | Name::AnswersXml => {
            Answers::parse(bytes).map(|answers| answers.access).ok()
        }
        Name::Seed => Settings::parse(bytes).map(|settings| settings.access).ok(),
        Name::Ca => None,
    };
    access.is_some_and(|access| access.root_password_hash.is_some())
}

/// The certificates in PEM.
fn certificates(bytes: &[u8]) -> anyhow::Result<Vec<Certificate>> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let holds = |words: &[u8]| bytes.windows(words.len()).any(|part| part == words);
    anyhow::ensure!(bytes.len() as u64 <= MAX_FILE.get(), "it is longer than {MAX_FILE}");
    anyhow::ensure!(holds(BEGIN), "there is no certificate in PEM (-----BEGIN CERTIFICATE-----) in it");
    anyhow::ensure!(
        !holds(b"PRIVATE KEY-----"),
        "there is a private key in it, which must not travel on a medium: name the file with the certificate alone"
    );
    let found = Certificate::load_pem_chain(bytes);
    found.map_err(|error| anyhow::anyhow!("a certificate in it cannot be read: {error}"))
}
