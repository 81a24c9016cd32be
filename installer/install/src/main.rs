//! `xenolith-install`: installs the running medium, by screens or by answers.

mod changed;
mod former;
mod later;
mod medium;
mod netboot;
mod once;
mod records;
mod recovery;
mod report;
mod screens;
mod session;
mod settings;
mod source;
mod watch;
mod work;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser;
use xenolith_answers::{Answers, Ending, Fingerprint};
use xenolith_installer::{Event, Plan};
use xenolith_source::{Asked, LogTail};

use medium::BootFacts;
use report::{Course, Listeners};
use session::{Coded as _, Failed, Secrets, Session};
use source::{Believed, Given};
use watch::{Said, Watch};

/// Install the running medium on a disk
///
/// Without answers it asks, screen by screen. Everything is decided first, and shown. Nothing is written before the disks that will be
/// erased were confirmed: on the screens, by typing, or with --yes. The partition table comes last: what is cut short does not boot.
/// A run that failed goes on where it was when it is started again with the same answers.
///
/// Exit codes: 0 done, 2 usage, 3 the answers are refused, 4 this host cannot be installed from, 5 a server gives no answers, 6 it is not
/// trusted, 7 a device failed, 9 not confirmed.
#[derive(Debug, Parser)]
#[command(name = "xenolith-install", version)]
struct Args {
    /// The answers: a file (TOML, JSON or XCP-ng's XML), the URL of a server, `medium` for the medium's own, or `auto` for whatever this
    /// machine was given. Left out: they are asked for
    #[arg(long, value_name = "FILE|URL|medium|auto", group = "lines")]
    answers: Option<Asked>,
    /// The SHA-256 of the server's certificate: exactly that one is trusted
    #[arg(long, value_name = "SHA256", requires = "answers", conflicts_with_all = ["ca", "insecure"])]
    pin: Option<Fingerprint>,
    /// Authorities (PEM), one of which has signed the server's certificate
    #[arg(long, value_name = "FILE", requires = "answers", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Take answers over plain HTTP or from a server that nothing is known of: anybody in between can erase this machine
    #[arg(long, requires = "answers")]
    insecure: bool,
    /// Print the plan and do nothing
    #[arg(long, short = 'n', requires = "answers")]
    dry_run: bool,
    /// Plan for the machine that xenolith-probe has captured in this file instead of this one
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    machine: Option<PathBuf>,
    /// Do not ask: whoever wrote the answers has agreed to them
    #[arg(long, requires = "answers")]
    yes: bool,
    /// Nobody is there, as for xenolith-unattended.service: implies --yes; no answers are no failure, a failure is kept for the console,
    /// and a disk that was installed from these answers before is left alone
    #[arg(long, requires = "answers", conflicts_with = "dry_run")]
    unattended: bool,
    /// Tell of the installation that is under way on this machine, whoever has started it, or of the last one
    #[arg(long, group = "lines")]
    watch: bool,
    /// Print the plan and what happens as JSON, one object a line
    #[arg(long, requires = "lines")]
    json: bool,
}

