//! `xenolith bench erofs`: the table that the codec of the root image is chosen from.
//!
//! Each codec makes two images: of the root tree of this checkout's build, and of the same tree as a small upgrade would leave
//! it: another version in os-release, and a library that has got longer, so that all of it after that place has moved. How much
//! of the second image is new against the first is what an upgrade costs. Times are of mkfs.erofs, and of `fsck.erofs --extract`,
//! which reads and decompresses every file. They are processor time (getrusage(2) of ended children), not time on the wall: a
//! table of ratios must not depend on what else the machine did. mkfs.erofs has a worker for each processor, so the wall
//! shows less.
//! How long a machine takes to boot from an image is what `bench boot` measures.

use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike as _},
};
use serde::Serialize;
use xenolith_assemble::rootfs::{Content, Tree};
use xenolith_sandbox::{Sandbox, Tool};

use super::{
    Built, bare,
    blocks::{self, Changed},
    built, go_on, on_two_processors, result,
    stats::{megabytes, seconds, share},
    step_failure,
    table::Table,
    tell,
};
use crate::{
    cli::{BenchErofsArgs, Global},
    commands::{
        build as building, say,
        scratch::{Purpose, Scratch},
    },
    exit::{Class, Classify as _, Failure},
    project::Project,
    steps::image,
};

/// Counts up when readers of the JSON document would have to change.
const FORMAT: u32 = 1;
/// Bytes in a KiB.
pub const KIB: u64 = 1024;
/// Steps whose results it reads; the root image itself is made here.
const READS: &[&str] = &["tools-tree", "packages", "xen-tools", "crates"];
/// A library that gets security updates often, and is one of the largest.
const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libcrypto.so.3";
/// Algorithms as mkfs.erofs names them, and the sizes of clusters, in KiB, to try each with. Fast ones first.
const ALGORITHMS: &[(&str, &[u64])] = &[
    ("lz4hc", &[16, 64, 256]),
    ("zstd,level=3", &[16, 64, 256]),
    ("zstd,level=6", &[64]),
    ("zstd,level=9", &[64]),
    ("deflate,level=1", &[64]),
    ("zstd,level=12", &[64, 256]),
    ("lzma", &[64]),
    ("zstd,level=19", &[64]),
];
/// What else the format can do, tried with one fast codec: mkfs.erofs works with one thread then.
const FEATURES: (&str, u64, &[&str]) = ("zstd,level=3", 64, &["fragments", "dedupe", "fragments,dedupe"]);

/// A way to make the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Codec {
    /// As mkfs.erofs names it, with its level.
    pub algorithm: String,
    /// Bytes of a compressed cluster at most.
    pub cluster: u64,
    /// `-E`, if any.
    features: Option<String>,
}

impl Codec {
    /// A codec without features.
    pub fn plain(algorithm: &str, cluster: u64) -> Self {
        Self { algorithm: algorithm.into(), cluster, features: None }
    }

    fn options(&self) -> Vec<String> {
        let mut options = vec![format!("-z{}", self.algorithm), format!("-C{}", self.cluster)];
        options.extend(self.features.iter().map(|features| format!("-E{features}")));
        options
    }

    /// Its name in a table, where the recipe's stands out.
    pub fn heading(&self, chosen: bool) -> String {
        if chosen { format!("**{}**", self.name()) } else { self.name() }
    }

    /// For people, and for `--only`.
    pub fn name(&self) -> String {
        let features = self.features.as_ref().map(|features| format!(", {features}")).unwrap_or_default();
        format!("{}, {} KiB{features}", self.algorithm, self.cluster / KIB)
    }
}

/// What a codec makes of the root tree.
#[derive(Clone, Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    codec: Codec,
    /// Whether it is the one of the recipe.
    chosen: bool,
    /// Bytes of the image.
    bytes: u64,
    /// Seconds of a processor that mkfs.erofs took.
    made: f64,
    /// Seconds of a processor that fsck.erofs took.
    read: f64,
    /// Blocks of the second image.
    blocks: u64,
    /// Those that differ in place.
    in_place: u64,
    /// Those that the first image has nowhere.
    new: u64,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    format: u32,
    processors: usize,
    rows: &'a [Row],
}

