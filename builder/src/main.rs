//! `xenolith`: builds, runs and inspects the immutable operating system for Xen hosts.

mod cli;
mod commands;
mod exit;
mod project;
mod recipe;
mod render;
mod steps;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::{
    cli::{Cli, Command},
    exit::{Class, Classify as _, Failure},
};

fn main() -> ExitCode {
    // Before any thread exists: this process may have been started to become a sandbox.
    if let Some(code) = xenolith_sandbox::enter_if_asked() {
        return code;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("XENOLITH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.class.into()
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Build(args) => commands::build::run(global, args),
        Command::Lock(args) => commands::lock::run(global, args),
        Command::Keys(args) => commands::keys::run(global, args),
        Command::Answers(args) => commands::answers::run(global, args),
        Command::Iso(args) => commands::iso::run(global, args),
        Command::Serve(args) => commands::serve::run(global, args),
        Command::Path(args) => commands::path::run(global, args),
        Command::Run(args) => commands::run::run(global, args),
        Command::Flash(args) => commands::flash::run(global, args),
        Command::Gc(args) => commands::gc::run(global, args),
        Command::Inspect(args) => commands::inspect::run(global, args),
        Command::Verify(args) => commands::verify::run(global, args),
        Command::Bench(args) => commands::bench::run(global, args),
        Command::Report(args) => commands::report::run(global, args),
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut Cli::command(), "xenolith", &mut std::io::stdout());
            Ok(())
        }
        Command::Man(args) => clap_mangen::generate_to(Cli::command(), &args.folder)
            .class(Class::Device, format!("cannot write manual pages to {}", args.folder.display())),
    }
}

/// What did not happen, why, and what to do.
fn report(failure: &Failure) {
    eprintln!("error: {failure}");
    if let Some(source) = &failure.source {
        for cause in source.chain() {
            eprintln!("because: {cause}");
        }
    }
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
}
