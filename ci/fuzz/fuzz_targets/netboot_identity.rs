//! `xenolith_fuzz::netboot_identity`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::netboot_identity(data));
