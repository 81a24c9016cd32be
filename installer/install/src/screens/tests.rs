//! The screens on a machine that takes as long for everything as a test wants.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc::Sender,
};

use fs_err as fs;
use ratatui::{Terminal, backend::TestBackend};
use xenolith_answers::Answers;
use xenolith_installer::{Event, Image};
use xenolith_layout::{Bytes, RootHash, Seed, seal::RecoveryKey};
use xenolith_machine::Capture;
use xenolith_terminal::Key;
use xenolith_tui::Page;

use super::*;
use crate::session::Secrets;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a";

#[derive(Clone)]
struct Slow {
    machine: Machine,
    /// What it is when it is looked at again.
    now: Arc<Mutex<Machine>>,
    /// Whatever takes its time ends when something comes from here.
    gate: Arc<Mutex<Receiver<()>>>,
    begun: Arc<AtomicUsize>,
    installed: Arc<AtomicUsize>,
}

impl Slow {
    fn take_time(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.gate.lock().unwrap().recv().unwrap();
    }
}

impl Work for Slow {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn look_again(&self) -> Result<Self, Failed> {
        self.take_time();
        Ok(Self { machine: self.now.lock().unwrap().clone(), ..self.clone() })
    }

    fn formers(&self) -> BTreeMap<usize, Vec<String>> {
        self.take_time();
        [(0, vec!["Host name     rack4".to_owned()])].into()
    }

    fn load_keyboard(&self, name: &str) -> String {
        self.take_time();
        format!("It is {name}.")
    }

    fn prepare(&self, answers: &Answers, plan: &Plan, _: Option<&str>) -> Result<Confirmed, Vec<String>> {
        Ok(Confirmed { answers: answers.clone(), plan: plan.clone(), secrets: Secrets::default() })
    }

    fn install(&self, _: &Confirmed, _: &mut dyn FnMut(Event)) -> Result<(), Failed> {
        self.installed.fetch_add(1, Ordering::SeqCst);
        Err(Failed(7, anyhow::anyhow!("the disk is worn out")))
    }

    fn recovery_key(&self, _: &Plan) -> anyhow::Result<Option<RecoveryKey>> {
        Ok(None)
    }
}

struct Bench {
    screens: Screens<Slow>,
    go: Sender<()>,
}

impl Bench {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../machines").join(name).join("machine.json");
        let machine = Machine::of(&Capture::parse(&fs::read(path).unwrap()).unwrap());
        let image = Image {
            version: "1.0.0".parse().unwrap(),
            root_hash: RootHash::new([7; 32]),
            root: Bytes::mib(180),
            verity: Bytes::mib(2),
        };
        let keyboards = ["us", "de"].map(|name| Keyboard { name: name.to_owned(), label: name.to_owned() });
        let app = App::new(machine.clone(), image, Seed::new([3; 32]), BTreeSet::new())
            .with_keyboards(keyboards.into());
        let (go, gate) = channel();
        let work = Slow {
            now: Arc::new(Mutex::new(machine.clone())),
            machine,
            gate: Arc::new(Mutex::new(gate)),
            begun: Arc::default(),
            installed: Arc::default(),
        };
        Self { screens: Screens::new(work, app), go }
    }

    /// On the summary of a machine with one empty disk, or on one whose disk was chosen.
    fn fill_in(&mut self) {
        self.press(&[Key::Enter, Key::Enter, Key::Enter, Key::Enter, Key::Down, Key::Down]);
        KEY.chars().for_each(|character| self.press(&[Key::Char(character)]));
        self.press(&[Key::End, Key::Left, Key::Enter, Key::Enter]);
        assert_eq!(self.screens.app.page(), Page::Summary);
    }

    fn press(&mut self, keys: &[Key]) {
        for key in keys {
            let effect = self.screens.app.key(*key);
            self.screens.begin(effect);
        }
    }

    fn shown(&self) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
        terminal.draw(|frame| draw(&self.screens.app, frame)).unwrap();
        terminal.backend().to_string()
    }

    /// Draws and takes keys although something takes its time; nothing is heard of that.
    fn lives(&mut self) {
        while self.screens.work.begun.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert!(!self.screens.hear());
        self.press(&[Key::Help]);
        assert!(self.shown().contains("Any key closes this."));
        self.press(&[Key::Back]);
        assert!(!self.shown().contains("Any key closes this."));
    }

    /// Lets one thing end that takes its time, and hears what came of it.
    fn hear(&mut self) {
        self.go.send(()).unwrap();
        self.wait();
    }

    fn wait(&mut self) {
        while !self.screens.hear() {
            std::thread::yield_now();
        }
    }

    fn installed(&self) -> usize {
        self.screens.work.installed.load(Ordering::SeqCst)
    }

    fn change(&mut self, how: impl FnOnce(&mut Machine)) {
        how(&mut self.screens.work.now.lock().unwrap());
    }
}

