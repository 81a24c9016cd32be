//! What an installation has to be told: `answers.toml`.
//!
//! The types are the manual and the schema. A file is taken whole or not at all: an unknown key is an error that names its line
//! and the nearest known one, and every mistake that types cannot see is told at once ([`Answers::problems`]). Secrets are hashes or
//! references; no message ever quotes a value of the file.

mod check;
mod disk_rule;
mod keep;
mod parse;
mod password;
mod size;
mod types;
mod xml;

pub use disk_rule::{DiskRule, NoMatch, Pick, choose};
pub use keep::{Keep, KeepAll, Kept};
pub use parse::{AnswersError, MAX_ANSWERS, schema};
pub use password::hash_password;
pub use size::{Size, SizeRange};
pub use types::{Answers, Encryption, Ending, Finish, Storage, StorageKind, Target};
pub use xenolith_settings::{BadFingerprint, Fingerprint};
pub use xml::{Conversion, Dialect, Fate, Line, convert};
