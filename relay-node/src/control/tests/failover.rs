//! The warm link to a backup, from both ends, and failing over to it.

use super::rig::*;
use crate::control::api::*;
use crate::media::api::PlaneEvent;
use soleil_protocol::message::*;
use soleil_protocol::*;

pub(super) const WARM: ConnId = ConnId(3);

pub(super) fn silent(link: u64) -> Event<NodeCommand> {
    Event::Plane(PlaneEvent::LinkSilent(LinkId(link)))
}

/// The REDIRECT that names `p`, where the node is, and these backups.
pub(super) fn backups(parents: &[(&str, u64)]) -> Message {
    let parents = parents.iter().map(|(name, link)| offer(name, *link)).collect();
    let body = Redirect { rank: Rank(9), mode: MoveMode::Overlap, identity: None, parents };
    from_root(Some("me"), Body::Redirect(Box::new(body)))
}

pub(super) fn warm_greeting(from: &str) -> Message {
    let mut hello = Hello::new(id(from));
    hello.nonce = Some(vec![3; 16]);
    hello.warm = true;
    message(Some(from), Some("me"), Body::Hello(Box::new(hello)))
}

/// Attached to `p` over link 5, with the child `c` and a warm link 6 to the backup `q`; `r` is the
/// next one.
pub(super) fn with_backup() -> Rig {
    let mut rig = Rig::with_child();
    let plan = backups(&[("p", 15), ("q", 6), ("r", 7)]);
    assert_eq!(rig.message(PARENT, plan), ["dial 3 q"]);
    assert_eq!(rig.dialed(3, WARM), ["3 hello me>q warm"]);
    assert_eq!(rig.core.backup(), None);
    assert_eq!(rig.message(WARM, warm_greeting("q")), ["add link 6 parent standby"]);
    assert_eq!(rig.core.backup(), None, "its media path is not open yet");
    assert_eq!(rig.open(6), [""; 0]);
    assert_eq!(rig.core.backup(), Some(&id("q")));
    assert!(rig.reserve);
    rig
}

#[test]
fn a_lost_parent_is_replaced_at_once() {
    let mut rig = with_backup();
    assert_eq!(
        rig.step(Event::Closed(PARENT)),
        ["remove link 5", "3 hello me>q", "promote link 6", "3 childsupdate me>- +c", "dial 4 r"]
    );
    assert_eq!((rig.core.parent(), rig.failovers), (Some(&id("q")), 1));
    assert_eq!(rig.lack, None, "it lacked nothing in between");
    // The new parent counts like any other: its end leads to the next one, that one's to the root.
    assert_eq!(
        rig.step(Event::Closed(WARM)),
        ["remove link 6", "attached false", "dial 5 r"],
        "r is not warm yet, so it is dialed as a parent"
    );
    let failed = Event::DialFailed { dial: DialId(5), error: "down".into(), refused: false };
    assert_eq!(rig.step(failed), [""; 0]);
    assert_eq!(Rig::quiet(rig.wait(300 * MS)), ["dial 6 root"]);
}

#[test]
fn a_silent_parent_is_replaced_and_served_for_a_while() {
    let mut rig = with_backup();
    assert_eq!(
        rig.step(silent(5)),
        ["3 hello me>q", "promote link 6", "3 childsupdate me>- +c", "dial 4 r"]
    );
    assert_eq!(rig.core.parent(), Some(&id("q")));
    assert_eq!(Rig::quiet(rig.wait(500 * MS)), ["2 bye me>-", "close 2", "remove link 5"]);
}

#[test]
fn media_are_asked_for_from_where_they_ended() {
    let mut rig = with_backup();
    rig.message(PARENT, pipe_def_message(1));
    rig.message(CHILD, message(Some("c"), None, play(vec![])));
    let row = |ssrc| LayerReport {
        pipeline: PipelineId(1),
        ssrc: Ssrc(ssrc),
        received: 1,
        lost: 0,
        jitter_ms: 0.0,
        bitrate: 0,
        nacks: 0,
        plis: 0,
        drops: 0,
        first: None,
        last: Some(PacketIndex(41)),
        epoch: None,
    };
    let report = PlaneReport { layers: vec![row(100), row(200)], ..PlaneReport::default() };
    rig.step(Event::PlaneReport(report));
    let said = rig.step(Event::Closed(PARENT));
    assert!(said.contains(&"tell positions".to_owned()), "{said:?}");
    // A child that asks meanwhile does not make it ask without a position.
    assert_eq!(
        rig.message(CHILD, message(Some("c"), None, play(vec![]))),
        ["10 pipedefinfo me>- flowing"]
    );
    let positions = vec![(Ssrc(100), PacketIndex(77)), (Ssrc(200), PacketIndex(88))];
    assert_eq!(
        rig.step(Event::Plane(PlaneEvent::Positions(positions))),
        ["3 playpipeline me>- 100@77 200@88"]
    );
    assert_eq!(Rig::quiet(rig.wait(100 * MS)), [""; 0], "and only once");
}

