//! `xenolith answers`: answer files looked at before a machine meets them.

mod plan;

use std::{fmt::Write as _, path::Path};

use fs_err as fs;
use serde::Serialize;
use xenolith_answers::{Answers, Conversion, Dialect, DiskRule, Line, choose, convert, schema};
use xenolith_machine::{Capture, Machine};

use crate::{
    cli::{AnswersArgs, AnswersCommand, ConvertArgs, Global, MatchArgs, WrittenFor},
    exit::{Class, Classify as _, Failure},
};

/// Runs the command.
///
/// # Errors
/// [`Class::Input`] with every mistake of a file, or with a rule that does not fit a machine.
pub fn run(global: &Global, args: &AnswersArgs) -> Result<(), Failure> {
    match &args.command {
        AnswersCommand::Validate { files } => validate(files),
        AnswersCommand::Match(args) => match_machine(global, args),
        AnswersCommand::Plan(args) => plan::run(global, args),
        AnswersCommand::Convert(args) => convert_file(global, args),
        AnswersCommand::Schema => print_json(&schema()),
    }
}

/// Looks at all files, though one may be wrong.
fn validate(files: &[std::path::PathBuf]) -> Result<(), Failure> {
    let mut wrong = 0;
    for file in files {
        match read(file) {
            Ok(_) => super::say(&format!("{}: good", file.display())),
            Err(failure) if files.len() == 1 => return Err(failure),
            Err(failure) => {
                wrong += 1;
                super::say(&super::inspect::chain(&failure));
            }
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::new(Class::Input, format!("{wrong} of {} files would be refused", files.len()))),
    }
}

fn read(file: &Path) -> Result<Answers, Failure> {
    let bytes = fs::read(file).class(Class::Input, "cannot read the answers")?;
    Answers::parse(&bytes).class(Class::Input, format!("{} would be refused", file.display()))
}

fn captured(file: &Path) -> Result<Machine, Failure> {
    let bytes = fs::read(file).class(Class::Input, "cannot read the captured machine")?;
    let capture = Capture::parse(&bytes);
    Ok(Machine::of(&capture.class(Class::Input, format!("{} is no captured machine", file.display()))?))
}

/// What `answers match --json` prints.
#[derive(Serialize)]
struct Matches<'a> {
    target: Vec<Match<'a>>,
    storage: Vec<Match<'a>>,
}

#[derive(Serialize)]
struct Match<'a> {
    rule: String,
    disks: Vec<&'a str>,
}

fn match_machine(global: &Global, args: &MatchArgs) -> Result<(), Failure> {
    let answers = read(&args.file)?;
    let machine = captured(&args.machine)?;
    let (target, storage) = (&answers.target.disks, &answers.storage.disks);
    let rules: Vec<DiskRule> = target.iter().chain(storage).cloned().collect();
    let chosen = choose(&machine, &rules).class(Class::Input, "the machine would not be installed")?;
    let mut all: Vec<Match<'_>> = rules
        .iter()
        .zip(chosen)
        .map(|(rule, disks)| Match {
            rule: rule.to_string(),
            disks: disks.into_iter().map(|disk| disk.name.as_str()).collect(),
        })
        .collect();
    let storage = all.split_off(target.len());
    let matches = Matches { target: all, storage };
    if global.json {
        return print_json(&matches);
    }
    let mut out = String::new();
    for (use_, list) in [("system", &matches.target), ("storage", &matches.storage)] {
        for Match { rule, disks } in list {
            let _ = writeln!(out, "{use_:<8} {}  by {rule}", disks.join(", "));
        }
    }
    super::say(out.trim_end());
    Ok(())
}

/// What `answers convert --json` prints.
#[derive(Serialize)]
struct Converted<'a> {
    answers: Option<&'a Answers>,
    report: &'a [Line],
}

fn convert_file(global: &Global, args: &ConvertArgs) -> Result<(), Failure> {
    let bytes = fs::read(&args.file).class(Class::Input, "cannot read the XML answers")?;
    let keys = match &args.ssh_key {
        None => Vec::new(),
        Some(file) => {
            let text = fs::read_to_string(file).class(Class::Input, "cannot read the SSH keys")?;
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        }
    };
    let dialect = match args.from {
        WrittenFor::XcpNg => Dialect::XcpNg,
        WrittenFor::Xenserver => Dialect::XenServer,
    };
    let Conversion { answers, report } = convert(&bytes, dialect, keys)
        .class(Class::Input, format!("{} cannot be converted", args.file.display()))?;
    if global.json {
        print_json(&Converted { answers: answers.as_ref(), report: &report })?;
    } else {
        report.iter().for_each(|line| eprintln!("{line}"));
    }
    let Some(answers) = answers else {
        let refused = report.iter().filter(|line| line.is_refused()).count();
        let things = if refused == 1 { "one thing was".to_owned() } else { format!("{refused} things were") };
        return Err(Failure::new(Class::Input, format!("{things} refused, so there are no answers")).hint(
            "take the lines that are refused out of the XML file, or say it in answers.toml yourself",
        ));
    };
    let text = toml::to_string_pretty(&answers).class(Class::Bug, "cannot print the answers")?;
    match &args.output {
        Some(file) => write_private(file, &text),
        None if global.json => Ok(()),
        None => {
            super::say(text.trim_end());
            Ok(())
        }
    }
}

/// A hash of a password may stand in it. A file that is there already stays.
fn write_private(file: &Path, text: &str) -> Result<(), Failure> {
    use fs::os::unix::fs::OpenOptionsExt as _;
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut open = options.open(file).class(Class::Device, "cannot make the file of answers")?;
    open.write_all(text.as_bytes()).class(Class::Device, "cannot write the answers")
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    super::say(&serde_json::to_string_pretty(value).class(Class::Bug, "cannot print JSON")?);
    Ok(())
}
