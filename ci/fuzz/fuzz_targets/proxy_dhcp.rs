//! `xenolith_fuzz::proxy_dhcp`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::proxy_dhcp(data));
