//! The input pipeline: source, demultiplexer and parsers, and an appsink for each stream that a track
//! takes. Everything else in it goes to a fakesink.

use super::bridge::{Bridge, Event};
use super::{make, missing, slate};
use crate::sources::job::Input;
use crate::sources::status::Problem;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Where problems of this pipeline are.
pub const PLACE: &str = "input";
/// What may wait in front of the FLV demultiplexer: a second of 40 Mbit/s.
const FLV_BYTES: u64 = 5 << 20;

/// A built pipeline; stopped when it is dropped.
pub struct InputPipe {
    pipeline: gst::Pipeline,
    /// Where FLV goes in.
    pub flv: Option<gst_app::AppSrc>,
}

impl Drop for InputPipe {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl InputPipe {
    /// Builds it; nothing moves yet.
    ///
    /// # Errors
    /// Which element is missing or refuses.
    pub fn new(input: &Input, bridge: &Arc<Bridge>) -> Result<InputPipe, Problem> {
        let pipeline = gst::Pipeline::with_name("input");
        let mut flv = None;
        // Sources whose streams are known only later count until they have shown them.
        let open = Arc::new(AtomicUsize::new(1));
        match input {
            Input::Rtsp { uri, login, latency_ms } => {
                let source = make("rtspsrc", PLACE)?;
                source.set_property("location", uri);
                source.set_property("latency", latency_ms);
                // One connection through any NAT, and nothing lost on the way.
                source.set_property_from_str("protocols", "tcp");
                if let Some((user, password)) = login {
                    source.set_property("user-id", user);
                    source.set_property("user-pw", password);
                }
                pipeline.add(&source).map_err(refused)?;
                let weak = pipeline.downgrade();
                let (to, count) = (Arc::downgrade(bridge), open.clone());
                source.connect_pad_added(move |_, pad| {
                    let (Some(pipeline), Some(bridge)) = (weak.upgrade(), to.upgrade()) else {
                        return;
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    if let Err(problem) = take_apart(&pipeline, pad, &bridge, &count) {
                        bridge.tell(Event::Remark(problem.to_string()));
                    }
                });
                let to = Arc::downgrade(bridge);
                source.connect_no_more_pads(move |_| shown(&open, &to));
            }
            Input::Srt { uri, listen, passphrase, stream_id, latency_ms } => {
                let source = make("srtsrc", PLACE)?;
                source.set_property("uri", uri);
                source.set_property("latency", *latency_ms as i32);
                // It would call a hundred times a second, and say nothing of it: the root does it better.
                source.set_property("auto-reconnect", false);
                if let Some(passphrase) = passphrase {
                    source.set_property("passphrase", passphrase);
                }
                if let Some(id) = stream_id {
                    source.set_property("streamid", id);
                }
                if *listen {
                    watch_callers(&source, bridge);
                }
                start_of(&pipeline, &source, bridge, &open)?;
            }
            Input::File { path, .. } => {
                let source = make("filesrc", PLACE)?;
                source.set_property("location", path.display().to_string());
                start_of(&pipeline, &source, bridge, &open)?;
            }
            Input::Slate { path, text } => {
                for last in slate::build(&pipeline, path.as_deref(), text.as_deref())? {
                    let pad = last.static_pad("src").ok_or_else(|| missing("src", PLACE))?;
                    sink(&pipeline, &pad, bridge)?;
                }
                shown(&open, &Arc::downgrade(bridge));
            }
            Input::Flv => {
                let source = gst_app::AppSrc::builder()
                    .caps(&gst::Caps::new_empty_simple("video/x-flv"))
                    .format(gst::Format::Bytes)
                    .max_bytes(FLV_BYTES)
                    .block(true)
                    .build();
                start_of(&pipeline, source.upcast_ref(), bridge, &open)?;
                flv = Some(source);
            }
        }
        let bus = pipeline.bus().ok_or_else(|| Problem::new(PLACE, "a pipeline without a bus"))?;
        let to = Arc::downgrade(bridge);
        bus.set_sync_handler(move |_, message| {
            if let Some(bridge) = to.upgrade() {
                bridge.tell(Event::Input(message.clone()));
            }
            gst::BusSyncReply::Drop
        });
        Ok(InputPipe { pipeline, flv })
    }

    /// Lets it run. `clock` and `base` are the output's.
    ///
    /// # Errors
    /// If an element refuses; what it says is on the bus.
    pub fn play(&self, clock: &gst::Clock) -> Result<(), Problem> {
        self.pipeline.use_clock(Some(clock));
        match self.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(()),
            Err(_) => Err(Problem::new(PLACE, "it can't be played")),
        }
    }
}

fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::new(PLACE, error.to_string())
}

