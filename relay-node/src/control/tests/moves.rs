//! Planned moves that go wrong: the old parent is there until the new one serves.

use super::rig::*;
use crate::control::api::*;
use crate::control::limits::*;
use crate::media::api::PlaneEvent;
use soleil_protocol::message::*;
use soleil_protocol::*;

/// The connection to the new parent `q`.
const NEW: ConnId = ConnId(3);

/// A REDIRECT, make before break, sent at `time`.
fn to(parent: &str, link: u64, time: u64) -> Message {
    let parents = vec![offer(parent, link)];
    let body = Redirect { rank: Rank(2), mode: MoveMode::Overlap, identity: None, parents };
    Message { time: Millis(time), ..from_root(Some("me"), Body::Redirect(Box::new(body))) }
}

/// On its way from `p` to `q`, whose media path is not open; with the child `c`.
fn moving() -> Rig {
    let mut rig = Rig::with_child();
    assert_eq!(rig.message(PARENT, to("q", 6, 77)), ["dial 3 q"]);
    rig.dialed(3, NEW);
    assert_eq!(
        rig.message(NEW, greeting("q", "me")),
        ["add link 6 parent", "3 childsupdate me>- +c"]
    );
    rig
}

/// Waits in small steps; everybody answers PING.
fn pass(rig: &mut Rig, micros: u64) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..micros / (100 * MS) {
        for conn in [PARENT, NEW, CHILD] {
            rig.answer_ping(conn);
        }
        said.extend(Rig::quiet(rig.wait(100 * MS)));
    }
    said
}

#[test]
fn a_new_parent_without_media_is_left_for_the_old_one() {
    let mut rig = moving();
    assert_eq!(pass(&mut rig, 4_900 * MS), [""; 0]);
    assert_eq!(
        pass(&mut rig, 100 * MS),
        ["remove link 6", "close 3", "2 error me>^ internal redirect"],
        "no BYE to the one that serves, and no gap"
    );
    assert_eq!((rig.core.parent(), rig.lack), (Some(&id("p")), None));
    // The root's answer says that it finds us.
    assert_eq!(rig.message(PARENT, to("p", 7, 78)), [""; 0]);
    assert_eq!(pass(&mut rig, 20_000 * MS), [""; 0]);
    // The old parent is the parent, with all that follows.
    assert_eq!(rig.step(Event::Closed(PARENT)), ["remove link 5", "attached false"]);
}

#[test]
fn a_new_parent_that_dies_before_it_serves_is_left_for_the_old_one() {
    let mut rig = moving();
    assert_eq!(
        rig.step(Event::Closed(NEW)),
        ["remove link 6", "2 error me>^ internal redirect"],
        "it is attached all the time"
    );
    assert_eq!(rig.core.parent(), Some(&id("p")));
    // It may have told of us that we are gone: without an answer the root does not find us.
    assert_eq!(pass(&mut rig, 9_900 * MS), [""; 0]);
    assert_eq!(pass(&mut rig, 500 * MS), ["dial 4 root"]);
    assert_eq!(rig.core.parent(), Some(&id("p")), "it serves until there is another place");
    let failed = Event::DialFailed { dial: DialId(4), error: "down".into(), refused: false };
    assert_eq!(rig.step(failed), [""; 0]);
    // Ever more seldom.
    assert_eq!(pass(&mut rig, 19_500 * MS), [""; 0]);
    assert_eq!(pass(&mut rig, 10_600 * MS), ["dial 5 root"]);
}

#[test]
fn pipelines_go_on_at_the_parent_that_it_goes_back_to() {
    let mut rig = Rig::with_child();
    rig.message(PARENT, pipe_def_message(1));
    rig.message(CHILD, message(Some("c"), None, play(vec![])));
    rig.message(PARENT, to("q", 6, 77));
    rig.dialed(3, NEW);
    let said = rig.message(NEW, greeting("q", "me"));
    assert_eq!(said.last().unwrap(), "3 playpipeline me>- 100 200");
    let said = rig.step(Event::Closed(NEW));
    assert_eq!(said.last().unwrap(), "2 playpipeline me>- 100 200");
}

