//! A media file of the test picture, as an editor would save it: H.264 with B-frames and stereo AAC in
//! MP4, made faster than real time.

use super::pipeline::{appsrc, gst_error};
use super::{FrameRate, SourceError};
use crate::picture::{I420, Painter, Stamp};
use gstreamer::prelude::*;
use gstreamer::{self as gst, ClockTime};
use std::path::Path;

/// Picture size.
const SIZE: (usize, usize) = (640, 360);
/// A clip is written within this time.
const LIMIT: ClockTime = ClockTime::from_seconds(60);

/// Writes so many frames, numbered from 0, at 30 a second, with sound of the same length.
///
/// # Errors
/// If GStreamer misses an element, or the file can't be written.
pub fn write_clip(path: &Path, frames: u32) -> Result<(), SourceError> {
    gst::init().map_err(gst_error)?;
    let (width, height) = SIZE;
    // 1,024 samples a buffer, as AAC has them.
    let sounds = u64::from(frames) * 1_600 / 1_024;
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=vsrc format=time block=true max-buffers=4 max-bytes=0 max-time=0 \
         caps=video/x-raw,format=I420,width={width},height={height},framerate=30/1 \
         ! x264enc bframes=2 b-adapt=false key-int-max=30 speed-preset=superfast bitrate=2000 \
         ! h264parse ! queue ! mp4mux name=mux ! filesink location=\"{}\" \
         audiotestsrc num-buffers={sounds} samplesperbuffer=1024 \
         ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse ! queue ! mux.",
        path.display()
    ))
    .map_err(gst_error)?
    .downcast::<gst::Pipeline>()
    .map_err(|_| gst_error("not a pipeline"))?;
    let source = appsrc(&pipeline, "vsrc")?;
    let bus = pipeline.bus().ok_or_else(|| gst_error("no bus"))?;
    pipeline.set_state(gst::State::Playing).map_err(gst_error)?;
    let painter = Painter::new(width, height, false);
    let rate: FrameRate = "30".parse().map_err(gst_error)?;
    for number in 0..frames {
        let mut data = vec![0; width * height * 3 / 2];
        let (y, uv) = data.split_at_mut(width * height);
        let (u, v) = uv.split_at_mut(width * height / 4);
        let stamp = Stamp { number, sent_ms: u64::from(number) };
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
