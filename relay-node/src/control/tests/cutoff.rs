//! A parent that has lost its way to the root: who says so, who leaves it, and who stays.

use super::failover::{WARM, backups, silent, warm_greeting, with_backup};
use super::rig::*;
use crate::control::api::*;
use crate::media::api::PlaneEvent;
use soleil_protocol::message::*;
use soleil_protocol::*;

fn cut_off(link: u64, cut_off: bool) -> Event<NodeCommand> {
    Event::Plane(PlaneEvent::CutOff(LinkId(link), cut_off))
}

#[test]
fn a_parent_that_is_cut_off_is_left_for_a_backup_that_is_not() {
    let mut rig = with_backup();
    assert_eq!(rig.step(cut_off(5, true)), [""; 0]);
    assert!(!rig.cut_off, "it has another way");
    assert_eq!(Rig::quiet(rig.wait(99 * MS)), [""; 0]);
    assert_eq!(
        rig.wait(MS),
        ["3 hello me>q", "promote link 6", "3 childsupdate me>- +c", "dial 4 r"]
    );
    assert_eq!((rig.core.parent(), rig.failovers, rig.cut_off), (Some(&id("q")), 1, false));
    // The old one is kept for the overlap, as any other.
    assert_eq!(Rig::quiet(rig.wait(500 * MS)), ["2 bye me>-", "close 2", "remove link 5"]);
}

#[test]
fn a_parent_that_is_cut_off_for_a_moment_is_kept() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.wait(60 * MS);
    rig.step(cut_off(5, false));
    rig.wait(60 * MS);
    rig.step(cut_off(5, true));
    assert_eq!(Rig::quiet(rig.wait(60 * MS)), [""; 0], "the time begins anew");
    assert_eq!(rig.core.parent(), Some(&id("p")));
}

#[test]
fn where_the_backup_is_cut_off_too_everybody_stays_and_says_so() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, true));
    assert!(rig.cut_off, "at once: nobody below shall come here");
    assert_eq!(Rig::quiet(rig.wait(SEC)), [""; 0]);
    assert_eq!((rig.core.parent(), rig.core.backup()), (Some(&id("p")), Some(&id("q"))));
    // The backup's way back is known a moment before the parent's: everybody stays.
    assert_eq!(rig.step(cut_off(6, false)), [""; 0]);
    assert!(!rig.cut_off);
    assert_eq!(Rig::quiet(rig.wait(60 * MS)), [""; 0]);
    rig.step(cut_off(5, false));
    assert_eq!(Rig::quiet(rig.wait(SEC)), [""; 0]);
    // The parent's does not come back.
    rig.step(cut_off(6, true));
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, false));
    let said = Rig::quiet(rig.wait(100 * MS));
    assert_eq!(said[..2], ["3 hello me>q", "promote link 6"]);
}

#[test]
fn who_has_lost_its_way_says_so_until_it_has_one_again() {
    let mut rig = Rig::with_child();
    assert!(!rig.cut_off);
    rig.step(silent(5));
    assert!(rig.cut_off, "and there is no backup");
    rig.open(5);
    assert!(!rig.cut_off);
    rig.step(Event::Closed(PARENT));
    assert!(rig.cut_off);
}

#[test]
fn a_backup_that_has_no_room_after_all_is_left_for_the_parent_that_still_serves() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.wait(100 * MS);
    assert_eq!(rig.core.parent(), Some(&id("q")));
    rig.step(cut_off(5, false));
    let said = Rig::quiet(rig.step(Event::Closed(WARM)));
    assert_eq!(said, ["remove link 6", "2 error me>^ internal redirect"]);
    assert_eq!((rig.core.parent(), rig.lack), (Some(&id("p")), None));
}

#[test]
fn a_move_to_a_parent_that_is_cut_off_is_undone() {
    let mut rig = with_backup();
    rig.step(Event::Closed(PARENT));
    assert_eq!(rig.core.parent(), Some(&id("q")), "over link 6");
    rig.step(Event::DialFailed { dial: DialId(4), error: "down".into(), refused: false });
    // The root does not know yet that `p` has lost its way.
    let body = Redirect {
        rank: Rank(9),
        mode: MoveMode::Overlap,
        identity: None,
        parents: vec![offer("p", 8)],
    };
    let back = from_root(Some("me"), Body::Redirect(Box::new(body)));
    assert_eq!(rig.message(WARM, back), ["dial 5 p"]);
    let new = ConnId(4);
    rig.dialed(5, new);
    rig.message(new, greeting("p", "me"));
    rig.open(8);
    assert_eq!(rig.core.parent(), Some(&id("p")));
    assert_eq!(rig.step(cut_off(8, true)), [""; 0], "it may be over in a moment");
    assert_eq!(
        Rig::quiet(rig.wait(100 * MS)),
        ["remove link 8", "close 4", "3 error me>^ internal redirect"]
    );
    assert_eq!((rig.core.parent(), rig.cut_off), (Some(&id("q")), false));
}

