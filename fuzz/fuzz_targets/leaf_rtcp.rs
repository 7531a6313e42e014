//! The reader of viewers' RTCP.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::leaf_rtcp(data));
