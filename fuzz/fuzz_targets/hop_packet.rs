//! The parser of hop packets.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::hop_packet(data));