#[test]
fn another_backup_is_looked_for_where_the_first_is_cut_off_too() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, true));
    assert_eq!(pass(&mut rig, 1_400 * MS), [""; 0], "2 s, a quarter more or less");
    assert_eq!(pass(&mut rig, 2_000 * MS), ["remove link 6", "close 3", "dial 4 r"]);
    let warm = ConnId(4);
    rig.dialed(4, warm);
    rig.message(warm, warm_greeting("r"));
    rig.open(7);
    assert!(!rig.cut_off, "it has a way");
    let said = Rig::quiet(rig.wait(100 * MS));
    assert_eq!(said[..2], ["4 hello me>r", "promote link 7"]);
}

#[test]
fn at_last_the_root_is_asked_and_the_parent_kept_until_it_answers() {
    let mut rig = Rig::with_child();
    rig.step(cut_off(5, true));
    assert!(rig.cut_off);
    // 2, 4 and 8 seconds, each a quarter more or less.
    assert_eq!(pass(&mut rig, 10_400 * MS), [""; 0]);
    assert_eq!(pass(&mut rig, 7_200 * MS), ["dial 3 root"]);
    assert_eq!(rig.core.parent(), Some(&id("p")));
    // Of no avail: ever more seldom.
    let failed =
        |dial| Event::DialFailed { dial: DialId(dial), error: "down".into(), refused: false };
    assert_eq!(rig.step(failed(3)), [""; 0]);
    assert_eq!(pass(&mut rig, 11_900 * MS), [""; 0]);
    assert_eq!(pass(&mut rig, 8_200 * MS), ["dial 4 root"]);
    let join = ConnId(9);
    rig.dialed(4, join);
    // Its answer is followed, even where it names the parent that is there.
    let said = rig.message(join, from_root(None, redirect(u64::MAX, vec![offer("p", 8)])));
    assert!(said.contains(&"dial 5 p".to_owned()), "{said:?}");
    // Whoever has a way again asks nobody.
    let mut rig = Rig::with_child();
    rig.step(cut_off(5, true));
    pass(&mut rig, 10_000 * MS);
    rig.step(cut_off(5, false));
    assert_eq!(pass(&mut rig, 30_000 * MS), [""; 0]);
}

#[test]
fn a_root_that_was_asked_in_vain_is_asked_again() {
    // It may count on the place that it named, and take no news of where the node is.
    let asked = || {
        let mut rig = with_backup();
        rig.step(cut_off(5, true));
        rig.message(PARENT, backups(&[("p", 15), ("q", 6)]));
        rig.step(cut_off(6, true));
        let said = pass(&mut rig, 17_600 * MS);
        assert_eq!(said.last().unwrap(), "dial 4 root", "{said:?}");
        rig.dialed(4, ConnId(9));
        rig
    };
    let again = |rig: &mut Rig| {
        assert_eq!(pass(rig, 9_800 * MS), [""; 0]);
        pass(rig, 500 * MS)
    };
    // The backup gets a way, and takes over.
    let mut rig = asked();
    rig.step(cut_off(6, false));
    let said = Rig::quiet(rig.wait(100 * MS));
    assert!(said.contains(&"close 9".to_owned()), "{said:?}");
    rig.wait(500 * MS);
    assert_eq!(pass(&mut rig, 9_300 * MS), [""; 0]);
    assert_eq!(pass(&mut rig, 500 * MS), ["dial 5 root"]);
    // The connection to the root breaks, and the parent has a way again.
    let mut rig = asked();
    rig.step(Event::Closed(ConnId(9)));
    rig.step(cut_off(5, false));
    assert_eq!(again(&mut rig), ["dial 5 root"]);
    // A root that refuses the node knows it as it was.
    let mut rig = asked();
    let report = ErrorReport {
        code: ErrorCode::Full,
        text: "no room".into(),
        failed_time: None,
        failed_type: "hello".into(),
    };
    rig.message(ConnId(9), from_root(None, Body::Error(report)));
    rig.step(cut_off(5, false));
    assert_eq!(pass(&mut rig, 11_000 * MS), [""; 0]);
}

