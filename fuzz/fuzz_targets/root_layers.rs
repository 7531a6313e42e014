//! Layers within one encoding: dependency descriptors, and what payloads of all codecs show.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::root_layers(data));
