//! The output pipeline: for each track an appsrc, an encoder where one is needed, a payloader, and one
//! rtpbin that sends Sender Reports and hands key-frame requests (PLI, FIR) to the encoder. To ingest
//! it is a broadcaster like any other: RTP and RTCP of a track come from one socket, and go to one port.

use super::bridge::{Bridge, Event, Ready};
use super::encoders::{Wish, encoder};
use super::make;
use crate::sources::job::Make;
use crate::sources::status::{Handling, Problem, TrackStatus};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use relay_node::media::sizes::{MAX_PAYLOAD, RTP_HEADER};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where problems of this pipeline are.
pub const PLACE: &str = "output";
/// Sender Reports this often (ns): ingest's clock for lip-sync needs one soon; the default is 5 s.
const REPORTS_NS: u64 = 500_000_000;
/// What may wait in front of a track's encoder or payloader.
const QUEUE: gst::ClockTime = gst::ClockTime::from_seconds(3);

/// A built pipeline; stopped when it is dropped.
pub struct OutputPipe {
    pipeline: gst::Pipeline,
    /// Where the lanes go in.
    pub sources: Vec<(usize, gst_app::AppSrc)>,
    /// What became of the tracks.
    pub tracks: Vec<TrackStatus>,
    packets: Arc<AtomicU64>,
}

impl Drop for OutputPipe {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::new(PLACE, error.to_string())
}

/// Elements of one track, in their order, not linked yet.
pub(crate) struct Chain<'a> {
    pub(crate) pipeline: &'a gst::Pipeline,
    pub(crate) last: Option<gst::Element>,
}

impl Chain<'_> {
    pub(crate) fn push(&mut self, element: gst::Element) -> Result<(), Problem> {
        self.pipeline.add(&element).map_err(refused)?;
        if let Some(last) = &self.last {
            last.link(&element).map_err(refused)?;
        }
        self.last = Some(element);
        Ok(())
    }

    pub(crate) fn make(&mut self, factory: &str) -> Result<gst::Element, Problem> {
        let element = make(factory, PLACE)?;
        self.push(element.clone())?;
        Ok(element)
    }

    pub(crate) fn caps(&mut self, caps: &str) -> Result<(), Problem> {
        let filter = make("capsfilter", PLACE)?;
        filter.set_property_from_str("caps", caps);
        self.push(filter)
    }

    /// A decoder for whatever comes; what follows is linked when it knows.
    pub(crate) fn decode(&mut self) -> Result<(), Problem> {
        let decoder = self.make("decodebin")?;
        // The next one in the chain hangs behind this queue.
        let queue = make("queue", PLACE)?;
        self.pipeline.add(&queue).map_err(refused)?;
        let entry = queue.static_pad("sink").ok_or_else(|| refused("a queue without a pad"))?;
        decoder.connect_pad_added(move |_, pad| {
            if !entry.is_linked() {
                // What does not fit says so on the bus: not linked.
                let _ = pad.link(&entry);
            }
        });
        self.last = Some(queue);
        Ok(())
    }
}

