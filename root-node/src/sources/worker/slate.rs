//! What stands on a slate: a still picture, or a dark ground, with a text on it; and silence. It is made
//! once and then repeated.

use super::input::PLACE;
use super::output::Chain;
use crate::sources::status::Problem;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::path::Path;

/// Large enough to be read; a picture of another shape gets borders.
const SIZE: &str = "width=1280,height=720,pixel-aspect-ratio=1/1";
/// Pictures a second: nothing moves, but a key frame that is asked for comes soon.
const RATE: &str = "framerate=10/1";
/// The ground without a picture: the pages' night, as ARGB.
const GROUND: u32 = 0xff10_0d0a;
/// Sound as Opus has it.
const SILENCE: &str = "audio/x-raw,format=S16LE,layout=interleaved,rate=48000,channels=2";

/// Builds both, and gives the last element of each.
///
/// # Errors
/// Which element is missing or refuses.
pub fn build(
    pipeline: &gst::Pipeline,
    path: Option<&Path>,
    text: Option<&str>,
) -> Result<[gst::Element; 2], Problem> {
    let picture = picture(pipeline, path, text)?;
    let mut sound = Chain { pipeline, last: None };
    let source = sound.make("audiotestsrc")?;
    source.set_property("is-live", true);
    source.set_property_from_str("wave", "silence");
    sound.caps(SILENCE)?;
    Ok([picture, sound.last.ok_or_else(|| Problem::new(PLACE, "no sound"))?])
}

fn picture(
    pipeline: &gst::Pipeline,
    path: Option<&Path>,
    text: Option<&str>,
) -> Result<gst::Element, Problem> {
    let mut chain = Chain { pipeline, last: None };
    match path {
        Some(path) => {
            let source = chain.make("filesrc")?;
            source.set_property("location", path.display().to_string());
            chain.decode()?;
        }
        None => {
            let source = chain.make("videotestsrc")?;
            source.set_property("num-buffers", 1i32);
            source.set_property_from_str("pattern", "solid-color");
            source.set_property("foreground-color", GROUND);
        }
    }
    chain.make("videoconvert")?;
    chain.make("videoscale")?;
    chain.caps(&format!("video/x-raw,format=I420,{SIZE}"))?;
    if let Some(text) = text {
        let words = chain.make("textoverlay")?;
        // It takes markup (Pango's), and the operator has written a text.
        words.set_property("text", gst::glib::markup_escape_text(text).as_str());
        words.set_property("font-desc", "Sans Bold 28");
        words.set_property_from_str("halignment", "center");
        words.set_property_from_str("valignment", "center");
        words.set_property("shaded-background", path.is_some());
    }
    let freeze = chain.make("imagefreeze")?;
    freeze.set_property("is-live", true);
    chain.caps(&format!("video/x-raw,format=I420,{SIZE},{RATE}"))?;
    chain.last.ok_or_else(|| Problem::new(PLACE, "no picture"))
}