#[test]
fn backups_have_their_turn_once_and_none_is_left_for_an_old_ticket() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, true));
    let mut dials = Vec::new();
    // Three minutes.
    for step in 0..360 {
        let said = pass(&mut rig, 500 * MS);
        let mut dialed = said.iter().filter_map(|s| s.strip_prefix("dial ")?.split_once(' '));
        let Some((dial, name)) = dialed.find(|(_, name)| *name != "root") else { continue };
        // It opens, and says that it is cut off, too.
        let conn = ConnId(20 + step);
        rig.dialed(dial.parse().unwrap(), conn);
        rig.message(conn, warm_greeting(name));
        let link = if name == "q" { 6 } else { 7 };
        rig.open(link);
        rig.step(cut_off(link, true));
        dials.push(name.to_owned());
    }
    assert_eq!(dials, ["r", "q"]);
    // What the plan said half an hour ago may be out of date.
    let mut rig = with_backup();
    pass(&mut rig, 1_600_000 * MS);
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, true));
    assert_eq!(pass(&mut rig, 5_000 * MS), [""; 0]);
    assert_eq!(rig.core.backup(), Some(&id("q")));
}

/// Cut off with its backup until the root is being dialed, as dial `4`.
fn asking() -> Rig {
    let mut rig = with_backup();
    rig.message(PARENT, backups(&[("p", 15), ("q", 6)]));
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, true));
    let said = pass(&mut rig, 17_600 * MS);
    assert_eq!(said, ["dial 4 root"]);
    rig
}

#[test]
fn nobody_is_asked_for_a_place_once_there_is_a_way_again() {
    let mut rig = asking();
    rig.step(cut_off(5, false));
    assert_eq!(rig.dialed(4, ConnId(9)), ["close 9"], "no HELLO: the root knows nothing of it");
    assert_eq!(pass(&mut rig, 15_000 * MS), [""; 0]);
    assert_eq!(rig.core.parent(), Some(&id("p")));
}

#[test]
fn an_answer_that_comes_when_there_is_a_way_again_is_followed_make_before_break() {
    let answer = || from_root(None, redirect(u64::MAX, vec![offer("r", 8)]));
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    rig.step(cut_off(5, false));
    let said = rig.message(ConnId(9), answer());
    assert_eq!(said.last().unwrap(), "dial 6 r", "{said:?}");
    assert!(!said.iter().any(|s| s.contains("bye")), "{said:?}");
    assert_eq!((rig.core.parent(), rig.lack), (Some(&id("p")), None));
    // Of no avail: the root, which counts on that place, is asked once more.
    let failed = Event::DialFailed { dial: DialId(6), error: "down".into(), refused: false };
    assert_eq!(rig.step(failed)[0], "2 error me>^ internal redirect");
    let said = pass(&mut rig, 10_100 * MS);
    assert!(said.iter().any(|s| s.ends_with(" root")), "{said:?}");
    // A parent that has no way is kept as well: it may have one again before the new one answers.
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    let said = rig.message(ConnId(9), answer());
    assert!(!said.iter().any(|s| s.contains("bye")), "{said:?}");
    rig.dialed(6, ConnId(11));
    let said = rig.message(ConnId(11), greeting("r", "me"));
    assert_eq!(said, ["add link 8 parent", "close 9", "11 childsupdate me>- +c"]);
    rig.open(8);
    let said = Rig::quiet(rig.wait(500 * MS));
    assert!(said.contains(&"2 bye me>-".to_owned()), "{said:?}");
    assert_eq!(rig.core.parent(), Some(&id("r")));
}

