//! What a ladder costs: its real process gets 720p30 in real time and makes 360p of it. How much of a
//! core that takes beyond the source's decoding, and how much later than the source's its frames are.

use super::{cpu, pause};
use crate::harness::{HarnessError, binary};
use crate::viewer::{Histogram, Percentiles};
use anyhow::{Context, bail, ensure};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use relay_node::clock::Clock;
use root_node::ingest::h264;
use root_node::ladder::budget::Cores;
use root_node::ladder::job::{Job, SUBCOMMAND};
use root_node::ladder::plan::{Source, plan};
use root_node::ladder::rung::Rung;
use root_node::ladder::wire::{self, Kind, Splitter};
use root_node::sources::job::Make;
use serde::Serialize;
use soleil_protocol::Mono;
use soleil_protocol::pipeline::Codec;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// RTP header without extensions (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;
/// The source.
const SIZE: (u32, u32) = (1280, 720);
const RATE: u64 = 30;
const KBIT: u32 = 2_500;
const KEY_EVERY: usize = 60;
/// Frames before the measurement begins: the process loads its plugins.
const WARM_UP: usize = 60;
/// How long frames may be under way when the last one has been sent.
const LATE: Duration = Duration::from_secs(10);
/// The thread that decodes: it is the one that the source's packets come in by.
const DECODES: &str = "appsrc0:src";

/// RTP packets of one frame.
pub type Frame = Vec<Vec<u8>>;

/// A source as an encoder makes it, frame by frame: 720p30 in H.264.
///
/// # Errors
/// If GStreamer can't make it.
pub fn frames(
    pattern: &str,
    kbit: u32,
    count: usize,
    key_every: usize,
) -> anyhow::Result<Vec<Frame>> {
    gst::init()?;
    let (width, height) = SIZE;
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers={count} pattern={pattern} kt=2 kx2=20 ky2=20 \
         ! video/x-raw,format=I420,width={width},height={height},framerate={RATE}/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast bitrate={kbit} key-int-max={key_every} \
         ! video/x-h264,profile=baseline ! rtph264pay pt=96 mtu=1200 config-interval=-1 \
         ! appsink name=out sync=false"
    ))?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().ok().context("no pipeline")?;
    let sink = pipeline.by_name("out").and_then(|sink| sink.downcast::<AppSink>().ok());
    let sink = sink.context("no appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut frames: Vec<Frame> = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().context("a sample without a buffer")?;
        let rtp = buffer.map_readable()?.to_vec();
        let same =
            |frame: &&mut Frame| frame.first().map(|r| timestamp(r)) == Some(timestamp(&rtp));
        match frames.last_mut().filter(same) {
            Some(frame) => frame.push(rtp),
            None => frames.push(vec![rtp]),
        }
    }
    pipeline.set_state(gst::State::Null)?;
    ensure!(frames.len() == count, "GStreamer made {} frames, not {count}", frames.len());
    Ok(frames)
}

/// The timestamp of a packet.
pub fn timestamp(rtp: &[u8]) -> u32 {
    let bytes = rtp.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok());
    bytes.map_or(0, u32::from_be_bytes)
}

/// Whether it is a key frame.
pub fn is_key(frame: &[Vec<u8>]) -> bool {
    let inspect = |rtp: &Vec<u8>| h264::inspect(rtp.get(RTP_HEADER..).unwrap_or_default());
    frame.iter().any(|rtp| inspect(rtp).is_ok_and(|info| info.key))
}

