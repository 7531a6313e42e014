//! The worker's loop: it builds the input, waits until the bridge knows what comes, builds the output,
//! and ends when anything ends or fails.

use super::bridge::{Bridge, Event};
use super::input::{self, InputPipe};
use super::output::{self, OutputPipe};
use super::{Voice, srtlog, stdin, trouble};
use crate::sources::job::{Input, Job, Report};
use crate::sources::status::{Handling, Problem, TrackStatus};
use gstreamer as gst;
use gstreamer::prelude::*;
use relay_node::clock::Clock;
use soleil_protocol::Mono;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How often the root hears that the worker lives and how much flows.
const BEAT: Duration = Duration::from_secs(1);
/// Streams that stay silent are not waited for longer than this after the first packet: a picture can
/// begin with a key frame only, and encoders make one each ten seconds at the least.
const PATIENCE: Duration = Duration::from_secs(12);
/// A track for which nothing has shown itself is not waited for longer than this after the first packet:
/// demultiplexers of live inputs show one stream after the other.
const GRACE: Duration = Duration::from_secs(1);
/// After the parent's wish to end, however GStreamer hangs.
const END: Duration = Duration::from_secs(2);

/// The same remark is made again after this time only: a caller with a wrong passphrase knocks all
/// the time.
const REMARK_AGAIN: Duration = Duration::from_secs(60);
/// Different remarks that are remembered.
const MAX_REMARKS: usize = 32;

/// Plays until the end; gives the last words.
///
/// # Errors
/// What went wrong.
pub fn play(job: &Job, say: &Voice) -> Result<Report, Problem> {
    let (events, from) = channel();
    let clock = gst::SystemClock::obtain();
    // Times of the first packets may be a little before now.
    let base = clock.time().saturating_sub(gst::ClockTime::from_seconds(5));
    let live = !matches!(job.input, Input::File { .. });
    let bridge = Arc::new(Bridge::new(&job.tracks, live, clock.clone(), base, events.clone()));
    if matches!(job.input, Input::Srt { .. }) {
        srtlog::listen(&bridge);
    }
    let input = InputPipe::new(&job.input, &bridge)?;
    watch_stdin(&input, &events)?;
    let mut player = Player {
        job,
        say,
        bridge,
        clock,
        base,
        input,
        output: None,
        live,
        time: Clock::start(),
        first_seen: None,
        useless_since: None,
        playing_out: false,
        remarks: Vec::new(),
    };
    let played = player.input.play(&player.clock);
    if played.is_err() {
        // The bus knows better what it is.
        while let Ok(event) = from.try_recv() {
            player.event(event)?;
        }
        played?;
    }
    if matches!(&job.input, Input::Srt { listen: true, .. }) {
        say.say(&Report::Waiting);
    }
    player.run(&from)
}

/// Reads what comes behind the job. Its end is the end of all.
fn watch_stdin(input: &InputPipe, events: &Sender<Event>) -> Result<(), Problem> {
    let (flv, events) = (input.flv.clone(), events.clone());
    let work = move || {
        stdin::pieces(|piece| {
            if let Some(flv) = &flv {
                // One that is full waits; one that has failed says so on its bus.
                let _ = flv.push_buffer(gst::Buffer::from_slice(piece));
            }
        });
        let Some(flv) = flv else {
            let _ = events.send(Event::Finish);
            exit_after(END);
            return;
        };
        // The publisher has left: what he sent is played to its end.
        let _ = flv.end_of_stream();
        exit_after(END);
    };
    let spawned = std::thread::Builder::new().name("stdin".into()).spawn(work);
    spawned.map(|_| ()).map_err(|error| Problem::new("worker", error.to_string()))
}

/// Ends the process, whatever the other threads do.
fn exit_after(time: Duration) {
    // A channel that nobody speaks on: waiting with a limit.
    let (_never, silent) = channel::<()>();
    let _ = silent.recv_timeout(time);
    std::process::exit(0);
}

struct Player<'a> {
    job: &'a Job,
    say: &'a Voice,
    bridge: Arc<Bridge>,
    clock: gst::Clock,
    base: gst::ClockTime,
    input: InputPipe,
    output: Option<OutputPipe>,
    live: bool,
    time: Clock,
    /// When the first packet was seen.
    first_seen: Option<Mono>,
    /// When the input had shown all of its streams, as it seemed, and none that a track takes.
    useless_since: Option<Mono>,
    /// The input is over; the output plays what it has.
    playing_out: bool,
    /// What was remarked, and when.
    remarks: Vec<(String, Mono)>,
}

