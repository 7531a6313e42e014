//! The dependency descriptor: what is written is read, and nothing else breaks it.

use super::super::super::dependency::{
    Descriptor, DescriptorError, Indication, MAX_TEMPLATES, Structure, Target,
};
use super::{Bits, Kind, L1T3, L2T2, L2T2_KEY, Sketch, indicate, mandatory, sketch};
use proptest::collection::vec;
use proptest::prelude::*;

const S2T1: &[Kind<'_>] =
    &[(0, 0, "S-", &[]), (0, 0, "S-", &[2]), (1, 0, "-S", &[]), (1, 0, "-S", &[2])];
/// Frames of the highest temporal layer are made of each other.
const CHAINED: &[Kind<'_>] =
    &[(0, 0, "SS", &[]), (0, 0, "SS", &[2]), (0, 1, "-R", &[1]), (0, 1, "-R", &[2, 1])];

fn structure(sketch: &Sketch<'_>) -> Structure {
    Descriptor::read(&sketch.key(7), None).unwrap().structure.unwrap()
}

#[test]
fn structures_have_the_names_of_their_modes() {
    for (kinds, name, spares_top) in [
        (&L1T3[..1], "L1T1", false),
        (L1T3, "L1T3", true),
        (L2T2, "L2T2", true),
        (L2T2_KEY, "L2T2_KEY", true),
        (S2T1, "S2T1", false),
        (CHAINED, "L1T2", false),
    ] {
        let structure = structure(&sketch(kinds));
        assert_eq!(structure.scalability().unwrap().to_string(), name);
        assert_eq!(structure.spares_top(), spares_top, "{name}");
        assert_eq!(structure.templates().len(), kinds.len());
    }
    let sizes = &[(320, 180), (480, 270)];
    let halves = structure(&Sketch { sizes, ..sketch(S2T1) });
    assert_eq!(halves.scalability().unwrap().to_string(), "S2T1h");
    assert_eq!((halves.size(0b11), halves.size(0b01)), (Some((480, 270)), Some((320, 180))));
    assert_eq!(halves.size(0), None);
    assert_eq!(
        halves.targets(),
        [Target { spatial: 0, temporal: 0 }, Target { spatial: 1, temporal: 0 }]
    );
}

/// From the wire: VP9 of Chromium 156 in the modes L1T3 and L2T3_KEY, and two later frames of the second.
#[test]
fn what_a_browser_says_is_understood() {
    let bytes = |hex: &str| -> Vec<u8> {
        let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(pair).collect()
    };
    let temporal = bytes("85002880a214eaa860414d141020842701df010d");
    let spatial = bytes(
        "8a0030814514853aaaa8018004004002a02a0060010015d34514174d144c70087432165111854327\
         68077804300ef80868",
    );
    for (key, number, name, kinds) in
        [(temporal, 40, "L1T3", 5), (spatial.clone(), 48, "L2T3_KEY", 10)]
    {
        let read = Descriptor::read(&key, None).unwrap();
        assert_eq!((read.first, read.last, read.number), (true, false, number));
        let known = read.structure.unwrap();
        assert_eq!(known.scalability().unwrap().to_string(), name);
        assert_eq!((known.templates().len(), known.spares_top()), (kinds, true));
        assert_eq!(known.size(read.active.unwrap()), Some((480, 270)));
    }
    let known = Descriptor::read(&spatial, None).unwrap().structure.unwrap();
    for (frame, number, layer, spared) in
        [("0f00401ac00838", 64, (1, 0), false), ("cd0044082820", 68, (0, 2), true)]
    {
        let read = Descriptor::read(&bytes(frame), Some(&known)).unwrap();
        assert_eq!((read.number, (read.spatial, read.temporal)), (number, layer));
        assert_eq!(known.spares(read.spatial, read.temporal, read.indications), spared);
    }
}

#[test]
fn frames_are_of_the_kind_that_they_name() {
    // Numbers of templates go round.
    let sketch = Sketch { offset: 62, ..sketch(L1T3) };
    let first = Descriptor::read(&sketch.key(7), None).unwrap();
    assert_eq!((first.number, first.temporal, first.active), (7, 0, Some(0b111)));
    let known = first.structure.unwrap();
    let read = |kind| Descriptor::read(&sketch.frame(kind, 8), Some(&known));
    let frame = read(3).unwrap();
    assert_eq!((frame.first, frame.last, frame.number), (true, true, 8));
    assert_eq!((frame.spatial, frame.temporal), (0, 2));
    let all = [0, 1, 2].map(|target| frame.indications.of(target));
    assert_eq!(all, [Indication::NotPresent, Indication::NotPresent, Indication::Discardable]);
    assert!(known.spares(0, 2, frame.indications));
    assert!(!known.spares(0, 1, read(1).unwrap().indications));
    assert_eq!(read(5), Err(DescriptorError::UnknownTemplate));
    let alone = Descriptor::read(&sketch.frame(0, 8), None);
    assert_eq!(alone, Err(DescriptorError::UnknownTemplate));
}

#[test]
fn a_frame_may_differ_from_its_template() {
    let known = structure(&Sketch { chains: 2, ..sketch(L1T3) });
    let mut bits = mandatory(3, 9);
    // Active targets, indications, references, chains: all of them its own.
    bits.put(0b01111, 5).put(0b011, 3);
    indicate(&mut bits, "--R");
    bits.put(1, 2).put(0, 4).put(3, 2).put(0xabc, 12).put(0, 2).put(1, 8).put(2, 8);
    let whole = bits.bytes();
    let frame = Descriptor::read(&whole, Some(&known)).unwrap();
    assert_eq!((frame.active, frame.temporal), (Some(0b011), 2));
    assert!(!known.spares(0, 2, frame.indications));
    for length in 0..whole.len() {
        let short = Descriptor::read(&whole[..length], Some(&known));
        // Three bytes are a whole one, of a frame that is as its template.
        assert_eq!(short.is_ok(), length == 3, "{length} bytes: {short:?}");
    }
    // References without an end.
    let mut bits = mandatory(3, 9);
    bits.put(0b00010, 5);
    for _ in 0..200 {
        bits.put(1, 2).put(0, 4);
    }
    let endless = Descriptor::read(&bits.bytes(), Some(&known));
    assert_eq!(endless, Err(DescriptorError::TooMany));
}

#[test]
fn there_are_no_more_templates_and_layers_than_can_be() {
    let begin = || {
        let mut bits = mandatory(0, 1);
        bits.put(0b10000, 5).put(0, 6).put(0, 5);
        bits
    };
    for (next, allowed) in [(0, MAX_TEMPLATES - 1), (1, 7), (2, 3)] {
        for (count, fits) in [(allowed, true), (allowed + 1, false)] {
            let mut bits: Bits = begin();
            for _ in 0..count {
                bits.put(next, 2);
            }
            bits.put(3, 2);
            for _ in 0..=count {
                bits.put(2, 2);
            }
            // No references, no chains, no sizes.
            bits.put(0, 32).put(0, 32).put(0, 8);
            let read = Descriptor::read(&bits.bytes(), None);
            assert_eq!(read.is_ok(), fits, "{count} of {next}");
            match read {
                Ok(read) => assert_eq!(read.structure.unwrap().templates().len(), count + 1),
                Err(error) => assert_eq!(error, DescriptorError::TooMany),
            }
        }
    }
}

/// Templates of any layers, in the order in which they can be written.
fn kinds() -> impl Strategy<Value = Vec<(u8, u8, String, Vec<u8>)>> {
    let target = proptest::sample::select(vec!['-', 'D', 'S', 'R']);
    (1usize..=32).prop_flat_map(move |targets| {
        let indications = vec(target.clone(), targets).prop_map(String::from_iter);
        let kind = (0u8..3, indications, vec(1u8..=16, 0..4));
        vec(kind, 1..MAX_TEMPLATES).prop_map(|steps| {
            let (mut spatial, mut temporal) = (0u8, 0u8);
            let mut out: Vec<(u8, u8, String, Vec<u8>)> = Vec::new();
            for (step, indications, diffs) in steps {
                match step {
                    1 if !out.is_empty() && temporal < 7 => temporal += 1,
                    2 if !out.is_empty() && spatial < 3 => (spatial, temporal) = (spatial + 1, 0),
                    _ => {}
                }
                out.push((spatial, temporal, indications, diffs));
            }
            out
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(kinds in kinds(), offset in 0u32..64, chained in 0u32..33, sized in any::<bool>()) {
        let kinds: Vec<Kind<'_>> =
            kinds.iter().map(|(s, t, dti, diffs)| (*s, *t, dti.as_str(), &diffs[..])).collect();
        let targets = kinds[0].2.len();
        let spatial = kinds.iter().map(|k| k.0).max().unwrap();
        let sizes: Vec<(u32, u32)> =
            (0..=u32::from(spatial)).map(|n| (100 << n, 50 << n)).filter(|_| sized).collect();
        let chains = chained % (targets as u32 + 1);
        let sketch = Sketch { offset, kinds: &kinds, chains, sizes: &sizes };
        let whole = sketch.key(11);
        let read = Descriptor::read(&whole, None).unwrap();
        let known = read.structure.unwrap();
        prop_assert_eq!(known.targets().len(), targets);
        for (n, (spatial, temporal, indications, diffs)) in kinds.iter().enumerate() {
            let frame = Descriptor::read(&sketch.frame(n as u32, 12), Some(&known)).unwrap();
            prop_assert_eq!((frame.spatial, frame.temporal), (*spatial, *temporal));
            prop_assert_eq!(known.templates()[n].reach, diffs.iter().copied().max().unwrap_or(0));
            for (target, letter) in indications.chars().enumerate() {
                let of = frame.indications.of(target);
                let expected = match letter {
                    '-' => Indication::NotPresent,
                    'D' => Indication::Discardable,
                    'S' => Indication::Switch,
                    _ => Indication::Required,
                };
                prop_assert_eq!(of, expected);
            }
        }
        let mode = known.scalability().unwrap();
        prop_assert_eq!(mode.spatial(), spatial + 1);
        prop_assert_eq!(mode.to_string().parse(), Ok(mode));
        for length in 0..whole.len() {
            prop_assert!(Descriptor::read(&whole[..length], None).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(all in vec(vec(any::<u8>(), 0..256), 1..20)) {
        let mut known: Option<Structure> = None;
        for bytes in &all {
            if let Ok(read) = Descriptor::read(bytes, known.as_ref()) {
                prop_assert!(read.spatial <= 3 && read.temporal <= 7);
                known = read.structure.or(known);
            }
        }
    }
}
