//! The broadcaster by itself: its RTP is decoded by GStreamer and the picture read back, sound and
//! picture belong together, and a PLI makes a key frame.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use gstreamer as gst;
use gstreamer::prelude::*;
use soleil_tests::picture::{NUMBER_MODULO, Stamp};
use soleil_tests::source::{Rtcp, Source, SourceOptions, VideoCodec};
use soleil_tests::wait::until;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn options(codec: VideoCodec, video: u16, audio: u16) -> SourceOptions {
    SourceOptions {
        video: SocketAddr::from(([127, 0, 0, 1], video)),
        audio: SocketAddr::from(([127, 0, 0, 1], audio)),
        no_audio: false,
        codec,
        width: 640,
        height: 360,
        fps: "30".parse().unwrap(),
        bitrate: 800,
        temporal: false,
        key_int: 300,
        mtu: 1200,
        video_pt: 96,
        audio_pt: 111,
        rtcp: Rtcp::Mux,
        clock_text: true,
        frames: None,
        first_number: 0,
    }
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn decoded(codec: VideoCodec) {
    gst::init().unwrap();
    let (video, audio) = (free_port(), free_port());
    let (name, depay) = match codec {
        VideoCodec::H264 => ("H264", "rtph264depay ! avdec_h264"),
        VideoCodec::Vp8 => ("VP8", "rtpvp8depay ! vp8dec"),
        VideoCodec::Vp9 => ("VP9", "rtpvp9depay ! vp9dec"),
        // GStreamer 1.22 cannot take AV1 out of RTP; Chromium does (browser_codecs.rs).
        VideoCodec::Av1 => unreachable!(),
    };
    let receiver = gst::parse::launch(&format!(
        "udpsrc address=127.0.0.1 port={video} \
         caps=application/x-rtp,media=video,clock-rate=90000,encoding-name={name},payload=96 \
         ! {depay} ! videoconvert ! video/x-raw,format=I420,width=640,height=360 \
         ! appsink name=out sync=false"
    ))
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let seen: Arc<Mutex<Vec<Stamp>>> = Arc::default();
    let sink = receiver.by_name("out").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
    let list = seen.clone();
    sink.set_callbacks(
        gstreamer_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
                let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
                if let Some(stamp) = Stamp::read(map.as_slice(), 640, 360, 640) {
                    list.lock().unwrap().push(stamp);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    receiver.set_state(gst::State::Playing).unwrap();
    let source = Source::start(&options(codec, video, audio)).unwrap();
    until("60 decoded frames", Duration::from_secs(20), || seen.lock().unwrap().len() >= 60);
    let report = source.stop();
    receiver.set_state(gst::State::Null).unwrap();
    let seen = seen.lock().unwrap();
    // RTP may come before the receiver listens, but from then on nothing is missing.
    for pair in seen.windows(2) {
        assert_eq!(pair[1].number, (pair[0].number + 1) % NUMBER_MODULO, "{seen:?}");
        assert!(pair[1].sent_ms >= pair[0].sent_ms);
    }
    let last = seen.last().unwrap();
    assert!(last.number <= report.last, "{last:?} {report:?}");
    assert!(report.frames >= 60);
}

#[test]
fn h264_is_read_back() {
    decoded(VideoCodec::H264);
}

#[test]
fn vp8_is_read_back() {
    decoded(VideoCodec::Vp8);
}

#[test]
fn vp9_is_read_back() {
    decoded(VideoCodec::Vp9);
}

/// Plays the root's part on two sockets: reports and PLI.
#[test]
fn sender_reports_tie_sound_to_picture_and_a_pli_makes_a_key_frame() {
    let sockets: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for socket in &sockets {
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    }
    let ports: Vec<u16> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
    let source = Source::start(&options(VideoCodec::H264, ports[0], ports[1])).unwrap();
    // Per track: (NTP, RTP time stamp) of the last Sender Report, sender, SSRC.
    let mut reports = [None, None];
    let mut buffer = [0; 2048];
    let mut senders = [None, None];
    until("Sender Reports of both tracks", Duration::from_secs(20), || {
        for track in 0..2 {
            if let Ok((size, from)) = sockets[track].recv_from(&mut buffer) {
                assert!(size <= 1200, "a packet of {size} bytes");
                // RTP and RTCP come from one address (RFC 5761).
                assert_eq!(*senders[track].get_or_insert(from), from);
                if size >= 28 && buffer[1] == 200 {
                    let word = |i: usize| u32::from_be_bytes(buffer[i..i + 4].try_into().unwrap());
                    let ntp = (u64::from(word(8)) << 32) | u64::from(word(12));
                    reports[track] = Some((word(4), ntp, word(16)));
                }
            }
        }
        reports.iter().all(Option::is_some)
    });
    let (ssrc, ntp, _) = reports[0].unwrap();
    let (_, audio_ntp, _) = reports[1].unwrap();
    let seconds = |ntp: u64| ntp as f64 / 4_294_967_296.0 - 2_208_988_800.0;
    let wall = relay_node::clock::Clock::start().now().wall.0 as f64 / 1e6;
    assert!((seconds(ntp) - wall).abs() < 5.0, "{} {wall}", seconds(ntp));
    assert!((seconds(audio_ntp) - wall).abs() < 5.0);

    let before = source.report();
    assert!(before.key_frames >= 1);
    // RR (empty) and PLI (RFC 4585 section 6.3.1).
    let mut pli = vec![0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 206, 0, 2, 0, 0, 0, 7];
    pli.extend_from_slice(&ssrc.to_be_bytes());
    sockets[0].send_to(&pli, senders[0].unwrap()).unwrap();
    until("a key frame that was asked for", Duration::from_secs(10), || {
        let _ = sockets[0].recv_from(&mut buffer);
        source.report().key_frames > before.key_frames
    });
    let report = source.stop();
    assert_eq!(report.key_requests, 1, "{report:?}");
}

#[test]
fn stops_after_the_frames_asked_for() {
    let mut options = options(VideoCodec::H264, free_port(), free_port());
    options.frames = Some(20);
    options.first_number = NUMBER_MODULO - 10;
    let source = Source::start(&options).unwrap();
    until("20 frames", Duration::from_secs(20), || source.is_done());
    let report = source.stop();
    assert_eq!((report.frames, report.first, report.last), (20, NUMBER_MODULO - 10, 9));
}
