//! `xenolith_fuzz::xenapi_reply`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::xenapi_reply(data));
