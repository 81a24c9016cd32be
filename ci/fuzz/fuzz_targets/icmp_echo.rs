//! `xenolith_fuzz::icmp_echo`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::icmp_echo(data));