#[test]
fn a_backup_that_is_silent_or_gone_is_not_used() {
    let mut rig = with_backup();
    assert_eq!(rig.step(silent(6)), [""; 0]);
    assert_eq!((rig.core.backup(), rig.reserve), (None, false));
    assert_eq!(rig.open(6), [""; 0], "it is heard again");
    assert_eq!(rig.core.backup(), Some(&id("q")));
    // Its connection ends: the next one is dialed after a pause, and then the first again.
    assert_eq!(rig.step(Event::Closed(WARM)), ["remove link 6"]);
    assert_eq!(Rig::quiet(rig.wait(630 * MS)), ["dial 4 r"]);
    let failed = Event::DialFailed { dial: DialId(4), error: "down".into(), refused: false };
    assert_eq!(rig.step(failed), [""; 0]);
    assert_eq!(Rig::quiet(rig.wait(1_260 * MS)), ["dial 5 q"]);
    // No answer to the HELLO.
    assert_eq!(rig.dialed(5, ConnId(5)), ["5 hello me>q warm"]);
    assert!(rig.wait(6 * SEC).contains(&"close 5".to_owned()));
    // Without one a silent parent is asked first, and the next backup dialed at once.
    let said = rig.step(silent(5));
    assert!(said.iter().all(|s| s.contains(" ping ") || s.starts_with("dial ")), "{said:?}");
    assert_eq!(rig.core.parent(), Some(&id("p")));
}

#[test]
fn an_offer_older_than_the_one_in_use_is_forgotten() {
    let mut rig = with_backup();
    rig.step(Event::Closed(WARM));
    assert_eq!(Rig::quiet(rig.wait(630 * MS)), ["dial 4 r"]);
    rig.dialed(4, ConnId(4));
    rig.message(ConnId(4), warm_greeting("r"));
    rig.open(7);
    let said = rig.step(Event::Closed(PARENT));
    assert_eq!(said, ["remove link 5", "4 hello me>r", "promote link 7", "4 childsupdate me>- +c"]);
    // The ticket for q has a lower incarnation than the one for r: nobody who has heard of that
    // would believe in it.
    assert_eq!(rig.step(Event::Closed(ConnId(4))), ["remove link 7", "attached false"]);
    assert_eq!(Rig::quiet(rig.wait(300 * MS)), ["dial 5 root"]);
}

#[test]
fn the_plan_may_change_the_backup_and_make_it_the_parent() {
    let mut rig = with_backup();
    assert_eq!(
        rig.message(PARENT, backups(&[("p", 16), ("q", 17)])),
        [""; 0],
        "the same first backup: its link stays"
    );
    assert_eq!(
        rig.message(PARENT, backups(&[("p", 18), ("s", 19)])),
        ["remove link 6", "close 3", "dial 4 s"]
    );
    assert_eq!(rig.dialed(4, ConnId(4)), ["4 hello me>s warm"]);
    rig.message(ConnId(4), warm_greeting("s"));
    rig.open(19);
    // A move to the backup needs no dial, and the old parent is left after the overlap.
    assert_eq!(
        rig.message(PARENT, backups(&[("s", 20), ("p", 21)])),
        ["4 hello me>s", "promote link 19", "4 childsupdate me>- +c"]
    );
    assert_eq!((rig.core.parent(), rig.failovers), (Some(&id("s")), 0));
    assert_eq!(Rig::quiet(rig.wait(500 * MS)), ["2 bye me>-", "close 2", "remove link 5"]);
    // The old parent took us for its child until then.
    assert_eq!(Rig::quiet(rig.wait(500 * MS)), ["dial 5 p"]);
}

#[test]
fn a_backup_whose_media_path_does_not_open_is_left() {
    let mut rig = Rig::attached();
    rig.message(PARENT, backups(&[("p", 15), ("q", 6), ("r", 7)]));
    rig.dialed(3, WARM);
    rig.message(WARM, warm_greeting("q"));
    let mut said = Vec::new();
    for _ in 0..12 {
        for conn in [PARENT, WARM] {
            rig.answer_ping(conn);
        }
        said.extend(rig.wait(SEC));
    }
    let said = Rig::quiet(said);
    assert_eq!(said, ["remove link 6", "close 3", "dial 4 r"]);
    // The same if it was open and falls silent for long.
    let mut rig = with_backup();
    rig.step(silent(6));
    assert_eq!(Rig::quiet(rig.wait(5 * SEC)), ["remove link 6", "close 3"]);
    assert_eq!(Rig::quiet(rig.wait(700 * MS)), ["dial 4 r"]);
}

