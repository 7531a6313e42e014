//! A leaf that speaks for others, lies about what it has, and floods its parent with messages of every
//! type. Its links are cut, no neighbour loses its place, what the root knows of all others is the
//! truth, and what of a flood gets as far as the root is bounded.

use crate::sim::Sim;
use crate::sim::scenario::crowd::{Crowd, SECOND, Stage};
use crate::sim::scenario::{Bounds, Outcome, Scenario, Size, Watch};
use soleil_protocol::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "malice",
    about: "a leaf forges, lies and floods with messages of every type",
    run,
};

/// Messages of one flood, and how many come at once, each 10 ms.
const FLOOD: usize = 2_000;
const AT_ONCE: usize = 40;

/// What of a flood may get to the root: a leaf's budget (`control::limits::CHILD_BURST` and what a
/// second and a half adds), answers included, and what there is without it.
const AT_ROOT: f64 = 2.0 * 700.0;

/// Text that no good child sends, by kind; `{me}` is the sender, `{up}` its parent, `{n}` a number.
const LIES: &[(&str, &str)] = &[
    ("ping", r#"<message type="ping" time="1"><echo>{n}</echo></message>"#),
    ("pong", r#"<message type="pong" time="1"><echo>{n}</echo></message>"#),
    ("bye to the root", r#"<message type="bye" time="1" to="^"><reason>{n}</reason></message>"#),
    (
        "bye to nobody",
        r#"<message type="bye" time="1" to="nobody-{n}"><reason>x</reason></message>"#,
    ),
    (
        "hello",
        r#"<message type="hello" time="1" to="^"><info><name>{me}</name><pipelines/><version>2</version></info></message>"#,
    ),
    (
        "hello again",
        r#"<message type="hello" time="1"><info><name>{me}</name><pipelines/><version>2</version></info></message>"#,
    ),
    (
        "childsupdate of others",
        r#"<message type="childsupdate" time="1"><added><child id="relay-{n}" incarnation="9999" parent="root" weight="1000000000"/></added></message>"#,
    ),
    (
        "childsupdate of nobody",
        r#"<message type="childsupdate" time="1"><added><child id="ghost-{n}" incarnation="1" parent="{me}" weight="1"/></added></message>"#,
    ),
    (
        "childsupdate that takes away",
        r#"<message type="childsupdate" time="1"><removed><child id="leaf-{n}" incarnation="9999"/></removed></message>"#,
    ),
    (
        "childsupdate that closes a loop",
        r#"<message type="childsupdate" time="1"><added><child id="{up}" incarnation="9999" parent="{me}" weight="1"/></added></message>"#,
    ),
    ("error", r#"<message type="error" time="1"><code>internal</code><text>{n}</text></message>"#),
    (
        "error to the root",
        r#"<message type="error" time="1" to="^"><code>internal</code><text>{n}</text><failedType>redirect</failedType></message>"#,
    ),
    (
        "kill as the root",
        r#"<message type="kill" time="1" from="^" to="{up}"><grace>0</grace><reason>x</reason></message>"#,
    ),
    (
        "kill as itself",
        r#"<message type="kill" time="1" to="leaf-{n}"><grace>0</grace><reason>x</reason></message>"#,
    ),
    (
        "redirect",
        r#"<message type="redirect" time="1" from="{up}" to="{up}"><rank>1</rank><mode>atOnce</mode></message>"#,
    ),
    (
        "pipedef",
        r#"<message type="pipedef" time="1" from="^" to="*"><pipeline id="{n}" live="true"><name>x</name></pipeline></message>"#,
    ),
    (
        "removepipeline",
        r#"<message type="removepipeline" time="1" to="{up}"><pipeid>1</pipeid></message>"#,
    ),
    (
        "playpipeline",
        r#"<message type="playpipeline" time="1"><pipeid>1</pipeid><layers><layer ssrc="10" from="{n}"/></layers></message>"#,
    ),
    (
        "playpipeline of nothing",
        r#"<message type="playpipeline" time="1"><pipeid>{n}</pipeid></message>"#,
    ),
    ("stoppipeline", r#"<message type="stoppipeline" time="1"><pipeid>1</pipeid></message>"#),
    (
        "stats with weights",
        r#"<message type="stats" time="1"><statsContainers><statsContainer><startTime>0</startTime><endTime>9</endTime><numOfChildren>0</numOfChildren><id>1</id><statArray><DBValue><name>rtt</name><value>9</value><weight>1000000000</weight></DBValue></statArray></statsContainer></statsContainers></message>"#,
    ),
    (
        "stats with NaN",
        r#"<message type="stats" time="1"><statsContainers><statsContainer><startTime>0</startTime><endTime>9</endTime><numOfChildren>0</numOfChildren><id>1</id><statArray><DBValue><name>rtt</name><value>NaN</value></DBValue></statArray></statsContainer></statsContainers></message>"#,
    ),
    (
        "fullstats of others",
        r#"<message type="fullstats" time="1" from="leaf-{n}" to="^"><xmlDb/></message>"#,
    ),
    ("reqfullstats", r#"<message type="reqfullstats" time="1" to="leaf-{n}"/>"#),
    ("a type that nobody knows", r#"<message type="dance" time="1"><step>{n}</step></message>"#),
    ("no message at all", "hello {n}"),
];

/// Whoever has lost its place, been without a parent, or failed over, but for the liar.
fn disturbed(sim: &Sim, liar: usize, before: &[(u32, u32)]) -> Option<String> {
    let now = sim.nodes.iter().map(|n| (n.attaches, n.failovers));
    let mut changed =
        now.zip(before).enumerate().filter(|(place, (now, old))| *place != liar && now != *old);
    changed.next().map(|(place, _)| sim.nodes[place].id().to_string())
}

/// What each node has refused, by reason.
type Refusals = Vec<BTreeMap<&'static str, u64>>;

fn refusals(sim: &Sim) -> Refusals {
    sim.nodes.iter().map(|n| n.refused.clone()).collect()
}

/// What was refused since then, and by whom: why somebody may have been cut off.
fn since(sim: &Sim, before: &Refusals) -> String {
    let mut all = Vec::new();
    for (node, old) in sim.nodes.iter().zip(before) {
        for (why, count) in &node.refused {
            let more = count - old.get(why).copied().unwrap_or_default();
            if more > 0 {
                all.push(format!("{} {why} {more}", node.id()));
            }
        }
    }
    all.join(", ")
}

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves) = match size {
        Size::Small => (4, 24),
        Size::Full => (20, 300),
    };
    let stage = Stage::new(seed, (relays, leaves), (24, 6));
    // The flood is control, too; and of so few nodes 99 % are all.
    let bytes_each = Some(40_000.0);
    let routing = Some(20 * SECOND);
    let bounds = Bounds { routing, statistics: None, bytes_each, ..Bounds::default() };
    let (sim, pipeline, places) = stage.build();
    let mut watch = Watch::new(SCENARIO.name, size, sim, bounds);
    let mut crowd = Crowd::new(seed, pipeline);
    crowd.spread(&mut watch.sim, &places, leaves as u32 * 50);
    watch.run(10 * SECOND);
    let liar = places[leaves / 2];
    let mut most_at_root = (0.0, "");
    for (kind, text) in LIES {
        let up = |sim: &Sim| sim.nodes[liar].core().parent().and_then(|id| sim.place(id));
        let back = |sim: &Sim| up(sim).is_some() && sim.settled();
        let end = watch.sim.elapsed() + 60 * SECOND;
        while !back(&watch.sim) && watch.sim.elapsed() < end {
            watch.run(Duration::from_millis(100));
        }
        let Some(parent) = up(&watch.sim).filter(|_| back(&watch.sim)) else {
            let why = watch.sim.disagreement().unwrap_or_else(|| "it has no parent".into());
            watch.nothing("the tree was not right again", Some(format!("before {kind}: {why}")));
            continue;
        };
        let (me, above): (NodeId, NodeId) =
            (watch.sim.nodes[liar].id(), watch.sim.nodes[parent].id());
        let text = text.replace("{me}", me.as_str()).replace("{up}", above.as_str());
        let before: Vec<(u32, u32)> =
            watch.sim.nodes.iter().map(|n| (n.attaches, n.failovers)).collect();
        let refused = refusals(&watch.sim);
        let traffic = watch.sim.nodes[0].traffic.messages;
        let began = watch.sim.elapsed();
        watch.happens(format!("a flood: {kind}"));
        let mut said = 0;
        while said < FLOOD {
            for n in said..said + AT_ONCE {
                if !watch.sim.try_say(liar, parent, &text.replace("{n}", &n.to_string())) {
                    break;
                }
            }
            said += AT_ONCE;
            watch.run(Duration::from_millis(10));
        }
        watch.run(SECOND);
        let seconds = (watch.sim.elapsed() - began).as_secs_f64();
        // In peace the root gets and sends some for each node.
        let peace = seconds * 3.0 * (relays + leaves) as f64;
        let at_root = (watch.sim.nodes[0].traffic.messages - traffic) as f64 - peace;
        if at_root > most_at_root.0 {
            most_at_root = (at_root, kind);
        }
        let stirred = disturbed(&watch.sim, liar, &before);
        let stirred = stirred.map(|id| {
            let why = since(&watch.sim, &refused);
            format!("{id}, by a flood: {kind}; the liar is {me} below {above}; refused: {why}")
        });
        if stirred.is_some() {
            watch.nothing("somebody else noticed", stirred);
        }
        watch.calm(60 * SECOND);
    }
    let (found, kind) = most_at_root;
    watch.at_most(&format!("messages of a flood at the root ({kind})"), found, AT_ROOT, "messages");
    // What the liar says of its own viewers is its own; all others' are what they are.
    watch.sim.kill(liar);
    watch.happens("the liar is gone");
    watch.calm(30 * SECOND);
    watch.run(5 * SECOND);
    let wrong = watch.sim.wrong_statistics(pipeline);
    watch.nothing("statistics of the others that are wrong", wrong);
    let refused =
        |why: &str| -> u64 { watch.sim.nodes.iter().filter_map(|n| n.refused.get(why)).sum() };
    let counts: Vec<(String, u64)> =
        ["forged", "loop", "subtree", "statistics", "flood", "unauthorized"]
            .map(|why| (format!("refused as {why}"), refused(why)))
            .to_vec();
    for (what, count) in counts {
        watch.at_most(&format!("never {what}"), f64::from(u8::from(count == 0)), 0.0, "");
        watch.figure(&what, count as f64, "messages");
    }
    watch.peace(5 * SECOND);
    watch.finish()
}
