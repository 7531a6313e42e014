//! GStreamer's part: the source's packets are decoded once, then scaled and encoded for each layer in a
//! thread of its own, behind a queue that leaves out whole pictures when its encoder is too slow.

use super::times::Times;
use super::{Event, hand_over};
use crate::ladder::job::Job;
use crate::ladder::load::Second;
use crate::ladder::plan::Making;
use crate::sources::job::Make;
use crate::sources::status::{Handling, Problem, TrackStatus};
use crate::sources::worker::encoders::{Wish, encoder};
use crate::sources::worker::missing;
use crate::sources::worker::output::{Chain, payload};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use relay_node::clock::Clock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where problems of this pipeline are.
pub const PLACE: &str = "ladder";
/// Pictures that may wait for one encoder.
const QUEUE: u32 = 3;
/// The encoders make key frames when the source has one and when one is wanted, and else never: one
/// that they make by themselves would stand beside the others' (frames; 2^30 is "never" for x264).
const KEY_EVERY: u32 = 1 << 30;
/// Slower than this a decoder has more than one thread, and each costs no delay: slices only.
const ONE_THREAD_PIXELS: f64 = 1920.0 * 1080.0 * 40.0;

/// Decoders, best first. Of the hardware ones none was tried.
const H264: &[&str] = &["nvh264dec", "vah264dec", "avdec_h264", "openh264dec"];
const VP8: &[&str] = &["vp8dec", "avdec_vp8"];

/// One layer.
struct Lane {
    making: Making,
    encoder: gst::Element,
    valve: gst::Element,
    shared: Arc<Shared>,
}

/// What a layer's threads count.
#[derive(Default)]
struct Shared {
    frames: AtomicU32,
    /// Longest time of a frame since it was last asked for, microseconds.
    delay: AtomicU64,
    wanted: AtomicBool,
}