#[test]
fn a_backup_that_gets_ready_while_the_parent_is_silent_takes_over() {
    let mut rig = Rig::with_child();
    rig.message(PARENT, backups(&[("p", 15), ("q", 6), ("r", 7)]));
    rig.dialed(3, WARM);
    assert!(rig.step(silent(5)).iter().all(|s| s.contains(" ping ")), "its dial goes on");
    rig.message(WARM, warm_greeting("q"));
    assert_eq!(
        rig.open(6),
        ["3 hello me>q", "promote link 6", "3 childsupdate me>- +c", "dial 4 r"]
    );
    // Both silent: the next one, without waiting.
    let mut rig = with_backup();
    rig.step(silent(6));
    let said = Rig::quiet(rig.step(silent(5)));
    assert_eq!(said, ["remove link 6", "close 3", "dial 4 r"]);
    rig.dialed(4, ConnId(4));
    rig.message(ConnId(4), warm_greeting("r"));
    assert_eq!(rig.open(7), ["4 hello me>r", "promote link 7", "4 childsupdate me>- +c"]);
}

#[test]
fn a_parent_that_stays_silent_is_left_for_the_next_offer() {
    let mut rig = with_backup();
    rig.step(silent(6));
    rig.step(silent(5));
    let failed = Event::DialFailed { dial: DialId(4), error: "down".into(), refused: false };
    rig.step(failed);
    let mut said = Vec::new();
    for _ in 0..50 {
        rig.answer_ping(PARENT);
        said.extend(rig.wait(100 * MS));
    }
    let said = Rig::quiet(said);
    let end = ["2 bye me>-", "close 2", "remove link 5", "attached false", "dial 6 q"];
    assert_eq!(said[said.len() - 5..], end, "{said:?}");
}

#[test]
fn what_the_warm_link_was_made_with_is_renewed() {
    // Another rank in the plan: the ticket has the old one.
    let mut rig = with_backup();
    let mut plan = backups(&[("p", 15), ("q", 16)]);
    let Body::Redirect(redirect) = &mut plan.body else { panic!("a REDIRECT") };
    redirect.rank = Rank(12);
    assert_eq!(rig.message(PARENT, plan), ["remove link 6", "close 3", "dial 4 q"]);
    // Another certificate: the backup has seen the old one.
    let mut rig = with_backup();
    let said = rig.message(PARENT, from_root(Some("me"), redirect_for(7_200 * SEC)));
    assert_eq!(said, ["identity me", "remove link 6", "close 3", "dial 4 q"]);
    assert_eq!(rig.core.parent(), Some(&id("p")));
}

fn redirect_for(valid_until: u64) -> Body {
    redirect(valid_until, Vec::new())
}

#[test]
fn a_backup_that_answers_nonsense_is_left() {
    for answer in [greeting("q", "me"), warm_greeting("x")] {
        let mut rig = Rig::attached();
        rig.message(PARENT, backups(&[("p", 15), ("q", 6)]));
        rig.dialed(3, WARM);
        let said = rig.message(WARM, answer);
        assert_eq!(said.last(), Some(&"close 3".to_owned()), "{said:?}");
        assert_eq!(rig.core.parent(), Some(&id("p")));
    }
}

fn warm_hello(name: &str, ticket: &str) -> Message {
    let mut hello = Hello::new(id(name));
    hello.ticket = Some(ticket.as_bytes().to_vec());
    hello.nonce = Some(vec![4; 16]);
    hello.warm = true;
    message(Some(name), Some("me"), Body::Hello(Box::new(hello)))
}

fn second_hello(name: &str) -> Message {
    message(Some(name), Some("me"), Body::Hello(Box::new(Hello::new(id(name)))))
}

#[test]
fn a_node_in_reserve_is_unknown_above_until_it_fails_over() {
    let mut rig = Rig::attached();
    rig.accept(CHILD, "w");
    assert_eq!(
        rig.message(CHILD, warm_hello("w", "me w 3 20 9 8")),
        ["add link 20 child standby", "10 hello me>w warm"]
    );
    assert_eq!(rig.open(20), [""; 0], "nobody above hears of it");
    assert_eq!(rig.core.subtree().len(), 0);
    // Nothing but PING goes over the link.
    let mut other = Rig::attached();
    other.accept(CHILD, "w");
    other.message(CHILD, warm_hello("w", "me w 3 20 9 8"));
    let said = other.message(CHILD, message(Some("w"), None, play(vec![])));
    assert_eq!(said, ["10 error me>- unauthorized playpipeline", "close 10", "remove link 20"]);
    assert_eq!(
        rig.message(CHILD, second_hello("w")),
        ["promote link 20", "2 childsupdate me>- +w"],
        "it is there at once, for its path is open"
    );
    assert_eq!(rig.core.subtree().len(), 1);
    assert_eq!(
        rig.step(Event::Closed(CHILD)),
        ["remove link 20", "2 childsupdate me>- -w/3"],
        "like any child"
    );
}

