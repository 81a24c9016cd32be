//! Checks that need no machine: style, lints, licences, unit tests, and the build.

use anyhow::{Context as _, ensure};

use crate::{
    Check, Cost,
    context::{Context, Count},
};

/// In this order.
pub const CHECKS: &[Check] = &[
    Check { name: "format", proves: "the code is formatted", cost: Cost::Quick, run: format },
    Check { name: "lints", proves: "clippy has nothing to say", cost: Cost::Quick, run: lints },
    Check {
        name: "dependencies",
        proves: "licences and sources of all crates are allowed",
        cost: Cost::Quick,
        run: dependencies,
    },
    Check {
        name: "unit",
        proves: "unit, golden and property tests of all crates",
        cost: Cost::Quick,
        run: unit,
    },
    Check {
        name: "fuzz-smoke",
        proves: "parsers survive their corpus and its mutations",
        cost: Cost::Quick,
        run: fuzz,
    },
    Check { name: "lock", proves: "the lock fits the recipe", cost: Cost::Quick, run: lock },
    Check { name: "build", proves: "the recipe builds", cost: Cost::Slow, run: build },
    Check { name: "no-op", proves: "a second build has nothing to do", cost: Cost::Slow, run: no_op },
    Check {
        name: "reproducible",
        proves: "the image steps give the same bytes again",
        cost: Cost::Slow,
        run: reproducible,
    },
];

const DENY: &str = "cargo-deny";
const DENY_VERSION: &str = "0.20.2";

fn must(expression: &duct::Expression, what: &str) -> anyhow::Result<Count> {
    let status = expression.unchecked().run().with_context(|| format!("cannot run {what}"))?.status;
    ensure!(status.success(), "{what} ended with {status}; its words are above");
    Ok(Count::ONE)
}

fn format(context: &Context) -> anyhow::Result<Count> {
    must(&context.cargo(&["fmt", "--all", "--check"]), "cargo fmt")
}

fn lints(context: &Context) -> anyhow::Result<Count> {
    let args = ["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    must(&context.cargo(&args), "cargo clippy")
}

fn dependencies(context: &Context) -> anyhow::Result<Count> {
    let program = context.tools.join("bin").join(DENY);
    if !program.exists() {
        eprintln!("compiling {DENY} once, into {}", context.tools.display());
        let root = context.tools.to_string_lossy();
        // Without optimisation: it runs for a second, and compiles in half the time.
        let args =
            ["install", "--quiet", "--locked", "--debug", "--root", &root, "--version", DENY_VERSION, DENY];
        must(&context.cargo(&args).env("CARGO_PROFILE_DEV_DEBUG", "0"), "cargo install")?;
    }
    // The database of advisories is a clone of a repository on the network, which not every machine can reach.
    let args = ["--log-level", "error", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    must(&duct::cmd(program, args).dir(&context.root), DENY)
}

/// Runs `cargo test` and counts what it says.
fn tests(context: &Context, args: &[&str]) -> anyhow::Result<Count> {
    let output = context.cargo(args).stdout_capture().unchecked().run().context("cannot run cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut count = Count::default();
    for line in text.lines() {
        if let Some(result) = counted(line) {
            count += result;
        }
    }
    if !output.status.success() || count.failed > 0 {
        println!("{}", text.trim_end());
        count.failed = count.failed.max(1);
    }
    ensure!(count != Count::default(), "cargo test ran no test");
    Ok(count)
}

/// `test result: ok. 12 passed; 0 failed; …`
fn counted(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number =
        |word: &str| rest.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse::<u64>().ok());
    Some(Count { passed: number(" passed")?, failed: number(" failed")? })
}

fn unit(context: &Context) -> anyhow::Result<Count> {
    // The same features as for the tests, and programs are left where they are found.
    let args = ["build", "--quiet", "--locked", "--workspace", "--all-targets"];
    must(&context.cargo(&args), "cargo build")?;
    let program = context.cargo_target().join("debug/xenolith");
    ensure!(program.is_file(), "cargo build left no {}", program.display());
    let _ = context.compiled.set(program);
    tests(context, &["test", "--quiet", "--locked", "--workspace", "--no-fail-fast"])
}

fn fuzz(context: &Context) -> anyhow::Result<Count> {
    let target = context.cargo_target();
    let target = target.to_string_lossy();
    let args =
        ["test", "--quiet", "--locked", "--manifest-path", "ci/fuzz/Cargo.toml", "--target-dir", &target];
    tests(context, &args)
}

fn lock(context: &Context) -> anyhow::Result<Count> {
    must(&context.xenolith(&["lock", "--check"]), "xenolith lock --check")
}

fn build(context: &Context) -> anyhow::Result<Count> {
    must(&context.xenolith(&["build"]), "xenolith build")
}

fn no_op(context: &Context) -> anyhow::Result<Count> {
    let plan = context.xenolith(&["build", "--dry-run", "--json"]).read().context("cannot plan a build")?;
    let plan: serde_json::Value = serde_json::from_str(&plan).context("the plan is not understood")?;
    let steps = plan["steps"].as_array().context("the plan has no steps")?;
    ensure!(!steps.is_empty(), "the plan is empty");
    let pending: Vec<_> =
        steps.iter().filter(|step| step["verdict"] != "cached").map(|step| &step["step"]).collect();
    ensure!(pending.is_empty(), "a second build would run {pending:?}");
    Ok(Count::ONE)
}

fn reproducible(context: &Context) -> anyhow::Result<Count> {
    must(&context.xenolith(&["verify"]), "xenolith verify")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_test_program_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(counted(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(counted("running 3 tests"), None);
    }
}
