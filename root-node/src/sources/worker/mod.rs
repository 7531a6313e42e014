//! The child process of a source: it takes its job from the standard input, plays it, and says on the
//! standard output what it finds and does. It ends when its standard input ends, which is also what
//! happens when the root dies, however it dies: the pipe is the parent's, and closes with it. (The
//! kernel's PR_SET_PDEATHSIG would not do: it tells the death of the *thread* that made the child.)
//!
//! Two GStreamer pipelines with a bridge between them, because what the output is to be is known
//! only when the input has been looked at, and because a file that begins again then needs a new
//! input only, while encoders, RTP numbers and clocks of the output go on:
//!
//! * [`input`]: source, demultiplexer, parsers; one appsink for each stream that a track takes;
//! * [`bridge`]: holds what comes until it is clear what it is, then hands it on, with the times of
//!   the output;
//! * [`output`]: one appsrc for each track, an encoder where one is needed, payloader, rtpbin, UDP.
//!
//! [`slate`] makes the input of a slate, [`media`] reads caps, [`srtlog`] hears what libsrt tells nobody else, [`encoders`] chooses an encoder, [`play`] is the loop that holds all together.

mod bridge;
pub(crate) mod encoders;
mod input;
mod media;
pub(crate) mod output;
mod play;
mod slate;
mod srtlog;
mod stdin;

#[cfg(test)]
mod tests;

use super::job::{MAX_LINE, Report};
use super::status::Problem;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::io::Write;
use std::sync::Mutex;

/// The whole child.
///
/// # Errors
/// If there is no job to be read, or nobody to be told.
pub fn run() -> anyhow::Result<()> {
    let job = stdin::job(MAX_LINE)?;
    let say = Voice::default();
    let ended = match gst::init() {
        Ok(()) => play::play(&job, &say),
        Err(error) => Err(Problem::new("worker", format!("GStreamer: {error}"))),
    };
    let secrets = job.input.secrets();
    let last = match ended {
        Ok(report) => report,
        Err(mut problem) => {
            if problem.place == input::PLACE {
                problem.place = format!("{} {}", input::PLACE, job.input.place());
            }
            problem.what = hidden(&problem.what, &secrets);
            Report::Problem(problem)
        }
    };
    say.say(&last);
    Ok(())
}

/// What the root hears.
#[derive(Debug, Default)]
pub struct Voice(Mutex<()>);

impl Voice {
    /// Says it. Where nobody listens any more, the process ends: its work is for nobody.
    pub fn say(&self, report: &Report) {
        let _one = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let said = serde_json::to_string(report).map_err(std::io::Error::from).and_then(|line| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()
        });
        if let Err(error) = said {
            eprintln!("nobody listens: {error}");
            std::process::exit(1);
        }
    }
}

/// A text without the secrets that an element may have put into it.
fn hidden(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|s| !s.is_empty()) {
        text = text.replace(secret, "(hidden)");
    }
    text
}

/// Makes an element.
pub(crate) fn make(factory: &str, place: &str) -> Result<gst::Element, Problem> {
    gst::ElementFactory::make(factory).build().map_err(|_| missing(factory, place))
}

pub(crate) fn missing(factory: &str, place: &str) -> Problem {
    Problem {
        what: format!("the GStreamer element {factory} is missing: is its plugin installed?"),
        element: Some(factory.to_owned()),
        place: place.to_owned(),
    }
}

/// What a bus message says that is an error; `None` for all others.
pub(crate) fn trouble(message: &gst::Message, place: &str) -> Option<Problem> {
    let element = message.src().map(|src| {
        let factory = src.downcast_ref::<gst::Element>().and_then(|e| e.factory());
        factory.map_or_else(|| src.name().to_string(), |f| f.name().to_string())
    });
    let what = match message.view() {
        gst::MessageView::Error(error) => {
            // The debug text begins with a place in GStreamer's sources and a path of elements.
            let debug = error.debug().unwrap_or_default();
            let debug = debug.lines().skip(1).collect::<Vec<_>>().join(" ");
            match debug.trim() {
                "" => error.error().to_string(),
                debug => format!("{} ({debug})", error.error()),
            }
        }
        gst::MessageView::Element(message) => {
            let structure = message.structure().filter(|s| s.name() == "missing-plugin")?;
            let name = structure.get::<String>("name").unwrap_or_default();
            format!("a GStreamer plugin is missing: {name}")
        }
        _ => return None,
    };
    Some(Problem { what, element, place: place.to_owned() })
}
