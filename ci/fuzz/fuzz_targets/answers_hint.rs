//! `xenolith_fuzz::answers_hint`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::answers_hint(data));
