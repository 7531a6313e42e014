//! The source's packets since its last key frame: a child that starts between two key frames begins
//! with them. Pure.

use crate::ingest::layer::Packet;
use relay_node::media::api::FrameMarks;
use std::collections::VecDeque;

/// More is not kept: ten seconds of 4 Mbit/s. A longer group is not begun with; the next key frame is
/// waited for.
const MAX_BYTES: usize = 5 << 20;
/// The same in packets.
const MAX_PACKETS: usize = 8_192;
/// Frames whose distance is looked at for the frame rate.
const MEASURED: usize = 32;

/// The packets, and how many frames a second they are.
#[derive(Debug, Default)]
pub struct Gop {
    packets: VecDeque<Packet>,
    bytes: usize,
    broken: bool,
    frames: VecDeque<u32>,
}

impl Gop {
    /// The next packet of the source. One that begins a key frame begins it all anew.
    pub fn push(&mut self, packet: &Packet) {
        if self.frames.back() != Some(&packet.timestamp) {
            self.frames.push_back(packet.timestamp);
            if self.frames.len() > MEASURED {
                self.frames.pop_front();
            }
        }
        let key = packet.marks.0 & FrameMarks::KEY_START != 0;
        // The source's packets follow each other; a hole means that some did not get here.
        let hole = self.packets.back().is_some_and(|last| last.index.0 + 1 != packet.index.0);
        if key || hole {
            self.packets.clear();
            self.bytes = 0;
            self.broken = !key;
        }
        if self.broken || (self.packets.is_empty() && !key) {
            return;
        }
        self.bytes += packet.payload.len();
        self.packets.push_back(packet.clone());
        if self.bytes > MAX_BYTES || self.packets.len() > MAX_PACKETS {
            self.clear();
        }
    }

    /// Nothing is kept until the next key frame.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes = 0;
        self.broken = true;
    }

    /// What is kept, from a key frame on.
    pub fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.packets.iter()
    }

    /// Whether it has a key frame.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Frames a second, out of the distances of the last ones; `None` while it has seen too few.
    pub fn rate(&self, clock_rate: u32) -> Option<f64> {
        const ENOUGH: usize = 4;
        let pairs = self.frames.iter().zip(self.frames.iter().skip(1));
        let mut distances: Vec<u32> = pairs.map(|(a, b)| b.wrapping_sub(*a)).collect();
        if distances.len() < ENOUGH {
            return None;
        }
        distances.sort_unstable();
        let middle = distances.get(distances.len() / 2).copied().unwrap_or(1).max(1);
        Some(f64::from(clock_rate) / f64::from(middle))
    }
}
