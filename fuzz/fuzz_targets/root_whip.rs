//! Offers and fragments of broadcasters, and the way of their datagrams.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::root_whip(data));
