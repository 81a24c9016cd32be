//! `xenolith_fuzz::xen_config`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::xen_config(data));