impl OutputPipe {
    /// Builds it. `paced`: packets leave at their time, as for a file; otherwise as they come.
    ///
    /// # Errors
    /// Which element is missing or refuses.
    pub fn new(ready: &[Ready], paced: bool, bridge: &Arc<Bridge>) -> Result<OutputPipe, Problem> {
        let pipeline = gst::Pipeline::with_name("output");
        let rtpbin = make("rtpbin", PLACE)?;
        // Reports tie RTP times to when a packet was captured, in wall-clock time.
        rtpbin.set_property_from_str("ntp-time-source", "ntp");
        rtpbin.set_property("rtcp-sync-send-time", false);
        pipeline.add(&rtpbin).map_err(refused)?;
        let mut pipe = OutputPipe {
            pipeline,
            sources: Vec::new(),
            tracks: Vec::new(),
            packets: Arc::default(),
        };
        for (session, track) in ready.iter().enumerate() {
            let encoder = pipe.track(track, session, paced, &rtpbin)?;
            let handling = match (&track.convert, encoder) {
                (Some(reason), Some(encoder)) => {
                    Handling::Converted { reason: reason.clone(), encoder }
                }
                _ => Handling::PassedThrough,
            };
            let input = Some(track.media.words.clone());
            pipe.tracks.push(TrackStatus { name: track.target.name.clone(), input, handling });
        }
        let bus = pipe.pipeline.bus().ok_or_else(|| refused("a pipeline without a bus"))?;
        let to = Arc::downgrade(bridge);
        bus.set_sync_handler(move |_, message| {
            if let Some(bridge) = to.upgrade() {
                bridge.tell(Event::Output(message.clone()));
            }
            gst::BusSyncReply::Drop
        });
        Ok(pipe)
    }

