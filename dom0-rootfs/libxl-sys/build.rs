//! Hands the bindings that the image's build generated to the compiler, and links libxl.
//!
//! `XENOLITH_LIBXL_BINDINGS` is the file, `XENOLITH_LIBXL_LIBRARIES` the folder with `libxenlight.so`.

use std::env;

fn main() {
    const BINDINGS: &str = "XENOLITH_LIBXL_BINDINGS";
    const LIBRARIES: &str = "XENOLITH_LIBXL_LIBRARIES";
    println!("cargo::rerun-if-env-changed={BINDINGS}");
    println!("cargo::rerun-if-env-changed={LIBRARIES}");
    if env::var_os("CARGO_FEATURE_BINDINGS").is_none() {
        return;
    }
    match env::var(BINDINGS) {
        Ok(file) => {
            println!("cargo::rerun-if-changed={file}");
            println!("cargo::rustc-env={BINDINGS}={file}");
        }
        Err(error) => {
            println!(
                "cargo::error=the feature `bindings` is for the image's build, which sets {BINDINGS}: {error}"
            );
        }
    }
    if let Ok(folder) = env::var(LIBRARIES) {
        println!("cargo::rustc-link-search=native={folder}");
    }
    println!("cargo::rustc-link-lib=dylib=xenlight");
    println!("cargo::rustc-link-lib=dylib=xentoollog");
}
