//! What `bench build` has found, as tables and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    bare::Part,
    child::Measured,
    peer::{Codec, Peer},
    stats::{median, megabytes, seconds},
    table::Table,
};

/// Counts up when readers of the JSON document would have to change.
pub const FORMAT: u32 = 1;
/// A cold build may take so many times the bare cost of its work.
const COLD_OVER_BARE: f64 = 1.2;
/// A build of nothing may take so many seconds.
const NO_OP: f64 = 0.3;
/// An edited crate may take so many seconds to the new ISO.
const CRATE: f64 = 30.0;

/// Everything that was measured; what was not is absent.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Of this format.
    pub format: u32,
    /// Processors that the work could use.
    pub processors: usize,
    /// Seconds of cold builds.
    pub cold: Vec<f64>,
    /// Seconds of each step of them; steps run beside each other.
    pub steps: BTreeMap<String, Vec<f64>>,
    /// Bytes of memory at the peak of each of them.
    pub memory: Vec<u64>,
    /// The same work without the builder.
    pub bare: Vec<Part>,
    /// Seconds with nothing changed.
    pub no_op: Vec<f64>,
    /// Seconds after an edit in a crate.
    #[serde(rename = "crate")]
    pub edited_crate: Vec<f64>,
    /// Seconds after a file was added.
    pub file: Vec<f64>,
    /// Seconds after a Xen option changed.
    pub option: Vec<f64>,
    /// Plain mkosi.
    pub mkosi: Vec<Peer>,
    /// Sizes of results.
    pub sizes: Vec<Size>,
    /// What each figure should be, and whether it is.
    pub targets: Vec<Target>,
}

/// The size of a result.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// What.
    pub what: &'static str,
    /// In bytes.
    pub bytes: u64,
    /// At most so many are allowed.
    pub budget: Option<u64>,
}

/// A figure beside what it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// What.
    pub what: &'static str,
    /// As it is.
    pub is: String,
    /// As it should be.
    pub should_be: String,
    /// Whether it is.
    pub met: bool,
}

impl Report {
    /// Adds a cold build.
    pub fn add_cold(&mut self, measured: &Measured) {
        self.cold.push(measured.seconds);
        self.memory.extend(measured.memory);
        for (step, &seconds) in &measured.steps {
            self.steps.entry(step.clone()).or_default().push(seconds);
        }
    }

    /// Seconds of all bare work, if it was done.
    fn bare_seconds(&self) -> Option<f64> {
        (!self.bare.is_empty()).then(|| self.bare.iter().map(|part| part.seconds).sum())
    }

    /// Compares with what the figures should be.
    pub fn judge(&mut self) {
        let mut targets = Vec::new();
        let mut at_most = |what, is: Option<f64>, most: Option<f64>, show: fn(f64) -> String, of: &str| {
            if let (Some(is), Some(most)) = (is, most) {
                let should_be = format!("≤ {}{of}", show(most));
                targets.push(Target { what, is: show(is), should_be, met: is <= most });
            }
        };
        let ratio = median(&self.cold).zip(self.bare_seconds()).map(|(cold, bare)| cold / bare);
        at_most("cold build", ratio, Some(COLD_OVER_BARE), |ratio| format!("{ratio:.2}"), " × bare work");
        at_most("no-op build", median(&self.no_op), Some(NO_OP), seconds, "");
        at_most("crate edited → ISO", median(&self.edited_crate), Some(CRATE), seconds, "");
        for peer in &self.mkosi {
            let of = match peer.codec {
                Codec::OfTheRecipe => " (mkosi, same codec)",
                Codec::None => " (mkosi, uncompressed)",
            };
            at_most("file added → ISO", median(&self.file), median(&peer.file), seconds, of);
        }
        for size in &self.sizes {
            if let Some(budget) = size.budget {
                let (is, should_be) = (megabytes(size.bytes), format!("≤ {}", megabytes(budget)));
                targets.push(Target { what: size.what, is, should_be, met: size.bytes <= budget });
            }
        }
        self.targets = targets;
    }

    /// The tables, each below what it is about.
    pub fn text(&self) -> String {
        let mut out = format!(
            "Medians, on {} processors, downloads done, file cache as it was. Seconds from start to end of `xenolith build`;\n\
             starting it through cargo adds what cargo takes to see that it is fresh.\n\n{}",
            self.processors,
            self.times()
        );
        if !self.steps.is_empty() || !self.bare.is_empty() {
            out += "\nThe cold build by step (steps run beside each other and slow each other down), and the same work done by\n\
                    the programs alone, one after the other with as many jobs; small parts are left out of the latter.\n\n";
            out += &self.work().to_string();
        }
        if !self.sizes.is_empty() {
            out += &format!("\n{}", self.size_table());
        }
        if !self.targets.is_empty() {
            let mut table = Table::new(["target", "is", "should be", "met"]);
            for target in &self.targets {
                let met = if target.met { "yes" } else { "NO" };
                table.row([target.what.into(), target.is.clone(), target.should_be.clone(), met.into()]);
            }
            out += &format!("\n{table}");
        }
        out
    }

