//! The whole forwarding plane: datagrams, commands and time in any order.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::hop_plane(data));
