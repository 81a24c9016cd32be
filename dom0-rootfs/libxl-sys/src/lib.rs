//! libxl, the library that controls Xen: its C declarations and a safe way to ask it for facts.
//!
//! The declarations are generated while the image is built, from the headers of the very Xen that goes into it
//! (`hypervisor-src/`), so the two cannot disagree. They need the feature `bindings`; without it the crate is empty.
//!
//! [`Libxl`] is all that other crates see. It hands out owned values only: nothing that it returns points into C.

#[cfg(feature = "bindings")]
mod bindings {
    #![allow(warnings, clippy::all, clippy::undocumented_unsafe_blocks, reason = "generated from C")]
    include!(env!("XENOLITH_LIBXL_BINDINGS"));
}

#[cfg(feature = "bindings")]
mod wrapper;

#[cfg(feature = "bindings")]
pub use wrapper::{Domain, Libxl, LibxlError, Machine, XenVersion};