    fn times(&self) -> Table {
        let mut table = Table::new(["", "median", "runs"]);
        let mut row = |what: &str, runs: &[f64]| {
            if let Some(median) = median(runs) {
                table.row([what.into(), seconds(median), list(runs)]);
            }
        };
        row("cold build, all results", &self.cold);
        if let Some(bare) = self.bare_seconds() {
            row("bare work of it", &[bare]);
        }
        row("no-op build, all results", &self.no_op);
        row("crate edited → ISO", &self.edited_crate);
        row("file added → ISO", &self.file);
        row("Xen option changed → ISO", &self.option);
        for peer in &self.mkosi {
            let codec = match peer.codec {
                Codec::OfTheRecipe => "same codec",
                Codec::None => "uncompressed",
            };
            row(&format!("mkosi, {codec}: cold"), &peer.cold);
            row(&format!("mkosi, {codec}: nothing changed"), &peer.unchanged);
            row(&format!("mkosi, {codec}: file added"), &peer.file);
        }
        if let Some(&peak) = self.memory.iter().max() {
            table.row([
                "peak memory of the cold build".into(),
                megabytes(peak),
                "sum over its processes".into(),
            ]);
        }
        table
    }

    /// Steps beside the bare work that does the same.
    fn work(&self) -> Table {
        let mut table = Table::new(["step", "seconds", "bare", "by"]);
        let took = |step: &str| self.steps.get(step).and_then(|runs| median(runs));
        let shown = |step: Option<f64>| step.map(seconds).unwrap_or_default();
        for part in &self.bare {
            for (number, step) in part.steps.iter().enumerate() {
                let (bare, by) =
                    if number == 0 { (seconds(part.seconds), part.what) } else { (String::new(), "″") };
                table.row([(*step).into(), shown(took(step)), bare, by.into()]);
            }
        }
        let in_bare = |step: &str| self.bare.iter().any(|part| part.steps.contains(&step));
        for step in self.steps.keys().filter(|step| !in_bare(step)) {
            table.row([step.clone(), shown(took(step)), String::new(), String::new()]);
        }
        table
    }

    fn size_table(&self) -> Table {
        let mut table = Table::new(["size", "bytes", ""]);
        for size in &self.sizes {
            table.row([size.what.into(), size.bytes.to_string(), megabytes(size.bytes)]);
        }
        for peer in &self.mkosi {
            let what = match peer.codec {
                Codec::OfTheRecipe => "mkosi's disk image, same codec",
                Codec::None => "mkosi's disk image, uncompressed",
            };
            table.row([what.into(), peer.bytes.to_string(), megabytes(peer.bytes)]);
        }
        table
    }
}

/// All runs, in the order in which they were made.
fn list(runs: &[f64]) -> String {
    runs.iter().map(|run| seconds(*run)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report { processors: 2, no_op: vec![0.2, 0.5, 0.1], ..Report::default() };
        let steps = BTreeMap::from([("root".to_owned(), 30.0), ("iso".to_owned(), 1.5)]);
        report.add_cold(&Measured { seconds: 130.0, memory: Some(2_000_000_000), steps });
        report.bare = vec![Part { what: "mkfs.erofs", steps: vec!["root"], seconds: 100.0 }];
        report.sizes = vec![Size { what: "ISO", bytes: 219_711_488, budget: Some(400_000_000) }];
        report.judge();
        report
    }

    #[test]
    fn a_figure_is_judged_by_its_median_and_only_if_it_was_taken() {
        let judged: Vec<(&str, String, bool)> =
            report().targets.into_iter().map(|target| (target.what, target.should_be, target.met)).collect();
        let expected = [
            ("cold build", "≤ 1.20 × bare work".to_owned(), false),
            ("no-op build", "≤ 0.30 s".to_owned(), true),
            ("ISO", "≤ 400.0 MB".to_owned(), true),
        ];
        assert_eq!(judged, expected);
    }

    #[test]
    fn steps_stand_beside_the_bare_work_that_does_the_same() {
        let text = report().work().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[2], "| root |  30.0 s | 100 s | mkfs.erofs |");
        assert_eq!(lines[3], "| iso  |  1.50 s |       |            |");
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        let text = Report { processors: 2, ..Report::default() }.text();
        assert!(!text.contains("mkosi") && !text.contains("target") && !text.contains("cold"), "{text}");
    }
}
