//! Keeps the demo running: says which node has ended and starts it again, says which relay carries
//! the stream, and gives up only if the root or the broadcaster can't be had.

use anyhow::bail;
use soleil_protocol::Mono;
use soleil_tests::harness::{Broadcast, Tree, Which};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A node that has ended is away for so long: long enough to be seen.
const AWAY: Duration = Duration::from_secs(5);
/// After more failures it is tried more seldom, up to this.
const AWAY_AT_MOST: Duration = Duration::from_secs(60);
/// The broadcaster is away for so long.
const OFF_AIR: Duration = Duration::from_secs(2);
/// Root and broadcaster may fail so often, one after the other.
const TRIES: u32 = 3;
/// A broadcaster that has run for so long is a good one.
const GOOD: Duration = Duration::from_secs(20);
/// A relay that has sent so many packets since the last look carries the stream.
const CARRIES: f64 = 20.0;

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    /// It has ended, and is started again at this time.
    Away(Mono),
    /// It was started and is not ready.
    Starting,
}

/// A tree that is kept running.
pub struct Keeper {
    /// The tree.
    pub tree: Tree,
    broadcast: Option<Broadcast>,
    arguments: &'static [&'static str],
    states: BTreeMap<Which, State>,
    /// Failures since a node was ready.
    failures: BTreeMap<Which, u32>,
    on_air: Mono,
    back_on_air: Mono,
    broadcasts_failed: u32,
    sent: BTreeMap<usize, f64>,
    carrier: Option<usize>,
    panics: BTreeSet<String>,
}

impl Keeper {
    /// All of the tree's nodes are ready; the broadcast was started with these arguments.
    pub fn new(tree: Tree, broadcast: Broadcast, arguments: &'static [&'static str]) -> Self {
        let states = tree.all().into_iter().map(|which| (which, State::Up)).collect();
        Self {
            tree,
            broadcast: Some(broadcast),
            arguments,
            states,
            failures: BTreeMap::new(),
            on_air: Mono(0),
            back_on_air: Mono(0),
            broadcasts_failed: 0,
            sent: BTreeMap::new(),
            carrier: None,
            panics: BTreeSet::new(),
        }
    }

    /// Looks at everything; gives what there is to say.
    ///
    /// # Errors
    /// If there can't be a picture any more.
    pub fn look(&mut self, now: Mono) -> anyhow::Result<Vec<String>> {
        let mut news = Vec::new();
        for which in self.tree.all() {
            self.look_at(which, now, &mut news)?;
        }
        self.look_at_broadcast(now, &mut news)?;
        self.look_for_carrier(&mut news);
        // An error of ours: shown, and the rest goes on.
        for line in self.tree.complaints().into_iter().filter(|l| l.contains("panicked at")) {
            if self.panics.insert(line.clone()) {
                news.push(line);
            }
        }
        Ok(news)
    }

    fn look_at(&mut self, which: Which, now: Mono, news: &mut Vec<String>) -> anyhow::Result<()> {
        let state = self.states.get(&which).copied().unwrap_or(State::Up);
        let process = self.tree.process(which);
        let (name, pid) = (process.name().to_owned(), process.id());
        let next = match (state, process.exit()) {
            (State::Away(due), _) if now < due => return Ok(()),
            (State::Away(_), _) => match self.tree.launch_again(which) {
                Ok(()) => {
                    let pid = self.tree.process(which).id();
                    news.push(format!("{name} is started again, pid {pid}"));
                    State::Starting
                }
                Err(error) => State::Away(now.after(self.failed(which, &error.to_string())?)),
            },
            (state, Some(status)) => {
                let log = self.tree.process(which).log_tail();
                let pause = match state {
                    State::Starting => self.failed(which, &format!("{status}\n{log}"))?,
                    _ => AWAY,
                };
                news.push(format!(
                    "{name} (pid {pid}) ended: {status}; it is started again in {} s",
                    pause.as_secs()
                ));
                State::Away(now.after(pause))
            }
            (State::Starting, None) if self.tree.node(which).is_ready() => {
                self.failures.remove(&which);
                news.push(format!("{name} is back (pid {pid})"));
                State::Up
            }
            (state, None) => state,
        };
        self.states.insert(which, next);
        Ok(())
    }

    /// A node could not be started; gives the pause before the next attempt.
    fn failed(&mut self, which: Which, why: &str) -> anyhow::Result<Duration> {
        let failures = self.failures.entry(which).or_default();
        *failures += 1;
        if which == Which::Root && *failures >= TRIES {
            bail!("the root can't be started again: {why}");
        }
        Ok((AWAY * 2_u32.saturating_pow(*failures)).min(AWAY_AT_MOST))
    }

    fn look_at_broadcast(&mut self, now: Mono, news: &mut Vec<String>) -> anyhow::Result<()> {
        let Some(broadcast) = &mut self.broadcast else {
            if now >= self.back_on_air {
                self.broadcast = Some(self.tree.broadcast(0, self.arguments)?);
                self.on_air = now;
                news.push("the broadcaster is started again".into());
            }
            return Ok(());
        };
        let Some(status) = broadcast.process().exit() else { return Ok(()) };
        let good = now.since(self.on_air) >= GOOD;
        self.broadcasts_failed = if good { 1 } else { self.broadcasts_failed + 1 };
        if self.broadcasts_failed >= TRIES {
            bail!("the broadcaster ended: {status}\n{}", broadcast.process().log_tail());
        }
        news.push(format!("the broadcaster ended: {status}"));
        self.broadcast = None;
        self.back_on_air = now.after(OFF_AIR);
        Ok(())
    }

    /// Which relay the leaves get the stream from: the one to kill.
    fn look_for_carrier(&mut self, news: &mut Vec<String>) {
        let mut rises = Vec::new();
        for (n, relay) in self.tree.relays.iter().enumerate() {
            // One that is stopped does not answer, and would hold up everything here.
            let up = self.states.get(&Which::Relay(n)) == Some(&State::Up);
            if !up || relay.process.is_frozen() {
                self.sent.remove(&n);
                continue;
            }
            let child = [("peer", "child")];
            let sent = relay.metrics().sum("soleil_hop_packets_sent_total", &child);
            if let Some(before) = self.sent.insert(n, sent) {
                rises.push((sent - before, n));
            }
        }
        let most = rises.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, n)) = most.filter(|(rise, n)| *rise > CARRIES && self.carrier != Some(*n)) {
            self.carrier = Some(n);
            let pid = self.tree.relays[n].process.id();
            news.push(format!(
                "relay-{} carries the stream; to see what happens without it: kill -9 {pid}",
                n + 1
            ));
        }
        // Another process has another number.
        if let Some(n) = self.carrier
            && self.states.get(&Which::Relay(n)) != Some(&State::Up)
        {
            self.carrier = None;
        }
    }

    /// Ends everything.
    pub fn stop(self) {
        if let Some(broadcast) = self.broadcast {
            // Its report is of no use here, and a failure neither: everything ends.
            let _ = broadcast.stop();
        }
        drop(self.tree);
    }
}
