//! Inside a broadcaster's peer connection: takes every decrypted packet before `rtc` sorts it. `rtc` drops
//! resent packets of simulcast layers (it knows a repair stream by `a=ssrc-group` alone, and browsers
//! do not write that for rids), and packets of offers without `a=ssrc` (which RFC 9429 does not ask for).
//! So streams are told apart here, by mid, rid and payload type, resent packets are put back in their
//! places (RFC 4588), and NACK, transport-wide feedback and Receiver Reports come from `rtc`'s
//! interceptors, which this one holds.

use super::offer::Extension;
use super::plan::{Line, Plan};
use crate::ingest::rtp::{DEPENDENCY_DESCRIPTOR, TWO_BYTE_PROFILE};
use bytes::{BufMut, Bytes, BytesMut};
use rtc::interceptor::{
    Interceptor, NackGeneratorBuilder, Packet, RTCPFeedback, RTPHeaderExtension,
    ReceiverReportBuilder, Registry, Slot, StreamInfo, TaggedPacket, TwccReceiverBuilder,
};
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// SSRCs of one broadcaster that are known at a time: layers and their repair streams, and some that
/// changed on the way.
const MAX_STREAMS: usize = 32;
/// Packets that may wait to be handed on: all that one datagram and its timer bring, many times over.
const MAX_QUEUE: usize = 1_024;
/// How often lost packets are asked for. Half of it is what a repair waits on average; a packet that
/// is only late is rarely asked for.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// How often one packet is asked for: 10 times 20 ms is as long as the ingest waits for it.
const MAX_NACKS: u16 = 10;
/// How far back packets are asked for, in packets: 200 ms of 25 Mbit/s.
const NACK_WINDOW: u16 = 512;

/// A datagram for the ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The stream's layer, counted through all tracks.
    pub layer: usize,
    /// RTP with the payload type of the stream, or a Sender Report.
    pub bytes: Bytes,
}

/// What the tap has found, shared with the session around it.
#[derive(Debug, Default)]
pub struct Found {
    /// Datagrams for the ingest.
    pub queue: VecDeque<Media>,
    /// Packets that found no place in the queue.
    pub overflow: u64,
    /// When media came last.
    pub heard: Option<Instant>,
    /// The SSRC of each layer.
    pub ssrcs: HashMap<usize, u32>,
}

impl Found {
    fn push(&mut self, media: Media) {
        if self.queue.len() < MAX_QUEUE {
            self.queue.push_back(media);
        } else {
            self.overflow += 1;
        }
    }
}

/// What an SSRC is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Packets of a layer, of a section.
    Media { line: usize, layer: usize },
    /// Resent packets of another SSRC.
    Repair { line: usize, of: u32 },
}

/// The interceptor.
pub struct Tap {
    lines: Vec<Line>,
    roles: HashMap<u32, Role>,
    found: Arc<Mutex<Found>>,
    inner: Box<dyn Interceptor>,
}

impl Tap {
    /// For what was agreed; what it finds goes to `found`.
    pub fn new(plan: &Plan, found: Arc<Mutex<Found>>) -> Self {
        let nack = NackGeneratorBuilder::new()
            .with_interval(NACK_INTERVAL)
            .with_max_nacks_per_packet(MAX_NACKS)
            .with_size(NACK_WINDOW)
            .build();
        let inner = Registry::new()
            .with(Slot::NackGenerator, nack)
            .with(Slot::TwccReceiver, TwccReceiverBuilder::new().build())
            .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
            .build();
        let roles = HashMap::new();
        Self { lines: plan.lines.clone(), roles, found, inner: Box::new(inner) }
    }

    /// What a packet is, learned from its header if its SSRC is new.
    fn role(&mut self, header: &rtp::Header) -> Option<Role> {
        if let Some(role) = self.roles.get(&header.ssrc) {
            return Some(*role);
        }
        let role = self.learn(header)?;
        if let Role::Media { layer, .. } = role {
            // The layer has a new SSRC: the old one, and what repaired it, are of the past.
            let old = self.found().ssrcs.insert(layer, header.ssrc);
            if let Some(old) = old {
                self.roles.remove(&old);
                self.roles.retain(|_, r| !matches!(r, Role::Repair { of, .. } if *of == old));
                self.inner.unbind_remote_stream(&StreamInfo { ssrc: old, ..Default::default() });
            }
        }
        if self.roles.len() >= MAX_STREAMS {
            return None;
        }
        self.roles.insert(header.ssrc, role);
        if let Role::Media { line, .. } = role
            && let Some(line) = self.lines.get(line)
        {
            self.inner.bind_remote_stream(&describe(line, header.ssrc));
        }
        Some(role)
    }

    fn learn(&self, header: &rtp::Header) -> Option<Role> {
        let (line, section) = self.lines.iter().enumerate().find(|(_, line)| {
            let types = [Some(line.codec.payload_type), line.rtx];
            types.contains(&Some(header.payload_type))
        })?;
        let text = |extension| {
            let value = header.get_extension(section.extension(extension)?)?;
            String::from_utf8(value.to_vec()).ok()
        };
        // RFC 9143 section 9.2: where there is a mid, it must be the section's.
        if text(Extension::Mid).is_some_and(|mid| mid != section.section.mid) {
            return None;
        }
        if section.codec.payload_type == header.payload_type {
            let layer = match &section.rids[..] {
                [] => section.first_layer,
                _ => section.layer(&text(Extension::Rid)?)?,
            };
            return Some(Role::Media { line, layer });
        }
        let repairs = &section.section.repairs;
        let declared = repairs.iter().find(|(_, repair)| *repair == header.ssrc);
        let of = match (text(Extension::RepairedRid), declared, &section.rids[..]) {
            (Some(rid), ..) => self.found().ssrcs.get(&section.layer(&rid)?).copied()?,
            (None, Some((media, _)), _) => *media,
            (None, None, []) => self.found().ssrcs.get(&section.first_layer).copied()?,
            _ => return None,
        };
        Some(Role::Repair { line, of })
    }

