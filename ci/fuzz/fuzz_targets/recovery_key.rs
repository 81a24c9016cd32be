//! `xenolith_fuzz::recovery_key`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::recovery_key(data));
