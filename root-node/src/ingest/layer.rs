//! One ingest port: a sender's RTP in, packets that are ready to be sealed out. Pure (DESIGN 2):
//! time comes in, nothing is sent. It decides whom the port belongs to and puts packets in order;
//! what becomes of them is in `release`.

mod release;

use super::clock::{CaptureClock, Captures, ClockShift, Timeline};
use super::codec::{self, Info};
use super::feedback::Feedback;
use super::fragment::Fragmenter;
use super::reason::{Counters, DropReason};
use super::rtcp::{self, Reception};
use super::rtp::{self, RtpView};
use super::scalable::Scalable;
use super::sequence::{Extender, Placed, Push, Reorder};
use super::source::{Patience, Source, ToSender};
use bytes::Bytes;
use relay_node::media::api::FrameMarks;
use release::{Meta, Outlet};
use soleil_protocol::pipeline::{Codec, MediaKind};
use soleil_protocol::scalability::Scalability;
use soleil_protocol::{Mono, Now, PacketIndex, Ssrc};
use std::time::Duration;

/// A port belongs to its sender until it was silent for this long (PROTOCOL "Plain RTP").
pub const LOCK_TIME: Duration = Duration::from_secs(2);
/// A sender may change its SSRC at most this often: two sources behind one address that alternate
/// would otherwise restart the pipeline with every packet.
const SWITCH_TIME: Duration = Duration::from_millis(200);

/// Which of a layer's two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Port {
    /// The configured port: RTP, and RTCP by RFC 5761.
    Rtp,
    /// The next one: RTCP alone (RFC 3550 section 11).
    Rtcp,
}

/// What a port is configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// The SSRC on the hops.
    pub ssrc: Ssrc,
    /// The codec.
    pub codec: Codec,
    /// The only payload type that is taken.
    pub payload_type: u8,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// The largest payload that may leave.
    pub limit: usize,
}

/// What outlives the process of a layer: the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerStart {
    /// The SSRC on the hops.
    pub ssrc: Ssrc,
    /// The first index: above every one that may have been sent under the SSRC before.
    pub index: PacketIndex,
    /// One more than the last index that a later start will stay clear of.
    pub reserved: PacketIndex,
}

/// Where a layer's numbers begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSeed {
    /// The first index.
    pub index: PacketIndex,
    /// One more than the last index that is reserved (see [`LayerStart`]).
    pub reserved: PacketIndex,
    /// The first timestamp: random (RFC 3550 section 5.1).
    pub timestamp: u32,
    /// Our SSRC in RTCP to the sender.
    pub reporter: u32,
}

/// A packet that is ready to be sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its SSRC on the hops.
    pub ssrc: Ssrc,
    /// Its index.
    pub index: PacketIndex,
    /// Our timestamp.
    pub timestamp: u32,
    /// Absolute capture time, NTP 32.32.
    pub capture: u64,
    /// The marker bit.
    pub marker: bool,
    /// The payload type.
    pub payload_type: u8,
    /// Key frame, discardable, temporal layer.
    pub marks: FrameMarks,
    /// The payload.
    pub payload: Bytes,
}

/// Whom the port belongs to.
#[derive(Debug, Clone, Copy)]
struct Lock {
    from: Source,
    ssrc: u32,
    heard: Mono,
    since: Mono,
}

/// A packet on its way through the reorder buffer.
#[derive(Debug)]
struct Held {
    arrival: Now,
    timestamp: u32,
    marker: bool,
    payload: Bytes,
    info: Result<Info, DropReason>,
    /// The dependency descriptor, of sources within this process.
    descriptor: Option<Bytes>,
}

/// One ingest port.
#[derive(Debug)]
pub struct LayerIngest {
    lock: Option<Lock>,
    /// Whether the lock had run out when time was last looked at.
    silent: bool,
    /// The last source, also after its lock has gone.
    source: Option<(Source, u32)>,
    extender: Extender,
    reorder: Reorder<Held>,
    timeline: Timeline,
    clock: CaptureClock,
    /// Of a layer that is made out of another one: the times of that one, which are its own.
    captures: Option<Captures>,
    reception: Reception,
    fragmenter: Fragmenter<Meta>,
    /// Timestamp of the frame whose start has been marked.
    key_marked: Option<u32>,
    feedback: Feedback,
    outlet: Outlet,
    size: Option<(u32, u32)>,
    profile: Option<[u8; 3]>,
    scalable: Scalable,
}

impl LayerIngest {
    /// A port that nobody has sent to.
    pub fn new(spec: LayerSpec, seed: LayerSeed) -> Self {
        Self {
            lock: None,
            silent: true,
            source: None,
            extender: Extender::new(Patience::PLAIN),
            reorder: Reorder::new(Patience::PLAIN),
            timeline: Timeline::new(spec.clock_rate, seed.timestamp),
            clock: CaptureClock::new(spec.clock_rate),
            captures: None,
            reception: Reception::default(),
            fragmenter: Fragmenter::new(spec.limit),
            key_marked: None,
            feedback: Feedback::new(seed.reporter),
            outlet: Outlet::new(spec, seed.index, seed.reserved),
            size: None,
            profile: None,
            scalable: Scalable::default(),
        }
    }

