//! A media file of the test picture and its tone, as an editor would save it: H.264 with B-frames and
//! stereo AAC in MP4, made faster than real time. Times in the picture count from the clip's beginning,
//! and the tone begins at its whole seconds: whoever plays it somewhere can be asked for lip-sync.

use super::pipeline::{appsrc, gst_error};
use super::{FrameRate, SourceError, Tone, tone};
use crate::picture::{I420, Painter, Stamp};
use gstreamer::prelude::*;
use gstreamer::{self as gst, ClockTime};
use gstreamer_app as gst_app;
use std::path::Path;

/// Picture size, if nobody wants another.
const SIZE: (usize, usize) = (640, 360);
/// Samples of a buffer, as AAC has them.
const SAMPLES: u64 = 1_024;
/// A clip is written within this time.
const LIMIT: ClockTime = ClockTime::from_seconds(60);

/// Writes so many frames, numbered from 0, at 30 a second, with sound of the same length.
///
/// # Errors
/// If GStreamer misses an element, or the file can't be written.
pub fn write_clip(path: &Path, frames: u32) -> Result<(), SourceError> {
    write_clip_of(path, frames, SIZE)
}

/// The same with pictures of this width and height.
///
/// # Errors
/// If GStreamer misses an element, or the file can't be written.
pub fn write_clip_of(
    path: &Path,
    frames: u32,
    (width, height): (usize, usize),
) -> Result<(), SourceError> {
    gst::init().map_err(gst_error)?;
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=vsrc format=time block=true max-buffers=4 max-bytes=0 max-time=0 \
         caps=video/x-raw,format=I420,width={width},height={height},framerate=30/1 \
         ! x264enc bframes=2 b-adapt=false key-int-max=30 speed-preset=superfast bitrate=2000 \
         ! h264parse ! queue ! mp4mux name=mux ! filesink location=\"{}\" \
         appsrc name=asrc format=time max-bytes=0 \
         caps=audio/x-raw,format=S16LE,rate={},channels=1,layout=interleaved \
         ! audioconvert ! audio/x-raw,channels=2 ! avenc_aac ! aacparse ! queue ! mux.",
        path.display(),
        tone::RATE
    ))
    .map_err(gst_error)?
    .downcast::<gst::Pipeline>()
    .map_err(|_| gst_error("not a pipeline"))?;
    let source = appsrc(&pipeline, "vsrc")?;
    let sound = appsrc(&pipeline, "asrc")?;
    let bus = pipeline.bus().ok_or_else(|| gst_error("no bus"))?;
    pipeline.set_state(gst::State::Playing).map_err(gst_error)?;
    // All of it at once: it is small, and the muxer wants sound and picture side by side.
    push_tone(&sound, u64::from(frames) * tone::RATE / 30)?;
    let painter = Painter::new(width, height, false);
    let rate: FrameRate = "30".parse().map_err(gst_error)?;
    for number in 0..frames {
        let mut data = vec![0; width * height * 3 / 2];
        let (y, uv) = data.split_at_mut(width * height);
        let (u, v) = uv.split_at_mut(width * height / 4);
        let stamp = Stamp { number, sent_ms: rate.starts_ns(u64::from(number)) / 1_000_000 };
        painter.draw(stamp, &mut I420 { y, u, v, y_stride: width, uv_stride: width / 2 });
        let mut buffer = gst::Buffer::from_mut_slice(data);
        if let Some(buffer) = buffer.get_mut() {
            let at = |n| ClockTime::from_nseconds(rate.starts_ns(n));
            let number = u64::from(number);
            buffer.set_pts(at(number));
            buffer.set_duration(at(number + 1).saturating_sub(at(number)));
        }
        source.push_buffer(buffer).map_err(gst_error)?;
    }
    source.end_of_stream().map_err(gst_error)?;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let last = bus.timed_pop_filtered(LIMIT, &kinds);
    let _ = pipeline.set_state(gst::State::Null);
    match last.as_ref().map(|m| m.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => Err(gst_error(error.error())),
        _ => Err(gst_error("the clip is not ready in time")),
    }
}

fn push_tone(source: &gst_app::AppSrc, samples: u64) -> Result<(), SourceError> {
    let tone = Tone::new(0);
    for first in (0..samples).step_by(SAMPLES as usize) {
        let count = SAMPLES.min(samples - first);
        let mut data = Vec::with_capacity(2 * count as usize);
        tone.write(first, count, &mut data);
        let mut buffer = gst::Buffer::from_mut_slice(data);
        if let Some(buffer) = buffer.get_mut() {
            let at = |n: u64| ClockTime::from_nseconds(n * 1_000_000_000 / tone::RATE);
            buffer.set_pts(at(first));
            buffer.set_duration(at(first + count).saturating_sub(at(first)));
        }
        source.push_buffer(buffer).map_err(gst_error)?;
    }
    source.end_of_stream().map(drop).map_err(gst_error)
}
