//! Between the input's appsinks and the output's appsrcs. It holds what comes until all streams are
//! known and the first second of each H.264 stream has been looked at, then hands it on with times of the
//! output's clock.

use super::media::{Kind, Media};
use crate::sources::job::{Make, Target};
use crate::sources::reorder::{Reorder, Verdict};
use crate::sources::timeline::Timeline;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So much media of a stream is looked at before it passes through.
const LOOK_NS: i64 = 1_000_000_000;
/// More is not held, whatever is not known yet.
const MAX_HELD: usize = 16 << 20;
/// Streams of an input that are looked at; there are programmes with dozens of sounds.
const MAX_LANES: usize = 16;

/// What the bridge, pipelines and other threads tell the loop.
#[derive(Debug)]
pub enum Event {
    /// The output can be built.
    Ready,
    /// Something that was held back as clean has B-frames after all: lane and reason.
    Spoiled(String, String),
    /// A message of the input's bus.
    Input(gst::Message),
    /// A message of the output's bus.
    Output(gst::Message),
    /// The input has shown all its streams.
    Complete,
    /// Somebody has connected; or could not.
    Remark(String),
    /// The parent wants the end, or is gone.
    Finish,
}

/// One stream of the input that a track takes.
struct Lane {
    target: Target,
    media: Media,
    /// Where it stands in what was found.
    found: usize,
    reorder: Reorder,
    /// Passes through, so B-frames would spoil it.
    clean: bool,
    spoiled: bool,
    first: Option<i64>,
    looked: bool,
    held: VecDeque<(gst::Buffer, gst::Caps)>,
    bytes: usize,
    src: Option<gst_app::AppSrc>,
    caps: Option<gst::Caps>,
}

struct Inner {
    lanes: Vec<Lane>,
    /// Everything in the input, in words.
    found: Vec<String>,
    timeline: Timeline,
    free: Vec<Target>,
    /// The tracks' names in their order.
    order: Vec<String>,
    complete: bool,
    told: bool,
    flowing: bool,
    /// Which lanes this round's streams have: a file that begins again shows them anew.
    next: usize,
}

impl Inner {
    /// Everything that has shown itself so far has been looked at.
    fn settled(&self) -> bool {
        !self.lanes.is_empty() && self.lanes.iter().all(|l| l.looked && !l.held.is_empty())
    }
}

/// The bridge.
pub struct Bridge {
    inner: Mutex<Inner>,
    changed: Condvar,
    events: std::sync::mpsc::Sender<Event>,
    clock: gst::Clock,
    base: gst::ClockTime,
}

/// What became of one track, for building its output.
pub struct Ready {
    /// Number of the lane.
    pub lane: usize,
    /// The track.
    pub target: Target,
    /// What comes.
    pub media: Media,
    /// Why it is converted, if it is.
    pub convert: Option<String>,
    /// The caps of the first packet.
    pub caps: gst::Caps,
}

impl Bridge {
    /// For these tracks; times are those of `clock` since `base`.
    pub fn new(
        targets: &[Target],
        live: bool,
        clock: gst::Clock,
        base: gst::ClockTime,
        events: std::sync::mpsc::Sender<Event>,
    ) -> Bridge {
        let inner = Inner {
            lanes: Vec::new(),
            found: Vec::new(),
            timeline: Timeline::new(live),
            free: targets.to_vec(),
            order: targets.iter().map(|t| t.name.clone()).collect(),
            complete: false,
            told: false,
            flowing: false,
            next: 0,
        };
        Bridge { inner: Mutex::new(inner), changed: Condvar::new(), events, clock, base }
    }

    /// Tells the loop something; it may be gone already.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, on the output's time.
    fn now(&self) -> i64 {
        self.clock.time().saturating_sub(self.base).nseconds() as i64
    }