#[test]
fn who_may_not_fail_over_to_this_node() {
    // The rank in the rig's plan is 2: a child in reserve has to be above that.
    let warm = |ticket: &str| {
        let mut rig = Rig::attached();
        rig.accept(CHILD, "w");
        let said = rig.message(CHILD, warm_hello("w", ticket));
        (rig, said)
    };
    for ticket in ["me w 3 20 9 2", "me w 3 20 9 1"] {
        assert_eq!(warm(ticket).1, ["10 error me>- unauthorized hello", "close 10"], "{ticket}");
    }
    // Without a rank it is no backup's ticket.
    let said = warm("me w 3 20 9").1;
    assert_eq!(said, ["10 error me>- unauthorized hello", "close 10"]);
    // It holds at the moment of failing over, too: the plan has changed.
    let (mut rig, said) = warm("me w 3 20 9 8");
    assert_eq!(said.len(), 2);
    rig.message(PARENT, backups(&[("p", 15)]));
    assert_eq!(
        rig.message(CHILD, second_hello("w")),
        ["10 error me>- unauthorized hello", "close 10", "remove link 20"]
    );
    // Another name, a second warm HELLO, a full house.
    for hello in [second_hello("x"), warm_hello("w", "me w 3 20 9 8")] {
        let (mut rig, _) = warm("me w 3 20 9 8");
        let said = rig.message(CHILD, hello);
        assert_eq!(said.last(), Some(&"remove link 20".to_owned()), "{said:?}");
    }
    let (mut rig, _) = warm("me w 3 20 9 8");
    rig.add_child(ConnId(11), "a", 21);
    rig.add_child(ConnId(12), "b", 22);
    let said = rig.message(CHILD, second_hello("w"));
    assert_eq!(said, ["10 error me>- full hello", "close 10", "remove link 20"]);
}

#[test]
fn reserves_have_places_of_their_own_and_their_number_is_bounded() {
    let mut rig = Rig::attached();
    rig.add_child(ConnId(11), "a", 21);
    rig.add_child(ConnId(12), "b", 22);
    // The rig takes two children, so eight times as many reserves.
    for n in 20..36 {
        let link = n + 100;
        let name = format!("w{n}");
        rig.accept(ConnId(n), &name);
        let said = rig.message(ConnId(n), warm_hello(&name, &format!("me {name} 1 {link} 9 8")));
        assert_eq!(said.len(), 2, "{said:?}");
    }
    rig.accept(ConnId(15), "w15");
    let said = rig.message(ConnId(15), warm_hello("w15", "me w15 1 225 9 8"));
    assert_eq!(said, ["15 error me>- full hello", "close 15"]);
    // A child is no reserve of its own parent, and a reserve that becomes a child by the root's
    // order has one link.
    rig.accept(ConnId(16), "a");
    let said = rig.message(ConnId(16), warm_hello("a", "me a 2 26 9 8"));
    assert_eq!(said, ["16 error me>- malformed hello", "close 16"]);
    rig.step(Event::Closed(ConnId(11)));
    rig.accept(ConnId(17), "w20");
    let said = rig.message(ConnId(17), child_hello("w20", "me w20 2 27 9", "me"));
    assert_eq!(said, ["close 20", "remove link 120", "add link 27 child", "17 hello me>w20"]);
}

#[test]
fn an_old_parent_that_goes_before_the_new_one_serves_is_replaced_by_the_backup() {
    for gone in [silent(5), Event::Closed(PARENT)] {
        let mut rig = with_backup();
        // Sent to `n`, which answers, but whose media path does not open.
        let plan = backups(&[("n", 8), ("q", 9)]);
        assert_eq!(rig.message(PARENT, plan), ["remove link 6", "close 3", "dial 4 n"]);
        rig.dialed(4, ConnId(4));
        let said = rig.message(ConnId(4), greeting("n", "me"));
        assert!(said.contains(&"dial 5 q".to_owned()), "{said:?}");
        rig.dialed(5, ConnId(5));
        rig.message(ConnId(5), warm_greeting("q"));
        rig.open(9);
        assert_eq!(rig.core.parent(), Some(&id("n")));
        let said = rig.step(gone);
        assert!(said.contains(&"promote link 9".to_owned()), "{said:?}");
        assert_eq!(rig.core.parent(), Some(&id("q")));
    }
}