/// Writes a frame of the source for a ladder's process.
pub fn write(frame: &[Vec<u8>], out: &mut Vec<u8>) {
    let kind = if is_key(frame) { Kind::Key } else { Kind::Rtp };
    for rtp in frame {
        // Packets of 1200 bytes fit.
        wire::write(kind, 0, rtp, out);
    }
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct LadderResult {
    /// The picture, as `videotestsrc` calls it.
    pub pattern: String,
    /// The ladder.
    pub rungs: Vec<String>,
    /// Frames of the source while it was measured.
    pub frames: usize,
    /// Layers' frames of those that never came.
    pub missing: usize,
    /// Bits a second of the layers.
    pub bitrate: f64,
    /// Share of a core that the process took.
    pub core: f64,
    /// Of that, the thread that decodes the source.
    pub decode: f64,
    /// From a source's frame's last packet to that of the frame that is made of it, in milliseconds.
    pub delay: Percentiles,
}

impl LadderResult {
    /// Share of a core beyond the source's decoding.
    pub fn beyond(&self) -> f64 {
        self.core - self.decode
    }
}

/// The process, ended when this is dropped.
struct Worker {
    child: Child,
    socket: UnixStream,
}

impl Worker {
    fn start(job: &Job) -> anyhow::Result<Self> {
        let (mut socket, theirs) = UnixStream::pair()?;
        let child =
            Command::new(binary("root-node").map_err(|e: HarnessError| anyhow::anyhow!(e))?)
                .arg(SUBCOMMAND)
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                .spawn()?;
        let mut bytes = Vec::new();
        ensure!(wire::write(Kind::Job, 0, &serde_json::to_vec(job)?, &mut bytes), "a long job");
        socket.write_all(&bytes)?;
        Ok(Self { child, socket })
    }

    /// CPU time of all its threads, and of the one that decodes, in nanoseconds.
    fn cpu(&self) -> anyhow::Result<(u64, u64)> {
        let pid = self.child.id();
        let decodes = cpu::thread_ns(pid, DECODES)?;
        Ok((cpu::time_ns(pid)?, decodes.with_context(|| format!("no thread {DECODES:?}"))?))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends when its socket does; what is said too late is said to nobody.
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// What has come back: of each layer and timestamp, when the frame's last packet came; and all bytes.
#[derive(Debug, Default)]
struct Back {
    frames: HashMap<(u8, u32), Mono>,
    bytes: u64,
}

/// Reads what the process makes until it ends.
fn read(mut socket: UnixStream, clock: Clock, back: &Mutex<Back>, count: &AtomicUsize) {
    let (mut splitter, mut piece) = (Splitter::default(), vec![0; 65_536]);
    loop {
        let length = socket.read(&mut piece).unwrap_or(0);
        if length == 0 {
            return;
        }
        let now = clock.now().mono;
        splitter.push(piece.get(..length).unwrap_or_default());
        let mut back = back.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some(frame)) = splitter.next_frame() {
            back.bytes += frame.body.len() as u64;
            // The marker bit: a frame's last packet (RFC 6184 section 5.1).
            if frame.body.get(1).is_some_and(|byte| byte & 0x80 != 0) {
                back.frames.insert((frame.layer, timestamp(&frame.body)), now);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Measures a ladder of such rungs for so many seconds.
///
/// # Errors
/// If GStreamer or the process fails.
pub fn run(
    pattern: &str,
    rungs: &[Rung],
    seconds: usize,
    clock: Clock,
) -> anyhow::Result<LadderResult> {
    let measured = seconds * RATE as usize;
    let frames = frames(pattern, KBIT, WARM_UP + measured, KEY_EVERY)?;
    let source = Source { codec: Codec::H264, size: SIZE, rate: RATE as f64 };
    let making = plan(source, rungs, Cores::ALL).making;
    ensure!(making.len() == rungs.len(), "only rungs below 720p can be made of it");
    let layers: Vec<u8> = making.iter().filter_map(|m| u8::try_from(m.rung).ok()).collect();
    let millirate = RATE as u32 * 1_000;
    let job = Job { codec: Make::H264, payload_type: 96, clock_rate: 90_000, millirate, making };
    let mut worker = Worker::start(&job)?;
    let (back, count) = (Arc::new(Mutex::new(Back::default())), Arc::new(AtomicUsize::new(0)));
    let reader = {
        let (socket, back, count) = (worker.socket.try_clone()?, back.clone(), count.clone());
        std::thread::spawn(move || read(socket, clock, &back, &count))
    };
    // The first frame comes back when all plugins are there: time begins then.
    let mut bytes = Vec::new();
    let (first, rest) = frames.split_first().context("no frames")?;
    write(first, &mut bytes);
    worker.socket.write_all(&bytes)?;
    let asked = clock.now().mono;
    while count.load(Ordering::Relaxed) < layers.len() {
        if clock.now().mono.since(asked) > LATE {
            bail!("the ladder's process makes nothing");
        }
        pause(Duration::from_millis(5));
    }
    let begun = clock.now().mono;
    let bytes_now = || back.lock().unwrap_or_else(PoisonError::into_inner).bytes;
    let mut sent = Vec::new();
    let mut before = None;
    for (number, frame) in rest.iter().enumerate() {
        let due = begun.after(Duration::from_micros(number as u64 * 1_000_000 / RATE));
        pause(due.since(clock.now().mono));
        if number + 1 == WARM_UP {
            before = Some((clock.now().mono, worker.cpu()?, bytes_now()));
        }
        bytes.clear();
        write(frame, &mut bytes);
        worker.socket.write_all(&bytes)?;
        if before.is_some() {
            sent.push((timestamp(frame.first().context("an empty frame")?), clock.now().mono));
        }
    }
    let (at, cpu, bytes) = before.context("nothing was measured")?;
    let (took, after) = (clock.now().mono.since(at).as_nanos() as f64, worker.cpu()?);
    let bitrate = (bytes_now() - bytes) as f64 * 8e9 / took;
    let last = clock.now().mono;
    let all = frames.len() * layers.len();
    while count.load(Ordering::Relaxed) < all && clock.now().mono.since(last) < LATE {
        pause(Duration::from_millis(5));
    }
    drop(worker);
    ensure!(reader.join().is_ok(), "the thread that reads has panicked");
    let back = back.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut delay, mut missing) = (Histogram::default(), 0);
    for (timestamp, at) in &sent {
        for layer in &layers {
            match back.frames.get(&(*layer, *timestamp)) {
                Some(came) => delay.add(came.since(*at).as_micros() as u64),
                None => missing += 1,
            }
        }
    }
    Ok(LadderResult {
        pattern: pattern.to_owned(),
        rungs: rungs.iter().map(ToString::to_string).collect(),
        frames: sent.len(),
        missing,
        bitrate,
        core: (after.0 - cpu.0) as f64 / took,
        decode: (after.1 - cpu.1) as f64 / took,
        delay: Percentiles::from(&delay),
    })
}
