//! Programs that people broadcast with, as they start them: FFmpeg, GStreamer and aiortc send a clip
//! that has B-frames and AAC over RTMP, SRT, plain RTP and WHIP, all at the same time. Chromium sees
//! and hears each of them through root, relay and leaf. (OBS and hardware are left to people.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::clock::Clock;
use soleil_tests::browser;
use soleil_tests::harness::{Options, PUBLISH_TOKEN, Ports, Process, Stream, Tree};
use soleil_tests::python;
use soleil_tests::source::write_clip_of;
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Frames of the clip: nobody is to reach its end.
const CLIP: u32 = 45 * 30;
const SIZE: (usize, usize) = (320, 180);
/// Chromium watches all of them so long.
const SECONDS: u64 = 3;
/// More than a tree of three nodes needs.
const TREE_PORTS: u16 = 60;
const SECRET: &str = "battery-staple";

/// Starts a program with what stands on its line.
fn start(program: &str, line: &str) -> Process {
    let mut command = Command::new(program);
    command.args(line.split_whitespace());
    Process::start(program, &mut command).unwrap()
}

/// `docs/sources.md`: the clip as it is.
fn ffmpeg_rtmp(clip: &Path, rtmp: u16) -> Process {
    let to = format!("rtmp://127.0.0.1:{rtmp}/ffmpeg-rtmp/{SECRET}");
    let clip = clip.display();
    start("ffmpeg", &format!("-v warning -nostdin -re -i {clip} -c copy -f flv {to}"))
}

/// `docs/broadcasting.md`: plain RTP is passed on as it comes, so it has to be what browsers play.
fn ffmpeg_rtp(clip: &Path, video: SocketAddr, audio: SocketAddr) -> Process {
    let clip = clip.display();
    let line = format!(
        "-v warning -nostdin -re -i {clip} \
         -map 0:v -c:v libx264 -profile:v baseline -preset veryfast -tune zerolatency -g 60 \
         -pix_fmt yuv420p -payload_type 96 -f rtp rtp://{video}?pkt_size=1200 \
         -map 0:a -c:a libopus -ar 48000 -ac 2 -payload_type 111 -f rtp rtp://{audio}?pkt_size=1200"
    );
    start("ffmpeg", &line)
}

/// GStreamer plays the clip, encodes its picture anew without B-frames, and sends it by what follows in
/// `video`; what it has of sound, AAC, goes on with `audio`.
fn gstreamer(clip: &Path, video: &str, audio: &str) -> Process {
    let clip = clip.display();
    let line = format!(
        "-q filesrc location={clip} ! qtdemux name=d \
         d.video_0 ! queue ! h264parse ! avdec_h264 ! videoconvert \
         ! x264enc tune=zerolatency speed-preset=veryfast bitrate=1000 key-int-max=60 \
         ! video/x-h264,profile=baseline ! h264parse config-interval=-1 ! queue ! {video} \
         d.audio_0 ! queue ! aacparse ! {audio}"
    );
    start("gst-launch-1.0", &line)
}

fn gstreamer_rtp(clip: &Path, video: SocketAddr, audio: SocketAddr) -> Process {
    let udp = |to: SocketAddr| format!("udpsink host={} port={}", to.ip(), to.port());
    gstreamer(
        clip,
        &format!("rtph264pay pt=96 config-interval=-1 mtu=1200 ! {}", udp(video)),
        &format!(
            "avdec_aac ! audioconvert ! audioresample ! opusenc ! rtpopuspay pt=111 ! {}",
            udp(audio)
        ),
    )
}

fn gstreamer_rtmp(clip: &Path, rtmp: u16) -> Process {
    let to = format!("rtmp://127.0.0.1:{rtmp}/gst-rtmp/{SECRET}");
    let sink = format!("queue ! m. flvmux name=m streamable=true ! rtmp2sink location={to}");
    gstreamer(clip, "m.", &sink)
}

fn gstreamer_srt(clip: &Path, srt: u16) -> Process {
    let to = format!("uri=srt://127.0.0.1:{srt} passphrase={SECRET}");
    gstreamer(clip, "m.", &format!("queue ! m. mpegtsmux name=m alignment=7 ! srtsink {to}"))
}

/// aiortc over WHIP, where there is Python.
fn aiortc(clip: &Path, url: &str) -> Option<Process> {
    let mut command = Command::new(python::interpreter("aiortc over WHIP")?);
    command.arg(python::script("whip.py")).arg(url).arg(clip);
    command.args(["--token", PUBLISH_TOKEN, "--codec", "VP8"]);
    Some(Process::start("aiortc", &mut command).unwrap())
}

fn root_says(tree: &Tree, words: &[&str]) {
    let said = || {
        let log = tree.root.process.log();
        log.iter().any(|line| words.iter().all(|word| line.contains(word)))
    };
    until(&format!("the root to say {words:?}"), DEADLINE, said);
}

