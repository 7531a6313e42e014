//! The reader against a writer of our own and against `rtc-rtcp`, and against noise.

use super::*;
use proptest::prelude::*;
use rtc_rtcp::transport_feedbacks::transport_layer_cc as theirs;
use rtc_shared::marshal::Marshal;
use soleil_protocol::Mono;

/// Writes a message: arrival times in ticks of 250 µs since `reference` (in 64 ms), `None` for
/// what is missing. Chunks of all kinds, chosen by what stands in line.
pub(crate) fn encode(base: u16, reference: u32, serial: u8, arrivals: &[Option<i64>]) -> Vec<u8> {
    let mut out = vec![0x80 | FORMAT, RTPFB, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    out.extend(base.to_be_bytes());
    out.extend((arrivals.len() as u16).to_be_bytes());
    out.extend(&reference.to_be_bytes()[1..]);
    out.push(serial);
    let (mut time, mut deltas, mut symbols) = (0, vec![], vec![]);
    for arrival in arrivals {
        symbols.push(match arrival {
            None => 0u16,
            Some(at) => {
                let delta = at - time;
                time = *at;
                if let Ok(small) = u8::try_from(delta) {
                    deltas.push(small);
                    1
                } else {
                    deltas.extend(i16::try_from(delta).unwrap().to_be_bytes());
                    2
                }
            }
        });
    }
    let mut rest = &symbols[..];
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|s| *s == first).count().min(0x1fff);
        let (word, taken) = if run > 7 || run == rest.len() {
            ((first << 13) | run as u16, run)
        } else if rest.iter().take(14).all(|s| *s < 2) {
            let bits = |w, i| (w << 1) | rest.get(i).copied().unwrap_or(0);
            (0x8000 | (0..14).fold(0, bits), rest.len().min(14))
        } else {
            let pairs = |w, i| (w << 2) | rest.get(i).copied().unwrap_or(0);
            (0xc000 | (0..7).fold(0, pairs), rest.len().min(7))
        };
        out.extend(word.to_be_bytes());
        rest = &rest[taken..];
    }
    out.extend(deltas);
    out.resize(out.len().next_multiple_of(4), 0);
    let words = (out.len() / 4 - 1) as u16;
    out[2..4].copy_from_slice(&words.to_be_bytes());
    out
}

fn read(message: &[u8]) -> Vec<(u16, Fate)> {
    Feedback::parse(message).map(|f| f.packets().collect()).unwrap_or_default()
}

fn told(base: u16, arrivals: &[Option<i64>]) -> Vec<(u16, Fate)> {
    let fate = |a: &Option<i64>| a.map_or(Fate::Missing, |at| Fate::At(at * TICK));
    arrivals.iter().enumerate().map(|(i, a)| (base.wrapping_add(i as u16), fate(a))).collect()
}

