//! Random sequences of operations. What must hold at every datagram is checked by the bench: no
//! nonce twice, nothing but STUN (within the credit) to addresses that have not answered, nothing
//! after the end, bounded queues, timers that come to rest.

use super::bench::*;
use super::client::{GCM, nack, pli, report};
use crate::session::{EndCause, RESEND_BURST, RESENDS_PER_SECOND};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Op {
    Step(u64),
    Video {
        count: u64,
        gap: u64,
        key: bool,
    },
    Late(u64),
    Audio(u64),
    Check,
    Dtls,
    /// A valid check, but in the name of another address.
    Forged(u8, bool),
    Move(u8),
    Deaf(bool),
    Noise(u8, Vec<u8>),
    /// The viewer's own datagram, cut or with a byte changed, from somewhere.
    Damaged {
        from: u8,
        at: usize,
        to: u8,
        cut: bool,
    },
    Nack(u16, u16),
    Pli,
    Report(u8, u32),
    /// Authentic SRTCP with garbage in it.
    Garbage(Vec<u8>),
    Goodbye,
    Delete,
}

fn op() -> impl Strategy<Value = Op> {
    let place = 1u8..6;
    prop_oneof![
        6 => (0u64..3_000).prop_map(Op::Step),
        1 => (3_000u64..40_000).prop_map(Op::Step),
        8 => (1u64..30, prop_oneof![9 => Just(0u64), 2 => 1u64..20, 1 => 500u64..1_500],
              any::<bool>()).prop_map(|(count, gap, key)| Op::Video { count, gap, key }),
        2 => (1u64..700).prop_map(Op::Late),
        4 => (1u64..20).prop_map(Op::Audio),
        3 => Just(Op::Check),
        2 => Just(Op::Dtls),
        2 => (place.clone(), any::<bool>()).prop_map(|(p, n)| Op::Forged(p, n)),
        1 => place.clone().prop_map(Op::Move),
        2 => any::<bool>().prop_map(Op::Deaf),
        3 => (place.clone(), prop::collection::vec(any::<u8>(), 0..80),
              prop_oneof![Just(0u8), Just(20), Just(21), Just(22), Just(23), Just(0x80)])
            .prop_map(|(p, mut data, kind)| {
                if let Some(first) = data.first_mut() { *first = kind; }
                Op::Noise(p, data)
            }),
        3 => (place, any::<usize>(), any::<u8>(), any::<bool>())
            .prop_map(|(from, at, to, cut)| Op::Damaged { from, at, to, cut }),
        3 => (any::<u16>(), any::<u16>()).prop_map(|(back, mask)| Op::Nack(back % 64, mask)),
        2 => Just(Op::Pli),
        2 => (any::<u8>(), any::<u32>()).prop_map(|(f, id)| Op::Report(f, id)),
        2 => prop::collection::vec(any::<u8>(), 0..120).prop_map(Op::Garbage),
        1 => prop_oneof![20 => Just(Op::Check), 1 => Just(Op::Goodbye), 1 => Just(Op::Delete)],
    ]
}

fn run(b: &mut Bench, op: Op) {
    match op {
        Op::Step(ms) => b.step(Duration::from_millis(ms)),
        Op::Video { count, gap, key } => {
            b.next_video += gap;
            b.video(count, key);
        }
        Op::Late(back) => {
            let index = b.next_video.saturating_sub(back);
            b.packet(VIDEO, index, false);
        }
        Op::Audio(count) => b.audio(count),
        Op::Check => b.check(),
        Op::Dtls => {
            b.viewer.start_dtls(b.now);
            b.exchange();
        }
        Op::Forged(n, nominate) => {
            let check = b.viewer.check(nominate, u32::from(n));
            b.checked += check.len();
            b.input(addr(n), check);
        }
        Op::Move(n) => b.at = addr(n),
        Op::Deaf(deaf) => b.deaf = deaf,
        Op::Noise(n, data) => b.input(addr(n), data),
        Op::Damaged { from, at, to, cut } => {
            let mut data = match b.viewer.seal(&pli(VIDEO_OUT)) {
                Some(sealed) if at % 2 == 0 => sealed,
                _ => b.viewer.check(true, 1),
            };
            let at = at % data.len();
            if cut {
                data.truncate(at);
            } else if data[at] == to {
                data[at] ^= 0x80;
            } else {
                data[at] = to;
            }
            b.input(addr(from), data);
        }
        Op::Nack(back, mask) => {
            let newest = b.seqs(VIDEO_OUT).last().copied().unwrap_or_default();
            sealed(b, &nack(VIDEO_OUT, &[(newest.wrapping_sub(back), mask)]));
        }
        Op::Pli => sealed(b, &pli(VIDEO_OUT)),
        Op::Report(fraction, id) => sealed(b, &report(VIDEO_OUT, fraction, id, id)),
        Op::Garbage(mut data) => {
            data.resize(data.len().max(8), 0);
            data[0] = 0x80 | (data[0] & 0x3f);
            data[1] = 192 + data[1] % 32;
            sealed(b, &data);
        }
        Op::Goodbye => {
            b.viewer.close(b.now);
            b.exchange();
        }
        Op::Delete => {
            b.session.close(b.now, EndCause::Deleted);
            b.settle();
            b.exchange();
        }
    }
}

