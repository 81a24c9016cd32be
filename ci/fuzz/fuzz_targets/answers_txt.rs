//! `xenolith_fuzz::answers_txt`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::answers_txt(data));
