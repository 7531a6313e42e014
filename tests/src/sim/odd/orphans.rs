//! Orphans who count on each other. Siblings lose their parent at once, each may have the other as
//! its backup. By the plan that can't be both ways (ranks), so no loop closes at any look. Then two
//! are given tickets for each other as two plans that cross could have made them: each adopts the
//! other, the first CHILDSUPDATE ends that, and both are attached again within seconds.

use crate::sim::Sim;
use crate::sim::fake::SimAuthority;
use crate::sim::scenario::crowd::{Crowd, SECOND, Stage};
use crate::sim::scenario::{Bounds, Outcome, Scenario, Size, Watch};
use relay_node::control::api::{Vault, credential_context};
use relay_node::media::api::HopCredential;
use root_node::core::api::{Authority, TicketRequest};
use soleil_protocol::message::{HostPort, MoveMode, ParentOffer, Redirect};
use soleil_protocol::{Address, Body, Incarnation, LinkId, Message, Rank, Role};
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "orphans",
    about: "siblings that may be each other's backup lose their parent at once",
    run,
};

/// Both orphans are attached again, and every belief is true, within this time.
const WITHIN: Duration = Duration::from_secs(15);

/// Relays of the second layer, by the relay that they hang below.
fn families(sim: &Sim) -> Vec<(usize, Vec<usize>)> {
    let edges = sim.edges();
    let relay = |place: usize| sim.nodes[place].role == Role::Relay;
    let below = |parent: usize| {
        let own = edges.iter().filter(|(child, to)| *to == parent && relay(*child));
        own.map(|(child, _)| *child).collect::<Vec<_>>()
    };
    let parents = (1..sim.nodes.len()).filter(|p| relay(*p) && sim.nodes[*p].runs());
    parents.map(|p| (p, below(p))).filter(|(_, children)| children.len() >= 2).collect()
}

