//! The configuration that Xen reads from the section `.config` of its own image.
//!
//! ```text
//!   [global]
//!   default=normal
//!
//!   [normal]
//!   options=console=com1,vga com1=115200,8n1       Xen's own command line
//!   kernel=dom0 console=hvc0 panic=10              a name, then dom0's command line
//! ```
//! The kernel is embedded too, so its name is never looked up; but Xen takes what follows the first word for dom0's command
//! line, and without a `kernel=` line dom0 has none. dom0 finds the word `kernel` before its own command line,
//! the name of the section that the kernel came from.
//!
//! **What is rendered is what Xen reads, or rendering fails.** Xen 4.20 cuts a line at `#` wherever it stands, ends it at any
//! control character, appends what follows ` -- ` in its options to dom0's command line, cuts an option at 127
//! characters and both command lines at 1023, and says nothing about any of it. Such values are refused. Keys
//! that name files (`ramdisk=`, `ucode=`, `chain=`, …) are not known here: nothing outside of the signed image is read.
//! Source: Xen 4.20 `common/efi/boot.c` (`pre_parse`, `get_value`), `common/kernel.c`, `arch/x86/setup.c`.

use std::fmt::Write as _;

use serde::Serialize;

/// The embedded configuration: blocks, one of which is the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct XenConfig {
    /// The name of the block that boots unless the loader names another one.
    pub default: String,
    /// The blocks; the default one is among them.
    pub blocks: Vec<Block>,
}

/// One way to boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// Xen's command line.
    pub xen_options: String,
    /// dom0's command line.
    pub dom0_cmdline: String,
}

/// Why Xen would not read a configuration as it is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A block's name is not allowed.
    #[error("{0:?} cannot name a block: only letters, digits, - and _, and not \"global\"")]
    Name(String),
    /// Two blocks share a name.
    #[error("the block {0:?} is there twice")]
    Twice(String),
    /// The default block is missing.
    #[error("the default block {0:?} does not exist")]
    NoDefault(String),
    /// A character that ends or cuts the line.
    #[error("{found:?} cannot stand in a command line of Xen's configuration ({value:?})")]
    Character {
        /// The character.
        found: char,
        /// The command line.
        value: String,
    },
    /// Spaces around the command line, which would be lost.
    #[error("the command line {0:?} begins or ends with a space")]
    Spaces(String),
    /// Xen would cut the command line or one of its options.
    #[error("{what} of {len} characters is too long: Xen keeps {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// Xen would append part of its options to dom0's command line.
    #[error("Xen's options {0:?} hold the word --, behind which they would go to dom0")]
    DoubleDash(String),
    /// A line that is none of ours.
    #[error("line {number} of the configuration is not understood: {line:?}")]
    Line {
        /// Its number, from 1.
        number: usize,
        /// Its text.
        line: String,
    },
}

/// Both command lines have 1024 bytes in Xen; `kernel `, ` noapic` and ` acpi=…` may be added to dom0's.
const LINE_LIMIT: usize = 960;
/// `MAX_PARAM_SIZE` without the final zero.
const OPTION_LIMIT: usize = 127;
/// The name that stands for the embedded kernel.
const KERNEL: &str = "dom0";

impl XenConfig {
    /// The text of the section `.config`.
    ///
    /// # Errors
    /// If Xen would read anything else than what is meant.
    pub fn render(&self) -> Result<String, ConfigError> {
        self.check()?;
        let mut text = format!("[global]\ndefault={}\n", self.default);
        for Block { name, xen_options, dom0_cmdline } in &self.blocks {
            let space = if dom0_cmdline.is_empty() { "" } else { " " };
            write!(text, "\n[{name}]\noptions={xen_options}\nkernel={KERNEL}{space}{dom0_cmdline}\n")
                .expect("a String takes everything");
        }
        Ok(text)
    }

