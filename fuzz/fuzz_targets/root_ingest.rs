//! A broadcaster's RTP and RTCP on an ingest port, all codecs.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| soleil_fuzz::root_ingest(data));