/// A source with one pad that is there from the beginning.
fn start_of(
    pipeline: &gst::Pipeline,
    source: &gst::Element,
    bridge: &Arc<Bridge>,
    open: &Arc<AtomicUsize>,
) -> Result<(), Problem> {
    pipeline.add(source).map_err(refused)?;
    let pad = source.static_pad("src").ok_or_else(|| refused("a source without a pad"))?;
    take_apart(pipeline, &pad, bridge, open)
}

/// Puts a parsebin behind a pad, and sinks behind what comes out of it.
fn take_apart(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    bridge: &Arc<Bridge>,
    open: &Arc<AtomicUsize>,
) -> Result<(), Problem> {
    let parse = make("parsebin", PLACE)?;
    let (weak, to) = (pipeline.downgrade(), Arc::downgrade(bridge));
    let (open, seen) = (open.clone(), Arc::new(AtomicBool::new(false)));
    parse.connect_pad_added(move |_, pad| {
        let (Some(pipeline), Some(bridge)) = (weak.upgrade(), to.upgrade()) else { return };
        // parsebin does not tell that it has shown everything, but it lets nothing through before.
        let (open, seen, to) = (open.clone(), seen.clone(), to.clone());
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
            if !seen.swap(true, Ordering::SeqCst) {
                shown(&open, &to);
            }
            gst::PadProbeReturn::Remove
        });
        if let Err(problem) = sink(&pipeline, pad, &bridge) {
            bridge.tell(Event::Remark(problem.to_string()));
        }
    });
    pipeline.add(&parse).map_err(refused)?;
    let entry = parse.static_pad("sink").ok_or_else(|| refused("parsebin without a pad"))?;
    pad.link(&entry).map_err(refused)?;
    parse.sync_state_with_parent().map_err(refused)
}

/// One more part of the input has shown all its streams.
fn shown(open: &AtomicUsize, bridge: &Weak<Bridge>) {
    if open.fetch_sub(1, Ordering::SeqCst) == 1
        && let Some(bridge) = bridge.upgrade()
    {
        bridge.complete();
    }
}

/// An appsink for a stream that a track takes, a fakesink for another.
fn sink(pipeline: &gst::Pipeline, pad: &gst::Pad, bridge: &Arc<Bridge>) -> Result<(), Problem> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let Some(lane) = bridge.stream(&caps) else {
        let sink = make("fakesink", PLACE)?;
        sink.set_property("sync", false);
        sink.set_property("async", false);
        return attach(pipeline, pad, &[sink]);
    };
    // One form for all inputs: whole pictures with start codes and parameter sets, as in a broadcast.
    let name = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
    let parser = match name.as_str() {
        "video/x-h264" => Some("h264parse"),
        "video/x-h265" => Some("h265parse"),
        _ => None,
    };
    let mut chain = Vec::new();
    let mut wanted = gst::Caps::new_any();
    if let Some(parser) = parser {
        let parser = make(parser, PLACE)?;
        parser.set_property("config-interval", -1i32);
        chain.push(parser);
        wanted = gst::Caps::builder(name)
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
    }
    let to = Arc::downgrade(bridge);
    let sink = gst_app::AppSink::builder()
        .caps(&wanted)
        .sync(false)
        .async_(false)
        .max_buffers(1)
        .callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let bridge = to.upgrade().ok_or(gst::FlowError::Flushing)?;
                    bridge.packet(lane, &sample).map(|()| gst::FlowSuccess::Ok)
                })
                .build(),
        )
        .build();
    chain.push(sink.upcast());
    attach(pipeline, pad, &chain)
}

fn attach(pipeline: &gst::Pipeline, pad: &gst::Pad, chain: &[gst::Element]) -> Result<(), Problem> {
    for element in chain {
        pipeline.add(element).map_err(refused)?;
    }
    gst::Element::link_many(chain).map_err(refused)?;
    // From the sink on: what is upstream finds everything running.
    for element in chain.iter().rev() {
        element.sync_state_with_parent().map_err(refused)?;
    }
    let entry = chain.first().and_then(|e| e.static_pad("sink"));
    let entry = entry.ok_or_else(|| missing("sink", PLACE))?;
    pad.link(&entry).map_err(refused).map(|_| ())
}

/// Says that somebody calls. (Who it is would need GIO; a firewall's log knows, too.)
fn watch_callers(source: &gst::Element, bridge: &Arc<Bridge>) {
    for (signal, words) in [
        ("caller-added", "an SRT caller has connected"),
        ("caller-rejected", "an SRT caller was refused"),
        ("caller-removed", "the SRT caller has left"),
    ] {
        let to = Arc::downgrade(bridge);
        source.connect(signal, false, move |_| {
            if let Some(bridge) = to.upgrade() {
                bridge.tell(Event::Remark(words.into()));
            }
            None
        });
    }
}
