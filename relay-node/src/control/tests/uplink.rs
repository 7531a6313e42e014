//! Join, attach, move, come back, renew, leave.

use super::rig::*;
use crate::control::api::*;
use crate::media::api::PlaneEvent;
use soleil_protocol::message::*;
use soleil_protocol::*;

#[test]
fn a_node_joins_and_attaches() {
    let mut rig = Rig::new(Role::Relay, 2);
    assert_eq!(rig.core.poll_timeout(), Some(Mono(0)), "it asks to be woken at once");
    assert_eq!(rig.step(Event::Timeout), ["dial 1 root"]);
    assert_eq!(rig.dialed(1, ROOT_CONN), ["1 hello ->^"]);
    let answer = from_root(None, redirect(3_600 * SEC, vec![offer("p", 5)]));
    assert_eq!(rig.message(ROOT_CONN, answer), ["identity me", "dial 2 p"]);
    assert_eq!(rig.dialed(2, PARENT), ["2 hello me>p"]);
    assert_eq!(
        rig.message(PARENT, greeting("p", "me")),
        ["add link 5 parent", "close 1", "attached true"]
    );
    assert_eq!(rig.core.parent(), Some(&id("p")));
    assert_eq!(rig.wait(SEC), ["2 stats me>-"]);
    assert_eq!(Rig::quiet(rig.wait(10 * MS)), [""; 0]);
}

#[test]
fn a_dial_that_came_too_late_is_closed() {
    let mut rig = Rig::attached();
    assert_eq!(rig.dialed(9, ConnId(9)), ["close 9"]);
    assert_eq!(
        rig.step(Event::DialFailed { dial: DialId(9), error: "x".into(), refused: false }),
        [""; 0]
    );
}

#[test]
fn tries_back_off() {
    let mut rig = Rig::new(Role::Leaf, 0);
    rig.step(Event::Timeout);
    let mut pauses = Vec::new();
    for dial in 1..=9 {
        let failed = Event::DialFailed { dial: DialId(dial), error: "down".into(), refused: false };
        assert_eq!(rig.step(failed), [""; 0]);
        let before = rig.now.mono;
        while rig.wait(10 * MS).is_empty() {}
        pauses.push(rig.now.mono.since(before).as_millis());
    }
    assert!((150..=270).contains(&pauses[0]), "{pauses:?}");
    let short = pauses[1..].iter().all(|pause| (300..=510).contains(pause));
    assert!(short, "a root that starts again is found soon: {pauses:?}");
    let failed = Event::DialFailed { dial: DialId(10), error: "401".into(), refused: true };
    assert_eq!(rig.step(failed), [""; 0]);
    assert_eq!(Rig::quiet(rig.wait(7_400 * MS)), [""; 0], "a refused token waits long");
}

#[test]
fn a_root_that_answers_and_hangs_up_is_left_alone_for_longer_and_longer() {
    let mut rig = Rig::new(Role::Leaf, 0);
    rig.step(Event::Timeout);
    let mut pauses = Vec::new();
    for dial in 1..=9 {
        rig.dialed(dial, ConnId(dial));
        rig.step(Event::Closed(ConnId(dial)));
        let before = rig.now.mono;
        while rig.wait(10 * MS).is_empty() {}
        pauses.push(rig.now.mono.since(before).as_millis());
    }
    assert!((150..=270).contains(&pauses[0]), "{pauses:?}");
    assert!((600..=1_010).contains(&pauses[2]), "{pauses:?}");
    assert!((7_500..=12_510).contains(&pauses[8]), "{pauses:?}");
}

#[test]
fn a_lost_parent_sends_it_back_to_the_root() {
    let mut rig = Rig::with_child();
    assert_eq!(rig.step(Event::Closed(PARENT)), ["remove link 5", "attached false"]);
    assert_eq!(Rig::quiet(rig.wait(300 * MS)), ["dial 3 root"]);
    assert_eq!(rig.dialed(3, ConnId(3)), ["3 hello me>^"]);
    let answer = from_root(None, redirect(3_600 * SEC, vec![offer("q", 6)]));
    assert_eq!(rig.message(ConnId(3), answer), ["identity me", "dial 4 q"]);
    assert_eq!(rig.dialed(4, ConnId(4)), ["4 hello me>q"]);
    assert_eq!(
        rig.message(ConnId(4), greeting("q", "me")),
        ["add link 6 parent", "close 3", "4 childsupdate me>- +c", "attached true"],
        "children stay and are announced"
    );
}