/// Runs the command.
///
/// # Errors
/// As a build; [`Class::Usage`] if `--only` leaves nothing.
pub fn run(global: &Global, args: &BenchErofsArgs) -> Result<(), Failure> {
    let project = Project::find(global)?;
    let processors = on_two_processors()?;
    let first = built(global, &project, args.keys.as_deref(), &args.mirror, READS)?;
    let scratch = Scratch::new(&project.cache, Purpose::Bench)?;
    let root = &first.plan.recipe.root;
    let recipe = Codec::plain(&root.compression, root.cluster.0);
    let wanted: Vec<Codec> = codecs(&recipe)
        .into_iter()
        .filter(|codec| args.only.is_empty() || args.only.iter().any(|word| codec.name().contains(word)))
        .collect();
    if wanted.is_empty() {
        let names: Vec<String> = codecs(&recipe).iter().map(Codec::name).collect();
        return Err(Failure::new(Class::Usage, "no codec is described by these words")
            .hint(format!("there are: {}", names.join("; "))));
    }
    let stop = building::interrupt_flag()?;
    let try_out = TryOut::new(&first, scratch.path())?;
    let mut rows = Vec::new();
    for codec in wanted {
        go_on(&stop)?;
        tell(&codec.name());
        let row = try_out.row(codec, &recipe)?;
        let Row { bytes, made, read, .. } = row;
        tell(&format!("  {}, made in {}, read in {}", megabytes(bytes), seconds(made), seconds(read)));
        rows.push(row);
    }
    if global.json {
        let document = Document { format: FORMAT, processors, rows: &rows };
        say(&serde_json::to_string_pretty(&document).class(Class::Bug, "cannot print the table")?);
    } else {
        say(table(&rows).trim_end());
    }
    Ok(())
}

/// All codecs to try; the recipe's is among them.
fn codecs(recipe: &Codec) -> Vec<Codec> {
    let codec = |algorithm: &str, kib: u64, features: Option<&str>| Codec {
        features: features.map(str::to_owned),
        ..Codec::plain(algorithm, kib * KIB)
    };
    let mut all: Vec<Codec> = Vec::new();
    for (algorithm, clusters) in ALGORITHMS {
        all.extend(clusters.iter().map(|&kib| codec(algorithm, kib, None)));
    }
    let (algorithm, kib, features) = FEATURES;
    all.extend(features.iter().map(|features| codec(algorithm, kib, Some(features))));
    if !all.contains(recipe) {
        all.push(recipe.clone());
    }
    all
}

struct TryOut<'a> {
    tools: &'a Path,
    folder: &'a Path,
    /// The root tree.
    archive: PathBuf,
    /// The same after a small upgrade.
    upgraded: PathBuf,
}

impl<'a> TryOut<'a> {
    fn new(built: &'a Built, folder: &'a Path) -> Result<Self, Failure> {
        let overlay = built.plan.root.join("dom0-rootfs/overlay");
        let from = bare::layers(built, &overlay)?;
        let mut identity = built.plan.identity.clone();
        let [archive, upgraded] = ["root.tar", "upgraded.tar"].map(|name| folder.join(name));
        let build_id = |number: u8| format!("{number:016x}");
        let tree = image::layers(&from, &identity.os_release(&build_id(1)))
            .map_err(step_failure("the root tree"))?;
        image::write_archive(&tree, &archive).map_err(step_failure("the root archive"))?;
        identity.version = format!("{}.1", identity.version);
        let mut tree = image::layers(&from, &identity.os_release(&build_id(2)))
            .map_err(step_failure("the root tree"))?;
        lengthen(&mut tree, Path::new(LIBRARY))?;
        image::write_archive(&tree, &upgraded).map_err(step_failure("the root archive"))?;
        Ok(Self { tools: result(built, "tools-tree")?, folder, archive, upgraded })
    }

    fn row(&self, codec: Codec, recipe: &Codec) -> Result<Row, Failure> {
        let (old, new) = (self.folder.join("old.erofs"), self.folder.join("new.erofs"));
        let log = self.folder.join("log");
        let make = |archive: &Path, image: &Path| {
            image::make_erofs(self.tools, archive, image, &codec.options(), &log)
                .map_err(step_failure("mkfs.erofs"))
        };
        let before = processor_time()?;
        make(&self.archive, &old)?;
        let made = processor_time()? - before;
        make(&self.upgraded, &new)?;
        let before = processor_time()?;
        Sandbox::new(self.tools)
            .bind_ro(&old, "/tmp/root.erofs")
            .run(Tool::FsckErofs, ["--extract", "/tmp/root.erofs"], &log)
            .class(Class::Failed, "fsck.erofs does not like the image")?;
        let read = processor_time()? - before;
        let changed = changed(&old, &new).class(Class::Device, "cannot compare the images")?;
        let bytes = fs::metadata(&old).class(Class::Device, "mkfs.erofs left no image")?.len();
        for image in [old, new] {
            fs::remove_file(image).class(Class::Device, "cannot remove an image")?;
        }
        let Changed { blocks, in_place, new } = changed;
        Ok(Row { chosen: codec == *recipe, codec, bytes, made, read, blocks, in_place, new })
    }
}

