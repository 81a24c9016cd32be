//! `xenolith_fuzz::tftp`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::tftp(data));
