//! The GStreamer side of the broadcaster: two live appsrc, encoders, payloaders, rtpbin, sockets.

use super::{Rtcp, SourceOptions, SourceReport, Tone, VideoCodec, av1, temporal, tone};
use crate::picture::{I420, NUMBER_MODULO, Painter, Stamp};
use gstreamer::prelude::*;
use gstreamer::{self as gst, ClockTime};
use gstreamer_app as gst_app;
use relay_node::clock::Clock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Audio is handed over in buffers of this many milliseconds, as a sound card would.
const AUDIO_BUFFER_MS: u64 = 10;
/// Sender Reports this often (ns): a joiner needs one for lip-sync and the default is 5 s.
const RTCP_INTERVAL_NS: u64 = 500_000_000;

/// Why a source does not start or stops.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// GStreamer or one of its plugins is missing or refused.
    #[error("GStreamer: {0}")]
    Gst(String),
    /// A thread could not be started.
    #[error("thread: {0}")]
    Thread(#[from] std::io::Error),
}

pub(super) fn gst_error(error: impl std::fmt::Display) -> SourceError {
    SourceError::Gst(error.to_string())
}

/// Counters that the threads share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// The picture thread has ended by itself (`frames` reached).
    done: AtomicBool,
    key_frames: AtomicU64,
    key_requests: AtomicU64,
    sent: Mutex<SourceReport>,
}

impl Shared {
    fn sent(&self) -> std::sync::MutexGuard<'_, SourceReport> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running broadcaster.
#[derive(Debug)]
pub struct Source {
    pipeline: gst::Pipeline,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Source {
    /// Builds the pipeline and begins to send.
    ///
    /// # Errors
    /// If GStreamer misses an element, or an address is refused.
    pub fn start(options: &SourceOptions) -> Result<Self, SourceError> {
        gst::init().map_err(gst_error)?;
        let description = describe(options);
        tracing::debug!(pipeline = %description, "source");
        let pipeline = gst::parse::launch(&description)
            .map_err(gst_error)?
            .downcast::<gst::Pipeline>()
            .map_err(|_| gst_error("not a pipeline"))?;
        let shared = Arc::new(Shared::default());
        quick_reports(&pipeline)?;
        for session in 0..if options.no_audio { 1 } else { 2 } {
            share_socket(&pipeline, options, session)?;
        }
        watch_key_frames(&pipeline, &shared)?;
        if options.codec == VideoCodec::Av1 {
            av1::connect(&pipeline, options.mtu as usize, options.video_pt)?;
        }
        if options.temporal {
            temporal::set_up(&element(&pipeline, "venc")?, options.bitrate * 1_000);
        }

        // The pipeline's clock is monotonic; one pair of readings ties it to the wall clock.
        let clock = gst::SystemClock::obtain();
        pipeline.use_clock(Some(&clock));
        pipeline.set_start_time(ClockTime::NONE);
        let base = clock.time();
        pipeline.set_base_time(base);
        let wall = Clock::start();
        let start = Start { clock, base, wall, base_us: wall.now().wall.0 };
        pipeline.set_state(gst::State::Playing).map_err(gst_error)?;

        let mut threads = Vec::new();
        let video = appsrc(&pipeline, "vsrc")?;
        let (opts, state, begin) = (options.clone(), shared.clone(), start.clone());
        threads.push(
            std::thread::Builder::new()
                .name("source-video".into())
                .spawn(move || feed_video(&opts, &video, &begin, &state))?,
        );
        if !options.no_audio {
            let audio = appsrc(&pipeline, "asrc")?;
            let state = shared.clone();
            threads.push(
                std::thread::Builder::new()
                    .name("source-audio".into())
                    .spawn(move || feed_audio(&audio, &start, &state))?,
            );
        }
        Ok(Self { pipeline, shared, threads })
    }

    /// What has been sent so far.
    #[must_use]
    pub fn report(&self) -> SourceReport {
        let mut report = self.shared.sent().clone();
        report.key_frames = self.shared.key_frames.load(Ordering::Relaxed);
        report.key_requests = self.shared.key_requests.load(Ordering::Relaxed);
        report
    }

    /// All frames asked for have been sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// An error of the pipeline, if there is one.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(e) => Some(format!("{} ({:?})", e.error(), e.debug())),
            _ => None,
        }
    }