impl Player<'_> {
    fn run(&mut self, from: &Receiver<Event>) -> Result<Report, Problem> {
        let mut beat = self.time.now().mono.after(BEAT);
        loop {
            let wait = beat.since(self.time.now().mono);
            match from.recv_timeout(wait) {
                Ok(event) => {
                    if let Some(last) = self.event(event)? {
                        return Ok(last);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    beat = self.time.now().mono.after(BEAT);
                    self.beat()?;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Report::End),
            }
        }
    }

    /// Whether nothing has shown itself so far that a track takes.
    fn is_useless(&self) -> bool {
        self.output.is_none() && (self.bridge.found().is_empty() || !self.bridge.takes_any())
    }

    fn useless(&self) -> Problem {
        let what = match self.bridge.found().join(", ") {
            all if all.is_empty() => "it has neither picture nor sound".to_owned(),
            all => format!("no track takes what it has: {all}"),
        };
        Problem::new(input::PLACE, what)
    }

    fn beat(&mut self) -> Result<(), Problem> {
        let waited = self.useless_since.map(|since| self.time.now().mono.since(since));
        if waited.is_some_and(|waited| waited >= GRACE) && self.is_useless() {
            return Err(self.useless());
        }
        let packets = self.output.as_ref().map_or(0, OutputPipe::packets);
        self.say.say(&Report::Flowing { packets });
        if self.output.is_none() && self.bridge.has_media() {
            let now = self.time.now().mono;
            let since = *self.first_seen.get_or_insert(now);
            let waited = now.since(since);
            if waited >= PATIENCE || (waited >= GRACE && self.bridge.is_settled()) {
                self.build()?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<Option<Report>, Problem> {
        match event {
            Event::Ready => self.build().map(|()| None),
            Event::Complete => {
                // parsebin shows the picture of an FLV first, and the sound a moment later.
                if self.is_useless() {
                    self.useless_since.get_or_insert(self.time.now().mono);
                }
                Ok(None)
            }
            Event::Spoiled(track, reason) => Ok(Some(Report::Convert { track, reason })),
            Event::Remark(words) => {
                self.remark(words);
                Ok(None)
            }
            Event::Finish => Ok(Some(Report::End)),
            Event::Input(message) => self.input_message(&message),
            Event::Output(message) => self.output_message(&message),
        }
    }

    fn remark(&mut self, words: String) {
        let now = self.time.now().mono;
        self.remarks.retain(|(_, at)| now.since(*at) < REMARK_AGAIN);
        if self.remarks.len() < MAX_REMARKS && self.remarks.iter().all(|(said, _)| *said != words) {
            self.say.say(&Report::Remark(words.clone()));
            self.remarks.push((words, now));
        }
    }

    fn input_message(&mut self, message: &gst::Message) -> Result<Option<Report>, Problem> {
        if let Some(problem) = trouble(message, input::PLACE) {
            return Err(problem);
        }
        if !matches!(message.view(), gst::MessageView::Eos(_)) || self.playing_out {
            return Ok(None);
        }
        if self.useless_since.is_some() && self.is_useless() {
            return Err(self.useless());
        }
        if self.output.is_none() {
            if !self.bridge.has_media() {
                let what = "it ended before any picture or sound came";
                return Err(Problem::new(input::PLACE, what));
            }
            // Shorter than what is looked at.
            self.build()?;
        }
        if matches!(self.job.input, Input::File { repeat: true, .. }) {
            self.bridge.again();
            self.input = InputPipe::new(&self.job.input, &self.bridge)?;
            self.input.play(&self.clock)?;
            return Ok(None);
        }
        self.playing_out = true;
        self.bridge.close();
        Ok(None)
    }

    fn output_message(&mut self, message: &gst::Message) -> Result<Option<Report>, Problem> {
        if let Some(problem) = trouble(message, output::PLACE) {
            return Err(problem);
        }
        let over = matches!(message.view(), gst::MessageView::Eos(_));
        Ok(over.then_some(Report::End))
    }

    /// Builds the output and opens the bridge.
    fn build(&mut self) -> Result<(), Problem> {
        if self.output.is_some() {
            return Ok(());
        }
        let ready = self.bridge.decide(&self.job.convert);
        if ready.is_empty() {
            return Err(Problem::new(input::PLACE, "no track takes what it has"));
        }
        let mut output = OutputPipe::new(&ready, !self.live, &self.bridge)?;
        output.play(&self.clock, self.base)?;
        let absent = self.job.tracks.iter().filter(|t| ready.iter().all(|r| r.target != **t));
        let mut tracks = std::mem::take(&mut output.tracks);
        tracks.extend(absent.map(|t| TrackStatus {
            name: t.name.clone(),
            input: None,
            handling: Handling::Absent,
        }));
        self.say.say(&Report::Plan { input: self.bridge.found(), tracks });
        let sources = std::mem::take(&mut output.sources);
        self.output = Some(output);
        self.bridge.open(sources, !self.live);
        Ok(())
    }
}