/// How it ended, for whoever started it.
enum End {
    Done(Ending),
    Planned,
    NotConfirmed,
    NoAnswers,
    DoneBefore,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match &args.answers {
        Some(answers) => by_answers(&args, answers),
        None if args.watch => watch(args.json),
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
    // The disks may take their time, and there is no picture before they have answered.
    say("Looking at this machine and its disks …");
    let session = Session::look(None)?;
    let watch = Watch::of(Path::new(Session::RUN)).code(7)?;
    match watch {
        Some(watch) if watch.is_under_way().code(7)? => screens::watch(&session, watch).code(7),
        _ => screens::show(&session).code(7),
    }
}

fn watch(json: bool) -> Result<ExitCode, Failed> {
    let none = || anyhow::anyhow!("nothing was installed since this machine was started");
    let mut watch = Watch::of(Path::new(Session::RUN)).code(7)?.ok_or_else(|| Failed(4, none()))?;
    let mut log = LogTail::default();
    let mut shown = Shown { json, steps: Vec::new(), tenth: 0, log: &mut log };
    while let Some(said) = watch.next().code(7)? {
        if json && !matches!(said, Said::Event(_)) {
            say(&serde_json::to_string(&said).expect("what is said is made of what JSON can hold"));
        }
        match said {
            Said::Steps { steps } => shown.steps = steps,
            Said::Event(event) => shown.event(&event),
            Said::Ended { error: None } => {
                if !json {
                    say("Xenolith is installed.");
                }
                return Ok(ExitCode::SUCCESS);
            }
            Said::Ended { error: Some(why) } => return Err(Failed(7, anyhow::anyhow!(why))),
        }
    }
    Err(Failed(7, anyhow::anyhow!("{}", watch::NO_WORD)))
}

fn by_answers(args: &Args, asked: &Asked) -> Result<ExitCode, Failed> {
    if args.unattended && BootFacts::read().code(4)?.is_installed() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut course = Course::default();
    let ended = run(args, asked, &mut course);
    if let (true, Err(failed)) = (args.unattended, &ended)
        && let Err(Failed(_, error)) = report::keep(failed, &course.from)
    {
        eprintln!("warning: why it failed cannot be kept: {error:#}");
    }
    match ended? {
        End::Planned => Ok(ExitCode::SUCCESS),
        End::NotConfirmed => Err(Failed(9, anyhow::anyhow!("it was not confirmed; nothing was written"))),
        // On most machines nobody wants one that is unattended: not a word.
        End::NoAnswers if args.unattended => Ok(ExitCode::SUCCESS),
        End::NoAnswers => Err(Failed(3, anyhow::anyhow!(source::looked(asked)))),
        End::DoneBefore => {
            say(
                "This machine was installed from these answers before, and is left as it is. Take the medium out, start from the \
                 disk, or change the answers to install anew.",
            );
            Ok(ExitCode::SUCCESS)
        }
        End::Done(ending) => {
            if let Some(key) = &course.recovery_key {
                recovery::show(key, args).code(7)?;
            }
            say("Xenolith is installed. Take the medium out.");
            match ending {
                Ending::Reboot => finish("reboot").code(7),
                Ending::PowerOff => finish("poweroff").code(7),
                Ending::Stay => Ok(ExitCode::SUCCESS),
            }
        }
    }
}

fn run(args: &Args, asked: &Asked, course: &mut Course) -> Result<End, Failed> {
    let machine = Session::machine(args.machine.as_deref())?;
    let believed = Believed { pin: args.pin, ca: args.ca.as_deref(), insecure: args.insecure };
    let Some(given) = source::given(asked, &believed, &machine)? else { return Ok(End::NoAnswers) };
    course.from.clone_from(&given.from);
    let refused = || format!("the answers from {} are refused", given.from);
    let answers = Answers::parse(&given.bytes).with_context(refused).code(3)?;
    let listeners = Listeners::of(&answers.finish)?;
    let ended = Session::with(machine.clone())
        .and_then(|mut session| carry_out(args, &given, &answers, &mut session, course));
    let worth_telling = match &ended {
        Ok(End::Done(_)) => Some(None),
        Ok(End::Planned | End::NotConfirmed | End::NoAnswers | End::DoneBefore) => None,
        Err(Failed(_, error)) => (!args.dry_run).then_some(Some(error)),
    };
    if let Some(failed) = worth_telling {
        // A system that does not say what it was started from installs nothing, and that is told.
        let version = BootFacts::read().ok().map(|booted| booted.version.to_string());
        listeners.tell(&machine, version, course, failed);
    }
    ended
}

fn carry_out(
    args: &Args,
    given: &Given,
    answers: &Answers,
    session: &mut Session,
    course: &mut Course,
) -> Result<End, Failed> {
    if args.unattended {
        session.seed = once::seed(&given.bytes, &session.medium.image, &session.machine);
        // A disk that is full of what these answers have made of it is not refused, but recognised.
        let mut as_if = answers.clone();
        as_if.target.erase = true;
        if session.plan(&as_if).is_ok_and(|plan| once::is_done(&plan)) {
            return Ok(End::DoneBefore);
        }
        say(&format!("Installing by the answers from {}", given.from));
    }
    let (answers, former) = &session.with_kept(answers)?;
    if let Some(former) = former {
        say(&format!(
            "Of the host that is there is kept, as far as the answers say so:\n  {}",
            former.lines().join("\n  ")
        ));
    }
    let plan = session.plan(answers)?;
    course.plan = Some(plan.clone());
    course.log.say(&plan.losses());
    print_plan(args, &plan);
    if args.dry_run {
        return Ok(End::Planned);
    }
    if !args.yes && !args.unattended && !confirmed(&plan).code(7)? {
        return Ok(End::NotConfirmed);
    }
    let mut shown = Shown { json: args.json, steps: plan.steps_in_words(), tenth: 0, log: &mut course.log };
    // Nobody is asked for a secret here, and answers hold none.
    let secrets = Secrets::of(answers, former.as_ref(), None);
    session.install(answers, &plan, &secrets, &mut |event| shown.event(&event))?;
    course.recovery_key = session.recovery_key(&plan).code(7)?;
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
    /// What will be done, in words.
    steps: Vec<String>,
    /// Tenths of a step that were shown.
    tenth: u64,
    /// What a report will tell.
    log: &'a mut LogTail,
}

impl Shown<'_> {
    fn event(&mut self, event: &Event) {
        let text = self.text(event);
        if let Some(text) = &text {
            self.log.say(text);
        }
        match (self.json, text) {
            (true, _) => {
                say(&serde_json::to_string(event).expect("an event is made of what JSON can hold"));
            }
            (false, Some(text)) => say(&text),
            (false, None) => {}
        }
    }