#[test]
fn with_both_parents_silent_or_gone_it_goes_to_the_root() {
    let mut rig = moving();
    rig.step(Event::Plane(PlaneEvent::LinkSilent(LinkId(5))));
    let said = pass(&mut rig, 5_000 * MS);
    assert_eq!(said, ["2 bye me>-", "close 2", "remove link 5"].map(String::from));
    assert_eq!(rig.core.parent(), Some(&id("q")), "it may open yet");
    let mut rig = moving();
    rig.step(Event::Closed(PARENT));
    assert_eq!(rig.step(Event::Closed(NEW)), ["remove link 6", "attached false"]);
}

#[test]
fn the_one_that_serves_is_kept_while_the_plan_changes_its_mind() {
    let mut rig = moving();
    assert_eq!(rig.message(PARENT, to("r", 7, 78)), ["dial 4 r"]);
    rig.dialed(4, ConnId(4));
    assert_eq!(
        rig.message(ConnId(4), greeting("r", "me")),
        ["3 bye me>-", "close 3", "remove link 6", "add link 7 parent", "4 childsupdate me>- +c"],
    );
    assert_eq!(rig.lack, None);
    assert_eq!(rig.open(7), [""; 0]);
    let said = pass(&mut rig, 500 * MS);
    assert_eq!(said, ["2 bye me>-", "close 2", "remove link 5"].map(String::from));
    // Nor does this one serve: back to where it was.
    let mut rig = moving();
    rig.message(PARENT, to("r", 7, 78));
    rig.dialed(4, ConnId(4));
    rig.message(ConnId(4), greeting("r", "me"));
    assert_eq!(rig.step(Event::Closed(ConnId(4))).first().unwrap(), "remove link 7");
    assert_eq!(rig.core.parent(), Some(&id("p")));
}

#[test]
fn both_parents_hear_of_what_changes_below_until_the_new_one_serves() {
    let mut rig = moving();
    let said = rig.step(Event::Closed(CHILD));
    assert_eq!(
        said,
        ["remove link 20", "2 childsupdate me>- -c/1", "3 childsupdate me>- -c/1"]
            .map(String::from)
    );
    assert_eq!(rig.open(6), [""; 0]);
    let said = rig.add_child(ConnId(11), "d", 21);
    assert!(said.contains(&"3 childsupdate me>- +d".to_owned()), "{said:?}");
    assert!(!said.iter().any(|s| s.starts_with("2 ")), "{said:?}");
}

#[test]
fn a_redirect_that_was_overtaken_is_not_followed() {
    let mut rig = Rig::attached();
    let time = 2_000_000;
    // As it comes, with the time that it has.
    let mut take = |redirect| rig.step(Event::Message(PARENT, redirect));
    assert_eq!(take(to("p", 7, time)), [""; 0]);
    assert_eq!(take(to("q", 6, time - 1)), [""; 0], "it was sent before");
    let clock_set_back = time - OVERTAKEN.as_millis() as u64;
    assert_eq!(take(to("q", 6, clock_set_back)), ["dial 3 q"]);
}

#[test]
fn a_layer_is_not_resent_to_a_child_again_and_again() {
    let mut rig = Rig::with_child();
    rig.message(PARENT, pipe_def_message(1));
    let ask = |index| {
        let from = Some(PacketIndex(index));
        message(Some("c"), None, play(vec![(Ssrc(100), from)]))
    };
    let said = rig.message(CHILD, ask(7));
    assert!(said.contains(&"add row 100 link 20 from 7".to_owned()), "{said:?}");
    assert_eq!(rig.message(CHILD, ask(5)), ["10 pipedefinfo me>- idle"], "the row stays");
    // Nor by stopping in between.
    rig.message(CHILD, message(Some("c"), None, stop(vec![])));
    let said = rig.message(CHILD, ask(5));
    assert!(said.contains(&"add row 100 link 20".to_owned()), "{said:?}");
    pass(&mut rig, 500 * MS);
    let said = rig.message(CHILD, ask(9));
    assert_eq!(said[..2], ["remove row 100 link 20", "add row 100 link 20 from 9"]);
}