#[test]
fn an_offer_that_fails_is_followed_by_the_next_and_then_by_the_root() {
    let mut rig = Rig::new(Role::Relay, 2);
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    let both = redirect(3_600 * SEC, vec![offer("p", 5), offer("q", 6)]);
    rig.message(ROOT_CONN, from_root(None, both));
    let failed = Event::DialFailed { dial: DialId(2), error: "down".into(), refused: false };
    assert_eq!(rig.step(failed), ["dial 3 q"]);
    assert_eq!(rig.dialed(3, ConnId(3)), ["3 hello me>q"]);
    let full = ErrorReport {
        code: ErrorCode::Full,
        text: String::new(),
        failed_time: None,
        failed_type: "hello".into(),
    };
    let refused = message(Some("q"), Some("me"), Body::Error(full));
    assert_eq!(rig.message(ConnId(3), refused), ["close 3", "close 1"]);
    assert_eq!(Rig::quiet(rig.wait(300 * MS)), ["dial 4 root"]);
}

/// Nobody above says that it has no way, and the root says nothing: it may not know that we are here.
#[test]
fn a_node_that_the_root_speaks_to_no_more_asks_for_a_place() {
    // A relay's question brings back the leaves below it.
    for (role, soonest, latest) in [(Role::Relay, 44, 46), (Role::Leaf, 55, 91)] {
        let mut rig = Rig::new(role, 2);
        rig.step(Event::Timeout);
        rig.dialed(1, ROOT_CONN);
        rig.message(ROOT_CONN, from_root(None, redirect(u64::MAX, vec![offer("p", 5)])));
        rig.dialed(2, PARENT);
        rig.message(PARENT, greeting("p", "me"));
        rig.open(5);
        // Seconds until the root is dialed.
        let dials = |rig: &mut Rig, within: u64| {
            (1..=within).find(|_| {
                rig.core.links.get_mut(PARENT).unwrap().forgive();
                rig.wait(SEC).iter().any(|said| said.ends_with(" root"))
            })
        };
        let poll = || from_root(Some("me"), Body::ReqFullStats(ReqFullStats { pipeline: None }));
        for _ in 0..3 {
            rig.message(PARENT, poll());
            assert_eq!(dials(&mut rig, soonest - 1), None, "{role}");
        }
        rig.message(PARENT, poll());
        let asked = dials(&mut rig, 100).unwrap();
        assert!((soonest..=latest).contains(&asked), "{role} after {asked} s");
        assert_eq!(rig.core.parent(), Some(&id("p")));
        let failed = Event::DialFailed { dial: DialId(3), error: "down".into(), refused: false };
        assert_eq!(rig.step(failed), [""; 0]);
        assert!((18..=31).contains(&dials(&mut rig, 100).unwrap()), "ever more seldom");
        rig.message(PARENT, poll());
        assert_eq!(dials(&mut rig, soonest - 1), None, "it speaks again");
        // A part of the tree that is cut off waits for its way, and asks when it has one in vain.
        let cut_off = |cut_off| Event::Plane(PlaneEvent::CutOff(LinkId(5), cut_off));
        rig.message(PARENT, poll());
        assert_eq!(dials(&mut rig, 2), None);
        rig.step(cut_off(true));
        (0..200).for_each(|_| {
            dials(&mut rig, 1);
        });
        rig.step(cut_off(false));
        assert!(dials(&mut rig, 90).is_some(), "{role}");
    }
}

#[test]
fn answers_that_do_not_come_time_out() {
    let mut rig = Rig::new(Role::Relay, 2);
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    for _ in 0..3 {
        assert_eq!(rig.wait(2 * SEC), ["1 ping ->-"].map(String::from));
        let pong = message(None, None, Body::Pong(Echo { token: "wrong".into() }));
        assert_eq!(rig.message(ROOT_CONN, pong), [""; 0]);
    }
    assert_eq!(rig.wait(2 * SEC), ["close 1"], "three PINGs without an answer");
    assert_eq!(rig.wait(SEC), ["dial 2 root"]);
}

