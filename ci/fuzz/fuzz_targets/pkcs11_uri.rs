//! `xenolith_fuzz::pkcs11_uri`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::pkcs11_uri(data));