/// The pipeline; stopped when it is dropped.
pub struct Pipe {
    pipeline: gst::Pipeline,
    src: gst_app::AppSrc,
    decoder: String,
    lanes: Vec<Lane>,
    times: Arc<Mutex<Times>>,
    came: AtomicU32,
    last: Mutex<Option<u32>>,
    clock: Clock,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::new(PLACE, error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    /// Builds it.
    ///
    /// # Errors
    /// Which element is missing or refuses.
    pub fn new(
        job: &Job,
        clock: Clock,
        packets: SyncSender<Vec<u8>>,
        events: Sender<Event>,
    ) -> Result<Pipe, Problem> {
        let pipeline = gst::Pipeline::with_name("ladder");
        let name = if job.codec == Make::Vp8 { "VP8" } else { "H264" };
        let caps = gst::Caps::builder("application/x-rtp")
            .field("media", "video")
            .field("clock-rate", i32::try_from(job.clock_rate).unwrap_or(90_000))
            .field("encoding-name", name)
            .field("payload", i32::from(job.payload_type))
            .build();
        let src = gst_app::AppSrc::builder()
            .caps(&caps)
            .format(gst::Format::Time)
            .is_live(true)
            .max_bytes(0)
            .build();
        let mut chain = Chain { pipeline: &pipeline, last: None };
        chain.push(src.clone().upcast())?;
        if job.codec == Make::Vp8 {
            chain.make("rtpvp8depay")?;
        } else {
            chain.make("rtph264depay")?;
            chain.make("h264parse")?;
        }
        let decoder = decoder(job)?;
        let decoder_name = decoder.factory().map(|f| f.name().to_string()).unwrap_or_default();
        chain.push(decoder)?;
        chain.make("videoconvert")?;
        chain.caps("video/x-raw,format=I420")?;
        let tee = chain.make("tee")?;
        let mut pipe = Pipe {
            pipeline: pipeline.clone(),
            src,
            decoder: decoder_name,
            lanes: Vec::new(),
            times: Arc::new(Mutex::new(Times::new(job.clock_rate))),
            came: AtomicU32::new(0),
            last: Mutex::new(None),
            clock,
        };
        for making in &job.making {
            let lane = pipe.lane(job, making, &tee, &packets)?;
            pipe.lanes.push(lane);
        }
        let bus = pipeline.bus().ok_or_else(|| refused("a pipeline without a bus"))?;
        bus.set_sync_handler(move |_, message| {
            if matches!(message.view(), gst::MessageView::Error(_)) {
                let _ = events.send(Event::Bus(message.clone()));
            }
            gst::BusSyncReply::Drop
        });
        Ok(pipe)
    }

    /// Lets it run.
    ///
    /// # Errors
    /// If an element refuses; what it says is on the bus.
    pub fn play(&self) -> Result<(), Problem> {
        let played = self.pipeline.set_state(gst::State::Playing);
        played.map(|_| ()).map_err(|_| refused("it can't be played"))
    }

    /// The decoder's name.
    pub fn decoder(&self) -> &str {
        &self.decoder
    }

    /// What is made, by what.
    pub fn tracks(&self) -> Vec<TrackStatus> {
        let each = self.lanes.iter().map(|lane| {
            let Making { name, width, height, kbit, .. } = &lane.making;
            let encoder = lane.encoder.factory().map(|f| f.name().to_string()).unwrap_or_default();
            TrackStatus {
                name: name.to_string(),
                input: Some(format!("{width}x{height}, {kbit} kbit/s")),
                handling: Handling::Converted { reason: "a rung of the ladder".into(), encoder },
            }
        });
        each.collect()
    }

    /// A packet of the source; `key`: a key frame begins with it.
    pub fn push(&self, rtp: Vec<u8>, key: bool) {
        let Some(timestamp) = rtp.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()) else {
            return;
        };
        let timestamp = u32::from_be_bytes(timestamp);
        if lock(&self.last).replace(timestamp) != Some(timestamp) {
            self.came.fetch_add(1, Ordering::Relaxed);
        }
        let pts = lock(&self.times).arrive(self.clock.now().mono, timestamp, key);
        let mut buffer = gst::Buffer::from_mut_slice(rtp);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(pts));
        }
        // A pipeline that does not take it says why on its bus.
        let _ = self.src.push_buffer(buffer);
    }

    /// A layer, by the number of its rung, shall make a key frame.
    pub fn want_key_frame(&self, rung: usize) {
        for lane in self.lanes.iter().filter(|lane| lane.making.rung == rung) {
            lane.shared.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// What was made since the last time.
    pub fn second(&self) -> Second {
        let delays = self.lanes.iter().map(|lane| lane.shared.delay.swap(0, Ordering::Relaxed));
        Second {
            delay: Duration::from_micros(delays.max().unwrap_or(0)),
            came: self.came.swap(0, Ordering::Relaxed),
            made: self.lanes.iter().map(|l| l.shared.frames.swap(0, Ordering::Relaxed)).collect(),
        }
    }

    /// Leaves a layer out, or makes it again.
    pub fn leave(&self, layer: usize, left: bool) {
        if let Some(lane) = self.lanes.get(layer) {
            lane.shared.wanted.store(true, Ordering::Relaxed);
            lane.valve.set_property("drop", left);
        }
    }

    fn lane(
        &self,
        job: &Job,
        making: &Making,
        tee: &gst::Element,
        packets: &SyncSender<Vec<u8>>,
    ) -> Result<Lane, Problem> {
        let mut chain = Chain { pipeline: &self.pipeline, last: Some(tee.clone()) };
        let valve = chain.make("valve")?;
        let queue = chain.make("queue")?;
        queue.set_property("max-size-buffers", QUEUE);
        queue.set_property("max-size-bytes", 0u32);
        queue.set_property("max-size-time", 0u64);
        queue.set_property_from_str("leaky", "downstream");
        chain.make("videoscale")?;
        let (width, height) = (making.width, making.height);
        let square = "pixel-aspect-ratio=1/1";
        chain.caps(&format!("video/x-raw,width={width},height={height},{square}"))?;
        let wish = Wish { kbit: making.kbit, key_every: KEY_EVERY };
        let encoder = encoder(job.codec, wish, PLACE)?;
        chain.push(encoder.clone())?;
        if job.codec == Make::H264 {
            chain.caps("video/x-h264,profile=constrained-baseline")?;
            chain.make("h264parse")?.set_property("config-interval", -1i32);
        }
        payload(&mut chain, job.codec, job.payload_type)?;
        let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
        chain.push(sink.clone().upcast())?;
        let shared = Arc::new(Shared::default());
        self.force_keys(&encoder, shared.clone())?;
        self.collect(&sink, making.rung, shared.clone(), packets.clone());
        Ok(Lane { making: making.clone(), encoder, valve, shared })
    }

    /// Has an encoder make a key frame of each frame that is one at the source, and where one is wanted.
    fn force_keys(&self, encoder: &gst::Element, shared: Arc<Shared>) -> Result<(), Problem> {
        let pad = encoder.static_pad("sink").ok_or_else(|| refused("an encoder without a pad"))?;
        let (times, to, mut served) = (self.times.clone(), encoder.downgrade(), 0);
        let served = Mutex::new(std::mem::take(&mut served));
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let pts = info.buffer().and_then(|buffer| buffer.pts());
            let Some(pts) = pts else { return gst::PadProbeReturn::Ok };
            let due = lock(&times).key_due(&mut lock(&served), pts.nseconds());
            let wanted = shared.wanted.swap(false, Ordering::Relaxed);
            if (due || wanted)
                && let Some(encoder) = to.upgrade()
            {
                // Without a time it means the next frame, which is this one.
                let event = gstreamer_video::UpstreamForceKeyUnitEvent::builder().all_headers(true);
                encoder.send_event(event.build());
            }
            gst::PadProbeReturn::Ok
        });
        Ok(())
    }

    /// Takes a layer's packets, with the source's timestamps.
    fn collect(
        &self,
        sink: &gst_app::AppSink,
        rung: usize,
        shared: Arc<Shared>,
        packets: SyncSender<Vec<u8>>,
    ) {
        let (times, clock) = (self.times.clone(), self.clock);
        let last = Mutex::new(None);
        let sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
            let one = |buffer: &gst::BufferRef| {
                let running = buffer.pts().zip(segment).and_then(|(pts, s)| s.to_running_time(pts));
                let known = running.and_then(|at| lock(&times).leave(at.nseconds()));
                let (Some((timestamp, arrived)), Ok(map)) = (known, buffer.map_readable()) else {
                    return;
                };
                if lock(&last).replace(timestamp) != Some(timestamp) {
                    shared.frames.fetch_add(1, Ordering::Relaxed);
                    let took = clock.now().mono.since(arrived).as_micros() as u64;
                    shared.delay.fetch_max(took, Ordering::Relaxed);
                }
                let mut rtp = map.to_vec();
                if let Some(place) = rtp.get_mut(4..8) {
                    place.copy_from_slice(&timestamp.to_be_bytes());
                    hand_over(&packets, rung, &rtp);
                }
            };
            match sample.buffer_list() {
                Some(list) => list.iter().for_each(one),
                None => sample.buffer().into_iter().for_each(one),
            }
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(sample).build());
        sink.set_buffer_list(true);
    }
}

/// The best decoder that works.
fn decoder(job: &Job) -> Result<gst::Element, Problem> {
    let list = if job.codec == Make::Vp8 { VP8 } else { H264 };
    let rate = f64::from(job.millirate) / 1000.0;
    let largest = job.making.first().map_or(0.0, |m| f64::from(m.width) * f64::from(m.height));
    let one = largest * rate < ONE_THREAD_PIXELS;
    for factory in list {
        let Ok(decoder) = gst::ElementFactory::make(factory).build() else { continue };
        if decoder.find_property("max-threads").is_some() {
            decoder.set_property_from_str("max-threads", if one { "1" } else { "2" });
        }
        if decoder.find_property("output-corrupt").is_some() {
            decoder.set_property("output-corrupt", false);
        }
        let works = decoder.set_state(gst::State::Ready).is_ok();
        let _ = decoder.set_state(gst::State::Null);
        if works {
            return Ok(decoder);
        }
    }
    Err(missing(list.last().copied().unwrap_or_default(), PLACE))
}