    /// A layer that is made out of another one: its packets bear the timestamps of that one.
    pub fn made(spec: LayerSpec, seed: LayerSeed) -> Self {
        Self { captures: Some(Captures::default()), ..Self::new(spec, seed) }
    }

    /// A packet of the layer that this one is made of has left.
    pub fn follow(&mut self, timestamp: u32, capture: u64) {
        if let Some(captures) = &mut self.captures {
            captures.note(timestamp, capture);
        }
    }

    /// Takes a datagram. `shift` is shared by all layers of a stream.
    ///
    /// # Errors
    /// Why it was dropped; it is counted already.
    pub fn handle_datagram(
        &mut self,
        now: Now,
        port: Port,
        from: impl Into<Source>,
        datagram: &[u8],
        shift: &mut ClockShift,
    ) -> Result<(), DropReason> {
        let from = from.into();
        let taken = if port == Port::Rtcp || rtp::is_rtcp(datagram) {
            self.handle_rtcp(now, port, from, datagram)
        } else {
            self.handle_rtp(now, from, datagram, shift)
        };
        if let Err(reason) = taken {
            self.outlet.counters.drop(reason);
        }
        self.handle_timeout(now, shift);
        taken
    }

    /// Gives up holes whose time has come, and makes the RTCP that is due.
    pub fn handle_timeout(&mut self, now: Now, shift: &mut ClockShift) {
        while let Some((held, lost)) = self.reorder.pop(now.mono) {
            self.release(held, lost, shift);
        }
        let lock = self.lock.filter(|lock| now.mono.since(lock.heard) < LOCK_TIME);
        self.silent = lock.is_none();
        if let Some(lock) = lock {
            let reception = &mut self.reception;
            if self.feedback.handle_timeout(now.mono, || reception.report(lock.ssrc)) {
                self.outlet.counters.plis += 1;
            }
        }
    }

    /// Viewers need a key frame, or could use one.
    pub fn request_key_frame(&mut self) {
        if self.outlet.spec.codec.kind() == MediaKind::Video {
            self.feedback.want_key_frame();
        }
    }

    /// Who sent last.
    pub fn source(&self) -> Option<Source> {
        self.source.map(|(source, _)| source)
    }

    /// Who was asked for a key frame last, and when.
    pub fn asked(&self) -> Option<(Source, Mono)> {
        Some((self.source?.0, self.feedback.asked()?))
    }

    /// The same source was asked through another layer. What is wanted here goes along with that, if
    /// this layer's time has come, and else waits as long as the others.
    pub fn asked_with(&mut self, now: Now, shift: &mut ClockShift, at: Mono) {
        self.handle_timeout(now, shift);
        self.asked_elsewhere(at);
    }

    /// A source that may come here was asked through another layer.
    pub fn asked_elsewhere(&mut self, at: Mono) {
        self.feedback.asked_elsewhere(at);
    }

    /// The next packet to be sealed.
    pub fn poll_packet(&mut self) -> Option<Packet> {
        self.outlet.queue.pop_front()
    }

    /// More indexes are needed soon: everything below the returned one is to be reserved.
    pub fn poll_reserve(&mut self) -> Option<PacketIndex> {
        self.outlet.poll_reserve()
    }

    /// The source has gone: the port is free for the next one at once.
    pub fn leave(&mut self, source: Source) {
        if self.lock.is_some_and(|lock| lock.from == source) {
            self.lock = None;
            self.silent = true;
        }
    }

    /// Whoever sends: the port is free for the next one at once.
    pub fn free(&mut self) {
        self.lock = None;
        self.silent = true;
    }

    /// Who sends, if anybody has lately.
    pub fn sender(&self, now: Mono) -> Option<Source> {
        self.lock.filter(|lock| now.since(lock.heard) < LOCK_TIME).map(|lock| lock.from)
    }

    /// The next RTCP packet for the sender.
    pub fn poll_send(&mut self) -> Option<ToSender> {
        self.feedback.poll_send()
    }