#[test]
fn a_silent_parent_is_given_up_by_ping_and_a_live_one_is_not() {
    let mut rig = Rig::attached();
    let mut said = Vec::new();
    for _ in 0..40 {
        said.extend(rig.wait(200 * MS));
    }
    let pings = said.iter().filter(|s| *s == "2 ping me>-").count();
    assert_eq!(pings, 3);
    assert!(said.contains(&"attached false".to_owned()), "{said:?}");
}

#[test]
fn silent_media_are_checked_and_given_up() {
    let mut rig = Rig::attached();
    let silent = || Event::Plane(PlaneEvent::LinkSilent(LinkId(5)));
    assert_eq!(rig.step(silent()), ["2 ping me>-"]);
    let open = PlaneEvent::LinkOpen(LinkId(5), "192.0.2.1:1".parse().unwrap());
    assert_eq!(rig.step(Event::Plane(open)), [""; 0]);
    assert!(!rig.core.timers.is_set(&crate::control::timers::Timer::Silence), "it came back");
    assert_eq!(rig.step(silent()), [""; 0], "one PING is out already");
    rig.core.links.get_mut(PARENT).unwrap().forgive();
    let mut said = Vec::new();
    for _ in 0..26 {
        said.extend(rig.wait(200 * MS));
    }
    let said = Rig::quiet(said);
    assert_eq!(
        said[..4],
        ["2 bye me>-", "close 2", "remove link 5", "attached false"].map(String::from)
    );
}

#[test]
fn a_media_path_that_never_opens_is_given_up() {
    let mut rig = Rig::without_media();
    let mut said = Vec::new();
    for _ in 0..50 {
        rig.core.links.get_mut(PARENT).unwrap().forgive();
        said.extend(Rig::quiet(rig.wait(200 * MS)));
        if said.len() >= 4 {
            break;
        }
    }
    assert_eq!(
        said[..4],
        ["2 bye me>-", "close 2", "remove link 5", "attached false"].map(String::from)
    );
    // One that opens in time stays.
    let rig = Rig::attached();
    assert!(!rig.core.timers.is_set(&crate::control::timers::Timer::Silence));
}

#[test]
fn a_move_is_made_before_the_break() {
    let mut rig = Rig::with_child();
    rig.message(PARENT, pipe_def_message(1));
    rig.message(CHILD, message(Some("c"), None, play(vec![])));
    let last = LayerReport {
        pipeline: PipelineId(1),
        ssrc: Ssrc(100),
        received: 1,
        lost: 0,
        jitter_ms: 0.0,
        bitrate: 0,
        nacks: 0,
        plis: 0,
        drops: 0,
        first: Some(PacketIndex(1)),
        last: Some(PacketIndex(41)),
        epoch: None,
    };
    let report = PlaneReport { layers: vec![last], ..PlaneReport::default() };
    assert_eq!(rig.step(Event::PlaneReport(report)), [""; 0]);
    let redirect = Redirect {
        rank: Rank(1),
        mode: MoveMode::Overlap,
        identity: None,
        parents: vec![offer("q", 6)],
    };
    let moving = from_root(Some("me"), Body::Redirect(Box::new(redirect)));
    assert_eq!(rig.message(PARENT, moving), ["dial 3 q"]);
    assert_eq!(rig.dialed(3, ConnId(3)), ["3 hello me>q"]);
    assert_eq!(
        rig.message(ConnId(3), greeting("q", "me")),
        ["add link 6 parent", "3 childsupdate me>- +c", "tell positions"]
    );
    // A plane that does not answer is not waited for: its last report has to do.
    assert_eq!(rig.wait(19 * MS), [""; 0]);
    assert_eq!(rig.wait(MS), ["3 playpipeline me>- 100@42 200"]);
    let late = PlaneEvent::Positions(vec![(Ssrc(100), PacketIndex(50))]);
    assert_eq!(rig.step(Event::Plane(late)), [""; 0]);
    let open = PlaneEvent::LinkOpen(LinkId(6), "192.0.2.1:1".parse().unwrap());
    assert_eq!(rig.step(Event::Plane(open)), [""; 0]);
    assert_eq!(rig.wait(499 * MS), [""; 0]);
    assert_eq!(rig.wait(MS), ["2 bye me>-", "close 2", "remove link 5"]);
}

