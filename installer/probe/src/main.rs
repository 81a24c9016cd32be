//! `xenolith-probe`: writes down what this machine is made of.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use xenolith_machine::{Machine, table};
use xenolith_probe::{Installed, capture};

/// Write down what this machine is made of, as a file that an installation can be tried against
///
/// The capture holds serial numbers and addresses of the hardware, and the names of file systems and volume groups on the disks.
/// It is printed as JSON; `--disks` prints instead which disks an installation would offer, and why not the others.
///
/// Exit codes: 0 done, 2 usage, 4 the machine cannot be asked.
#[derive(Debug, Parser)]
#[command(name = "xenolith-probe", version)]
struct Args {
    /// A word about the machine, kept in the capture
    #[arg(long, default_value = "", value_name = "TEXT")]
    about: String,
    /// Print which disks an installation would offer
    #[arg(long)]
    disks: bool,
    /// Look at the machine whose files lie below this folder
    #[arg(long, default_value = "/", hide = true)]
    root: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let capture = match capture(&args.root, &Installed, &args.about) {
        Ok(capture) => capture,
        Err(error) => {
            eprintln!("error: this machine cannot be looked at");
            error.chain().for_each(|cause| eprintln!("because: {cause}"));
            return ExitCode::from(4);
        }
    };
    let text = if args.disks {
        table(&Machine::of(&capture))
    } else {
        serde_json::to_string_pretty(&capture).expect("a capture is made of what JSON can hold")
    };
    // Whoever reads along may have seen enough.
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
    ExitCode::SUCCESS
}
