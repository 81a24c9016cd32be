//! `xenolith_fuzz::support_text`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::support_text(data));
