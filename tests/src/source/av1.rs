//! AV1 in RTP for the test source. GStreamer 1.22 has an AV1 encoder but no payloader for it
//! (`rtpav1pay` belongs to its Rust plugins, which Debian does not have): so temporal units leave the
//! pipeline, `rtc-rtp` cuts them as the AV1 RTP payload specification says, and the packets go back
//! in on their way to rtpbin.

use super::pipeline::{SourceError, appsrc, element, gst_error};
use bytes::Bytes;
use gstreamer::prelude::*;
use gstreamer::{self as gst, ClockTime, FlowError, FlowSuccess};
use gstreamer_app as gst_app;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::clock::Clock;
use rtc_rtp::codec::av1::Av1Payloader;
use rtc_rtp::header::Header;
use rtc_rtp::packet::Packet;
use rtc_rtp::packetizer::Payloader;
use rtc_shared::marshal::Marshal;

/// RTP header without extensions (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;
/// Ticks a second (AV1 RTP payload specification section 4.1).
const CLOCK_RATE: u64 = 90_000;

/// The elements between encoder and rtpbin, with the names that [`connect`] looks for.
pub(super) fn describe(payload_type: u8) -> String {
    format!(
        "av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu \
         ! appsink name=units sync=false \
         appsrc name=packets is-live=true format=time caps=application/x-rtp,media=video,\
         encoding-name=AV1,clock-rate={CLOCK_RATE},payload={payload_type}"
    )
}

/// Carries what comes out at `units` to `packets`, in packets of at most `mtu` bytes, and key-frame
/// requests back to the encoder `venc`.
///
/// # Errors
/// If an element is missing.
pub(super) fn connect(
    pipeline: &gst::Pipeline,
    mtu: usize,
    payload_type: u8,
) -> Result<(), SourceError> {
    let packets = appsrc(pipeline, "packets")?;
    let encoder = element(pipeline, "venc")?;
    let pad = packets.static_pad("src").ok_or_else(|| gst_error("appsrc without a pad"))?;
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(event) = info.event().filter(|e| e.has_name("GstForceKeyUnit")) {
            encoder.send_event(event.to_owned());
        }
        gst::PadProbeReturn::Ok
    });
    let units: gst_app::AppSink =
        element(pipeline, "units")?.downcast().map_err(|_| gst_error("not an appsink"))?;
    let mut packetizer = Packetizer::new(mtu, payload_type);
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |units| {
        let sample = units.pull_sample().map_err(|_| FlowError::Eos)?;
        let buffer = sample.buffer().ok_or(FlowError::Error)?;
        let map = buffer.map_readable().map_err(|_| FlowError::Error)?;
        let pts = buffer.pts().ok_or(FlowError::Error)?;
        let unit = Bytes::copy_from_slice(&map);
        for packet in packetizer.packets(pts, &unit).map_err(|_| FlowError::Error)? {
            let mut buffer = gst::Buffer::from_slice(packet);
            if let Some(buffer) = buffer.get_mut() {
                buffer.set_pts(pts);
            }
            packets.push_buffer(buffer)?;
        }
        Ok(FlowSuccess::Ok)
    });
    units.set_callbacks(callbacks.build());
    Ok(())
}

/// Cuts temporal units and numbers the packets.
#[derive(Debug)]
struct Packetizer {
    payloader: Av1Payloader,
    room: usize,
    header: Header,
}

impl Packetizer {
    fn new(mtu: usize, payload_type: u8) -> Self {
        // Another stream at each start.
        let mut rng = StdRng::seed_from_u64(Clock::start().now().wall.0);
        let header = Header {
            version: 2,
            payload_type,
            sequence_number: rng.random(),
            ssrc: rng.random(),
            ..Header::default()
        };
        Self { payloader: Av1Payloader::default(), room: mtu.saturating_sub(RTP_HEADER), header }
    }

    /// The packets of a temporal unit that is shown at `pts`.
    fn packets(&mut self, pts: ClockTime, unit: &Bytes) -> rtc_shared::error::Result<Vec<Bytes>> {
        let ticks = u128::from(pts.nseconds()) * u128::from(CLOCK_RATE) / 1_000_000_000;
        // RTP time wraps.
        self.header.timestamp = ticks as u32;
        let payloads = self.payloader.payload(self.room, unit)?;
        let last = payloads.len().saturating_sub(1);
        let mut out = Vec::with_capacity(payloads.len());
        for (n, payload) in payloads.into_iter().enumerate() {
            self.header.marker = n == last;
            let packet = Packet { header: self.header.clone(), payload };
            out.push(packet.marshal()?.freeze());
            self.header.sequence_number = self.header.sequence_number.wrapping_add(1);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_becomes_packets_that_fit() {
        // A temporal delimiter, a sequence header of 3 bytes, a frame of 3,000.
        let mut unit = vec![0x12, 0, 0x0a, 3, 1, 2, 3, 0x32, 0xb8, 0x17];
        unit.extend_from_slice(&[7; 3_000]);
        let mut packetizer = Packetizer::new(1_200, 45);
        let packets = packetizer.packets(ClockTime::from_mseconds(500), &unit.into()).unwrap();
        assert_eq!(packets.len(), 3);
        for (n, packet) in packets.iter().enumerate() {
            assert!(packet.len() <= 1_200, "{}", packet.len());
            assert_eq!(packet[1], u8::from(n == 2) << 7 | 45);
            assert_eq!(packet[4..8], 45_000u32.to_be_bytes());
        }
        // Two elements, the second goes on, a sequence begins; then Z alone at the end.
        assert_eq!(packets[0][12], 0x68);
        assert_eq!(packets[2][12], 0x90);
        let numbers: Vec<_> = packets.iter().map(|p| u16::from_be_bytes([p[2], p[3]])).collect();
        assert_eq!(numbers[2], numbers[0].wrapping_add(2));
    }
}