    /// A stream of the input: the lane that takes it, if a track does.
    pub fn stream(&self, caps: &gst::CapsRef) -> Option<usize> {
        let mut inner = self.inner();
        if inner.flowing {
            // Another round of a file: the same streams in the same order.
            let media = Media::new(caps)?;
            let next = inner.next;
            let found = (next..inner.lanes.len())
                .chain(0..next)
                .find(|n| inner.lanes.get(*n).is_some_and(|l| l.media.kind == media.kind))?;
            inner.next = found + 1;
            return Some(found);
        }
        let Some(media) = Media::new(caps) else {
            let name = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
            inner.found.push(name);
            return None;
        };
        inner.found.push(media.words.clone());
        let audio = |make: Make| make == Make::Opus;
        let fits = |t: &Target| audio(t.make) == (media.kind == Kind::Audio);
        let place = inner.free.iter().position(fits)?;
        if inner.lanes.len() >= MAX_LANES {
            return None;
        }
        let target = inner.free.remove(place);
        let found = inner.found.len() - 1;
        inner.lanes.push(Lane {
            target,
            media,
            found,
            reorder: Reorder::default(),
            clean: false,
            spoiled: false,
            first: None,
            looked: false,
            held: VecDeque::new(),
            bytes: 0,
            src: None,
            caps: None,
        });
        Some(inner.lanes.len() - 1)
    }

    /// The input has shown all its streams.
    pub fn complete(&self) {
        let mut inner = self.inner();
        inner.complete = true;
        self.tell_ready(&mut inner, false);
        drop(inner);
        self.tell(Event::Complete);
    }

    /// What has been found in the input, in words.
    pub fn found(&self) -> Vec<String> {
        self.inner().found.clone()
    }

    /// Whether anything that a track takes has come.
    pub fn has_media(&self) -> bool {
        self.inner().lanes.iter().any(|lane| !lane.held.is_empty())
    }

    /// Whether all streams that have shown themselves have been looked at; there may be more.
    pub fn is_settled(&self) -> bool {
        self.inner().settled()
    }

    /// Whether a track takes any of it.
    pub fn takes_any(&self) -> bool {
        !self.inner().lanes.is_empty()
    }

    /// The file begins again.
    pub fn again(&self) {
        let mut inner = self.inner();
        inner.timeline.again();
        inner.next = 0;
    }

    /// A packet of the input. Blocks while enough is held, and while the output is full.
    pub fn packet(&self, lane: usize, sample: &gst::Sample) -> Result<(), gst::FlowError> {
        let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
        let caps = sample.caps().ok_or(gst::FlowError::NotNegotiated)?;
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
        let running = |at: Option<gst::ClockTime>| match (at, segment) {
            (Some(at), Some(segment)) => {
                let at = segment.to_running_time_full(at)?;
                Some(signed(at))
            }
            (at, None) => at.map(|at| at.nseconds() as i64),
            (None, _) => None,
        };
        let (pts, dts) = (running(buffer.pts()), running(buffer.dts()));
        let now = self.now();
        let mut inner = self.inner();
        // What has no time at all is of now.
        let time = dts.or(pts).unwrap_or(now);
        let length = buffer.duration().map_or(0, |d| d.nseconds() as i64);
        let until = pts.unwrap_or(time).saturating_add(length);
        let shift = inner.timeline.shift(now, time, until);
        let mut copy = buffer.copy();
        {
            let copy = copy.make_mut();
            copy.set_pts(unsigned(pts.unwrap_or(time).saturating_add(shift)));
            copy.set_dts(dts.and_then(|dts| unsigned(dts.saturating_add(shift))));
        }
        let inner_ = &mut *inner;
        let entry = inner_.lanes.get_mut(lane).ok_or(gst::FlowError::Error)?;
        if entry.first.is_none()
            && let Some(media) = Media::new(caps)
        {
            // Some demultiplexers know little before the first packet.
            inner_.found[entry.found] = media.words.clone();
            entry.media = media;
        }
        self.look(entry, pts, buffer);
        let first = *entry.first.get_or_insert(time);
        entry.looked |= time.saturating_sub(first) >= LOOK_NS
            || entry.media.is != Some(Make::H264)
            || entry.reorder.verdict() != Verdict::Open;
        if !inner.flowing {
            let entry = inner.lanes.get_mut(lane).ok_or(gst::FlowError::Error)?;
            entry.bytes += copy.size();
            entry.held.push_back((copy, caps.to_owned()));
            self.tell_ready(&mut inner, false);
            // A file comes as fast as the disk is.
            let full = |inner: &mut Inner| {
                !inner.flowing && inner.lanes.iter().map(|l| l.bytes).sum::<usize>() > MAX_HELD
            };
            if full(&mut inner) {
                self.tell_ready(&mut inner, true);
            }
            let _inner =
                self.changed.wait_while(inner, full).unwrap_or_else(PoisonError::into_inner);
            return Ok(());
        }
        let (src, new_caps) = {
            let entry = inner.lanes.get_mut(lane).ok_or(gst::FlowError::Error)?;
            let Some(src) = entry.src.clone() else {
                let name = &entry.target.name;
                self.tell(Event::Remark(format!("track {name}: its media came too late")));
                return Ok(());
            };
            let new_caps = entry.caps.as_deref() != Some(caps);
            if new_caps {
                entry.caps = Some(caps.to_owned());
            }
            (src, new_caps)
        };
        drop(inner);
        if new_caps {
            src.set_caps(Some(&caps.to_owned()));
        }
        src.push_buffer(copy).map(|_| ())
    }

