//! The reader of viewers' offers, and the answer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::leaf_sdp(data));
