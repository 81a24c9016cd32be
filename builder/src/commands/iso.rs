//! `xenolith iso`: what can be done to an ISO that is built.

mod customize;
mod given;
#[cfg(test)]
mod tests;

use crate::{
    cli::{Global, IsoArgs, IsoCommand},
    exit::Failure,
};

/// Runs the command.
///
/// # Errors
/// [`Class::Input`](crate::exit::Class::Input) if a file or the ISO is refused, [`Class::Device`](crate::exit::Class::Device) if it
/// cannot be written.
pub fn run(global: &Global, args: &IsoArgs) -> Result<(), Failure> {
    match &args.command {
        IsoCommand::Customize(args) => customize::run(global, args),
    }
}
