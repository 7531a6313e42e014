//! The layers within one encoding.

use crate::ingest::CODECS;
use crate::{byte, piece};
use root_node::ingest::codec::inspect;
use root_node::ingest::scalable::Scalable;

/// The first byte names the codec; then come packets: a byte (bit 0: there is a descriptor; bit 1: of the
/// time of the one before), the descriptor's piece if there is one, the payload's piece. Whatever they
/// say, layers have numbers that marks can carry, and a mode has a name by which it is known again.
pub fn root_layers(mut data: &[u8]) {
    let codec = CODECS[usize::from(byte(&mut data)) % CODECS.len()];
    let (mut layers, mut timestamp) = (Scalable::default(), 0u32);
    while !data.is_empty() {
        let how = byte(&mut data);
        let descriptor = (how & 1 != 0).then(|| piece(&mut data));
        if how & 2 == 0 {
            timestamp = timestamp.wrapping_add(3_000);
        }
        let info = inspect(codec, piece(&mut data)).unwrap_or_default();
        let key = info.key;
        let standing = layers.take(timestamp, key, &info, descriptor);
        assert!(standing.temporal <= 7);
        if let Some(mode) = layers.scalability() {
            assert!(mode.spatial() > 1 || mode.temporal() > 1);
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!(layers.size().is_none_or(|(width, height)| width > 0 && height > 0));
    }
}
