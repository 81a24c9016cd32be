//! `xenolith_fuzz::netboot_manifest`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::netboot_manifest(data));
