//! `xenolith_fuzz::entry_name`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::entry_name(data));
