//! `xenolith-console`: what stands on tty1 and on the serial line in place of a login prompt.

mod faces;
mod jobs;
mod watch;

use std::process::ExitCode;

use clap::Parser;

/// Show the state of this host on this terminal, and let root change it
///
/// A screen of the machine shows it as a picture. A serial line shows it as text, and after Enter as pictures if a terminal answers at its
/// other end, else as numbered lines.
///
/// Exit codes: 0 done, 2 usage, 70 the terminal has gone or a fault of this program.
#[derive(Debug, Parser)]
#[command(name = "xenolith-console", version)]
struct Args {
    /// Numbered lines in place of pictures
    #[arg(long)]
    plain: bool,
    /// Begin behind the login, for whoever is root already, over SSH or in a shell
    #[arg(long)]
    open: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match faces::show(args.plain, args.open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the console ended: {error:#}");
            ExitCode::from(70)
        }
    }
}
