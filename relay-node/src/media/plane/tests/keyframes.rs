//! Key-frame requests go up, merged.

use super::*;

fn wanted(net: &Net) -> usize {
    let wanted = PlaneEvent::KeyFrameWanted(PIPE, VIDEO);
    net.nodes[0].events.iter().filter(|e| **e == wanted).count()
}

fn ask(net: &mut Net, node: usize) {
    net.command(node, PlaneCommand::RequestKeyFrame(PIPE, VIDEO));
}

#[test]
fn a_request_reaches_the_source_over_all_hops() {
    let mut net = Net::chain(4, 1);
    ask(&mut net, 3);
    net.run(100);
    assert_eq!(wanted(&net), 1);
    assert_eq!(net.link_stats(3, 3).plis_sent, 1);
    assert_eq!((net.link_stats(0, 1).plis_received, net.layer(0).key_frame_requests), (1, 1));
    assert!(net.nodes[1..].iter().all(|n| n.events.is_empty()));
}

#[test]
fn requests_of_many_are_merged_and_the_late_one_is_not_lost() {
    let mut net = Net::new(6, 1);
    net.link(1, 0, 1);
    net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
    for child in 2..6 {
        net.link(child as u64, 1, child);
        net.route(1, VIDEO, NextHop::Link(LinkId(child as u64)), None);
        net.route(child, VIDEO, NextHop::Local, None);
    }
    net.run(300);
    (2..6).for_each(|child| ask(&mut net, child));
    net.run(100);
    assert_eq!((wanted(&net), net.link_stats(1, 1).plis_sent), (1, 1));
    // Three of the four came within the 500 ms: one more request follows when they are over.
    net.run(450);
    assert_eq!(wanted(&net), 2);
    net.run(2000);
    assert_eq!(wanted(&net), 2);
}

#[test]
fn a_key_frame_meanwhile_answers_those_who_wait() {
    let mut net = Net::chain(3, 1);
    ask(&mut net, 2);
    net.run(50);
    ask(&mut net, 2);
    net.send_marked(VIDEO, 1, true);
    net.run(2000);
    assert_eq!(wanted(&net), 1);
    assert_eq!(net.layer(2).key_frames, 1);
    // The next is a new one.
    ask(&mut net, 2);
    net.run(100);
    assert_eq!(wanted(&net), 2);
}

#[test]
fn sound_has_no_key_frames() {
    let mut net = Net::chain(3, 1);
    net.command(2, PlaneCommand::RequestKeyFrame(PIPE, AUDIO));
    net.run(100);
    assert!(net.nodes[0].events.is_empty());
}