    /// A packet of a layer, or one that was resent and is now what it was; `None` if it is neither.
    fn media(&mut self, mut packet: rtp::Packet) -> Option<(rtp::Packet, Media)> {
        let (line, layer) = match self.role(&packet.header)? {
            Role::Media { line, layer } => (line, layer),
            Role::Repair { line, of } => {
                let Some(Role::Media { layer, .. }) = self.roles.get(&of) else { return None };
                // RFC 4588 section 4: the number that it had comes first. Padding alone has none.
                let (number, payload) = packet.payload.split_first_chunk::<2>()?;
                packet.header.sequence_number = u16::from_be_bytes(*number);
                packet.payload = packet.payload.slice_ref(payload);
                packet.header.ssrc = of;
                packet.header.payload_type = self.lines.get(line)?.codec.payload_type;
                (line, *layer)
            }
        };
        // Another codec of the same section was not agreed on.
        let line = self.lines.get(line)?;
        if packet.header.payload_type != line.codec.payload_type {
            return None;
        }
        let bytes = datagram(&packet, line);
        Some((packet, Media { layer, bytes }))
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `rtc`'s interceptors need to know of a stream.
fn describe(line: &Line, ssrc: u32) -> StreamInfo {
    let feedback = line.feedback.iter().map(|f| {
        let (kind, parameter) = f.split_once(' ').unwrap_or((f, ""));
        RTCPFeedback { typ: kind.to_owned(), parameter: parameter.to_owned() }
    });
    let twcc = line.extension(Extension::TransportCc).map(|id| RTPHeaderExtension {
        uri: Extension::TransportCc.uri().to_owned(),
        id: u16::from(id),
    });
    StreamInfo {
        ssrc,
        payload_type: line.codec.payload_type,
        clock_rate: line.codec.clock_rate,
        mime_type: format!("{:?}/{}", line.section.kind, line.codec.name).to_lowercase(),
        rtcp_feedback: feedback.collect(),
        rtp_header_extensions: twcc.into_iter().collect(),
        ..StreamInfo::default()
    }
}

/// The packet as a plain sender would send it, with the stream's payload type; of its extensions the
/// dependency descriptor is left, under the id that the ingest knows.
fn datagram(packet: &rtp::Packet, line: &Line) -> Bytes {
    let header = &packet.header;
    let descriptor = line.extension(Extension::DependencyDescriptor);
    let descriptor = descriptor.and_then(|id| header.get_extension(id)).unwrap_or_default();
    let mut out = BytesMut::with_capacity(20 + descriptor.len() + packet.payload.len());
    // One that is not there, or longer than a two-byte header can say, is left away.
    let described = u8::try_from(descriptor.len()).ok().filter(|length| *length > 0);
    out.put_u8(if described.is_some() { 0x90 } else { 0x80 });
    out.put_u8(line.payload_type | if header.marker { 0x80 } else { 0 });
    out.put_u16(header.sequence_number);
    out.put_u32(header.timestamp);
    out.put_u32(header.ssrc);
    if let Some(length) = described {
        // RFC 8285 section 4.3: id and length, padded to whole words.
        let words = (2 + u16::from(length)).div_ceil(4);
        out.put_u16(TWO_BYTE_PROFILE);
        out.put_u16(words);
        out.put_slice(&[DEPENDENCY_DESCRIPTOR, length]);
        out.put_slice(&descriptor);
        out.put_bytes(0, usize::from(4 * words - 2 - u16::from(length)));
    }
    out.put_slice(&packet.payload);
    out.freeze()
}

/// A Sender Report (RFC 3550 section 6.4.1) without reports on others.
fn sender_report(report: &SenderReport) -> Bytes {
    let mut out = BytesMut::with_capacity(28);
    out.put_slice(&[0x80, 200, 0, 6]);
    out.put_u32(report.ssrc);
    out.put_u64(report.ntp_time);
    out.put_u32(report.rtp_time);
    out.put_u32(report.packet_count);
    out.put_u32(report.octet_count);
    out.freeze()
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        match &mut message.message.packet {
            Packet::Rtp(packet) => {
                if let Some((whole, media)) = self.media(packet.clone()) {
                    let mut found = self.found();
                    found.heard = Some(message.now);
                    found.push(media);
                    drop(found);
                    // As what it is it fills the hole that was asked about.
                    *packet = whole;
                }
            }
            Packet::Rtcp(packets) => {
                for packet in packets {
                    if let Some(report) = packet.as_any().downcast_ref::<SenderReport>()
                        && let Some(Role::Media { layer, .. }) = self.roles.get(&report.ssrc)
                    {
                        let (layer, bytes) = (*layer, sender_report(report));
                        self.found().push(Media { layer, bytes });
                    }
                }
            }
            _ => {}
        }
        self.inner.handle_read(message)?;
        // Nothing goes on to `rtc`: what it would do with it is done.
        while self.inner.poll_read().is_some() {}
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.inner.handle_write(message)
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.inner.poll_write()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.inner.handle_timeout(now)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.inner.poll_timeout()
    }
}

/// Streams are told apart here: what `rtc` binds does not count.
impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
