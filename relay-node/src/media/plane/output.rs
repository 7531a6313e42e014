//! What goes out: control datagrams first (they are few and small), then each link's media in one
//! piece so that it makes GSO runs. Media is not copied: it lies in the rings.

use super::Plane;
use crate::media::link::rtcp_ssrc;
use soleil_protocol::{Mono, Ssrc};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// Pause between the steps of links that catch up.
const PUMP_INTERVAL: Duration = Duration::from_millis(1);

/// STUN and RTCP that wait for the flush.
#[derive(Debug, Default)]
pub(super) struct ControlQueue {
    pub bytes: Vec<u8>,
    pub datagrams: Vec<(SocketAddr, Range<usize>)>,
}

impl ControlQueue {
    /// Queues what `write` appends; nothing if it says false.
    pub fn push(
        &mut self,
        to: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>, usize) -> bool,
    ) -> bool {
        let start = self.bytes.len();
        let written = write(&mut self.bytes, start);
        if written {
            self.datagrams.push((to, start..self.bytes.len()));
        } else {
            self.bytes.truncate(start);
        }
        written
    }
}

impl Plane {
    /// Everything that waits to be sent, in the order to send it; datagrams of one address with
    /// equal sizes follow each other. Valid until the plane is changed.
    pub fn transmits(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let control = self.control.datagrams.iter().map(|(to, range)| {
            let bytes: &[u8] = &self.control.bytes[range.clone()];
            (*to, bytes)
        });
        let count = self.links.end();
        let media = (0..count).flat_map(move |i| {
            let link = self.links.get((i + self.rotation) % count);
            let to = link.and_then(|l| l.address);
            let queue = link.map_or(&[][..], |l| &l.queue);
            queue.iter().filter_map(move |(layer, index)| {
                Some((to?, self.layers.get(*layer)?.ring.peek(*index)?))
            })
        });
        control.chain(media)
    }

    /// Forgets what has been sent; the next flush serves another link first.
    pub fn clear_transmits(&mut self) {
        self.control.bytes.clear();
        self.control.datagrams.clear();
        let count = self.links.end().max(1);
        self.rotation = (self.rotation + 1) % count;
        for (_, link) in self.links.iter_mut() {
            link.queue.clear();
        }
    }

    /// Seals and queues RTCP for a link, if it is open.
    pub(super) fn send_rtcp(
        &mut self,
        link: usize,
        write: impl FnOnce(&mut Vec<u8>, Ssrc),
    ) -> bool {
        let Some(link) = self.links.get_mut(link).filter(|l| l.is_open()) else { return false };
        let Some(to) = link.address else { return false };
        let (sealer, ssrc) = (&mut link.sealer, rtcp_ssrc(link.id));
        self.control.push(to, |out, start| {
            write(out, ssrc);
            sealer.seal(out, start).is_ok()
        })
    }

    /// Gives links that catch up the next packets of the rings, each layer at its pace.
    pub(super) fn pump(&mut self, now: Mono) {
        let config = &self.config;
        let mut more = false;
        for (_, link) in self.links.iter_mut() {
            if !link.is_open() {
                continue;
            }
            for i in 0..link.routes.len() {
                let layer_key = link.routes[i].layer;
                let Some(layer) = self.layers.get_mut(layer_key) else { continue };
                let rate = layer.meter.rate(now).saturating_mul(config.catch_up);
                link.routes[i].pace.refill(now, rate.max(config.catch_up_least / 8));
                while let Some(cursor) = link.routes[i].cursor {
                    let next = layer.ring.next_from(now, cursor);
                    let packet = next.and_then(|n| Some((n, layer.ring.peek(n)?.len())));
                    let Some((index, len)) = packet else {
                        link.routes[i].cursor = None;
                        break;
                    };
                    // What would soon be too old is not held back.
                    let age = layer.ring.arrival(index).map(|at| now.since(at));
                    let late = age.is_some_and(|age| age > config.ring_time / 2);
                    if !(late || link.routes[i].pace.take(len))
                        || !link.enqueue(layer_key, index, len, config.queue_limit)
                    {
                        break;
                    }
                    layer.stats.forwarded += 1;
                    link.routes[i].cursor = Some(soleil_protocol::PacketIndex(index.0 + 1));
                }
                more |= link.routes[i].cursor.is_some();
            }
        }
        self.pump_due = more.then(|| now.after(PUMP_INTERVAL));
    }
}
