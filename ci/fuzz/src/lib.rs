//! One body for each parser of outside input, run by libFuzzer and, on stable Rust, by an ordinary test.
//!
//! **No bytes make a parser of ours panic, hang or take memory without bound; what it accepts it also writes again with
//! the same meaning; and nothing that was not signed counts as signed.** A body panics if that does not hold.
//!
//! [`TARGETS`] is the list. `fuzz_targets/<name>.rs` hands bytes to a body, `seeds/<name>/` is where both runs begin, and
//! `tests/smoke.rs` makes sure that the three agree.

mod archive;
mod console;
mod host;
mod image;
mod installer;
mod mutate;
mod netboot;
mod trust;

pub use mutate::Mutator;

/// A parser under test.
pub struct Target {
    /// Its name: of the fuzz target, of the folder of seeds.
    pub name: &'static str,
    /// What is done with the bytes.
    pub body: fn(&[u8]),
    /// Mutations that the smoke test makes of the seeds: fewer where one costs a signature check.
    pub rounds: usize,
    /// Further folders with seeds: fixtures of the crate itself, relative to the checkout.
    pub fixtures: &'static [&'static str],
}

/// Longer inputs are not looked at: a parser that is quadratic beyond it is found at this length too.
pub const LONGEST: usize = 256 << 10;

macro_rules! targets {
    ($($name:ident = $module:ident, $rounds:literal, [$($fixtures:literal),*];)*) => {
        $(
            #[doc = concat!("Fuzzes `", stringify!($name), "`; see its module for what must hold.")]
            pub fn $name(data: &[u8]) {
                if data.len() <= LONGEST {
                    $module::$name(data);
                }
            }
        )*

        /// Every target.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), body: $name, rounds: $rounds, fixtures: &[$($fixtures),*] },)*
        ];
    };
}

targets! {
    deb = archive, 4000, [];
    deb_data = archive, 8000, [];
    packages = archive, 8000, [];
    sources = archive, 8000, [];
    release = archive, 4000, [];
    inrelease = archive, 150, ["builder/archive/tests/signature"];
    lock = archive, 3000, ["builder/archive/tests/lock/accept", "builder/archive/tests/lock/reject"];
    version = archive, 20000, [];
    boot_file = image, 4000, [];
    verity = image, 2000, [];
    xen_config = image, 20000, [];
    os_release = image, 20000, [];
    entry_name = image, 20000, [];
    medium_table = image, 8000, [];
    reserved = image, 8000, [];
    signatures = trust, 1500, [];
    dsse = trust, 4000, [];
    pkcs11_uri = trust, 20000, [];
    seed = host, 5000, ["installer/settings/tests/seeds/accept", "installer/settings/tests/seeds/reject"];
    storage_answers = host, 5000, [];
    former = host, 5000, [];
    xenapi_reply = host, 20000, [];
    recovery_key = host, 20000, [];
    cmdline = host, 20000, [];
    uevent = host, 20000, [];
    dhcp = host, 20000, [];
    http_head = host, 20000, [];
    url = host, 20000, [];
    gpt = host, 2000, [];
    efi_variables = host, 2000, [];
    answers = installer, 3000, ["installer/answers/tests/accept", "installer/answers/tests/reject"];
    answers_xml = installer, 3000, ["installer/answers/tests/xml"];
    capture = installer, 2000, [];
    answers_hint = installer, 20000, [];
    answers_lease = installer, 20000, [];
    answers_txt = installer, 20000, [];
    smbios = installer, 20000, [];
    netboot_manifest = netboot, 5000, [];
    netboot_identity = netboot, 5000, [];
    proxy_dhcp = netboot, 20000, [];
    tftp = netboot, 20000, [];
    http_range = netboot, 20000, [];
    terminal_answer = console, 20000, [];
    icmp_echo = console, 20000, [];
    support_text = console, 5000, [];
}