/// Tells `child`, in the root's name and over its parent, that its rank is 50 << 24 and that `backup`
/// is its backup, with a ticket in which its rank is higher: as if by a newer plan.
fn cross(sim: &mut Sim, authority: &mut SimAuthority, child: usize, backup: usize, link: u64) {
    let (own, other) = (&sim.nodes[child], &sim.nodes[backup]);
    let (id, there) = (own.id(), other.id());
    let parent = own.core().parent().cloned().expect("it is attached");
    let incarnation = own.core().identity().map(|i| i.incarnation.0).unwrap_or_default();
    let credential = HopCredential([link as u8; 32]);
    let now = sim.clock(0);
    let ticket = TicketRequest {
        child: id.clone(),
        child_key: own.key(),
        incarnation: Incarnation(incarnation + 10_000 + link),
        parent: there.clone(),
        parent_wrap_key: other.vault.wrap_key(),
        link: LinkId(link),
        credential: credential.clone(),
        backup: Some(Rank(60 << 24)),
        version: 2,
        lives: Duration::from_secs(300),
    };
    let context = credential_context(&id, LinkId(link));
    let wrapped = |authority: &mut SimAuthority| {
        authority.wrap(&own.vault.wrap_key(), &context, &credential.0).expect("it can be wrapped")
    };
    let offer = ParentOffer {
        id: there,
        server: HostPort { host: "crossed".into(), port: 10_000 + backup as u16 },
        media: Vec::new(),
        link: LinkId(link),
        version: 2,
        ticket: authority.sign_ticket(now, &ticket).expect("it can be signed"),
        credential: wrapped(authority),
    };
    // The first is the parent that it has: then it stays.
    let here = ParentOffer { id: parent.clone(), ..offer.clone() };
    let (rank, mode) = (Rank(50 << 24), MoveMode::Overlap);
    let body = Redirect { rank, mode, identity: None, parents: vec![here, offer] };
    let message = Message {
        time: now.wall.millis(),
        from: Some(Address::Root),
        to: Some(Address::Node(id)),
        body: Body::Redirect(Box::new(body)),
    };
    let parent = sim.place(&parent).expect("a parent that is there");
    sim.say(parent, child, &message.to_xml());
}

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves, rounds) = match size {
        Size::Small => (10, 30, 2),
        Size::Full => (60, 200, 8),
    };
    let stage = Stage::new(seed, (relays, leaves), (6, 3));
    // Of so few nodes 99 % are all, and one that has just lost its children counts without them.
    let bytes_each = Some(40_000.0);
    let (routing, statistics) = (Some(WITHIN), Some(2 * WITHIN));
    let bounds = Bounds { routing, statistics, bytes_each, ..Bounds::default() };
    let (sim, pipeline, places) = stage.build();
    let mut watch = Watch::new(SCENARIO.name, size, sim, bounds);
    watch.audience(pipeline);
    let mut crowd = Crowd::new(seed, pipeline);
    crowd.spread(&mut watch.sim, &places, leaves as u32 * 20);
    watch.run(30 * SECOND);
    for round in 0..rounds {
        let Some((parent, orphans)) = families(&watch.sim).into_iter().next() else { break };
        watch.sim.kill(parent);
        watch.happens(format!("round {round}: {} orphans at once", orphans.len()));
        watch.calm(2 * WITHIN);
        watch.sim.start_again(parent);
        watch.happens("the parent comes back");
        watch.calm(2 * WITHIN);
        watch.run(20 * SECOND);
    }
    let sim = std::mem::replace(&mut watch.sim, stage.root());
    let mut crossed = Crossed { sim, authority: SimAuthority::new(seed), link: 1 << 40 };
    let (longest, tried) = crossed.play(rounds);
    watch.sim = crossed.sim;
    watch.looks_again();
    watch.at_most("no pair was there to be crossed", f64::from(u8::from(tried == 0)), 0.0, "");
    let what = "two whose plans crossed, until all is right again";
    watch.at_most(what, longest.as_secs_f64(), WITHIN.as_secs_f64(), "s");
    watch.figure("pairs whose plans crossed", f64::from(tried), "");
    let loops: u64 = watch.sim.nodes.iter().filter_map(|n| n.refused.get("loop")).sum();
    watch.figure("updates that would have closed a loop", loops as f64, "");
    watch.happens("after all that");
    watch.calm(2 * WITHIN);
    watch.run(10 * SECOND);
    watch.peace(5 * SECOND);
    watch.finish()
}

/// The second half: here a loop of control links is there for a moment, so nobody watches for one.
struct Crossed {
    sim: Sim,
    authority: SimAuthority,
    link: u64,
}

impl Crossed {
    /// Longest time until everything was right again, and pairs that were tried.
    fn play(&mut self, rounds: usize) -> (Duration, u32) {
        let (mut longest, mut tried) = (Duration::ZERO, 0);
        for _ in 0..rounds {
            let Some((parent, orphans)) = families(&self.sim).into_iter().next() else { break };
            let (a, b) = (orphans[0], orphans[1]);
            self.link += 2;
            cross(&mut self.sim, &mut self.authority, a, b, self.link);
            cross(&mut self.sim, &mut self.authority, b, a, self.link + 1);
            let (id_a, id_b) = (self.sim.nodes[a].id(), self.sim.nodes[b].id());
            self.sim.until(20 * SECOND, "each is the other's backup", |sim| {
                sim.nodes[a].core().backup() == Some(&id_b)
                    && sim.nodes[b].core().backup() == Some(&id_a)
            });
            tried += 1;
            let began = self.sim.elapsed();
            self.sim.kill(parent);
            self.sim.until(60 * SECOND, "the truth after plans that crossed", Sim::settled);
            longest = longest.max(self.sim.elapsed() - began);
            self.sim.start_again(parent);
            self.sim.run(20 * SECOND);
            self.sim.until(60 * SECOND, "the truth once more", Sim::settled);
        }
        (longest, tried)
    }
}