    /// Looks for B-frames.
    fn look(&self, lane: &mut Lane, pts: Option<i64>, buffer: &gst::BufferRef) {
        if lane.media.is != Some(Make::H264) || lane.spoiled {
            return;
        }
        if let Ok(map) = buffer.map_readable() {
            lane.reorder.picture(pts, map.as_slice());
        }
        if let (true, Verdict::Some(how)) = (lane.clean, lane.reorder.verdict()) {
            lane.spoiled = true;
            self.tell(Event::Spoiled(lane.target.name.clone(), how));
        }
    }

    fn tell_ready(&self, inner: &mut Inner, at_any_rate: bool) {
        let known = inner.complete && inner.free.is_empty() && inner.settled();
        if (known || at_any_rate) && !inner.told {
            inner.told = true;
            self.tell(Event::Ready);
        }
    }

    /// What to build, in the order of the tracks, decided now: `convert` has the tracks that must be converted, with reasons.
    pub fn decide(&self, convert: &[(String, String)]) -> Vec<Ready> {
        let mut inner = self.inner();
        let mut all = Vec::new();
        for (number, lane) in inner.lanes.iter_mut().enumerate() {
            let Some((_, caps)) = lane.held.front() else { continue };
            let forced = convert.iter().find(|(name, _)| *name == lane.target.name);
            let reason = forced
                .map(|(_, reason)| reason.clone())
                .or_else(|| lane.media.unfit(lane.target.make))
                .or_else(|| match lane.reorder.verdict() {
                    Verdict::Some(how) => Some(how),
                    Verdict::None | Verdict::Open => None,
                });
            lane.clean = reason.is_none();
            all.push(Ready {
                lane: number,
                target: lane.target.clone(),
                media: lane.media.clone(),
                convert: reason,
                caps: caps.clone(),
            });
        }
        all.sort_by_key(|r| inner.order.iter().position(|name| *name == r.target.name));
        all
    }

    /// Hands on what is held, and everything from now on. With `block` a full output makes the input
    /// wait; otherwise it leaves out what is oldest.
    pub fn open(&self, sources: Vec<(usize, gst_app::AppSrc)>, block: bool) {
        let mut inner = self.inner();
        for (number, src) in sources {
            let Some(lane) = inner.lanes.get_mut(number) else { continue };
            // Without waiting, whatever the amount: it is bounded already.
            src.set_block(false);
            for (buffer, caps) in lane.held.drain(..) {
                if lane.caps.as_ref() != Some(&caps) {
                    src.set_caps(Some(&caps));
                    lane.caps = Some(caps);
                }
                // An output that does not take it says why on its bus.
                let _ = src.push_buffer(buffer);
            }
            lane.bytes = 0;
            src.set_block(block);
            lane.src = Some(src);
        }
        inner.flowing = true;
        drop(inner);
        self.changed.notify_all();
    }

    /// No more comes: the output plays what it has and ends.
    pub fn close(&self) {
        for lane in &self.inner().lanes {
            if let Some(src) = &lane.src {
                let _ = src.end_of_stream();
            }
        }
    }
}

fn signed(at: gst::Signed<gst::ClockTime>) -> i64 {
    match at {
        gst::Signed::Positive(at) => at.nseconds() as i64,
        gst::Signed::Negative(at) => -(at.nseconds() as i64),
    }
}

fn unsigned(at: i64) -> Option<gst::ClockTime> {
    Some(gst::ClockTime::from_nseconds(u64::try_from(at).unwrap_or(0)))
}
