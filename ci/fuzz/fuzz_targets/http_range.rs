//! `xenolith_fuzz::http_range`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::http_range(data));