#[test]
fn the_first_page_does_not_wait_for_the_hosts_on_the_disks() {
    let mut bench = Bench::new("xenolith");
    bench.screens.app = bench.screens.app.clone().looking_for_formers();
    bench.screens.look_for_formers();
    assert!(bench.shown().contains("Welcome"));
    bench.lives();
    bench.press(&[Key::Enter, Key::Enter, Key::Enter]);
    assert_eq!((bench.screens.app.page(), bench.screens.app.form().disks.len()), (Page::Disk, 1));
    assert!(bench.shown().contains("One moment"), "{}", bench.shown());
    bench.hear();
    let shown = bench.shown();
    assert!(!shown.contains("One moment") && shown.contains("Its settings"), "{shown}");
    bench.press(&[Key::Enter]);
    assert_eq!(bench.screens.app.page(), Page::Storage, "the focus is still on Next");
}

#[test]
fn a_keyboard_is_loaded_beside_and_the_last_one_counts() {
    let mut bench = Bench::new("one-disk");
    bench.press(&[Key::Up, Key::Right]);
    bench.lives();
    bench.press(&[Key::Right]);
    bench.go.send(()).unwrap();
    bench.hear();
    let shown = bench.shown();
    assert!(shown.contains("It is us.") && !shown.contains("It is de."), "{shown}");
}

#[test]
fn what_was_confirmed_is_checked_beside_and_begins_once() {
    let mut bench = Bench::new("one-disk");
    bench.press(&[Key::Right, Key::Enter]);
    bench.fill_in();
    bench.press(&[Key::End, Key::Enter]);
    bench.lives();
    assert!(bench.shown().contains("One moment"), "{}", bench.shown());
    bench.press(&[Key::Enter, Key::Left, Key::Enter]);
    assert_eq!(bench.screens.app.page(), Page::Summary);
    bench.hear();
    assert_eq!(bench.screens.app.page(), Page::Progress);
    bench.wait();
    assert!(bench.shown().contains("the disk is worn out"));
    assert_eq!((bench.installed(), bench.screens.work.begun.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn what_was_confirmed_can_be_taken_back_while_it_is_checked() {
    let mut bench = Bench::new("one-disk");
    bench.press(&[Key::Right, Key::Enter]);
    bench.fill_in();
    bench.press(&[Key::End, Key::Enter, Key::Back]);
    bench.go.send(()).unwrap();
    while bench.screens.checked.is_some() {
        assert!(!bench.screens.hear());
    }
    assert_eq!((bench.screens.app.page(), bench.installed()), (Page::Summary, 0));
    assert!(!bench.shown().contains("One moment"));
}

#[test]
fn a_machine_that_has_changed_is_shown_anew_and_nothing_is_installed() {
    let mut bench = Bench::new("one-disk");
    bench.press(&[Key::Right, Key::Enter]);
    bench.fill_in();
    bench.change(|machine| machine.disks[0].content.signature = Some("ext4".to_owned()));
    bench.press(&[Key::End, Key::Enter]);
    bench.hear();
    let shown = bench.shown();
    assert_eq!((bench.screens.app.page(), bench.installed()), (Page::Disk, 0), "{shown}");
    assert!(shown.contains("The machine has changed") && shown.contains("holds something else"), "{shown}");
    assert!(bench.screens.app.form().disks.is_empty() && bench.screens.app.plan().is_none());
    bench.hear();
    // What is there now is what it goes by, and what was typed is still there: the host that was found is kept no more than before.
    bench.press(&[Key::Enter, Key::Up, Key::Right, Key::Down, Key::Enter]);
    bench.press(&[Key::Enter, Key::Enter, Key::Enter, Key::End, Key::Left, Key::Enter, Key::Enter]);
    assert_eq!(bench.screens.app.page(), Page::Summary, "{}", bench.shown());
    bench.press(&[Key::End, Key::Enter]);
    bench.hear();
    assert_eq!(bench.screens.app.page(), Page::Progress);
    bench.wait();
    assert_eq!(bench.installed(), 1);
}

#[test]
fn another_try_goes_on_with_what_it_has_written_itself_and_on_no_other_disk() {
    let mut bench = Bench::new("one-disk");
    bench.press(&[Key::Right, Key::Enter]);
    bench.fill_in();
    bench.press(&[Key::End, Key::Enter]);
    bench.hear();
    bench.wait();
    assert_eq!(bench.installed(), 1);
    bench.change(|machine| machine.disks[0].content.table = Some("gpt".to_owned()));
    bench.press(&[Key::Enter]);
    bench.lives();
    bench.hear();
    assert_eq!(bench.installed(), 2);
    bench.change(|machine| machine.disks[0].serial = Some("another".to_owned()));
    bench.press(&[Key::Enter]);
    bench.hear();
    assert!(bench.shown().contains("is another disk now"), "{}", bench.shown());
    bench.change(|machine| machine.disks.clear());
    bench.press(&[Key::Enter]);
    bench.hear();
    assert!(bench.shown().contains("is not there any more"), "{}", bench.shown());
    assert_eq!(bench.installed(), 2);
}
