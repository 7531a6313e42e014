//! The reader of control messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::message_xml(data));
