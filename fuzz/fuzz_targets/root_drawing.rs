//! The operator's drawing of the tree.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::root_drawing(data));
