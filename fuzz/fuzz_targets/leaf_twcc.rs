//! The reader of viewers' transport-wide feedback, and the estimator behind it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::leaf_twcc(data));
