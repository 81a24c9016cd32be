//! `xenolith-install`: installs the running medium, by screens or by answers.

mod medium;
mod netboot;
mod screens;
mod session;
mod settings;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;
use fs_err as fs;
use xenolith_answers::{Answers, Ending};
use xenolith_installer::{Event, Plan};

use session::{Coded as _, Failed, Session};

/// Install the running medium on a disk
///
/// Without answers it asks, screen by screen. Everything is decided first, and shown. Nothing is written before the disks that will be
/// erased were confirmed: on the screens, by typing, or with --yes. The partition table comes last: what is cut short does not boot.
/// A run that failed goes on where it was when it is started again with the same answers.
///
/// Exit codes: 0 done, 2 usage, 3 the answers are refused, 4 this host cannot be installed from, 7 a device failed, 9 not confirmed.
#[derive(Debug, Parser)]
#[command(name = "xenolith-install", version)]
struct Args {
    /// The answers: TOML, JSON or XCP-ng's XML. Left out: they are asked for
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Print the plan and do nothing
    #[arg(long, short = 'n', requires = "answers")]
    dry_run: bool,
    /// Plan for the machine that xenolith-probe has captured in this file instead of this one
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    machine: Option<PathBuf>,
    /// Do not ask: whoever wrote the answers has agreed to them
    #[arg(long, requires = "answers")]
    yes: bool,
    /// Print the plan and what happens as JSON, one object a line
    #[arg(long, requires = "answers")]
    json: bool,
}

/// How it ended, for whoever started it.
enum End {
    Done(Ending),
    Planned,
    NotConfirmed,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match &args.answers {
        Some(answers) => by_answers(&args, answers),
        None => by_screens(),
    };
    ended.unwrap_or_else(|Failed(code, error)| {
        eprintln!("error: {error}");
        error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
        ExitCode::from(code)
    })
}

fn by_screens() -> Result<ExitCode, Failed> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failed(2, anyhow::anyhow!("there is no terminal for the screens; give --answers FILE")));
    }
    screens::show(&Session::look(None)?).code(7)
}

fn by_answers(args: &Args, answers: &Path) -> Result<ExitCode, Failed> {
    match run(args, answers)? {
        End::Planned => Ok(ExitCode::SUCCESS),
        End::NotConfirmed => Err(Failed(9, anyhow::anyhow!("it was not confirmed; nothing was written"))),
        End::Done(ending) => {
            say("Xenolith is installed. Take the medium out.");
            match ending {
                Ending::Reboot => finish("reboot").code(7),
                Ending::PowerOff => finish("poweroff").code(7),
                Ending::Stay => Ok(ExitCode::SUCCESS),
            }
        }
    }
}

fn run(args: &Args, answers: &Path) -> Result<End, Failed> {
    let answers = Answers::parse(&fs::read(answers).code(3)?).code(3)?;
    let session = Session::look(args.machine.as_deref())?;
    let plan = session.plan(&answers)?;
    print_plan(args, &plan);
    if args.dry_run {
        return Ok(End::Planned);
    }
    if !args.yes && !confirmed(&plan).code(7)? {
        return Ok(End::NotConfirmed);
    }
    let mut shown = Shown { json: args.json, plan: &plan, tenth: 0 };
    session.install(&answers, &plan, &mut |event| shown.event(&event))?;
    Ok(End::Done(answers.finish.then))
}

fn print_plan(args: &Args, plan: &Plan) {
    if args.json {
        let text = serde_json::json!({ "event": "plan", "hash": plan.hash(), "plan": plan });
        return say(&text.to_string());
    }
    say(if args.dry_run { plan.to_string() } else { plan.losses() }.trim_end());
}

fn confirmed(plan: &Plan) -> anyhow::Result<bool> {
    let mut words: Vec<&str> =
        plan.erases.iter().filter_map(|erased| erased.disk.path.rsplit('/').next()).collect();
    words.sort_unstable();
    let expected = words.join(" ");
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    print!("Type {expected} to go on: ");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("cannot read the answer")?;
    Ok(line.trim() == expected)
}

/// What happens, as it is shown.
struct Shown<'a> {
    json: bool,
    plan: &'a Plan,
    /// Tenths of a step that were shown.
    tenth: u64,
}

impl Shown<'_> {
    fn event(&mut self, event: &Event) {
        if self.json {
            return say(&serde_json::to_string(event).expect("an event is made of what JSON can hold"));
        }
        let steps = self.plan.steps.len();
        let what = |step: &usize| format!("[{}/{steps}] {}", step + 1, self.plan.steps[*step]);
        match event {
            Event::Began { step } => {
                self.tenth = 0;
                say(&what(step));
            }
            Event::Skipped { step } => say(&format!("{}: done before", what(step))),
            Event::Progress { step, done, total } => {
                let tenth = done.get() * 10 / total.get().max(1);
                if tenth > self.tenth && *done < *total {
                    say(&format!("{}: {done} of {total}", what(step)));
                }
                self.tenth = self.tenth.max(tenth);
            }
            Event::Done { .. } => {}
        }
    }
}

/// Has systemd `reboot` or `poweroff`.
fn finish(verb: &str) -> anyhow::Result<ExitCode> {
    duct::cmd!("/usr/bin/systemctl", verb).run().with_context(|| format!("the machine does not {verb}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever reads along may have seen enough.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }
}
