//! The reader of hop RTCP.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::hop_rtcp(data));
