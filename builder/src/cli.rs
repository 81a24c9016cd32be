//! The command line: what can be asked, and the help that teaches it.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Build, run and inspect Xenolith, the immutable operating system for Xen hosts.
///
/// `xenolith build` turns the recipe (image/image.toml), the lock (xenolith.lock) and the sources of this
/// checkout into a signed image. Every step's output is kept under the hash of its inputs, so a second
/// build does only what a change has reached. Start with:
///
///   cargo xenolith build        # out/xenolith-<version>.iso and the rest
///   cargo xenolith run          # boots it in QEMU
///   cargo xenolith flash        # lists the USB sticks it could go to
#[derive(Parser)]
#[command(name = "xenolith", version, verbatim_doc_comment, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Print one JSON object per event (build, lock, serve) or one document (inspect, iso, keys, gc, bench)
    #[arg(long, global = true)]
    pub json: bool,
    /// The checkout to work on; default: found upwards from the current folder
    #[arg(long, global = true, value_name = "FOLDER", env = "XENOLITH_PROJECT")]
    pub project: Option<PathBuf>,
    /// Where downloads and step outputs are kept; default: $XDG_CACHE_HOME/xenolith
    #[arg(long, global = true, value_name = "FOLDER", env = "XENOLITH_CACHE")]
    pub cache: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Build the image and put the results into out/
    Build(BuildArgs),
    /// Resolve and pin every package and source, and print what changed
    Lock(LockArgs),
    /// Boot a result in QEMU with UEFI firmware
    Run(RunArgs),
    /// Write the ISO to a USB stick, or list the sticks
    Flash(FlashArgs),
    /// Say what an ISO, disk image, boot file or update set holds, and whether it holds together
    Inspect(InspectArgs),
    /// Remove what no build has used for a while from the cache
    Gc(GcArgs),
    /// Build again under other conditions and compare byte by byte
    Verify(VerifyArgs),
    /// Measure the build, or the ways to compress the root image
    Bench(BenchArgs),
    /// Write a page about a build: timeline, contents, boot chain, changes
    Report(ReportArgs),
    /// Make or show the signing keys
    Keys(KeysArgs),
    /// Look at the answers for an unattended installation before a machine meets them
    Answers(AnswersArgs),
    /// Put answers into an ISO that is built
    Iso(IsoArgs),
    /// Hand the network boot set to machines: over HTTP, and as PXE proxy beside a DHCP server
    Serve(ServeArgs),
    /// Print where the output of a step lies, after bringing it up to date
    Path(PathArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
}

#[derive(Args, Clone, Debug)]
pub struct AnswersArgs {
    #[command(subcommand)]
    pub command: AnswersCommand,
}