/// Seconds of a processor that all ended children of this process have taken, and theirs; nothing else runs meanwhile.
fn processor_time() -> Result<f64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).class(Class::Host, "cannot tell processor time")?;
    Ok(timeval_seconds(usage.user_time()) + timeval_seconds(usage.system_time()))
}

fn timeval_seconds(time: TimeVal) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times to look at")]
    (time.num_microseconds() as f64 / 1e6)
}

fn changed(old: &Path, new: &Path) -> std::io::Result<Changed> {
    Ok(blocks::compare(&blocks::sums(fs::File::open(old)?)?, &blocks::sums(fs::File::open(new)?)?))
}

/// Puts a few bytes into a file of the tree, not far from its start.
fn lengthen(tree: &mut Tree, path: &Path) -> Result<(), Failure> {
    let found = tree.get(path).and_then(|entry| match &entry.content {
        Content::File(file) => Some((file.clone(), entry.mode)),
        Content::Folder | Content::Link(_) | Content::Text(_) => None,
    });
    let (file, mode) =
        found.ok_or_else(|| Failure::new(Class::Bug, format!("the root tree has no {}", path.display())))?;
    let bytes = fs::read(file).class(Class::Device, "cannot read a file of the root tree")?;
    tree.put("bench", path.into(), Content::Text(longer(&bytes)), mode)
        .class(Class::Bug, "cannot replace a file")
}

fn longer(bytes: &[u8]) -> Vec<u8> {
    let (before, after) = bytes.split_at(bytes.len() / 8);
    [before, b"an update moves what comes after", after].concat()
}

/// Times as ratios to the recipe's codec, or to the first one if the recipe's is not there: seconds say more about the machine.
fn table(rows: &[Row]) -> String {
    let Some(base) = rows.iter().find(|row| row.chosen).or(rows.first()) else { return String::new() };
    let ratio = |of: f64, to: f64| if to > 0.0 { format!("{:.2}", of / to) } else { String::new() };
    let percent = |part, whole| share(part, whole).map(|share| format!("{share:.1} %")).unwrap_or_default();
    let mut table = Table::new([
        "codec, cluster",
        "image",
        "mkfs, CPU",
        "×",
        "read, CPU",
        "×",
        "changed in place",
        "new blocks",
    ]);
    for row in rows {
        table.row([
            row.codec.heading(row.chosen),
            megabytes(row.bytes),
            seconds(row.made),
            ratio(row.made, base.made),
            seconds(row.read),
            ratio(row.read, base.read),
            percent(row.in_place, row.blocks),
            percent(row.new, row.blocks),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_in_seconds() {
        assert!((timeval_seconds(TimeVal::new(2, 500_000)) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn the_recipes_codec_is_tried_once_whether_it_is_in_our_list_or_not() {
        for recipe in [Codec::plain("zstd,level=12", 64 * KIB), Codec::plain("lz4", 4 * KIB)] {
            assert_eq!(codecs(&recipe).iter().filter(|codec| **codec == recipe).count(), 1);
        }
    }

    #[test]
    fn a_codec_is_what_mkfs_wants_and_has_a_name() {
        let mut codec = Codec::plain("zstd,level=3", 64 * KIB);
        codec.features = Some("fragments,dedupe".into());
        assert_eq!(codec.options(), ["-zzstd,level=3", "-C65536", "-Efragments,dedupe"]);
        assert_eq!(codec.name(), "zstd,level=3, 64 KiB, fragments,dedupe");
    }

    #[test]
    fn what_comes_after_the_change_has_moved() {
        let bytes: Vec<u8> = (0..=255).collect();
        let longer = longer(&bytes);
        assert_eq!(longer.len(), 256 + 32);
        assert_eq!((&longer[..32], &longer[64..]), (&bytes[..32], &bytes[32..]));
    }

    #[test]
    fn times_are_shown_as_ratios_to_the_recipes_codec() {
        let row = |algorithm, chosen, made| Row {
            codec: Codec::plain(algorithm, 64 * KIB),
            chosen,
            bytes: 100_000_000,
            made,
            read: 2.0,
            blocks: 200,
            in_place: 100,
            new: 1,
        };
        let table = table(&[row("lz4hc", false, 5.0), row("zstd,level=12", true, 20.0)]);
        let cells = |line: usize| -> Vec<&str> {
            table.lines().nth(line).unwrap().trim_matches('|').split('|').map(str::trim).collect()
        };
        let expected = ["lz4hc, 64 KiB", "100.0 MB", "5.00 s", "0.25", "2.00 s", "1.00", "50.0 %", "0.5 %"];
        assert_eq!(cells(2), expected);
        assert_eq!(cells(3)[..1], ["**zstd,level=12, 64 KiB**"]);
    }
}