    /// Lets it run, on that clock since that base.
    ///
    /// # Errors
    /// If an element refuses; what it says is on the bus.
    pub fn play(&self, clock: &gst::Clock, base: gst::ClockTime) -> Result<(), Problem> {
        self.pipeline.use_clock(Some(clock));
        self.pipeline.set_start_time(gst::ClockTime::NONE);
        self.pipeline.set_base_time(base);
        match self.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(()),
            Err(_) => Err(refused("it can't be played")),
        }
    }

    /// Packets that have left since the last time.
    pub fn packets(&self) -> u64 {
        self.packets.swap(0, Ordering::Relaxed)
    }

    /// One track; gives its encoder's name, if it has one.
    fn track(
        &mut self,
        track: &Ready,
        session: usize,
        paced: bool,
        rtpbin: &gst::Element,
    ) -> Result<Option<String>, Problem> {
        let src = gst_app::AppSrc::builder()
            .caps(&track.caps)
            .format(gst::Format::Time)
            .is_live(!paced)
            .max_bytes(0)
            .max_buffers(0)
            .max_time(QUEUE)
            .leaky_type(if paced {
                gst_app::AppLeakyType::None
            } else {
                gst_app::AppLeakyType::Downstream
            })
            .build();
        let pipeline = self.pipeline.clone();
        let mut chain = Chain { pipeline: &pipeline, last: None };
        chain.push(src.clone().upcast())?;
        self.sources.push((track.lane, src));
        let name = match &track.convert {
            Some(_) => Some(convert(&mut chain, track, paced)?),
            None => None,
        };
        payload(&mut chain, track.target.make, track.target.payload_type)?;
        self.send(&mut chain, track, session, paced, rtpbin)?;
        Ok(name)
    }

    /// Through rtpbin to the ingest port of the first layer, with RTCP both ways.
    fn send(
        &self,
        chain: &mut Chain<'_>,
        track: &Ready,
        session: usize,
        paced: bool,
        rtpbin: &gst::Element,
    ) -> Result<(), Problem> {
        let Some(to) = track.target.layers.first() else {
            return Err(refused(format!("track {} has no port", track.target.name)));
        };
        let last = chain.last.take().ok_or_else(|| refused("an empty chain"))?;
        let pads = (format!("send_rtp_sink_{session}"), format!("send_rtp_src_{session}"));
        last.link_pads(Some("src"), rtpbin, Some(&pads.0)).map_err(refused)?;
        let back = make("udpsrc", PLACE)?;
        back.set_property("address", if to.is_ipv4() { "0.0.0.0" } else { "::" });
        back.set_property("port", 0i32);
        back.set_property("close-socket", false);
        back.set_property_from_str("caps", "application/x-rtcp");
        self.pipeline.add(&back).map_err(refused)?;
        back.set_state(gst::State::Ready).map_err(refused)?;
        let socket = back.property::<Option<gst::glib::Object>>("used-socket");
        for (kind, sync) in [("send_rtp_src", paced), ("send_rtcp_src", false)] {
            let sink = make("udpsink", PLACE)?;
            sink.set_property("host", to.ip().to_string());
            sink.set_property("port", i32::from(to.port()));
            sink.set_property("sync", sync);
            sink.set_property("async", false);
            sink.set_property("close-socket", false);
            sink.set_property("socket", &socket);
            self.pipeline.add(&sink).map_err(refused)?;
            let pad = format!("{kind}_{session}");
            rtpbin.link_pads(Some(&pad), &sink, Some("sink")).map_err(refused)?;
            if kind == "send_rtp_src" {
                self.count(&sink);
            }
        }
        let pad = format!("recv_rtcp_sink_{session}");
        back.link_pads(Some("src"), rtpbin, Some(&pad)).map_err(refused)?;
        let number = session as u32;
        let inner =
            rtpbin.emit_by_name::<Option<gst::glib::Object>>("get-internal-session", &[&number]);
        if let Some(inner) = inner {
            inner.set_property("rtcp-min-interval", REPORTS_NS);
        }
        Ok(())
    }

    fn count(&self, sink: &gst::Element) {
        let Some(pad) = sink.static_pad("sink") else { return };
        let packets = self.packets.clone();
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        pad.add_probe(kinds, move |_, info| {
            let count = match &info.data {
                Some(gst::PadProbeData::BufferList(list)) => list.len() as u64,
                _ => 1,
            };
            packets.fetch_add(count, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
}

/// Decoder and encoder; gives the encoder's name.
fn convert(chain: &mut Chain<'_>, track: &Ready, paced: bool) -> Result<String, Problem> {
    let (make, media) = (track.target.make, &track.media);
    chain.decode()?;
    let queue = chain.last.clone();
    if make == Make::Opus {
        chain.make("audioconvert")?;
        chain.make("audioresample")?;
        // Stereo stays stereo, and more becomes stereo: browsers take no other Opus.
        let channels = media.channels.map_or(2, |n| n.clamp(1, 2));
        chain.caps(&format!("audio/x-raw,rate=48000,channels={channels}"))?;
    } else {
        if let (Some(queue), false) = (queue, paced) {
            // An encoder that is too slow loses whole pictures before it, not parts of what it makes.
            queue.set_property("max-size-buffers", 4u32);
            queue.set_property_from_str("leaky", "downstream");
        }
        if media.interlaced {
            chain.make("deinterlace")?;
        }
        chain.make("videoconvert")?;
        chain.caps("video/x-raw,format=I420")?;
    }
    let encoder = encoder(make, Wish::of(media.size, media.rate), PLACE)?;
    let name = encoder.factory().map(|f| f.name().to_string()).unwrap_or_default();
    chain.push(encoder)?;
    if make == Make::H264 {
        // Constrained baseline: what every browser must play (RFC 7742 section 6.2).
        chain.caps("video/x-h264,profile=constrained-baseline")?;
        let parser = chain.make("h264parse")?;
        parser.set_property("config-interval", -1i32);
    }
    Ok(name)
}

/// RTP packets that the tree can carry.
pub(crate) fn payload(chain: &mut Chain<'_>, codec: Make, payload_type: u8) -> Result<(), Problem> {
    let payloader = chain.make(match codec {
        Make::H264 => "rtph264pay",
        Make::Vp8 => "rtpvp8pay",
        Make::Opus => "rtpopuspay",
    })?;
    payloader.set_property("pt", u32::from(payload_type));
    payloader.set_property("mtu", (MAX_PAYLOAD + RTP_HEADER) as u32);
    match codec {
        Make::H264 => {
            payloader.set_property("config-interval", -1i32);
            payloader.set_property_from_str("aggregate-mode", "zero-latency");
        }
        Make::Vp8 => payloader.set_property_from_str("picture-id-mode", "15-bit"),
        Make::Opus => {}
    }
    Ok(())
}