#[derive(Subcommand, Clone, Debug)]
pub enum AnswersCommand {
    /// Say whether files would be taken, and all that is wrong with those that would not
    Validate {
        /// answers.toml, JSON with the same keys, or XCP-ng's XML
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Say which disks of a captured machine the rules choose
    Match(MatchArgs),
    /// Say what an installation would do to a captured machine
    Plan(PlanArgs),
    /// Turn an XML answer file of XCP-ng or XenServer into answers.toml, and report what became of every tag
    Convert(ConvertArgs),
    /// Print the JSON Schema of the answers
    Schema,
}

#[derive(Args, Clone, Debug)]
pub struct IsoArgs {
    #[command(subcommand)]
    pub command: IsoCommand,
}

#[derive(Subcommand, Clone, Debug)]
pub enum IsoCommand {
    /// Put answers, certificates or a seed into the reserved area of an ISO, without building it again
    ///
    /// The area then holds what is named here and nothing else. Everything is checked first: a wrong file changes nothing. The area is
    /// data: no signature covers it, and nothing in it can change what boots.
    ///
    /// Answers and seeds may hold the hash of root's password. Who can read the ISO or the stick can read it: a copy (--output) that
    /// holds one is made for your eyes only, and of an ISO that is changed in place you are warned if others can read it.
    Customize(CustomizeArgs),
}

#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct CustomizeArgs {
    /// The ISO, as the build has left it
    pub iso: PathBuf,
    /// Answers: TOML, JSON, or XCP-ng's XML, which is converted. Used by `xenolith-install --answers medium`
    #[arg(long, value_name = "FILE", group = "what")]
    pub answers: Option<PathBuf>,
    /// Certificates of authorities, in PEM. Kept for sources of answers over HTTPS; an installation by `--answers medium` needs none
    #[arg(long, value_name = "FILE", group = "what")]
    pub ca: Option<PathBuf>,
    /// A seed: what the system on the medium itself is told when it starts, such as keys for SSH
    #[arg(long, value_name = "FILE", group = "what")]
    pub seed: Option<PathBuf>,
    /// Take everything out
    #[arg(long, group = "what", conflicts_with_all = ["answers", "ca", "seed"])]
    pub clear: bool,
    /// Say what is in it, and whether it would be taken; change nothing
    #[arg(long, group = "what", conflicts_with_all = ["answers", "ca", "seed", "clear", "output", "dry_run"])]
    pub show: bool,
    /// Leave the ISO as it is and make this one. A file that is there is left alone
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Check everything, say what the area would hold, and write nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Args, Clone, Debug)]
pub struct MatchArgs {
    /// The captured machine
    #[arg(long, value_name = "FILE")]
    pub machine: PathBuf,
    /// The answers
    pub file: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// The captured machine
    #[arg(long, value_name = "FILE")]
    pub machine: PathBuf,
    /// The ISO to install; default: the newest in out/
    #[arg(long, value_name = "FILE")]
    pub iso: Option<PathBuf>,
    /// The answers
    pub file: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub struct ConvertArgs {
    /// The XML file
    pub file: PathBuf,
    /// Whose installer it was written for; they differ in what they do when it says nothing
    #[arg(long, value_enum, default_value = "xcp-ng")]
    pub from: WrittenFor,
    /// A file of public SSH keys, one a line, for which the XML has no place
    #[arg(long, value_name = "FILE")]
    pub ssh_key: Option<PathBuf>,
    /// Where the answers go; default: printed. A file that is there is left alone
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Whose installer an XML file was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WrittenFor {
    /// XCP-ng from 8.3 on
    XcpNg,
    /// XenServer, and XCP-ng before 8.3
    Xenserver,
}

/// What a build should leave in out/.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Target {
    /// The hybrid ISO: CD and USB stick in one file
    Iso,
    /// A disk image with slot A filled
    Disk,
    /// The files that a network boot serves
    Netboot,
    /// The files that an upgrade downloads
    Update,
    /// All of these, debug symbols, SBOM, manifest and provenance
    All,
}

#[derive(Args, Clone, Debug)]
pub struct MirrorArgs {
    /// The Debian archive to download from (default: your configuration, else the host's apt sources)
    #[arg(long, value_name = "URL", env = "XENOLITH_MIRROR")]
    pub mirror: Option<String>,
    /// The Debian security archive (default: next to the mirror)
    #[arg(long, value_name = "URL", env = "XENOLITH_SECURITY_MIRROR")]
    pub security_mirror: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct BuildArgs {
    /// What to build
    #[arg(long, short, value_enum, default_value = "all")]
    pub target: Target,
    /// Which variant of the recipe to build
    #[arg(long, default_value = "default")]
    pub variant: String,
    /// Use only what has been downloaded already
    #[arg(long)]
    pub offline: bool,
    /// How many steps and compilers run at once; default: the number of processors
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<usize>,
    /// Say for each step why it ran or did not
    #[arg(long)]
    pub explain: bool,
    /// Say what would run and what would be downloaded, and do nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Where the results go; default: out/ in the checkout
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Folder with the signing keys; default: $XDG_CONFIG_HOME/xenolith/keys, made on first use
    #[arg(long, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
    #[command(flatten)]
    pub mirror: MirrorArgs,
}

#[derive(Args, Clone, Debug)]
pub struct LockArgs {
    /// Fail if the lock does not fit the recipe; needs no network
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
    /// Take the newest versions: of everything, or of the packages named
    #[arg(long, value_name = "PACKAGE", num_args = 0..)]
    pub update: Option<Vec<String>>,
    /// Print what would change and write nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    #[command(flatten)]
    pub mirror: MirrorArgs,
}

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Boot the ISO as a CD (the default)
    #[arg(long, group = "medium")]
    pub iso: bool,
    /// Boot the disk image (a throw-away copy on top of it, unless --keep)
    #[arg(long, group = "medium")]
    pub disk: bool,
    /// Boot the ISO as a USB stick
    #[arg(long, group = "medium")]
    pub usb: bool,
    /// Firmware with Secure Boot on and this build's keys enrolled
    #[arg(long)]
    pub secure_boot: bool,
    /// A fresh TPM 2.0, which is gone when the machine ends
    #[arg(long)]
    pub tpm: bool,
    /// Memory in MiB
    #[arg(long, default_value_t = 3072, value_name = "MIB")]
    pub memory: u32,
    /// Number of processors
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub cpus: u32,
    /// The host's serial line on this terminal (the default); Ctrl-A X ends it
    #[arg(long, group = "display")]
    pub serial: bool,
    /// The host's screen in a VNC server on this display number
    #[arg(long, group = "display", value_name = "DISPLAY", num_args = 0..=1, default_missing_value = "0")]
    pub vga: Option<u16>,
    /// Forward this port of 127.0.0.1 to the host's SSH
    #[arg(long, value_name = "PORT")]
    pub ssh_port: Option<u16>,
    /// Public key file to let in as root at first boot (through a seed volume)
    #[arg(long, value_name = "FILE", requires = "ssh_port")]
    pub ssh_key: Option<PathBuf>,
    /// Where the results are; default: out/ in the checkout
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Print the command that would run and do nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Args, Clone, Debug)]
pub struct FlashArgs {
    /// The USB stick, such as /dev/sdb; without it, the candidates are listed
    pub device: Option<PathBuf>,
    /// The file to write; default: the ISO in out/
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Take fixed disks, loop devices and regular files as well as removable disks
    #[arg(long)]
    pub all_devices: bool,
    /// Do not ask; for scripts that have asked already
    #[arg(long)]
    pub yes: bool,
    /// Check everything and write nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// An ISO, a disk image, a boot file (.efi) or the folder of an update set
    pub file: PathBuf,
    /// Certificates to check signatures against; default: this user's keys
    #[arg(long, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
    /// Leave out what reads whole images: the verity tree and the ISO's own sum
    #[arg(long)]
    pub quick: bool,
}

