//! `xenolith_fuzz::terminal_answer`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xenolith_fuzz::terminal_answer(data));