#[test]
fn of_the_places_that_the_root_names_the_next_is_tried_while_the_parent_has_no_way() {
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    let offers = vec![offer("r", 8), offer("s", 9)];
    let said = rig.message(ConnId(9), from_root(None, redirect(u64::MAX, offers)));
    assert_eq!(said.last().unwrap(), "dial 6 r", "{said:?}");
    assert_eq!(rig.step(failed(6)), ["dial 7 s"]);
    let said = rig.step(failed(7));
    assert_eq!(said[0], "2 error me>^ internal redirect", "{said:?}");
    assert_eq!(rig.core.parent(), Some(&id("p")));
    let refused = |rig: &mut Rig, first: ParentOffer| {
        rig.dialed(4, ConnId(9));
        let offers = vec![first, offer("p", 9), offer("s", 10)];
        rig.message(ConnId(9), from_root(None, redirect(u64::MAX, offers)))
    };
    // The parent itself is no other place. (It may be named: its control link stands.)
    let mut other = asking();
    refused(&mut other, offer("r", 8));
    assert_eq!(other.step(failed(6)), ["dial 7 s"]);
    // A place whose secret makes no sense is none.
    let mut other = asking();
    let nonsense = pipeline::Wrapped { enc: b"another's".to_vec(), sealed: Vec::new() };
    let said = refused(&mut other, ParentOffer { credential: nonsense, ..offer("r", 8) });
    assert_eq!(said.last().unwrap(), "dial 6 s", "{said:?}");
    // The root counts on one of them.
    let said = pass(&mut rig, 10_100 * MS);
    assert!(said.iter().any(|s| s.ends_with(" root")), "{said:?}");
}

#[test]
fn a_parent_that_the_answer_names_is_not_left_for_itself() {
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    rig.step(cut_off(5, false));
    let said = rig.message(ConnId(9), from_root(None, redirect(u64::MAX, vec![offer("p", 8)])));
    assert_eq!(said.last().unwrap(), "dial 6 p", "{said:?}");
    assert!(!said.iter().any(|s| s.contains("bye")), "{said:?}");
    assert_eq!(rig.lack, None);
    rig.dialed(6, ConnId(11));
    // It takes the new link in place of the old one, whichever end of that is heard of first.
    assert_eq!(rig.step(Event::Closed(PARENT)), ["remove link 5", "attached false"]);
    let said = rig.message(ConnId(11), greeting("p", "me"));
    let update = "11 childsupdate me>- +c";
    assert_eq!(said, ["add link 8 parent", "close 9", update, "attached true"]);
    rig.open(8);
    assert_eq!((rig.core.parent(), rig.cut_off), (Some(&id("p")), false));
}

#[test]
fn the_doubt_of_a_question_without_an_answer_outlives_a_change_of_parents() {
    // The join breaks, then the backup gets a way before the parent does.
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    rig.step(Event::Closed(ConnId(9)));
    pass(&mut rig, 3 * SEC);
    rig.step(cut_off(6, false));
    pass(&mut rig, 200 * MS);
    assert_eq!(rig.core.parent(), Some(&id("q")));
    let said = pass(&mut rig, 10_100 * MS);
    assert!(said.iter().any(|s| s.ends_with(" root")), "{said:?}");
    // It breaks while there is no parent, but another one is being tried with an old ticket.
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    rig.step(Event::Closed(WARM));
    assert_eq!(rig.step(Event::Closed(PARENT)).last().unwrap(), "dial 5 q");
    rig.step(Event::Closed(ConnId(9)));
    rig.dialed(5, ConnId(10));
    rig.message(ConnId(10), greeting("q", "me"));
    rig.open(6);
    assert_eq!(rig.core.parent(), Some(&id("q")));
    let said = pass(&mut rig, 10_100 * MS);
    assert!(said.iter().any(|s| s.ends_with(" root")), "{said:?}");
}

#[test]
fn a_root_that_never_answers_is_asked_ever_more_seldom() {
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    rig.step(Event::Closed(ConnId(9)));
    rig.step(cut_off(5, false));
    let mut at = Vec::new();
    // Ten minutes.
    for second in 0..600 {
        for said in pass(&mut rig, SEC) {
            let dial = said.strip_prefix("dial ").and_then(|s| s.strip_suffix(" root"));
            if let Some(dial) = dial {
                at.push(second);
                rig.step(failed(dial.parse().unwrap()));
            }
        }
    }
    let pauses: Vec<i32> = at.windows(2).map(|w| w[1] - w[0]).collect();
    assert!((6..=9).contains(&at.len()), "{at:?}");
    assert!(pauses.iter().all(|p| *p >= 19), "{pauses:?}");
    assert!(pauses.iter().skip(2).all(|p| (79..=121).contains(p)), "{pauses:?}");
}

