//! `xenolith_fuzz::efi_variables`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::efi_variables(data));
