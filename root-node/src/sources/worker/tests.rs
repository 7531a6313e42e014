//! What caps mean, and what the worker says.

use super::encoders::{Wish, encoder, kbits};
use super::media::Media;
use super::{hidden, make, srtlog};
use crate::sources::job::Make;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::str::FromStr;

fn media(caps: &str) -> Media {
    gst::init().unwrap();
    Media::new(&gst::Caps::from_str(caps).unwrap()).unwrap()
}

#[test]
fn what_browsers_play_may_pass() {
    let table = [
        ("video/x-h264,profile=high,chroma-format=4:2:0", Make::H264, None),
        ("video/x-h264", Make::H264, None),
        ("video/x-h264,profile=high-10", Make::H264, Some("profile high-10")),
        ("video/x-h264,profile=high,chroma-format=4:4:4", Make::H264, Some("4:2:0")),
        ("video/x-h264,profile=main,interlace-mode=mixed", Make::H264, Some("interlaced")),
        ("video/x-h265,profile=main", Make::H264, Some("HEVC is not H.264")),
        ("video/x-h264", Make::Vp8, Some("H.264 is not VP8")),
        ("video/x-vp8", Make::Vp8, None),
        ("audio/x-opus,channels=2", Make::Opus, None),
        ("audio/x-opus,channels=6", Make::Opus, Some("6 channels")),
        ("audio/mpeg,mpegversion=4", Make::Opus, Some("AAC")),
        ("audio/mpeg,mpegversion=1,layer=3", Make::Opus, Some("MP3")),
    ];
    for (caps, make, reason) in table {
        let unfit = media(caps).unfit(make);
        match (&unfit, reason) {
            (None, None) => {}
            (Some(said), Some(word)) => assert!(said.contains(word), "{caps}: {said}"),
            _ => panic!("{caps}: {unfit:?}"),
        }
    }
    let words = media("video/x-h264,profile=high,width=1280,height=720,framerate=30000/1001").words;
    assert_eq!(words, "H.264 high 1280x720 29.97 fps");
    assert_eq!(media("audio/mpeg,mpegversion=4,rate=44100,channels=2").words, "AAC 44100 Hz 2 ch");
    gst::init().unwrap();
    assert_eq!(Media::new(&gst::Caps::from_str("text/x-raw").unwrap()), None);
}

#[test]
fn encoders_get_their_settings_and_a_bit_rate_that_fits() {
    gst::init().unwrap();
    let opus = encoder(Make::Opus, Wish::of(None, None), "output").unwrap();
    assert_eq!(opus.property::<i32>("bitrate"), 128_000);
    let video = encoder(Make::H264, Wish::of(Some((640, 360)), Some(30.0)), "output").unwrap();
    if video.factory().unwrap().name() == "x264enc" {
        assert_eq!(video.property::<u32>("bitrate"), 691);
        assert_eq!(video.property::<u32>("bframes"), 0);
    }
    assert_eq!(kbits(Some((1280, 720)), Some(30.0)), 2764);
    assert_eq!(kbits(Some((16, 16)), None), 200);
    assert_eq!(kbits(Some((i32::MAX, i32::MAX)), Some(1e9)), 12_000);
}

#[test]
fn an_element_that_is_not_there_is_named_with_its_place() {
    gst::init().unwrap();
    let problem = make("no-such-element", "the input").unwrap_err();
    assert_eq!(problem.element.as_deref(), Some("no-such-element"));
    assert_eq!(problem.place, "the input");
    assert!(problem.what.contains("no-such-element is missing"), "{}", problem.what);
}

#[test]
fn secrets_are_left_out_and_libsrt_is_understood() {
    let text = "rtsp://u:pass@camera: pass is wrong";
    assert_eq!(hidden(text, &["pass", ""]), "rtsp://u:(hidden)@camera: (hidden) is wrong");
    let line =
        "processConnectRequest: : processConnectRequest: rsp(REJECT): 1010 - Incorrect passphrase";
    assert_eq!(srtlog::reason(line), Some("Incorrect passphrase"));
    assert_eq!(srtlog::reason("rsp(REJECT): strange"), Some("strange"));
    assert_eq!(srtlog::reason("newConnection: connection rejected"), None);
}