fn arrivals() -> impl Strategy<Value = Vec<Option<i64>>> {
    // Mostly in order, with losses, runs, and steps back as reordering makes them.
    let step = prop_oneof![
        8 => (0i64..250).prop_map(Some),
        2 => (-300i64..5_000).prop_map(Some),
        3 => Just(None),
    ];
    let run = (step, prop_oneof![3 => Just(1usize), 1 => 1usize..60]);
    prop::collection::vec(run, 1..40).prop_map(|runs| {
        let mut time = 400;
        let steps = runs.into_iter().flat_map(|(step, n)| std::iter::repeat_n(step, n));
        let mut move_on = |s: i64| {
            time += s;
            time
        };
        steps.map(|s| s.map(&mut move_on)).collect()
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read(base: u16, reference in 0u32..1 << 24, serial: u8, a in arrivals()) {
        let message = encode(base, reference, serial, &a);
        let f = Feedback::parse(&message).unwrap();
        prop_assert_eq!((f.base(), f.len() as usize), (base, a.len()));
        prop_assert_eq!((f.reference(), f.serial()), (reference, serial));
        prop_assert_eq!(f.packets().collect::<Vec<_>>(), told(base, &a));
        // Cut anywhere (padding aside), it is no message.
        for len in 0..message.len() - 3 {
            prop_assert!(Feedback::parse(&message[..len]).is_none());
        }
    }

    #[test]
    fn noise_is_bounded(mut data in prop::collection::vec(any::<u8>(), 0..200), head: bool) {
        if head && data.len() > 2 {
            data[0] = 0x80 | FORMAT;
            data[1] = RTPFB;
        }
        if let Some(f) = Feedback::parse(&data) {
            prop_assert_eq!(f.packets().count(), usize::from(f.len()));
            prop_assert!(f.len() <= MAX_PACKETS);
        }
    }

    #[test]
    fn the_history_tells_each_packet_once(
        sent in 1usize..3_000,
        asked in prop::collection::vec((any::<u16>(), any::<bool>()), 1..200),
    ) {
        let mut history = History::default();
        for i in 0..sent {
            prop_assert_eq!(history.next(), i as u16);
            history.push(Mono(5_000_000_000 + i as u64 * 100), 100 + i % 1_000, i % 7 == 0);
        }
        let now = Mono(5_000_000_000 + sent as u64 * 100);
        let mut seen = std::collections::HashSet::new();
        for (number, came) in asked {
            // Half of them near what was sent last, or hardly any would be known.
            let number = if came { number } else { (sent as u16).wrapping_sub(number % 600) };
            let Some(full) = history.unwrap(number) else { continue };
            prop_assert!(full < sent as u64 && full as u16 == number);
            let Some(packet) = history.receive(now, full) else {
                prop_assert!(seen.contains(&full) || sent as u64 - full > HISTORY_PACKETS as u64);
                continue;
            };
            prop_assert!(seen.insert(full));
            prop_assert_eq!(packet.at, Mono(5_000_000_000 + full * 100));
            prop_assert_eq!(usize::from(packet.size), 100 + full as usize % 1_000);
            prop_assert_eq!(packet.probe, full % 7 == 0);
        }
    }
}

#[test]
fn reads_what_another_codec_writes() {
    let chunk = |symbol, run_length| {
        theirs::PacketStatusChunk::RunLengthChunk(theirs::RunLengthChunk {
            type_tcc: theirs::StatusChunkTypeTcc::RunLengthChunk,
            packet_status_symbol: symbol,
            run_length,
        })
    };
    let delta = |type_tcc_packet, delta| theirs::RecvDelta { type_tcc_packet, delta };
    let small = theirs::SymbolTypeTcc::PacketReceivedSmallDelta;
    let large = theirs::SymbolTypeTcc::PacketReceivedLargeDelta;
    let vector = theirs::PacketStatusChunk::StatusVectorChunk(theirs::StatusVectorChunk {
        type_tcc: theirs::StatusChunkTypeTcc::StatusVectorChunk,
        symbol_size: theirs::SymbolSizeTypeTcc::TwoBit,
        symbol_list: vec![
            large,
            theirs::SymbolTypeTcc::PacketNotReceived,
            small,
            small,
            small,
            small,
            large,
        ],
    });
    let message = theirs::TransportLayerCc {
        sender_ssrc: 5,
        media_ssrc: 6,
        base_sequence_number: 65_534,
        packet_status_count: 12,
        reference_time: 77,
        fb_pkt_count: 9,
        packet_chunks: vec![
            chunk(small, 2),
            vector,
            chunk(theirs::SymbolTypeTcc::PacketNotReceived, 3),
        ],
        recv_deltas: [(small, 250), (small, 500), (large, 100_000)]
            .into_iter()
            .chain([(small, 1_000); 4])
            .chain([(large, -2_500)])
            .map(|(t, d)| delta(t, d))
            .collect(),
    };
    let bytes = message.marshal().unwrap();
    let f = Feedback::parse(&bytes).unwrap();
    assert_eq!((f.reference(), f.serial()), (77, 9));
    let at = |n| Fate::At(n);
    let expected = [
        (65_534, at(250)),
        (65_535, at(750)),
        (0, at(100_750)),
        (1, Fate::Missing),
        (2, at(101_750)),
        (3, at(102_750)),
        (4, at(103_750)),
        (5, at(104_750)),
        (6, at(102_250)),
        (7, Fate::Missing),
        (8, Fate::Missing),
        (9, Fate::Missing),
    ];
    assert_eq!(f.packets().collect::<Vec<_>>(), expected);
}

#[test]
fn wrong_counts_are_refused() {
    let good = encode(7, 1, 0, &[Some(1), None, Some(2)]);
    assert_eq!(read(&good).len(), 3);
    let mut none = good.clone();
    none[14..16].copy_from_slice(&0u16.to_be_bytes());
    assert!(Feedback::parse(&none).is_none());
    // More packets than chunks, and more than we count.
    for count in [MAX_PACKETS, MAX_PACKETS + 1, u16::MAX] {
        let mut more = good.clone();
        more[14..16].copy_from_slice(&count.to_be_bytes());
        assert!(Feedback::parse(&more).is_none(), "{count}");
    }
    let long = vec![None; usize::from(MAX_PACKETS)];
    assert_eq!(read(&encode(7, 1, 0, &long)).len(), usize::from(MAX_PACKETS));
    let mut longer = encode(7, 1, 0, &long);
    longer[14..16].copy_from_slice(&(MAX_PACKETS + 1).to_be_bytes());
    longer.extend([0xff; 8]);
    assert!(Feedback::parse(&longer).is_none());
    // A run that says more than the count ends with it; runs of nothing are passed over.
    let mut run = encode(7, 1, 0, &[None; 4]);
    run[20..22].copy_from_slice(&0x1fffu16.to_be_bytes());
    assert_eq!(read(&run).len(), 4);
    run.splice(20..22, [0, 0, 0, 0, 0, 4]);
    assert_eq!(read(&run).len(), 4);
    // Another format, another type, another version.
    for (at, value) in [(0, 0x81), (1, 206), (0, 0x4f)] {
        let mut other = good.clone();
        other[at] = value;
        assert!(Feedback::parse(&other).is_none());
    }
}

#[test]
fn the_reserved_symbol_is_a_packet_without_a_time() {
    let mut message = encode(7, 1, 0, &[None; 4]);
    message[20..22].copy_from_slice(&((3u16 << 13) | 4).to_be_bytes());
    assert_eq!(read(&message), (7..11).map(|n| (n, Fate::Received)).collect::<Vec<_>>());
}

#[test]
fn reference_times_go_on_over_the_wrap() {
    let mut epoch = Epoch::default();
    let unit = REFERENCE_TICKS * TICK;
    let top = (1u32 << 24) - 2;
    let start = epoch.micros(top);
    assert_eq!(epoch.micros(top + 1) - start, unit);
    assert_eq!(epoch.micros(1) - start, 3 * unit);
    // One that was overtaken.
    assert_eq!(epoch.micros(top + 1) - start, unit);
    assert_eq!(epoch.micros(2) - start, 4 * unit);
}

#[test]
fn the_history_knows_what_was_missing_first() {
    let mut history = History::default();
    assert_eq!(history.unwrap(0), None);
    history.push(Mono(10), 1_200, false);
    history.push(Mono(20), 1_201, true);
    assert_eq!(history.unwrap(1), Some(1));
    // Nothing with this number can have been sent.
    assert_eq!(history.unwrap(2), None);
    let sent = history.miss(Mono(500), 1).unwrap();
    assert_eq!((sent.at, sent.size, sent.probe, sent.missing), (Mono(20), 1_201, true, false));
    assert_eq!(history.miss(Mono(600), 1), None);
    assert!(history.receive(Mono(700), 1).unwrap().missing);
    assert_eq!(history.receive(Mono(800), 1), None);
    assert_eq!(history.miss(Mono(800), 1), None);
}
