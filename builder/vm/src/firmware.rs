//! OVMF, its variables, and the keys in them.

use std::path::Path;

use fs_err as fs;
use xenolith_sandbox::{Sandbox, Tool, ToolError};

use crate::machine::RUN;

/// Name of the variable store in the machine's run folder.
const VARS: &str = "vars.fd";
const OVMF: &str = "usr/share/OVMF";

/// Which firmware a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI without Secure Boot.
    Plain,
    /// UEFI with Secure Boot; [`enroll`] must have put the keys into the run folder.
    SecureBoot,
}

impl Firmware {
    /// Whether Secure Boot is enforced.
    pub fn is_secure(self) -> bool {
        self == Self::SecureBoot
    }

    pub(crate) fn args(self) -> Vec<String> {
        let (code, extra): (&str, &[&str]) = match self {
            Self::Plain => ("OVMF_CODE_4M.fd", &[]),
            Self::SecureBoot => (
                "OVMF_CODE_4M.secboot.fd",
                &[
                    "-global",
                    "driver=cfi.pflash01,property=secure,value=on",
                    "-global",
                    "ICH9-LPC.disable_s3=1",
                ],
            ),
        };
        let mut args = vec![
            "-drive".to_owned(),
            format!("if=pflash,unit=0,format=raw,readonly=on,file=/{OVMF}/{code}"),
            "-drive".to_owned(),
            format!("if=pflash,unit=1,format=raw,file={RUN}/{VARS}"),
        ];
        args.extend(extra.iter().map(|word| (*word).to_owned()));
        args
    }

    /// Puts a fresh variable store into the run folder unless one is there already.
    pub(crate) fn prepare(self, tools: &Path, run: &Path) -> std::io::Result<()> {
        let vars = run.join(VARS);
        if !vars.exists() {
            fs::copy(tools.join(OVMF).join("OVMF_VARS_4M.fd"), vars)?;
        }
        Ok(())
    }
}

/// Makes a variable store with these certificates (PEM) enrolled and Secure Boot on.
///
/// # Errors
/// When the tool that edits the store fails; its words are in `<run>/enroll.log`.
pub fn enroll(
    tools: &Path,
    run: &Path,
    owner: &str,
    pk: &Path,
    kek: &Path,
    db: &Path,
) -> Result<(), ToolError> {
    let log = run.join("enroll.log");
    let sandbox = Sandbox::new(tools)
        .bind_rw(run, RUN)
        .bind_ro(pk, "/keys/pk.crt")
        .bind_ro(kek, "/keys/kek.crt")
        .bind_ro(db, "/keys/db.crt");
    let input = format!("/{OVMF}/OVMF_VARS_4M.fd");
    let output = format!("{RUN}/{VARS}");
    let args = [
        "--input",
        &input,
        "--output",
        &output,
        "--set-pk",
        owner,
        "/keys/pk.crt",
        "--add-kek",
        owner,
        "/keys/kek.crt",
        "--add-db",
        owner,
        "/keys/db.crt",
        "--secure-boot",
    ];
    sandbox.run(Tool::VirtFwVars, args, &log)
}

/// Has the variable store, a fresh one if there is none, boot once from `url`, over HTTP.
///
/// # Errors
/// When the tool that edits the store fails; its words are in `<run>/boot-from.log`.
pub fn boot_from(tools: &Path, run: &Path, url: &str) -> Result<(), ToolError> {
    let sandbox = Sandbox::new(tools).bind_rw(run, RUN);
    let output = format!("{RUN}/{VARS}");
    let input = if run.join(VARS).exists() { output.clone() } else { format!("/{OVMF}/OVMF_VARS_4M.fd") };
    let args = ["--input", &input, "--output", &output, "--set-boot-uri", url];
    sandbox.run(Tool::VirtFwVars, args, &run.join("boot-from.log"))
}
