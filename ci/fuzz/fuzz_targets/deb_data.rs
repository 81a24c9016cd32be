//! `xenolith_fuzz::deb_data`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::deb_data(data));
