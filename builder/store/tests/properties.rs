//! What must hold for every graph and every change of an input.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{Journal, copying, folder, graph, name, run_with, step_of};
use fs_err as fs;
use proptest::prelude::*;
use xenolith_store::{Graph, Identity, Input, Reason, RunOptions, Scheduler, StepSpec, Store, TreeFilter};

/// A step's inputs as a test can write them to the disk.
#[derive(Clone, Debug, PartialEq)]
struct World {
    value: String,
    file: Vec<u8>,
    executable: bool,
    tree: BTreeMap<String, Vec<u8>>,
}

fn world() -> impl Strategy<Value = World> {
    let tree = prop::collection::btree_map("[a-c]{1,2}(/x)?", prop::collection::vec(any::<u8>(), 0..3), 0..4);
    // A path cannot be both a file and the folder of another one.
    let tree = tree.prop_filter("file and folder of one name", |tree: &BTreeMap<String, Vec<u8>>| {
        tree.keys().all(|path| !tree.contains_key(&format!("{path}/x")))
    });
    ("[a-b]{0,2}", prop::collection::vec(0_u8..3, 0..3), any::<bool>(), tree)
        .prop_map(|(value, file, executable, tree)| World { value, file, executable, tree })
}

impl World {
    fn write(&self, root: &Path) {
        use std::os::unix::fs::PermissionsExt;
        if root.exists() {
            fs::remove_dir_all(root).unwrap();
        }
        fs::create_dir_all(root.join("tree")).unwrap();
        fs::write(root.join("file"), &self.file).unwrap();
        let mode = if self.executable { 0o755 } else { 0o644 };
        fs::set_permissions(root.join("file"), std::fs::Permissions::from_mode(mode)).unwrap();
        for (path, contents) in &self.tree {
            let path = root.join("tree").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
    }

    fn step(&self, root: &Path) -> StepSpec {
        let inputs = [
            ("value", Input::Value(self.value.clone())),
            ("file", Input::File(root.join("file"))),
            ("tree", Input::Tree { root: root.join("tree"), filter: TreeFilter::everything() }),
        ];
        step_of("step", &inputs, |_| Ok(()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_key_changes_exactly_if_an_input_changes(one in world(), two in world()) {
        let folder = folder();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let root = folder.path().join("world");
        let key = |world: &World| {
            world.write(&root);
            let plan = Scheduler::new(&store)
                .plan(&graph([world.step(&root)]), &[name("step")], &RunOptions::default())
                .unwrap();
            plan.steps[0].key.unwrap()
        };
        let (first, second, again) = (key(&one), key(&two), key(&one));
        prop_assert_eq!(first, again, "written anew with other times and inodes");
        prop_assert_eq!(first == second, one == two);
    }
}

/// For each step: the earlier steps that it reads, whether it has key identity, and its text.
type Shape = Vec<(Vec<prop::sample::Index>, bool, u8)>;

fn shape() -> impl Strategy<Value = Shape> {
    let step = (prop::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>(), 0_u8..3);
    prop::collection::vec(step, 1..12)
}

/// What each step reads, by number.
fn sources(shape: &Shape) -> Vec<BTreeSet<usize>> {
    let sources = shape.iter().enumerate().map(|(number, (from, _, _))| {
        let earlier = |index: &prop::sample::Index| index.index(number);
        if number == 0 { BTreeSet::new() } else { from.iter().map(earlier).collect() }
    });
    sources.collect()
}

fn random_graph(shape: &Shape, journal: &Journal) -> Graph {
    let steps = sources(shape).into_iter().enumerate().map(|(number, from)| {
        let (_, large, text) = &shape[number];
        let (text, large, journal) = (*text, *large, journal.clone());
        let mut spec = step_of(&format!("s{number}"), &[("text", Input::value(text))], move |context| {
            journal.add(format!("begin {}", context.step()));
            let mut all = text.to_string();
            for (_, path) in context.inputs("from-") {
                all += &fs::read_to_string(path.join("text"))?;
            }
            fs::write(context.out().join("text"), all)?;
            journal.add(format!("end {}", context.step()));
            Ok(())
        });
        for source in from {
            spec = spec.input(format!("from-{source}"), Input::Step(name(&format!("s{source}"))));
        }
        spec.identity(if large { Identity::Key } else { Identity::Content })
    });
    graph(steps.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn each_step_runs_after_its_inputs_and_at_most_once(shape in shape(), jobs in 1_usize..4) {
        let folder = folder();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let target = format!("s{}", shape.len() - 1);
        let options = RunOptions { jobs, ..RunOptions::default() };
        let journal = Journal::default();
        let planned = Scheduler::new(&store)
            .plan(&random_graph(&shape, &journal), &[name(&target)], &options)
            .unwrap();
        let told = run_with(&store, random_graph(&shape, &journal), &target, &options);
        prop_assert!(told.result.is_ok(), "{:?}", told.result);
        let lines = journal.lines();
        let at = |line: String| lines.iter().position(|found| *found == line);
        for (number, from) in sources(&shape).into_iter().enumerate() {
            let begins = lines.iter().filter(|line| **line == format!("begin s{number}")).count();
            prop_assert!(begins <= 1);
            let Some(begin) = at(format!("begin s{number}")) else { continue };
            for source in from {
                prop_assert!(at(format!("end s{source}")).is_some_and(|end| end < begin), "{lines:?}");
            }
        }
        prop_assert_eq!(planned.steps.len() * 2, lines.len(), "all of the plan ran, and nothing else");
        let again = run_with(&store, random_graph(&shape, &journal), &target, &options);
        prop_assert!(again.ran().is_empty());
    }

    #[test]
    fn a_changed_step_reruns_only_what_it_reaches(shape in shape(), which: prop::sample::Index) {
        let folder = folder();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let target = format!("s{}", shape.len() - 1);
        let options = RunOptions { jobs: 2, ..RunOptions::default() };
        let journal = Journal::default();
        run_with(&store, random_graph(&shape, &journal), &target, &options).result.unwrap();
        let which = which.index(shape.len());
        let mut changed = shape.clone();
        changed[which].2 = 9;
        let told = run_with(&store, random_graph(&changed, &journal), &target, &options);
        prop_assert!(told.result.is_ok());
        let sources = sources(&shape);
        let mut reached = BTreeSet::from([which]);
        for (number, from) in sources.iter().enumerate() {
            if !from.is_disjoint(&reached) {
                reached.insert(number);
            }
        }
        let ran: BTreeSet<_> = told.ran().into_iter().collect();
        prop_assert!(ran.iter().all(|step| reached.contains(&step[1..].parse().unwrap())), "{ran:?} {reached:?}");
        // The text of every step is part of what comes after it, so nothing is cut off early.
        let wanted = told.result.unwrap().into_keys().filter(|step| reached.contains(&step.as_str()[1..].parse().unwrap()));
        prop_assert_eq!(ran, wanted.map(|step| step.to_string()).collect::<BTreeSet<_>>());
    }
}

#[test]
fn no_input_can_pass_for_an_input_of_another_kind_or_name() {
    let folder = folder();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let blob = store.put_blob(b"x").unwrap();
    let specs = [
        copying("s", &[]),
        copying("t", &[]),
        copying("s", &[("a", Input::value("x"))]),
        copying("s", &[("b", Input::value("x"))]),
        copying("s", &[("a", Input::value("x")), ("b", Input::value("x"))]),
        copying("s", &[("a", Input::Blob(blob))]),
        copying("s", &[]).identity(Identity::Key),
    ];
    let count = specs.len();
    let keys: BTreeSet<_> = specs
        .into_iter()
        .map(|spec| {
            let target = spec.name.clone();
            let plan =
                Scheduler::new(&store).plan(&graph([spec]), &[target], &RunOptions::default()).unwrap();
            plan.steps[0].key.unwrap()
        })
        .collect();
    assert_eq!(keys.len(), count);
}

#[test]
fn memory_weight_and_code_are_no_inputs() {
    let folder = folder();
    let store = Store::open(&folder.path().join("store")).unwrap();
    common::run(&store, graph([copying("s", &[])]), "s").result.unwrap();
    let other = step_of("s", &[], |_| Err("never run".into())).memory(7).weight(7);
    let told = common::run(&store, graph([other]), "s");
    assert!(told.ran().is_empty());
    assert_eq!(told.reason("s"), None::<Reason>);
}
