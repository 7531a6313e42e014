//! The reader of the hop's STUN.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::hop_stun(data));
