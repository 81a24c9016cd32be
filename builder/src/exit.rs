//! Exit codes by class of error: an interface, frozen by a test.

use std::process::ExitCode;

/// What kind of end a command came to. If two fit, the one that the user can act on wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Used wrongly.
    Usage = 2,
    /// A recipe, lock or other input was refused.
    Input = 3,
    /// The host lacks something.
    Host = 4,
    /// The network or the mirror.
    Network = 5,
    /// A signature, hash or verity tree does not hold.
    Trust = 6,
    /// A device could not be read or written, or must not be.
    Device = 7,
    /// A machine or version that is not supported.
    Unsupported = 8,
    /// The health gate, or a step that failed.
    Failed = 9,
    /// Our bug.
    Bug = 70,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Class> for ExitCode {
    fn from(class: Class) -> Self {
        Self::from(class as u8)
    }
}

/// An error with its class and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What did not happen.
    pub what: String,
    /// Its class.
    pub class: Class,
    /// What to do, if we know.
    pub hint: Option<String>,
    /// Why.
    #[source]
    pub source: Option<anyhow::Error>,
}

impl Failure {
    /// A failure without a cause below it.
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Self { what: what.into(), class, hint: None, source: None }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds why.
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Gives an error a class and a sentence about what did not happen.
pub trait Classify<T> {
    /// # Errors
    /// The error of `self`, below a [`Failure`].
    fn class(self, class: Class, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> Classify<T> for Result<T, E> {
    fn class(self, class: Class, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(class, what).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::Class::*;

    #[test]
    fn exit_codes_never_change() {
        let codes = [Usage, Input, Host, Network, Trust, Device, Unsupported, Failed, Bug, Interrupted];
        assert_eq!(codes.map(|class| class as u8), [2, 3, 4, 5, 6, 7, 8, 9, 70, 130]);
    }
}
