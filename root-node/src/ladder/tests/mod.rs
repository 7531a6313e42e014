//! The ladder's pure parts: what a rung means, what fits, what is left out, and what goes over the
//! socket.

mod gop;
mod load;

use super::budget::{self, Cores};
use super::plan::{Plan, Source, plan};
use super::rung::{DEFAULT, Rung};
use super::wire::{self, Frame, Kind, Splitter};
use proptest::prelude::*;
use soleil_protocol::pipeline::Codec;

fn rungs(names: &[&str]) -> Vec<Rung> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn cores(n: f64) -> Cores {
    Cores::try_from(n).unwrap()
}

#[test]
fn rungs_are_read_and_written_the_same() {
    for name in ["360p", "720p@2500k", "90p", "2160p@50000k"] {
        let rung: Rung = name.parse().unwrap();
        assert_eq!(rung.to_string(), name);
        let json = format!("\"{name}\"");
        assert_eq!(serde_json::from_str::<Rung>(&json).unwrap(), rung);
        assert_eq!(serde_json::to_string(&rung).unwrap(), json);
    }
    let bad =
        ["", "p", "360", "360i", "89p", "2161p", "360p@", "360p@600", "360p@49k", "360p@50001k"];
    for name in bad.into_iter().chain(["-360p", "360p@-1k", "70000p", "360p@600k@1k"]) {
        let error = name.parse::<Rung>().unwrap_err();
        assert!(error.contains("write it like \"360p\""), "{name}: {error}");
    }
}

#[test]
fn a_rung_keeps_the_pictures_shape() {
    let rung = Rung::new(360);
    assert_eq!(rung.size((1280, 720)), (640, 360));
    assert_eq!(rung.size((720, 1280)), (360, 640), "one that stands upright");
    assert_eq!(rung.size((1440, 1080)), (480, 360));
    assert_eq!(rung.size((1366, 768)), (640, 360), "even");
    assert_eq!(rung.kbits((640, 360), 30.0), 691);
    assert_eq!(rung.kbits((640, 360), 60.0), 1382);
    assert_eq!(Rung { kbit: Some(500), ..rung }.kbits((640, 360), 30.0), 500);
}

fn made(plan: &Plan) -> Vec<String> {
    plan.making.iter().map(|m| format!("{} {}x{}", m.rung, m.width, m.height)).collect()
}

#[test]
fn what_is_not_below_the_source_is_left_out() {
    let source = |size| Source { codec: Codec::H264, size, rate: 30.0 };
    let all = |size| plan(source(size), &DEFAULT, cores(99.0));
    assert_eq!(made(&all((3840, 2160))), ["0 1920x1080", "1 1280x720", "2 640x360"]);
    assert_eq!(made(&all((1920, 1080))), ["1 1280x720", "2 640x360"]);
    assert_eq!(made(&all((1280, 720))), ["2 640x360"]);
    assert_eq!(made(&all((720, 1280))), ["2 360x640"]);
    let none = all((640, 360));
    assert_eq!((made(&none), none.left_out.len()), (vec![], 3));
    assert!(none.left_out[0].1.contains("640x360"));
}

#[test]
fn a_source_that_is_larger_than_the_machine_loses_the_best_rungs() {
    let source = Source { codec: Codec::H264, size: (3840, 2160), rate: 30.0 };
    let ladder = rungs(&["1080p", "720p", "360p"]);
    let need = |rungs: &[Rung]| budget::cost(source.codec, source.size, source.rate, rungs);
    let two = plan(source, &ladder, need(&ladder[1..]));
    assert_eq!(made(&two), ["1 1280x720", "2 640x360"]);
    assert_eq!(two.left_out[0].0, 0);
    assert!(two.left_out[0].1.contains("processor cores"), "{:?}", two.left_out);
    let none = plan(source, &ladder, Cores::NONE);
    assert_eq!((made(&none), none.left_out.len()), (vec![], 3));
}

#[test]
fn a_ladder_that_does_not_fit_is_refused_with_what_would() {
    let ladder = rungs(&["1080p", "720p", "360p@500k"]);
    let left = budget::assumed(Codec::H264, &ladder[1..]);
    assert_eq!(budget::check(Codec::H264, &ladder[1..], left), Ok(left));
    let refused = budget::check(Codec::H264, &ladder, left).unwrap_err();
    assert!(refused.contains("[\"720p\", \"360p@500k\"] would fit"), "{refused}");
    assert!(refused.contains(&format!("{left} are left")), "{refused}");
    let refused = budget::check(Codec::H264, &ladder, cores(0.01)).unwrap_err();
    assert!(refused.contains("none of its rungs would fit"), "{refused}");
    assert_eq!(budget::check(Codec::H264, &[], Cores::NONE), Ok(Cores::NONE), "none costs nothing");
    // What one stream takes, another one has not.
    assert!(budget::check(Codec::H264, &ladder[2..], left.without(left)).is_err());
}

#[test]
fn cores_are_a_number_that_a_machine_can_have() {
    for bad in [-0.1, f64::NAN, f64::INFINITY, 1e9] {
        assert!(Cores::try_from(bad).is_err(), "{bad}");
    }
}

fn frames() -> impl Strategy<Value = Vec<(bool, u8, Vec<u8>)>> {
    let one = (any::<bool>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..1500));
    prop::collection::vec(one, 0..20)
}

proptest! {
    /// However the socket cuts them, frames come out as they went in.
    #[test]
    fn frames_are_put_together(frames in frames(), cuts in prop::collection::vec(1_usize..2000, 1..50)) {
        let mut bytes = Vec::new();
        for (key, layer, body) in &frames {
            let kind = if *key { Kind::Key } else { Kind::Rtp };
            prop_assert!(wire::write(kind, *layer, body, &mut bytes));
        }
        let mut splitter = Splitter::default();
        let (mut rest, mut cuts, mut got) = (bytes.as_slice(), cuts.iter().cycle(), Vec::new());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            rest = more;
            splitter.push(piece);
            while let Some(Frame { kind, layer, body }) = splitter.next_frame().unwrap() {
                got.push((kind == Kind::Key, layer, body));
            }
        }
        prop_assert_eq!(got, frames);
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let mut splitter = Splitter::default();
    splitter.push(&[9, 0, 0, 0]);
    assert_eq!(splitter.next_frame(), Err(9));
    assert!(!wire::write(Kind::Job, 0, &vec![0; wire::MAX_BODY + 1], &mut Vec::new()));
}
