//! `xenolith-install`: installs the running medium by answers.

mod medium;
mod settings;

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;
use fs_err as fs;
use xenolith_answers::{Answers, Ending};
use xenolith_installer::{Event, FileDevices, Journal, Plan, PlanError, Source, execute, plan};
use xenolith_layout::{Seed, names::SEED_FILE};
use xenolith_machine::Machine;
use xenolith_probe::{Installed, capture};

use medium::Medium;

/// Where what was done is written down, and what is put together before it is written to a disk.
const RUN: &str = "/run/xenolith/install";

/// Install the running medium on a disk, by answers
///
/// Everything is decided first, and printed. Nothing is written before the disks that will be erased were confirmed: by typing, or
/// with --yes. The partition table comes last: what is cut short does not boot. A run that failed goes on where it was when it is
/// started again with the same answers.
///
/// Exit codes: 0 done, 2 usage, 3 the answers are refused, 4 this host cannot be installed from, 7 a device failed, 9 not confirmed.
#[derive(Debug, Parser)]
#[command(name = "xenolith-install", version)]
struct Args {
    /// The answers: TOML, JSON or XCP-ng's XML
    #[arg(long, value_name = "FILE")]
    answers: PathBuf,
    /// Print the plan and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask: whoever wrote the answers has agreed to them
    #[arg(long)]
    yes: bool,
    /// Print the plan and what happens as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// How it ended, for whoever started it.
enum End {
    Done(Ending),
    Planned,
    NotConfirmed,
}

/// An error with its exit code.
struct Failed(u8, anyhow::Error);

trait Coded<T> {
    fn code(self, code: u8) -> Result<T, Failed>;
}

impl<T, E: Into<anyhow::Error>> Coded<T> for Result<T, E> {
    fn code(self, code: u8) -> Result<T, Failed> {
        self.map_err(|error| Failed(code, error.into()))
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(End::Planned) => ExitCode::SUCCESS,
        Ok(End::NotConfirmed) => {
            eprintln!("error: it was not confirmed; nothing was written");
            ExitCode::from(9)
        }
        Ok(End::Done(ending)) => finish(ending),
        Err(Failed(code, error)) => {
            eprintln!("error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
            ExitCode::from(code)
        }
    }
}

fn run(args: &Args) -> Result<End, Failed> {
    let answers = Answers::parse(&fs::read(&args.answers).code(3)?).code(3)?;
    let machine = Machine::of(&capture(Path::new("/"), &Installed, "an installation").code(4)?);
    let medium = Medium::running().code(4)?;
    let seed_text = settings::seed(&answers, &machine)
        .map_err(|keys| anyhow::anyhow!("these answers are not carried out yet:\n  {}", keys.join("\n  ")))
        .code(3)?;
    fs::create_dir_all(RUN).code(7)?;
    let plan = plan(&machine, &answers, &medium.image, guid_seed().code(7)?)
        .map_err(|error| Failed(if matches!(error, PlanError::Bios) { 4 } else { 3 }, error.into()))?;
    print_plan(args, &plan);
    if args.dry_run {
        return Ok(End::Planned);
    }
    if !args.yes && !confirmed(&plan).code(7)? {
        return Ok(End::NotConfirmed);
    }
    let state = Path::new(RUN).join("state");
    fs::create_dir_all(&state).code(7)?;
    fs::write(state.join(SEED_FILE), seed_text).code(7)?;
    let source = Source {
        root: medium.root.clone(),
        verity: medium.verity.clone(),
        esp: medium.esp().code(4)?,
        state,
        scratch: RUN.into(),
    };
    let hash = plan.hash();
    // Other answers make another plan, which begins at its beginning.
    let mut journal = Journal::open(&Path::new(RUN).join(format!("journal-{hash}")), &hash).code(7)?;
    let mut shown = Shown { json: args.json, plan: &plan, tenth: 0 };
    execute(&plan, &hash, &source, &FileDevices, &mut journal, &mut |event| shown.event(&event)).code(7)?;
    Ok(End::Done(answers.finish.then))
}

/// Where the GUIDs of the new partitions come from: drawn once for a boot, so that a second run has the same plan.
fn guid_seed() -> io::Result<Seed> {
    let path = Path::new(RUN).join("guid-seed");
    let mut bytes = [0; 32];
    if path.exists() {
        fs::File::open(&path)?.read_exact(&mut bytes)?;
    } else {
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        fs::write(&path, bytes)?;
    }
    Ok(Seed::new(bytes))
}

fn print_plan(args: &Args, plan: &Plan) {
    if args.json {
        let text = serde_json::json!({ "event": "plan", "hash": plan.hash(), "plan": plan });
        return say(&text.to_string());
    }
    let copied = medium::copied(&plan.image);
    say(&format!(
        "Xenolith {} ({copied}) will be installed. All that is on these disks will be lost:",
        plan.image.version
    ));
    for erased in &plan.erases {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let holds = if erased.holds.is_empty() { "nothing" } else { &erased.holds };
        let (disk, model) = (&erased.disk, known(&erased.model));
        say(&format!(
            "  {}  {}  model {model}  serial {}  holds {holds}",
            disk.path,
            disk.size,
            known(&disk.serial)
        ));
    }
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

fn finish(ending: Ending) -> ExitCode {
    say("Xenolith is installed. Take the medium out.");
    let verb = match ending {
        Ending::Reboot => "reboot",
        Ending::PowerOff => "poweroff",
        Ending::Stay => return ExitCode::SUCCESS,
    };
    match duct::cmd!("/usr/bin/systemctl", verb).run() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the machine does not {verb}: {error}");
            ExitCode::from(7)
        }
    }
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
