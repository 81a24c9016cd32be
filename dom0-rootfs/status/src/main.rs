//! `xenolith-status`: the state of the host, for people, programs, the health gate and the console.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use xenolith_status::{Host, Installed, Report, Xen, gather, ready, text};

/// Show which image runs, where it came from, and whether the host is fit to stay
///
/// Exit codes: 0 done, 2 usage, 9 the health gate does not pass (with --check), 70 a fault of this program.
#[derive(Debug, Parser)]
#[command(name = "xenolith-status", version)]
struct Args {
    /// Print the report as JSON (the field "schema" counts its form)
    #[arg(long, group = "form")]
    json: bool,
    /// Say nothing if the health gate passes; else say why it does not, and exit with 9
    #[arg(long, group = "form")]
    check: bool,
    /// Print the one line that says the host is ready
    #[arg(long, group = "form")]
    ready: bool,
    /// Look at the host below this folder
    #[arg(long, default_value = "/", hide = true)]
    root: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        // Whoever reads along has gone: nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the state of the host was not shown: {error}");
            ExitCode::from(70)
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let report = look(&args.root);
    let mut out = io::stdout().lock();
    if args.check {
        for problem in &report.health.problems {
            eprintln!("problem: {problem}");
        }
        for unread in report.unread.iter().filter(|_| !report.health.good) {
            eprintln!("not read: {}: {}", unread.fact, unread.because);
        }
        return Ok(if report.health.good { ExitCode::SUCCESS } else { ExitCode::from(9) });
    }
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else if args.ready {
        writeln!(out, "{}", ready(&report))?;
    } else {
        write!(out, "{}", text(&report))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn look(root: &Path) -> Report {
    gather(&Host { root, programs: &Installed }, ask_libxl())
}

#[cfg(feature = "libxl")]
#[allow(clippy::unnecessary_wraps, reason = "None is the answer without the feature")]
fn ask_libxl() -> Option<Result<Xen, String>> {
    use xenolith_libxl_sys::{Libxl, LibxlError};
    let ask = || -> Result<Xen, LibxlError> {
        let libxl = Libxl::open()?;
        let (version, machine) = (libxl.version()?, libxl.machine()?);
        Ok(Xen {
            version: version.version,
            compiled_by: Some(version.compiled_by),
            compiler: Some(version.compiler),
            build_id: Some(version.build_id),
            command_line: Some(version.command_line),
            total_memory: Some(machine.total_memory),
            free_memory: Some(machine.free_memory),
            domains: u32::try_from(libxl.domains()?.len()).ok(),
        })
    };
    Some(ask().map_err(|error| error.to_string()))
}

#[cfg(not(feature = "libxl"))]
fn ask_libxl() -> Option<Result<Xen, String>> {
    None
}
