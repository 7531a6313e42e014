//! What the fuzz targets check, as plain functions: a target is one line, and a finding can be
//! replayed in a debugger or a test. Seeds for the corpus are made by `examples/seeds.rs`.

mod drawing;
mod hop;
mod ingest;
mod layers;
mod leaf;
mod message;
pub mod plane;
mod whip;

pub use drawing::root_drawing;
pub use hop::{hop_packet, hop_rtcp, hop_stun};
pub use ingest::root_ingest;
pub use layers::root_layers;
pub use leaf::{leaf_rtcp, leaf_sdp, leaf_stun, leaf_twcc};
pub use message::message_xml;
pub use plane::hop_plane;
pub use whip::root_whip;

/// Takes `n` bytes off the front; fewer if there are fewer.
fn take<'a>(data: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, rest) = data.split_at(n.min(data.len()));
    *data = rest;
    head
}

/// Takes one byte; 0 at the end.
fn byte(data: &mut &[u8]) -> u8 {
    take(data, 1).first().copied().unwrap_or(0)
}

/// Takes a piece that says its length in two bytes (big endian).
fn piece<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let len = usize::from(byte(data)) << 8 | usize::from(byte(data));
    take(data, len)
}
