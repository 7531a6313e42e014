//! Streams that the root fetches or takes in by itself, with real senders: a file with B-frames and AAC,
//! GStreamer over SRT and RTMP; what goes wrong is named, and touches nobody else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use soleil_tests::harness::{Options, Ports, Process, Tree, binary};
use soleil_tests::picture::Stamp;
use soleil_tests::source::write_clip;
use soleil_tests::viewer::{self, Codec, Viewers};
use soleil_tests::wait::{holds_within, until};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
/// Frames of the clip: two seconds.
const CLIP: u32 = 60;
/// More than a tree of two nodes needs.
const TREE_PORTS: u16 = 60;
/// Sound packets that are looked at.
const SOUNDS: usize = 100;

/// Reads the pictures' numbers out of RTP.
fn numbers(port: u16) -> (gst::Pipeline, Arc<Mutex<Vec<u32>>>) {
    let receiver = gst::parse::launch(&format!(
        "udpsrc address=127.0.0.1 port={port} buffer-size=2000000 \
         caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96 \
         ! rtph264depay ! avdec_h264 ! videoconvert ! video/x-raw,format=I420,width=640,height=360 \
         ! appsink name=out sync=false"
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let list = seen.clone();
    let sink = receiver.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    let sample = move |sink: &AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let stamp = Stamp::read(map.as_slice(), 640, 360, 640).expect("a picture of ours");
        list.lock().unwrap().push(stamp.number);
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(AppSinkCallbacks::builder().new_sample(sample).build());
    receiver.set_state(gst::State::Playing).unwrap();
    (receiver, seen)
}

#[test]
fn a_file_with_b_frames_and_aac_becomes_what_browsers_play_round_after_round() {
    let directory = tempfile::tempdir().unwrap();
    let clip = directory.path().join("clip.mp4");
    write_clip(&clip, CLIP).unwrap();
    let video = Ports::default().take(1).unwrap();
    let audio = UdpSocket::bind("127.0.0.1:0").unwrap();
    let audio_port = audio.local_addr().unwrap().port();
    // How many packets of sound came, and how many of them are stereo (RFC 6716 section 3.1).
    let (sounds, stereo) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (all, two) = (sounds.clone(), stereo.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok(n) = audio.recv(&mut buffer) {
            if n > 12 && buffer[1] & 0x7f == 111 {
                all.fetch_add(1, Ordering::Relaxed);
                two.fetch_add(usize::from(buffer[12] & 4 != 0), Ordering::Relaxed);
            }
        }
    });
    let (receiver, seen) = numbers(video);

    let job = serde_json::json!({
        "input": {"file": {"path": clip, "repeat": true}},
        "tracks": [
            {"name": "video", "make": "h264", "payload_type": 96,
             "layers": [format!("127.0.0.1:{video}")]},
            {"name": "audio", "make": "opus", "payload_type": 111,
             "layers": [format!("127.0.0.1:{audio_port}")]},
        ],
        "convert": [],
    });
    let mut worker = Command::new(binary("root-node").unwrap())
        .arg("source-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = worker.stdin.take().unwrap();
    writeln!(stdin, "{job}").unwrap();
    // Two joints between rounds.
    let frames = 2 * CLIP as usize + 20;
    until("three rounds", DEADLINE, || seen.lock().unwrap().len() >= frames);
    until("sound", DEADLINE, || sounds.load(Ordering::Relaxed) >= SOUNDS);
    // It ends when nobody holds its standard input.
    drop(stdin);
    until("its end", DEADLINE, || worker.try_wait().unwrap().is_some());
    receiver.set_state(gst::State::Null).unwrap();

    let seen = seen.lock().unwrap();
    let expected: Vec<u32> = (0..CLIP).cycle().take(frames).collect();
    assert_eq!(seen[..frames], expected, "not each picture once and in order");
    assert_eq!(stereo.load(Ordering::Relaxed), sounds.load(Ordering::Relaxed), "not stereo");
    let said: Vec<String> =
        BufReader::new(worker.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    let plan = said.iter().find(|line| line.starts_with("{\"plan\"")).unwrap();
    for words in ["B-frames", "\"encoder\":\"x264enc\"", "AAC is not Opus", "640x360"] {
        assert!(plan.contains(words), "{plan}");
    }
    assert_eq!(said.last().map(String::as_str), Some("\"end\""));
}

#[test]
fn sound_has_no_holes_where_the_input_counts_in_milliseconds() {
    let directory = tempfile::tempdir().unwrap();
    let (clip, flv) = (directory.path().join("clip.mp4"), directory.path().join("clip.flv"));
    write_clip(&clip, CLIP).unwrap();
    // FLV is what RTMP carries.
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "warning", "-nostdin", "-i"]).arg(&clip).args(["-c", "copy"]).arg(&flv);
    assert!(ffmpeg.status().unwrap().success());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let job = serde_json::json!({
        "input": {"file": {"path": flv, "repeat": false}},
        "tracks": [{"name": "audio", "make": "opus", "payload_type": 111,
                    "layers": [format!("127.0.0.1:{port}")]}],
        "convert": [],
    });
    let mut worker = Command::new(binary("root-node").unwrap())
        .arg("source-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = worker.stdin.take().unwrap();
    writeln!(stdin, "{job}").unwrap();
    let (mut buffer, mut times) = ([0; 2000], Vec::new());
    while times.len() < 30 {
        let n = socket.recv(&mut buffer).unwrap();
        if n > 12 && buffer[1] & 0x7f == 111 {
            times.push(u32::from_be_bytes(buffer[4..8].try_into().unwrap()));
        }
    }
    drop(stdin);
    until("its end", DEADLINE, || worker.try_wait().unwrap().is_some());
    // 20 ms each, by the clock of the sound (RFC 7587 section 4.1). The first one is shorter: it begins
    // with what the encoder looks ahead.
    let steps = times.windows(2).skip(1).map(|pair| pair[1].wrapping_sub(pair[0]));
    assert_eq!(steps.collect::<Vec<u32>>(), vec![960; times.len() - 2]);
}

/// Whether an RTP packet begins a key frame: an SPS stands in front of each (RFC 6184).
fn begins_key_frame(packet: &[u8]) -> bool {
    const STAP_A: u8 = 24;
    const SPS: u8 = 7;
    let kind = |at: usize| packet.get(at).map_or(0, |byte| byte & 0x1f);
    kind(12) == SPS || (kind(12) == STAP_A && kind(15) == SPS)
}

#[test]
fn an_encoder_makes_a_key_frame_when_it_is_asked_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let clip = directory.path().join("clip.mp4");
    write_clip(&clip, CLIP).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let job = serde_json::json!({
        "input": {"file": {"path": clip, "repeat": true}},
        "tracks": [{"name": "video", "make": "h264", "payload_type": 96,
                    "layers": [format!("127.0.0.1:{port}")]}],
        "convert": [],
    });
    let mut worker = Command::new(binary("root-node").unwrap())
        .arg("source-worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = worker.stdin.take().unwrap();
    writeln!(stdin, "{job}").unwrap();
    let mut buffer = [0; 2000];
    // Frames until the next key frame; `ask` asks after so many.
    let mut frames_to_key = |ask: Option<usize>| {
        let mut frames = 0;
        loop {
            let (n, from) = socket.recv_from(&mut buffer).unwrap();
            let packet = &buffer[..n];
            if n < 16 || packet[1] & 0x7f != 96 {
                continue;
            }
            if begins_key_frame(packet) && frames > 0 {
                return frames;
            }
            // The marker ends a frame.
            if packet[1] & 0x80 != 0 {
                frames += 1;
                if Some(frames) == ask {
                    // An empty Receiver Report and a PLI (RFC 4585 section 6.3.1).
                    let mut rtcp = vec![0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 206, 0, 2, 0, 0, 0, 7];
                    rtcp.extend_from_slice(&packet[8..12]);
                    socket.send_to(&rtcp, from).unwrap();
                }
            }
        }
    };
    frames_to_key(None);
    assert_eq!(frames_to_key(None), 60, "key frames by themselves");
    let asked = frames_to_key(Some(10));
    assert!((10..30).contains(&asked), "asked after 10 frames, it came after {asked}");
    drop(stdin);
    until("its end", DEADLINE, || worker.try_wait().unwrap().is_some());
}

/// GStreamer as people start it.
fn sender(name: &str, sink: &str) -> Process {
    let line = format!(
        "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 \
         ! video/x-h264,profile=baseline ! h264parse ! queue ! m. \
         audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 \
         ! avenc_aac ! aacparse ! queue ! m. {sink}"
    );
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").args(line.split_whitespace());
    Process::start(name, &mut command).unwrap()
}

fn watch(tree: &Tree, stream: &str) -> Viewers {
    let options = viewer::Options { video: vec![Codec::H264], ..viewer::Options::default() };
    until(&format!("{stream} to be on air"), DEADLINE, || tree.is_live(stream));
    let viewers = Viewers::start(&tree.whep_url(stream), 1, &options).unwrap();
    sees_and_hears(&viewers, stream);
    viewers
}

fn sees_and_hears(viewers: &Viewers, stream: &str) {
    let before = viewers.report();
    let (frames, sounds) = (before.video.frames + 30, before.audio.packets + 30);
    let report = viewers
        .wait(DEADLINE, |r| r.video.frames >= frames && r.audio.packets >= sounds)
        .unwrap_or_else(|report| panic!("{stream} is not seen and heard:\n{report}"));
    assert_eq!((report.connected, report.failed), (1, 0), "{report}");
}

fn is(tree: &Tree, stream: &str, state: &str) -> bool {
    let labels = [("stream", stream), ("state", state)];
    tree.root.metrics().sum("soleil_source_state", &labels) == 1.0
}

fn restarts(tree: &Tree, stream: &str) -> f64 {
    tree.root.metrics().sum("soleil_source_restarts_total", &[("stream", stream)])
}

fn root_says(tree: &Tree, words: &[&str]) {
    let what = format!("the root to say {words:?}");
    until(&what, DEADLINE, || {
        tree.root.process.log().iter().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

/// Process ids of the root's workers.
fn workers(tree: &Tree) -> BTreeSet<i32> {
    let tasks = format!("/proc/{}/task", tree.root.process.id());
    let children = std::fs::read_dir(tasks)
        .unwrap()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("source-worker")
        })
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[test]
fn sources_of_all_kinds_are_on_air_and_what_fails_touches_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let clip = directory.path().join("clip.mp4");
    write_clip(&clip, CLIP).unwrap();
    let not_media = directory.path().join("letter.txt");
    std::fs::write(&not_media, "Dear Sir or Madam,\n".repeat(100)).unwrap();
    // Beyond those that the tree will take.
    let mut ports = Ports::default();
    ports.take(TREE_PORTS).unwrap();
    let first = ports.take(3).unwrap();
    let (srt, rtmp, nobody) = (first, first + 1, first + 2);
    let source = |name: &str, keys: &str| {
        format!("[[stream]]\nname = \"{name}\"\n[stream.source]\n{keys}\n")
    };
    let root_extra = [
        format!("[rtmp]\nlisten = \"127.0.0.1:{rtmp}\"\n"),
        source("clip", &format!("kind = \"file\"\npath = \"{}\"\nloop = true", clip.display())),
        source("letter", &format!("kind = \"file\"\npath = \"{}\"", not_media.display())),
        source("camera", &format!("kind = \"rtsp\"\nuri = \"rtsp://127.0.0.1:{nobody}/1\"")),
        source(
            "field",
            &format!("kind = \"srt\"\nlisten = \"127.0.0.1:{srt}\"\nsecret = \"correct-horse\""),
        ),
        source("push", "kind = \"rtmp\"\nsecret = \"battery-staple\""),
    ]
    .concat();
    let mut tree = Tree::start(&Options { relays: 0, root_extra, ..Options::default() }).unwrap();
    let _source = tree.go_live(0, &[]).unwrap();
    let demo = watch(&tree, "demo");

    // A file, and two sources that are none: each says where and what.
    let clip_viewers = watch(&tree, "clip");
    root_says(&tree, &["stream=letter", "letter.txt", "text file"]);
    root_says(&tree, &["stream=camera", &format!("rtsp://127.0.0.1:{nobody}/1"), "connect"]);
    until("them to be tried again", DEADLINE, || {
        restarts(&tree, "letter") >= 2.0 && restarts(&tree, "camera") >= 2.0
    });

    // SRT: not with another passphrase.
    until("the SRT listener", DEADLINE, || is(&tree, "field", "waiting"));
    let to = |secret: &str| {
        sender(
            "srt",
            &format!(
                "mpegtsmux name=m alignment=7 ! srtsink uri=srt://127.0.0.1:{srt} passphrase={secret}"
            ),
        )
    };
    let wrong = to("wrong-horse-at-all");
    root_says(&tree, &["stream=field", "refused", "passphrase"]);
    drop(wrong);
    assert!(is(&tree, "field", "waiting") && !tree.is_live("field"));
    let right = to("correct-horse");
    let field = watch(&tree, "field");
    root_says(&tree, &["stream=field", "video: H.264", "passed through"]);

    // RTMP: not with another key, and one publisher at a time.
    let to = |key: &str| {
        let at = format!("rtmp://127.0.0.1:{rtmp}/push/{key}");
        sender("rtmp", &format!("flvmux name=m streamable=true ! rtmp2sink location={at}"))
    };
    let mut wrong = to("battery-horse");
    root_says(&tree, &["RTMP", "wrong stream key"]);
    assert!(wrong.wait(DEADLINE).is_some() && is(&tree, "push", "waiting"));
    // Nor with what is no RTMP.
    let mut garbage = TcpStream::connect(("127.0.0.1", rtmp)).unwrap();
    garbage.write_all(&[0xff; 5_000]).unwrap();
    root_says(&tree, &["RTMP", "does not speak RTMP as it should"]);
    assert!(is(&tree, "push", "waiting"));
    let publisher = to("battery-staple");
    let push = watch(&tree, "push");
    let mut second = to("battery-staple");
    root_says(&tree, &["RTMP", "publishes it already"]);
    assert!(second.wait(DEADLINE).is_some());
    sees_and_hears(&push, "push");
    drop(publisher);
    until("the publisher to be gone", DEADLINE, || is(&tree, "push", "waiting"));

    // Workers that die come back, and their viewers have stayed.
    let before = workers(&tree);
    assert!(before.len() >= 2, "{before:?}");
    for pid in &before {
        let pid = rustix::process::Pid::from_raw(*pid).unwrap();
        // One that has ended by itself meanwhile is none of ours any more.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    until("other workers", DEADLINE, || {
        is(&tree, "clip", "running")
            && restarts(&tree, "clip") == 1.0
            && restarts(&tree, "field") >= 1.0
    });
    sees_and_hears(&clip_viewers, "clip");
    assert!(holds_within(DEADLINE, || workers(&tree).is_disjoint(&before)));
    // Whoever sends SRT calls again by himself.
    sees_and_hears(&field, "field");
    drop(right);

    // The stream that has nothing to do with all this.
    sees_and_hears(&demo, "demo");
    let log = tree.root.process.log().join("\n");
    for secret in ["correct-horse", "battery-staple"] {
        assert!(!log.contains(secret), "the root tells {secret}");
    }
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
    let left = workers(&tree);
    tree.root.process.stop();
    until("the workers to end", DEADLINE, || {
        left.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
}