#[test]
fn a_move_at_once_breaks_first_and_a_failed_move_stays() {
    let to = |mode, parent: &str, link| {
        let parents = vec![offer(parent, link)];
        let body = Redirect { rank: Rank(1), mode, identity: None, parents };
        from_root(Some("me"), Body::Redirect(Box::new(body)))
    };
    let mut rig = Rig::attached();
    assert_eq!(rig.message(PARENT, to(MoveMode::Overlap, "p", 5)), [""; 0], "it is there");
    assert_eq!(rig.message(PARENT, to(MoveMode::Overlap, "q", 6)), ["dial 3 q"]);
    let failed = Event::DialFailed { dial: DialId(3), error: "down".into(), refused: false };
    assert_eq!(rig.step(failed), ["2 error me>^ internal redirect"]);
    assert_eq!(rig.core.parent(), Some(&id("p")));
    assert_eq!(
        rig.message(PARENT, to(MoveMode::AtOnce, "r", 7)),
        ["2 bye me>-", "close 2", "remove link 5", "attached false", "dial 4 r"]
    );
}

#[test]
fn the_certificate_is_renewed_at_two_thirds_along_the_tree() {
    let mut rig = Rig::attached();
    // Valid from 0 to 3,600 s of wall time; it is 1,000 s now.
    let mut said = Vec::new();
    while rig.now.wall.0 < 2_400 * SEC {
        assert!(said.is_empty(), "too early at {}: {said:?}", rig.now.wall.0);
        rig.core.links.get_mut(PARENT).unwrap().forgive();
        rig.core.heard_root();
        said = Rig::quiet(rig.wait(SEC));
    }
    assert_eq!(said, ["2 hello me>^"]);
    let answer = from_root(Some("me"), redirect(7_200 * SEC, vec![]));
    assert_eq!(rig.message(PARENT, answer), ["identity me"], "no parents: it stays");
}

#[test]
fn a_kill_waits_for_the_children_and_a_drain_says_bye() {
    let kill = || from_root(Some("me"), Body::Kill(Kill { grace_secs: 5, reason: "x".into() }));
    let mut rig = Rig::attached();
    assert_eq!(
        rig.message(PARENT, kill()),
        ["2 bye me>-", "close 2", "remove link 5", "attached false", "stopped"],
        "no children, no grace"
    );
    assert_eq!(rig.core.poll_timeout(), None);
    assert_eq!(rig.message(PARENT, kill()), [""; 0], "stopped is stopped");

    let mut rig = Rig::with_child();
    assert_eq!(rig.message(PARENT, kill()), [""; 0]);
    assert_eq!(rig.accept(ConnId(30), "d"), ["close 30"], "nobody new");
    let bye = message(Some("c"), None, Body::Bye(Bye { reason: "moved".into() }));
    assert_eq!(
        rig.message(CHILD, bye),
        [
            "close 10",
            "remove link 20",
            "2 childsupdate me>- -c/1",
            "2 bye me>-",
            "close 2",
            "remove link 5",
            "attached false",
            "stopped"
        ]
    );

    let mut rig = Rig::with_child();
    let drain = Event::Command(NodeCommand::Drain("update".into()));
    assert_eq!(rig.step(drain), ["2 bye me>^"], "the root moves the children");
    let mut said = Vec::new();
    for _ in 0..25 {
        for conn in [PARENT, CHILD] {
            if let Some(link) = rig.core.links.get_mut(conn) {
                link.forgive();
            }
        }
        said.extend(Rig::quiet(rig.wait(400 * MS)));
    }
    assert_eq!(said.last().unwrap(), "stopped", "after the grace all the same");
    assert!(said.contains(&"10 bye me>-".to_owned()), "{said:?}");
}