    /// When to call [`LayerIngest::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Mono> {
        // What is due to a sender that is gone is due to nobody: asked again, it would be due at once.
        let feedback = self.feedback.poll_timeout().filter(|_| !self.silent);
        [self.reorder.deadline(), feedback].into_iter().flatten().min()
    }

    /// When the sender was last heard (RTP that was taken).
    pub fn heard(&self) -> Option<Mono> {
        self.lock.map(|l| l.heard)
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.outlet.counters
    }

    /// Counts a packet that the caller had to drop.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.outlet.counters.drop(reason);
    }

    /// Width and height, when a key frame has told them.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.size
    }

    /// H.264 `profile-level-id`, when an SPS has told it.
    pub fn profile(&self) -> Option<[u8; 3]> {
        self.profile
    }

    /// The layers within the encoding, when it has shown that there are some.
    pub fn scalability(&self) -> Option<Scalability> {
        self.scalable.scalability()
    }

    /// What the port is configured for.
    pub fn spec(&self) -> &LayerSpec {
        &self.outlet.spec
    }

    fn handle_rtp(
        &mut self,
        now: Now,
        from: Source,
        datagram: &[u8],
        shift: &mut ClockShift,
    ) -> Result<(), DropReason> {
        let packet = rtp::parse(datagram)?;
        if packet.payload_type != self.outlet.spec.payload_type {
            return Err(DropReason::PayloadType);
        }
        let info = match packet.payload {
            // Padding alone: a probe of the sender's, or the end of a burst.
            [] => Ok(Info::default()),
            payload => codec::inspect(self.outlet.spec.codec, payload),
        };
        self.admit(now, from, &packet, &info, shift)?;
        let at = match self.extender.place(packet.seq) {
            Placed::At(at) => at,
            Placed::Doubtful => return Err(DropReason::Sequence),
            Placed::Restart(at) => {
                self.outlet.counters.sources += 1;
                self.change_source(shift);
                at
            }
        };
        let arrival = self.arrival_ticks(now.mono);
        let descriptor = match from {
            Source::Fed(_) => packet.element(rtp::DEPENDENCY_DESCRIPTOR),
            Source::Socket(_) => None,
        };
        let descriptor = descriptor.map(Bytes::copy_from_slice);
        let held = Held {
            arrival: now,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: Bytes::copy_from_slice(packet.payload),
            info,
            descriptor,
        };
        match self.reorder.push(now.mono, at, held) {
            Push::Queued => {}
            Push::Duplicate => return Err(DropReason::Duplicate),
            Push::Late => return Err(DropReason::Late),
        }
        self.reception.packet(at, packet.timestamp, arrival);
        self.outlet.counters.accepted += 1;
        self.outlet.counters.bytes += packet.payload.len() as u64;
        Ok(())
    }

    /// Whether the packet's sender may use the port; a new source starts here.
    fn admit(
        &mut self,
        now: Now,
        from: Source,
        packet: &RtpView<'_>,
        info: &Result<Info, DropReason>,
        shift: &mut ClockShift,
    ) -> Result<(), DropReason> {
        let held = self.lock.filter(|l| now.mono.since(l.heard) < LOCK_TIME);
        if let Some(lock) = held
            && (lock.from, lock.ssrc) == (from, packet.ssrc)
        {
            self.lock = Some(Lock { heard: now.mono, ..lock });
            return Ok(());
        }
        let refused =
            held.is_some_and(|lock| lock.from != from || now.mono.since(lock.since) < SWITCH_TIME);
        if refused {
            return Err(DropReason::SecondSender);
        }
        // Nobody gets a port with something that is not the port's codec.
        info.as_ref().map_err(|reason| *reason)?;
        if self.source != Some((from, packet.ssrc)) {
            if self.source.is_some() {
                self.change_source(shift);
            }
            self.source = Some((from, packet.ssrc));
            self.outlet.counters.sources += 1;
            self.extender = Extender::new(from.patience());
            self.reorder = Reorder::new(from.patience());
            if let Source::Fed(_) = from {
                // It has shown elsewhere that it takes feedback.
                self.feedback.sender_shows(now.mono, Port::Rtp, from, None);
            }
            self.request_key_frame();
        }
        self.lock = Some(Lock { from, ssrc: packet.ssrc, heard: now.mono, since: now.mono });
        Ok(())
    }

    /// The pipeline goes on with packets that do not continue the last ones: one gap, so that
    /// decoders notice, and a timestamp that continues by the time that has passed.
    fn change_source(&mut self, shift: &mut ClockShift) {
        while let Some((held, lost)) = self.reorder.flush() {
            self.release(held, lost, shift);
        }
        self.reorder = Reorder::new(self.source.map_or(Patience::PLAIN, |s| s.0.patience()));
        self.fragmenter.abandon();
        self.timeline.change_source();
        self.clock.change_source();
        self.reception = Reception::default();
        self.scalable = Scalable::default();
        self.feedback.change_source();
        self.outlet.gap = true;
        self.request_key_frame();
    }

    fn handle_rtcp(
        &mut self,
        now: Now,
        port: Port,
        from: Source,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let said = rtcp::parse(datagram).ok_or(DropReason::Rtcp)?;
        let lock = self.lock.ok_or(DropReason::Rtcp)?;
        if !lock.from.same_host(&from) || lock.ssrc != said.ssrc {
            return Err(DropReason::Rtcp);
        }
        self.outlet.counters.rtcp += 1;
        if let Some((ntp, timestamp)) = said.report {
            self.clock.sender_report(ntp, timestamp);
        }
        self.feedback.sender_shows(now.mono, port, from, said.report.map(|(ntp, _)| ntp));
        if said.bye {
            // The port is free for the next sender at once.
            self.lock = None;
        }
        Ok(())
    }

    fn arrival_ticks(&self, now: Mono) -> u32 {
        let rate = u128::from(self.outlet.spec.clock_rate);
        (u128::from(now.0) * rate / 1_000_000) as u32
    }
}
