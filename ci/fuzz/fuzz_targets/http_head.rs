//! `xenolith_fuzz::http_head`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::http_head(data));