#[derive(Args, Clone, Debug)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub command: KeysCommand,
    /// Folder with the keys; default: $XDG_CONFIG_HOME/xenolith/keys
    #[arg(long, global = true, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
}

#[derive(Subcommand, Clone, Debug)]
pub enum KeysCommand {
    /// Make development keys: Secure Boot (PK, KEK, db) and update signing
    Init,
    /// Show the certificates and fingerprints; never the secrets
    Show,
}

/// Nothing that is served is a secret but answers: they hold hashes of passwords, and whoever can ask for them gets them.
/// docs/netboot.md says what a DHCP server has to be told, and who checks what.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The folder with the set; default: out/netboot in the checkout
    pub set: Option<PathBuf>,
    /// Where HTTP listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8000")]
    pub listen: SocketAddr,
    /// Be PXE proxy and TFTP server on this interface, or on the one with this address. No address is ever handed out: a DHCP server
    /// has to be there
    #[arg(long, value_name = "INTERFACE|ADDRESS")]
    pub pxe: Option<String>,
    /// Answers for installations: one file for every machine, or a folder with files named after addresses, serial numbers, UUIDs
    #[arg(long, value_name = "FILE|FOLDER")]
    pub answers: Option<PathBuf>,
    /// Certificate for HTTPS (PEM); answers are then given over HTTPS only
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Where HTTPS listens, if there is a certificate
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    pub listen_tls: SocketAddr,
    /// Check everything, print what each kind of client would get, and open no port
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Where the build's results are; default: out/ in the checkout
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Another build's manifest.json or a xenolith.lock to compare with
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// The page to write; default: report.html beside the results
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Certificates to check signatures against; default: this user's keys
    #[arg(long, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub build: BuildArgs,
    /// Compile Xen and the crates again too, not only the image steps
    #[arg(long, conflicts_with = "against")]
    pub everything: bool,
    /// Build nothing; compare out/ with another folder of results, without signatures if the keys differ
    #[arg(long, value_name = "FOLDER")]
    pub against: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Subcommand, Clone, Debug)]
