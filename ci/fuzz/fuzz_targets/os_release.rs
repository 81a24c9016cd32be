//! `xenolith_fuzz::os_release`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::os_release(data));
