//! `xenolith_fuzz::medium_table`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::medium_table(data));
