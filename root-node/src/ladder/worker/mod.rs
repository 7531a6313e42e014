//! The child process of a ladder: it takes its job and the source's packets from its standard input, which
//! is a socket, and sends the layers' packets back on it. What it finds and does it says on the standard
//! output. It ends when the socket is closed, which is also what happens when the root dies.
//!
//! [`pipeline`] is what GStreamer does, [`times`] brings RTP timestamps through it.

mod pipeline;
mod times;

#[cfg(test)]
mod tests;

use super::job::Job;
use super::load::{Change, Load, Second};
use super::wire::{self, Frame, Kind, Splitter};
use crate::sources::job::Report;
use crate::sources::status::Problem;
use crate::sources::worker::Voice;
use anyhow::{Context, bail};
use gstreamer as gst;
use pipeline::Pipe;
use relay_node::clock::Clock;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// How often the root hears that the child lives, and the load is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// Bytes read at once.
const PIECE: usize = 64 * 1024;
/// Packets that may wait for the socket, in which the root always leaves room unless it hangs.
const MAX_WAITING: usize = 4_096;
/// After the root's wish to end, however GStreamer hangs.
const END: Duration = Duration::from_secs(1);

/// What other threads tell the loop.
#[derive(Debug)]
pub enum Event {
    /// A message of the pipeline's bus.
    Bus(gst::Message),
    /// The root wants the end, or is gone.
    Finish,
}

/// The whole child.
///
/// # Errors
/// If there is no job to be read, or nobody to be told.
pub fn run() -> anyhow::Result<()> {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut splitter = Splitter::default();
    let first = next(&mut socket, &mut splitter).context("no job: this command is the root's")?;
    if first.kind != Kind::Job {
        bail!("the first frame is no job");
    }
    let job: Job = serde_json::from_slice(&first.body).context("the job")?;
    let say = Voice::default();
    let last = match play(&job, socket, splitter, &say) {
        Ok(report) => report,
        Err(problem) => Report::Problem(problem),
    };
    say.say(&last);
    Ok(())
}

/// The next frame.
fn next(socket: &mut UnixStream, splitter: &mut Splitter) -> anyhow::Result<Frame> {
    let mut piece = vec![0; PIECE];
    loop {
        match splitter.next_frame() {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => {}
            Err(kind) => bail!("{kind} is no kind of frame"),
        }
        match socket.read(&mut piece)? {
            0 => bail!("the socket is closed"),
            read => splitter.push(piece.get(..read).unwrap_or_default()),
        }
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Problem> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(|_| ()).map_err(|error| Problem::new("worker", error.to_string()))
}

fn play(job: &Job, socket: UnixStream, splitter: Splitter, say: &Voice) -> Result<Report, Problem> {
    gst::init().map_err(|error| Problem::new("worker", format!("GStreamer: {error}")))?;
    let broken = |error: std::io::Error| Problem::new("worker", error.to_string());
    let clock = Clock::start();
    let (events, from) = channel();
    let (packets, waiting) = sync_channel::<Vec<u8>>(MAX_WAITING);
    let to = socket.try_clone().map_err(broken)?;
    thread("to the root", move || send(to, &waiting))?;
    let pipe = Arc::new(Pipe::new(job, clock, packets, events.clone())?);
    pipe.play()?;
    let input = pipe.clone();
    thread("from the root", move || take(socket, splitter, &input, &events))?;
    let tracks = pipe.tracks();
    let input = vec![format!("{} by {}", job.codec.name(), pipe.decoder())];
    say.say(&Report::Plan { input, tracks });
    watch(job, clock, &pipe, &from, say)
}

/// Writes what the layers make, several packets at once where they wait.
fn send(mut socket: UnixStream, waiting: &Receiver<Vec<u8>>) {
    while let Ok(mut bytes) = waiting.recv() {
        while let Ok(more) = waiting.try_recv() {
            bytes.extend_from_slice(&more);
            if bytes.len() > PIECE {
                break;
            }
        }
        // The reading side hears of the end, too.
        if socket.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// Hands the source's packets in until there are no more; then all ends, in order or not.
fn take(mut socket: UnixStream, mut splitter: Splitter, pipe: &Pipe, events: &Sender<Event>) {
    while let Ok(frame) = next(&mut socket, &mut splitter) {
        match frame.kind {
            Kind::Rtp | Kind::Key => pipe.push(frame.body, frame.kind == Kind::Key),
            Kind::Wanted => pipe.want_key_frame(usize::from(frame.layer)),
            Kind::Job => break,
        }
    }
    let _ = events.send(Event::Finish);
    let (_never, silent) = channel::<()>();
    let _ = silent.recv_timeout(END);
    std::process::exit(0);
}

/// Looks after the pipeline until it ends.
fn watch(
    job: &Job,
    clock: Clock,
    pipe: &Pipe,
    from: &Receiver<Event>,
    say: &Voice,
) -> Result<Report, Problem> {
    let mut load = Load::new(job.making.len());
    let mut beat = clock.now().mono.after(BEAT);
    loop {
        match from.recv_timeout(beat.since(clock.now().mono)) {
            Ok(Event::Bus(message)) => {
                if let Some(problem) = crate::sources::worker::trouble(&message, pipeline::PLACE) {
                    return Err(problem);
                }
            }
            Ok(Event::Finish) | Err(RecvTimeoutError::Disconnected) => return Ok(Report::End),
            Err(RecvTimeoutError::Timeout) => {
                let now = clock.now().mono;
                beat = now.after(BEAT);
                let second = pipe.second();
                tell(&second, say);
                let rung = |layer: usize| job.making.get(layer).map_or(layer, |m| m.rung);
                match load.second(now, &second) {
                    Some(Change::Leave(layer, why)) => {
                        pipe.leave(layer, true);
                        say.say(&Report::Left { rung: rung(layer), why: Some(why) });
                    }
                    Some(Change::Resume(layer)) => {
                        pipe.leave(layer, false);
                        say.say(&Report::Left { rung: rung(layer), why: None });
                    }
                    None => {}
                }
            }
        }
    }
}

fn tell(second: &Second, say: &Voice) {
    let packets = second.made.iter().map(|made| u64::from(*made)).sum();
    say.say(&Report::Flowing { packets });
    say.say(&Report::Delay(u32::try_from(second.delay.as_millis()).unwrap_or(u32::MAX)));
}

/// Frames a layer's packet for the socket, and hands it to the thread that writes. One that does not fit
/// is lost: the root hangs.
fn hand_over(packets: &SyncSender<Vec<u8>>, rung: usize, rtp: &[u8]) {
    let mut framed = Vec::with_capacity(rtp.len() + 4);
    if wire::write(Kind::Rtp, u8::try_from(rung).unwrap_or(u8::MAX), rtp, &mut framed) {
        let _ = packets.try_send(framed);
    }
}
