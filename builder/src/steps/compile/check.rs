//! What the types of `hypervisor-src/build.toml` cannot say: programs, placeholders, paths and patterns.

use std::path::{Component, Path};

use xenolith_sandbox::Tool;

use super::{Argv, CompileRecipe};
use crate::recipe::{Document, Problem};

/// Placeholders that stand for a word or a part of one, in every command.
const EVERYWHERE: [&str; 4] = ["orig", "debian", "version", "jobs"];
/// Placeholders that stand for a list, and so for a whole word.
const LISTS: [&str; 2] = ["make", "hardening"];

impl Document for CompileRecipe {
    const FORMAT: Option<u32> = Some(1);

    fn problems(&self) -> Vec<Problem> {
        let mut check = Check(Vec::new());
        if !self.source.at.starts_with('/') {
            check.refuse("source.at", format!("{:?} is no absolute path", self.source.at));
        }
        check.relative("source.epoch_from", &self.source.epoch_from);
        for (name, value) in &self.environment {
            check.placeholders(&format!("environment.{name}"), value, &["epoch"]);
        }
        check.commands("unpack.run", &self.unpack.run, &[]);
        for file in &self.unpack.files {
            check.relative("unpack.files", &file.path);
            check.placeholders("unpack.files", &file.text, &["version"]);
        }
        for series in &self.patches {
            check.command("patches.run", &series.run, &["patch"]);
        }
        check.command("hypervisor.complete", &self.hypervisor.complete, &[]);
        check.commands("hypervisor.run", &self.hypervisor.run, &[]);
        for output in &self.hypervisor.outputs {
            check.relative("hypervisor.outputs", &output.from);
            check.relative("hypervisor.outputs", &output.to);
        }
        check.commands("tools.run", &self.tools.run, &[]);
        for glob in self.tree.remove.iter().map(|removal| &removal.glob).chain(&self.tree.dev) {
            check.relative("tree", Path::new(glob));
            if let Err(error) = glob::Pattern::new(glob) {
                check.refuse("tree", format!("{glob:?} is no pattern: {error}"));
            }
        }
        check.command("debug.split", &self.debug.split, &["file", "debug"]);
        check.command("debug.strip", &self.debug.strip, &["file", "debug"]);
        check.command("bindings.run", &self.bindings.run, &[]);
        if !self.bindings.output.starts_with("/out/") {
            check.refuse("bindings.output", format!("{:?} is not below /out", self.bindings.output));
        }
        check.0
    }
}

struct Check(Vec<Problem>);

impl Check {
    fn refuse(&mut self, key: &str, what: String) {
        self.0.push(Problem::new(key, what));
    }

    fn commands(&mut self, key: &str, commands: &[Argv], own: &[&str]) {
        for argv in commands {
            self.command(key, argv, own);
        }
    }

    /// `own`: placeholders that this command knows besides those of every command.
    fn command(&mut self, key: &str, argv: &Argv, own: &[&str]) {
        let Some((program, args)) = argv.split_first() else {
            return self.refuse(key, "a command is empty".into());
        };
        if Tool::named(program).is_none() {
            self.refuse(key, format!("{program:?} is no program that a recipe may run"));
        }
        for word in args {
            let list = word.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if !list.is_some_and(|name| LISTS.contains(&name)) {
                self.placeholders(key, word, &[&EVERYWHERE[..], own].concat());
            }
        }
    }

    /// `{name}` with a name in lower case is a placeholder; any other brace is itself.
    fn placeholders(&mut self, key: &str, text: &str, known: &[&str]) {
        for rest in text.split('{').skip(1) {
            let Some((name, _)) = rest.split_once('}') else { continue };
            if name.bytes().all(|byte| byte.is_ascii_lowercase()) && !known.contains(&name) {
                let whole = if LISTS.contains(&name) { " as part of a word" } else { "" };
                self.refuse(key, format!("{{{name}}} means nothing here{whole}, in {text:?}"));
            }
        }
    }

    /// A path that stays below where it is looked for.
    fn relative(&mut self, key: &str, path: &Path) {
        let below = |part: Component<'_>| matches!(part, Component::Normal(_));
        if path.as_os_str().is_empty() || !path.components().all(below) {
            self.refuse(key, format!("{:?} is no relative path without \"..\"", path.display().to_string()));
        }
    }
}
