//! `xenolith_fuzz::boot_file`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::boot_file(data));
