//! `xenolith_fuzz::answers_xml`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::answers_xml(data));