#[test]
fn backups_that_were_named_later_have_their_turn_too() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, true));
    // Two looks at backups, then the root is asked, in vain.
    for link in [7, 6] {
        let said = pass(&mut rig, 12 * SEC);
        let dialed = said.iter().find_map(|s| s.strip_prefix("dial ")?.split_once(' '));
        let (dial, name) = dialed.expect("another backup");
        let conn = ConnId(20 + link);
        rig.dialed(dial.parse().unwrap(), conn);
        rig.message(conn, warm_greeting(name));
        rig.open(link);
        rig.step(cut_off(link, true));
    }
    // The root names others.
    rig.message(PARENT, backups(&[("p", 15), ("s", 16), ("t", 17)]));
    let mut names = Vec::new();
    for step in 0..90 {
        for said in pass(&mut rig, SEC) {
            let Some((dial, name)) = said.strip_prefix("dial ").and_then(|s| s.split_once(' '))
            else {
                continue;
            };
            let dial = dial.parse().unwrap();
            let Some(link) = [("s", 16), ("t", 17)].iter().find(|(n, _)| *n == name) else {
                rig.step(failed(dial));
                continue;
            };
            let conn = ConnId(40 + step);
            rig.dialed(dial, conn);
            rig.message(conn, warm_greeting(name));
            rig.open(link.1);
            rig.step(cut_off(link.1, true));
            names.push(name.to_owned());
        }
    }
    assert!(names.contains(&"t".to_owned()), "{names:?}");
}

#[test]
fn a_new_parent_that_is_cut_off_too_does_not_make_the_pauses_short_again() {
    let mut rig = asking();
    rig.dialed(4, ConnId(9));
    rig.message(ConnId(9), from_root(None, redirect(u64::MAX, vec![offer("r", 8)])));
    rig.dialed(6, ConnId(10));
    rig.message(ConnId(10), greeting("r", "me"));
    rig.open(8);
    assert_eq!(rig.core.parent(), Some(&id("r")));
    let said = Rig::quiet(rig.wait(500 * MS));
    assert_eq!(said, ["2 bye me>-", "close 2", "remove link 5"]);
    rig.step(cut_off(8, true));
    // The fourth look is 16 s after the third, a quarter more or less.
    assert_eq!(pass(&mut rig, 11_900 * MS), [""; 0]);
    assert_eq!(pass(&mut rig, 8_200 * MS), ["dial 7 root"]);
    // After ten seconds with a way they are.
    let failed = Event::DialFailed { dial: DialId(7), error: "down".into(), refused: false };
    rig.step(failed);
    rig.step(cut_off(8, false));
    assert_eq!(pass(&mut rig, 10_000 * MS), [""; 0]);
    rig.step(cut_off(8, true));
    let said = pass(&mut rig, 17_600 * MS);
    assert_eq!(said, ["dial 8 root"], "2, 4 and 8 s");
}

#[test]
fn a_backup_that_has_a_way_comes_before_the_old_parent() {
    let mut rig = with_backup();
    let body = Redirect {
        rank: Rank(9),
        mode: MoveMode::Overlap,
        identity: None,
        parents: vec![offer("p2", 8), offer("q", 9)],
    };
    rig.message(PARENT, from_root(Some("me"), Body::Redirect(Box::new(body))));
    rig.dialed(4, ConnId(10));
    rig.message(ConnId(10), greeting("p2", "me"));
    rig.open(8);
    let said = rig.dialed(5, ConnId(11));
    assert!(said.contains(&"11 hello me>q warm".to_owned()), "{said:?}");
    rig.message(ConnId(11), warm_greeting("q"));
    rig.open(9);
    rig.step(cut_off(8, true));
    let said = Rig::quiet(rig.wait(100 * MS));
    assert!(said.contains(&"promote link 9".to_owned()), "{said:?}");
}

fn failed(dial: u64) -> Event<NodeCommand> {
    Event::DialFailed { dial: DialId(dial), error: "down".into(), refused: false }
}

/// Waits in small steps; everybody answers PING.
fn pass(rig: &mut Rig, micros: u64) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..micros / (100 * MS) {
        for conn in [PARENT, CHILD].into_iter().chain((WARM.0..400).map(ConnId)) {
            rig.answer_ping(conn);
        }
        said.extend(Rig::quiet(rig.wait(100 * MS)));
    }
    said
}