    /// Reads what [`XenConfig::render`] writes.
    ///
    /// # Errors
    /// [`ConfigError::Line`] for whatever else Xen might understand, and all that rendering refuses.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut default = None;
        let mut blocks: Vec<Block> = Vec::new();
        let mut in_global = false;
        let mut seen = (false, false);
        for (line, number) in text.lines().zip(1..) {
            let refuse = || ConfigError::Line { number, line: line.into() };
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                if number > 1 && !in_global && seen != (true, true) {
                    return Err(refuse());
                }
                in_global = number == 1 && name == "global";
                if !in_global {
                    blocks.push(Block {
                        name: name.into(),
                        xen_options: String::new(),
                        dom0_cmdline: String::new(),
                    });
                }
                seen = (false, false);
            } else if let (true, None, Some(name)) = (in_global, &default, line.strip_prefix("default=")) {
                default = Some(name.to_owned());
            } else if !line.is_empty() {
                let block = blocks.last_mut().filter(|_| !in_global).ok_or_else(refuse)?;
                match line.split_once('=').ok_or_else(refuse)? {
                    ("options", value) if !seen.0 => (block.xen_options, seen.0) = (value.into(), true),
                    ("kernel", value) if !seen.1 => {
                        let cmdline = value.strip_prefix(KERNEL).ok_or_else(refuse)?;
                        let cmdline = cmdline.strip_prefix(' ').or(cmdline.is_empty().then_some(""));
                        (block.dom0_cmdline, seen.1) = (cmdline.ok_or_else(refuse)?.into(), true);
                    }
                    _ => return Err(refuse()),
                }
            }
        }
        let end = || ConfigError::Line { number: text.lines().count() + 1, line: String::new() };
        if !blocks.is_empty() && seen != (true, true) {
            return Err(end());
        }
        let config = Self { default: default.ok_or_else(end)?, blocks };
        config.check()?;
        Ok(config)
    }

    /// The block that boots by default.
    pub fn default_block(&self) -> Option<&Block> {
        self.blocks.iter().find(|block| block.name == self.default)
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (number, block) in self.blocks.iter().enumerate() {
            let letters =
                block.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            // The loader's options select a block by name; what begins with a dash is an option there.
            if block.name.is_empty() || !letters || block.name.starts_with('-') || block.name == "global" {
                return Err(ConfigError::Name(block.name.clone()));
            }
            if self.blocks.iter().take(number).any(|earlier| earlier.name == block.name) {
                return Err(ConfigError::Twice(block.name.clone()));
            }
            check_line("Xen's command line", &block.xen_options)?;
            check_line("dom0's command line", &block.dom0_cmdline)?;
            check_options(&block.xen_options)?;
        }
        self.default_block().map(|_| ()).ok_or_else(|| ConfigError::NoDefault(self.default.clone()))
    }
}

fn check_line(what: &'static str, value: &str) -> Result<(), ConfigError> {
    if let Some(found) = value.chars().find(|&c| c == '#' || !(c == ' ' || c.is_ascii_graphic())) {
        return Err(ConfigError::Character { found, value: value.into() });
    }
    if value.starts_with(' ') || value.ends_with(' ') {
        return Err(ConfigError::Spaces(value.into()));
    }
    if value.len() > LINE_LIMIT {
        return Err(ConfigError::TooLong { what, len: value.len(), limit: LINE_LIMIT });
    }
    Ok(())
}