    /// Stops and says what was sent.
    #[must_use]
    pub fn stop(mut self) -> SourceReport {
        self.halt();
        self.report()
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Null first: it wakes a thread that waits for room in an appsrc.
        let _ = self.pipeline.set_state(gst::State::Null);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Ties running time to wall time.
#[derive(Clone)]
struct Start {
    clock: gst::Clock,
    base: ClockTime,
    wall: Clock,
    base_us: u64,
}

impl Start {
    /// Waits until the pipeline's running time is `at`.
    fn wait(&self, at: ClockTime) {
        let _ = self.clock.new_single_shot_id(self.base + at).wait();
    }

    fn running(&self) -> ClockTime {
        self.clock.time().saturating_sub(self.base)
    }
}

fn describe(o: &SourceOptions) -> String {
    let SourceOptions { width, height, fps, bitrate, key_int, mtu, video_pt, .. } = o;
    let (encode, pay) = match o.codec {
        VideoCodec::H264 => (
            format!(
                "x264enc name=venc tune=zerolatency speed-preset=ultrafast bitrate={bitrate} \
                 key-int-max={key_int} threads=1 vbv-buf-capacity=300 \
                 ! video/x-h264,profile=constrained-baseline,stream-format=byte-stream"
            ),
            format!(
                "rtph264pay name=vpay pt={video_pt} mtu={mtu} config-interval=-1 \
                 aggregate-mode=zero-latency"
            ),
        ),
        VideoCodec::Vp8 => (
            format!(
                "vp8enc name=venc deadline=1 cpu-used=8 threads=1 end-usage=cbr lag-in-frames=0 \
                 target-bitrate={} keyframe-max-dist={key_int} buffer-size=300 \
                 buffer-initial-size=200 buffer-optimal-size=250 error-resilient=default",
                bitrate * 1000
            ),
            format!("rtpvp8pay name=vpay pt={video_pt} mtu={mtu} picture-id-mode=15-bit"),
        ),
        VideoCodec::Vp9 => (
            format!(
                "vp9enc name=venc deadline=1 cpu-used=9 threads=1 end-usage=cbr lag-in-frames=0 \
                 target-bitrate={} keyframe-max-dist={key_int} buffer-size=300 \
                 buffer-initial-size=200 buffer-optimal-size=250 auto-alt-ref=false",
                bitrate * 1000
            ),
            format!("rtpvp9pay name=vpay pt={video_pt} mtu={mtu} picture-id-mode=15-bit"),
        ),
        VideoCodec::Av1 => (
            format!(
                "av1enc name=venc usage-profile=realtime cpu-used=10 threads=1 end-usage=cbr \
                 lag-in-frames=0 target-bitrate={bitrate} keyframe-max-dist={key_int} buf-sz=300 \
                 buf-initial-sz=200 buf-optimal-sz=250 min-quantizer=2 max-quantizer=56"
            ),
            av1::describe(*video_pt),
        ),
    };
    let mut text = format!(
        "rtpbin name=bin ntp-time-source=ntp rtcp-sync-send-time=false \
         appsrc name=vsrc is-live=true format=time block=true max-buffers=1 max-bytes=0 max-time=0 \
         caps=video/x-raw,format=I420,width={width},height={height},framerate={fps} \
         ! {encode} ! {pay} ! bin.send_rtp_sink_0 {}",
        sockets(o, 0)
    );
    if !o.no_audio {
        text += &format!(
            " appsrc name=asrc is-live=true format=time block=true max-buffers=4 max-bytes=0 \
             max-time=0 caps=audio/x-raw,format=S16LE,rate=48000,channels=1,layout=interleaved \
             ! opusenc bitrate=64000 frame-size=20 audio-type=restricted-lowdelay \
             ! rtpopuspay pt={} ! bin.send_rtp_sink_1 {}",
            o.audio_pt,
            sockets(o, 1)
        );
    }
    text
}

/// The sinks and the RTCP source of one session; they share a socket later.
fn sockets(o: &SourceOptions, session: usize) -> String {
    let to = if session == 0 { o.video } else { o.audio };
    let host = to.ip();
    let family = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let rtp = format!(
        "bin.send_rtp_src_{session} ! udpsink name=rtp{session} host={host} port={} sync=false \
         async=false close-socket=false ",
        to.port()
    );
    let port = match o.rtcp {
        Rtcp::None => return rtp,
        Rtcp::Mux => to.port(),
        Rtcp::Next => to.port().wrapping_add(1),
    };
    format!(
        "{rtp} bin.send_rtcp_src_{session} ! udpsink name=rtcp{session} host={host} port={port} \
         sync=false async=false close-socket=false \
         udpsrc name=back{session} address={family} port=0 close-socket=false \
         caps=application/x-rtcp ! bin.recv_rtcp_sink_{session}"
    )
}

pub(super) fn element(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Element, SourceError> {
    pipeline.by_name(name).ok_or_else(|| gst_error(format!("no element {name}")))
}

pub(super) fn appsrc(pipeline: &gst::Pipeline, name: &str) -> Result<gst_app::AppSrc, SourceError> {
    element(pipeline, name)?.downcast().map_err(|_| gst_error("not an appsrc"))
}

/// RTP and RTCP leave from the socket on which RTCP comes back: one address per track.
fn share_socket(
    pipeline: &gst::Pipeline,
    options: &SourceOptions,
    session: usize,
) -> Result<(), SourceError> {
    if options.rtcp == Rtcp::None {
        return Ok(());
    }
    let back = element(pipeline, &format!("back{session}"))?;
    back.set_state(gst::State::Ready).map_err(gst_error)?;
    let socket = back
        .property::<Option<gst::glib::Object>>("used-socket")
        .ok_or_else(|| gst_error("udpsrc has no socket"))?;
    element(pipeline, &format!("rtp{session}"))?.set_property("socket", &socket);
    element(pipeline, &format!("rtcp{session}"))?.set_property("socket", &socket);
    Ok(())
}

/// Makes Sender Reports come early and often.
fn quick_reports(pipeline: &gst::Pipeline) -> Result<(), SourceError> {
    let bin = element(pipeline, "bin")?;
    for session in [0u32, 1] {
        let inner =
            bin.emit_by_name::<Option<gst::glib::Object>>("get-internal-session", &[&session]);
        if let Some(inner) = inner {
            inner.set_property("rtcp-min-interval", RTCP_INTERVAL_NS);
        }
    }
    Ok(())
}

/// Counts key frames out of the encoder and key-frame requests into it.
fn watch_key_frames(pipeline: &gst::Pipeline, shared: &Arc<Shared>) -> Result<(), SourceError> {
    let pad = element(pipeline, "venc")?
        .static_pad("src")
        .ok_or_else(|| gst_error("encoder without a source pad"))?;
    let state = shared.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if info.buffer().is_some_and(|b| !b.flags().contains(gst::BufferFlags::DELTA_UNIT)) {
            state.key_frames.fetch_add(1, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    let state = shared.clone();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let forced =
            info.event().and_then(|e| e.structure()).is_some_and(|s| s.name() == "GstForceKeyUnit");
        if forced {
            state.key_requests.fetch_add(1, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

fn feed_video(o: &SourceOptions, src: &gst_app::AppSrc, start: &Start, shared: &Shared) {
    let painter = Painter::new(o.width, o.height, o.clock_text);
    let (luma, chroma) = (o.width * o.height, o.width * o.height / 4);
    let slot_now = || o.fps.slot_at(start.running().nseconds());
    let mut slot = slot_now() + 1;
    let mut count = 0u64;
    while !shared.stop.load(Ordering::Relaxed) && o.frames.is_none_or(|limit| count < limit) {
        let (begin, end) = (o.fps.starts_ns(slot), o.fps.starts_ns(slot + 1));
        let pts = ClockTime::from_nseconds(begin);
        start.wait(pts);
        let number = (o.first_number as u64 + count) as u32 % NUMBER_MODULO;
        let stamp = Stamp { number, sent_ms: start.wall.now().wall.0 / 1000 };
        let mut data = vec![0; luma + 2 * chroma];
        let (y, uv) = data.split_at_mut(luma);
        let (u, v) = uv.split_at_mut(chroma);
        painter.draw(stamp, &mut I420 { y, u, v, y_stride: o.width, uv_stride: o.width / 2 });
        let mut buffer = gst::Buffer::from_mut_slice(data);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(pts);
            buffer.set_duration(ClockTime::from_nseconds(end - begin));
        }
        if src.push_buffer(buffer).is_err() {
            break;
        }
        count += 1;
        // A slow encoder makes push_buffer wait; slots that passed meanwhile are not made up for.
        let next = (slot + 1).max(slot_now());
        let mut sent = shared.sent();
        if count == 1 {
            (sent.first, sent.first_ms) = (number, stamp.sent_ms);
        }
        (sent.frames, sent.last, sent.last_ms) = (count, number, stamp.sent_ms);
        sent.skipped += next - slot - 1;
        slot = next;
    }
    let _ = src.end_of_stream();
    shared.done.store(true, Ordering::Relaxed);
}

fn feed_audio(src: &gst_app::AppSrc, start: &Start, shared: &Shared) {
    let per_buffer = tone::RATE * AUDIO_BUFFER_MS / 1000;
    let first_ms = start.running().mseconds() / AUDIO_BUFFER_MS * AUDIO_BUFFER_MS;
    let tone = Tone::new(start.base_us + first_ms * 1000);
    let mut n = 0;
    while !shared.stop.load(Ordering::Relaxed) && !shared.done.load(Ordering::Relaxed) {
        let pts = ClockTime::from_mseconds(first_ms + n * AUDIO_BUFFER_MS);
        // A buffer is complete when its last sample has sounded.
        start.wait(pts + ClockTime::from_mseconds(AUDIO_BUFFER_MS));
        let mut data = Vec::with_capacity(per_buffer as usize * 2);
        tone.write(n * per_buffer, per_buffer, &mut data);
        let mut buffer = gst::Buffer::from_mut_slice(data);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(pts);
            buffer.set_duration(ClockTime::from_mseconds(AUDIO_BUFFER_MS));
        }
        if src.push_buffer(buffer).is_err() {
            break;
        }
        n += 1;
    }
    let _ = src.end_of_stream();
}