#[test]
fn what_programs_send_is_seen_and_heard_through_the_tree() {
    let directory = tempfile::tempdir().unwrap();
    let clip = directory.path().join("clip.mp4");
    let clock = Clock::start();
    let step = |what: &str| println!("{:.1} s: {what}", clock.now().mono.0 as f64 / 1e6);
    write_clip_of(&clip, CLIP, SIZE).unwrap();
    step("the clip is there");

    // Beyond those that the tree will take.
    let mut ports = Ports::default();
    ports.take(TREE_PORTS).unwrap();
    let rtmp = ports.take(2).unwrap();
    let srt = rtmp + 1;
    let source = |name: &str, keys: &str| {
        format!("[[stream]]\nname = \"{name}\"\n[stream.source]\n{keys}\nsecret = \"{SECRET}\"\n")
    };
    let root_extra = [
        format!("[rtmp]\nlisten = \"127.0.0.1:{rtmp}\"\n"),
        source("ffmpeg-rtmp", "kind = \"rtmp\""),
        source("gst-rtmp", "kind = \"rtmp\""),
        source("gst-srt", &format!("kind = \"srt\"\nlisten = \"127.0.0.1:{srt}\"")),
    ]
    .concat();
    let stream = |name: &str, codec| Stream { name: name.to_owned(), codec };
    let streams =
        vec![stream("ffmpeg-rtp", "H264"), stream("gst-rtp", "H264"), stream("aiortc", "VP8")];
    let mut tree = Tree::start(&Options { streams, root_extra, ..Options::default() }).unwrap();
    let waiting = [("stream", "gst-srt"), ("state", "waiting")];
    until("the SRT listener", DEADLINE, || {
        tree.root.metrics().sum("soleil_source_state", &waiting) == 1.0
    });

    step("the tree is there");

    let ((video, audio), (video2, audio2)) = (tree.ingest(0), tree.ingest(1));
    let mut senders = vec![
        ("ffmpeg-rtmp", ffmpeg_rtmp(&clip, rtmp)),
        ("ffmpeg-rtp", ffmpeg_rtp(&clip, video, audio)),
        ("gst-rtp", gstreamer_rtp(&clip, video2, audio2)),
        ("gst-rtmp", gstreamer_rtmp(&clip, rtmp)),
        ("gst-srt", gstreamer_srt(&clip, srt)),
    ];
    senders.extend(aiortc(&clip, &tree.whip_url("aiortc")).map(|process| ("aiortc", process)));

    let mut viewers = Vec::new();
    for (name, process) in &mut senders {
        let mut ended = None;
        until(&format!("{name} to be on air"), DEADLINE, || {
            ended = process.exit();
            ended.is_some() || tree.is_live(name)
        });
        assert!(ended.is_none(), "{name} ended: {ended:?}\n{}", process.log_tail());
        let options = viewer::Options::default();
        viewers.push((*name, Viewers::start(&tree.whep_url(name), 1, &options).unwrap()));
    }
    root_says(&tree, &["stream=ffmpeg-rtmp", "converted by", "B-frames"]);
    root_says(&tree, &["stream=ffmpeg-rtmp", "AAC is not Opus"]);
    root_says(&tree, &["stream=gst-rtmp", "video: H.264", "passed through"]);
    root_says(&tree, &["stream=gst-srt", "video: H.264", "passed through"]);

    step("all are on air");
    let pages: Vec<String> = senders.iter().map(|(name, _)| tree.watch_url(name)).collect();
    let small = ["--settle", "1", "--width", "360", "--height", "300"];
    let watched = browser::watch_all(&pages, SECONDS, &small).unwrap();
    for ((name, _), seen) in senders.iter().zip(&watched) {
        let line = &seen.line;
        println!("{name} seen from {:?} ms on: {line}", seen.first_read_ms);
        assert!(seen.ok, "{name}: {line}");
        let codec = if *name == "aiortc" { "video/VP8" } else { "video/H264" };
        let connection = seen.connection.as_ref().unwrap();
        assert_eq!(connection.video_codec.as_deref(), Some(codec), "{name}: {line}");
        // Six encoders and six pages share the machine with the tree: that the clip's pictures come, in
        // their order and with their sound, is what this says, not how many a second or how well they
        // fit together.
        assert!(seen.frames.decoded >= SECONDS * 8, "{name}, frames: {line}");
        assert_eq!(seen.frames.backwards, 0, "{name}: {line}");
        assert!(seen.sound.onsets >= 1, "{name}, tones: {line}");
    }
    step("Chromium has watched");
    for (name, viewers) in viewers {
        let (report, left) = viewers.stop();
        println!("{name}: {report}");
        assert_eq!((report.failed, report.unopened, left), (0, 0, 1), "{name}: {report}");
        assert!(report.video.frames >= SECONDS * 8, "{name}: {report}");
        assert!(report.audio.packets >= SECONDS * 40, "{name}: {report}");
    }

    // Who leaves says so.
    if let Some((_, mut process)) = senders.pop_if(|(name, _)| *name == "aiortc") {
        process.terminate();
        assert!(process.wait(DEADLINE).is_some_and(|status| status.success()));
        let log = process.log_tail();
        assert!(log.contains("\"end\": 200"), "{log}");
        root_says(&tree, &["a broadcaster has gone", "stream=aiortc", "reason=\"closed\""]);
    }
    senders.iter_mut().for_each(|(_, process)| process.terminate());
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}