pub enum BenchCommand {
    /// Measure builds, beside the bare cost of their work and beside plain mkosi
    Build(BenchBuildArgs),
    /// Try erofs codecs and cluster sizes on the root tree; prints the table of image/codecs.md
    Erofs(BenchErofsArgs),
    /// Boot the ISO with a few codecs in a virtual machine, from power on to ready
    Boot(BenchBootArgs),
    /// Install onto a disk that is a file, beside a plain copy of the same bytes
    Install(BenchInstallArgs),
}

#[derive(Args, Clone, Debug)]
pub struct BenchBuildArgs {
    /// Runs per figure, of which the median is shown; default: 3, and 1 for what starts from nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: Option<u16>,
    /// Measure only these
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub only: Vec<Figure>,
    /// Folder with the signing keys; default: $XDG_CONFIG_HOME/xenolith/keys, made on first use
    #[arg(long, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
    #[command(flatten)]
    pub mirror: MirrorArgs,
}

/// What `bench build` measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// Everything, from nothing but the downloads; its memory, and what each step takes
    Cold,
    /// The same work without the builder: dpkg-deb, make, cargo, mkosi, mkfs.erofs
    Bare,
    /// Nothing changed
    NoOp,
    /// A line changed in a dom0 crate, to the new ISO
    Crate,
    /// A file added to dom0's overlay, to the new ISO
    File,
    /// A Xen option changed, to the new ISO
    Option,
    /// Plain mkosi on the same packages: from nothing, nothing changed, a file added
    Mkosi,
}

#[derive(Args, Clone, Debug)]
pub struct BenchErofsArgs {
    /// Only codecs whose description holds one of these words, such as `zstd,level=12` or `256 KiB`
    #[arg(long, value_name = "WORD")]
    pub only: Vec<String>,
    /// Folder with the signing keys; default: $XDG_CONFIG_HOME/xenolith/keys, made on first use
    #[arg(long, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
    #[command(flatten)]
    pub mirror: MirrorArgs,
}

#[derive(Args, Clone, Debug)]
pub struct BenchBootArgs {
    /// Boots per codec, of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// Folder with the signing keys; default: $XDG_CONFIG_HOME/xenolith/keys, made on first use
    #[arg(long, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
    #[command(flatten)]
    pub mirror: MirrorArgs,
}

#[derive(Args, Clone, Debug)]
pub struct BenchInstallArgs {
    /// Runs, of which the median is shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// Folder on the disk to measure; default: the cache's
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Folder on a medium to install from; its files are read past the cache; default: install from memory
    #[arg(long, value_name = "FOLDER")]
    pub medium: Option<PathBuf>,
    /// Folder with the signing keys; default: $XDG_CONFIG_HOME/xenolith/keys, made on first use
    #[arg(long, value_name = "FOLDER", env = "XENOLITH_KEYS")]
    pub keys: Option<PathBuf>,
    #[command(flatten)]
    pub mirror: MirrorArgs,
}

#[derive(Args, Clone, Debug)]
pub struct GcArgs {
    /// Keep what was used within this many days
    #[arg(long, default_value_t = 14, value_name = "DAYS")]
    pub max_age: u64,
    /// Say what would go and remove nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Args, Clone, Debug)]
pub struct PathArgs {
    /// Names of steps, as `build --dry-run` lists them
    #[arg(required = true, value_name = "STEP")]
    pub steps: Vec<String>,
    #[command(flatten)]
    pub build: BuildArgs,
}

#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// The folder to write into
    pub folder: PathBuf,
}