    fn text(&mut self, event: &Event) -> Option<String> {
        let number = self.steps.len();
        let name = |step: &usize| self.steps.get(*step).map_or("", String::as_str);
        let what = |step: &usize| format!("[{}/{number}] {}", step + 1, name(step));
        match event {
            Event::Reading { done, total } => {
                (done.get() == 0).then(|| format!("reading {total} of boot files; nothing is written yet"))
            }
            Event::Began { step } => {
                self.tenth = 0;
                Some(what(step))
            }
            Event::Skipped { step } => Some(format!("{}: done before", what(step))),
            Event::Progress { step, done, total } => {
                let tenth = done.get() * 10 / total.get().max(1);
                let more = tenth > self.tenth && *done < *total;
                self.tenth = self.tenth.max(tenth);
                more.then(|| format!("{}: {done} of {total}", what(step)))
            }
            Event::Warning { what, .. } => Some(format!("warning: {what}")),
            Event::Done { .. } => None,
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
    use std::{
        io::{BufRead as _, BufReader, Read as _},
        net::TcpListener,
        thread::JoinHandle,
    };

    use super::*;

    /// Takes so many requests, and gives them as they came.
    fn server(requests: usize) -> (u16, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let take = move |_| {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let from = head.len();
                reader.read_line(&mut head).unwrap();
                let line = head[from..].to_ascii_lowercase();
                length = line.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            head + &String::from_utf8(body).unwrap()
        };
        (port, std::thread::spawn(move || (0..requests).map(take).collect()))
    }

    #[test]
    fn a_host_that_nothing_can_be_installed_from_is_told_of_and_its_logs_are_sent() {
        let folder = tempfile::tempdir().unwrap();
        let (port, server) = server(2);
        let answers = folder.path().join("answers.toml");
        let secret = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC";
        let text = format!(
            "version = 1\ntarget = {{ disks = [{{ path = \"sda\" }}] }}\nnetwork = {{}}\n\
             access = {{ root_password_hash = \"{secret}\" }}\n[finish]\nreport_to = \"http://127.0.0.1:{port}/report\"\n\
             report_insecure = true\nlogs_to = \"http://127.0.0.1:{port}/logs\"\nlogs_insecure = true\n"
        );
        fs_err::write(&answers, text).unwrap();
        let machine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines/one-disk/machine.json");
        let asked = Asked::File(answers);
        let args = Args { machine: Some(machine), ..Args::parse_from(["xenolith-install"]) };
        let mut course = Course::default();
        let Err(Failed(code, _)) = run(&args, &asked, &mut course) else { panic!("it was installed") };
        assert_eq!(code, 4, "a machine that runs tests was not started from a medium");
        let requests = server.join().unwrap();
        let [report, logs] = requests.as_slice() else { panic!("{requests:?}") };
        assert!(report.starts_with("POST /report "), "{report}");
        let body: serde_json::Value = serde_json::from_str(report.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!((&body["outcome"], &body["machine"]["version"]), (&"failed".into(), &None::<()>.into()));
        assert!(body["error"][0].is_string(), "{body}");
        assert!(logs.starts_with("POST /logs "), "{logs}");
        assert!(logs.contains("==== log.txt\n") && logs.contains("==== journal.txt\n"), "{logs}");
        assert!(logs.contains(body["error"][0].as_str().unwrap()), "why it failed is in the log");
        assert!(!requests.concat().contains(secret), "answers are sent to nobody");
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }
}
