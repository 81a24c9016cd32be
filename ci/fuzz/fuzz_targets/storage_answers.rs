//! `xenolith_fuzz::storage_answers`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::storage_answers(data));