fn check_options(value: &str) -> Result<(), ConfigError> {
    if value.split(' ').any(|word| word == "--") {
        return Err(ConfigError::DoubleDash(value.into()));
    }
    match value.split(' ').map(str::len).find(|&len| len > OPTION_LIMIT) {
        Some(len) => Err(ConfigError::TooLong { what: "an option of Xen", len, limit: OPTION_LIMIT }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(name: &str, xen_options: &str, dom0_cmdline: &str) -> Block {
        Block { name: name.into(), xen_options: xen_options.into(), dom0_cmdline: dom0_cmdline.into() }
    }

    fn one(xen_options: &str, dom0_cmdline: &str) -> XenConfig {
        XenConfig { default: "normal".into(), blocks: vec![block("normal", xen_options, dom0_cmdline)] }
    }

    #[test]
    fn a_configuration_reads_as_in_the_documentation() {
        let config = XenConfig {
            default: "normal".into(),
            blocks: vec![
                block("normal", "console=com1,vga com1=115200,8n1", "console=hvc0 panic=10"),
                block("bare", "", ""),
            ],
        };
        let text = "[global]\ndefault=normal\n\n[normal]\noptions=console=com1,vga com1=115200,8n1\n\
                    kernel=dom0 console=hvc0 panic=10\n\n[bare]\noptions=\nkernel=dom0\n";
        assert_eq!(config.render().as_deref(), Ok(text));
        assert_eq!(XenConfig::parse(text), Ok(config));
    }

    #[test]
    fn values_that_xen_would_misread_are_refused() {
        for bad in ["a\nb", "a\rb", "a\tb", "a\0b", "a\x7f", "ä", "a#b"] {
            assert!(matches!(one(bad, "").render(), Err(ConfigError::Character { .. })), "{bad:?}");
            assert!(matches!(one("", bad).render(), Err(ConfigError::Character { .. })), "{bad:?}");
        }
        assert!(matches!(one(" a", "").render(), Err(ConfigError::Spaces(_))));
        assert!(matches!(one("", "a ").render(), Err(ConfigError::Spaces(_))));
        assert!(matches!(one("", &"a".repeat(961)).render(), Err(ConfigError::TooLong { len: 961, .. })));
        assert!(matches!(one(&"a".repeat(128), "").render(), Err(ConfigError::TooLong { len: 128, .. })));
        assert!(matches!(one("a -- b", "").render(), Err(ConfigError::DoubleDash(_))));
        assert!(one("a--b", "init -- quiet").render().is_ok());
    }

    #[test]
    fn blocks_are_named_once_and_the_default_is_one_of_them() {
        let with = |default: &str, names: &[&str]| {
            let blocks = names.iter().map(|name| block(name, "", "")).collect();
            XenConfig { default: default.into(), blocks }.render()
        };
        assert_eq!(with("b", &["a"]), Err(ConfigError::NoDefault("b".into())));
        assert_eq!(with("a", &[]), Err(ConfigError::NoDefault("a".into())));
        assert_eq!(with("a", &["a", "a"]), Err(ConfigError::Twice("a".into())));
        for name in ["", "global", "a b", "a]", "-a", "a\n"] {
            assert_eq!(with(name, &[name]), Err(ConfigError::Name(name.into())));
        }
    }

    #[test]
    fn other_configurations_are_refused_with_the_line() {
        let head = "[global]\ndefault=a\n\n[a]\noptions=x\n";
        assert!(XenConfig::parse(&format!("{head}kernel=dom0 y\n")).is_ok());
        for (line, number) in [
            ("kernel=vmlinuz y", 6),
            ("kernel=dom0y", 6),
            ("ramdisk=initrd", 6),
            ("options=again", 6),
            ("# comment", 6),
            ("", 6),
            ("[b]", 6),
        ] {
            let error = XenConfig::parse(&format!("{head}{line}")).unwrap_err();
            assert!(matches!(error, ConfigError::Line { number: n, .. } if n >= number), "{line:?}: {error}");
        }
        assert!(XenConfig::parse("").is_err());
        assert!(XenConfig::parse("default=a\n[a]\noptions=\nkernel=dom0\n").is_err());
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(
            blocks in prop::collection::btree_map("[a-zA-Z0-9_]{1,9}", ("\\PC{0,40}", "[ -~]{0,60}"), 1..4),
            pick: prop::sample::Index,
        ) {
            let blocks: Vec<Block> = blocks.iter().map(|(name, (x, d))| block(name, x, d)).collect();
            let config = XenConfig { default: blocks[pick.index(blocks.len())].name.clone(), blocks };
            if let Ok(text) = config.render() {
                prop_assert!(!text.contains('#') && text.ends_with('\n'));
                prop_assert_eq!(XenConfig::parse(&text), Ok(config));
            }
        }

        #[test]
        fn whatever_is_read_renders_to_the_same_meaning(text in "(\\[(global|a|b)\\]\n|default=a\n|options=[x ]{0,3}\n|kernel=dom0( y)?\n|\n){0,12}") {
            if let Ok(config) = XenConfig::parse(&text) {
                prop_assert_eq!(XenConfig::parse(&config.render().unwrap()), Ok(config));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = XenConfig::parse(&text);
        }
    }
}
