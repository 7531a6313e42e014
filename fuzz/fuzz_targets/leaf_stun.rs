//! The reader of viewers' STUN.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::leaf_stun(data));