fn sealed(b: &mut Bench, plain: &[u8]) {
    if let Some(data) = b.viewer.seal(plain) {
        b.input(b.at, data);
    }
}

/// The picture as it was sent: its numbers go on by the source's steps or, where a range began,
/// by one; late ones lie behind. Times rise with the numbers.
fn check_stream(b: &Bench) -> Result<(), TestCaseError> {
    let mut newest: Option<(u64, u16, u32)> = None;
    let mut received = b.viewer.seen.iter().filter(|s| s.ssrc == VIDEO_OUT);
    for s in &mut received {
        let index = u64::from_be_bytes(s.payload[..8].try_into().unwrap());
        let Some((last, seq, timestamp)) = newest else {
            newest = Some((index, s.seq, s.timestamp));
            continue;
        };
        if index <= last {
            let behind = (s.seq.wrapping_sub(seq) as i16) < 0;
            prop_assert!(behind || index == last, "a late packet lies behind");
            continue;
        }
        let step = s.seq.wrapping_sub(seq);
        prop_assert!(step >= 1 && u64::from(step) <= index - last, "{step} for {}", index - last);
        prop_assert!((s.timestamp.wrapping_sub(timestamp) as i32) >= 0, "time goes back");
        newest = Some((index, s.seq, s.timestamp));
    }
    Ok(())
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn nothing_breaks_a_session(
        connected in any::<bool>(), rtx in any::<bool>(), seed in any::<u8>(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut b = Bench::with(setup(rtx), &[GCM], seed);
        if connected {
            b.connect();
            prop_assert!(b.live);
        }
        let start = b.now;
        for op in ops {
            run(&mut b, op);
            let elapsed = b.now.since(start).as_millis() as u64;
            let most = RESEND_BURST + elapsed * RESENDS_PER_SECOND / 1_000 + 1;
            prop_assert!(b.resends as u64 <= most, "{} resends", b.resends);
            let most = 3 + elapsed / 100;
            prop_assert!(b.key_frames.len() as u64 <= most, "{} requests", b.key_frames.len());
        }
        prop_assert_eq!(b.viewer.unopened, 0, "the viewer opens all that it gets");
        check_stream(&b)?;
        // Without signs of life it ends by itself, whatever went before.
        b.checks = false;
        b.deaf = true;
        b.step(CONNECT + CONSENT);
        prop_assert!(b.ended.is_some());
        prop_assert!(b.session.poll_timeout().is_none());
    }

    #[test]
    fn noise_from_the_viewers_own_address_never_stops_a_session(
        noise in prop::collection::vec(
            (prop_oneof![0u8..4, 20u8..64, 128u8..192], prop::collection::vec(any::<u8>(), 0..1_400)),
            1..60,
        ),
    ) {
        let mut b = Bench::connected(true);
        for (kind, mut data) in noise {
            if let Some(first) = data.first_mut() { *first = kind; }
            b.input(b.at, data);
        }
        prop_assert!(b.ended.is_none());
        b.video(1, true);
        prop_assert_eq!(b.viewer.seen.len(), 1);
    }
}
