//! Measurements as lines of a table. What a server does not tell is a dash.

use soleil_tests::load::{CellResult, LadderResult, SiegeResult};
use soleil_tests::planning::{PlanningResult, Times};
use soleil_tests::viewer::Percentiles;

pub const HEADING: &str = "    N  us/pkt   limit  ratio  core%   loss%  rate/source  delay p50/p99  key p50/p99  \
                           answer  packet p50/p95  key p50/p95  KB/viewer  PLI";

pub fn row(r: &CellResult) -> String {
    let f = &r.figures;
    let pair = |p: Option<Percentiles>| (number(p.map(|p| p.p50), 1), number(p.map(|p| p.p99), 1));
    let (delay, key_delay) = (pair(f.delay), pair(f.key_delay));
    let source_rate = number(f.source_rate, 1);
    let requests = f.key_requests.map_or_else(dash, |n| n.to_string());
    format!(
        "{:>5}  {:>6}  {:>6}  {:>5}  {:>5}  {:>6.3}  {:>5.1}/{source_rate:<5}  {:>5}/{:<7}  {:>4}/{:<6}  {:>6.1}  {:>6.1}/{:<7.1}  {:>5.1}/{:<5.1}  {:>9}  {requests:>3}",
        r.cell.audience.viewers,
        number(f.cpu_us, 2),
        number(r.limit_us, 2),
        number(r.ratio(), 2),
        number(f.core.map(|core| 100.0 * core), 1),
        f.loss_percent,
        f.rate,
        delay.0,
        delay.1,
        key_delay.0,
        key_delay.1,
        f.answer.p50,
        f.first_packet.p50,
        f.first_packet.p95,
        f.first_key.p50,
        f.first_key.p95,
        number(f.memory.map(|bytes| bytes / 1024.0), 1),
    )
}

fn dash() -> String {
    "-".to_owned()
}

fn number(value: Option<f64>, places: usize) -> String {
    value.map_or_else(dash, |v| format!("{v:.places$}"))
}

pub const SIEGE_HEADING: &str = "attack           sent  seconds  CPU ms   back  closed  loss%  delay p50/p99  memory KiB       newcomer  answers";

pub fn siege_row(r: &SiegeResult) -> String {
    let attack = format!("{:?}", r.attack);
    // For each byte of a datagram so many came back.
    let back = (r.done.bytes > 0).then(|| r.done.back as f64 / r.done.bytes as f64);
    let answers: Vec<String> = r.done.statuses.iter().map(|(s, n)| format!("{n}x{s}")).collect();
    let newcomer = r.newcomer_ms.map_or_else(|| "none".to_owned(), |ms| format!("{ms:.0} ms"));
    format!(
        "{attack:<13} {:>7}  {:>7.1}  {:>6.0}  {:>5}  {:>6}  {:>5.3}  {:>5.1}/{:<7.1}  {:>6} -> {:<6}  {newcomer:>8}  {}",
        r.done.sent,
        r.seconds,
        r.cpu_ms,
        number(back, 2),
        r.done.closed,
        r.loss_percent,
        r.delay.p50,
        r.delay.p99,
        r.memory.0 / 1024,
        r.memory.1 / 1024,
        answers.join(" "),
    )
}

pub const PLANNER_HEADING: &str = "nodes  relays  depth  left out  backed  whole plan ms  of a standing tree  join ms med/max  leave ms med/max  relay leaves ms med/max  256 looks ms med/max";

pub fn planner_row(r: &PlanningResult) -> String {
    let pair = |t: &Times| format!("{:.3}/{:.3}", t.median_ms, t.max_ms);
    format!(
        "{:>5}  {:>6}  {:>5}  {:>8}  {:>6}  {:>13.1}  {:>18.1}  {:>15}  {:>16}  {:>23}  {:>20}",
        r.nodes,
        r.relays,
        r.depth,
        r.left_out,
        r.backed,
        r.whole.max_ms,
        r.again.max_ms,
        pair(&r.join),
        pair(&r.leave),
        pair(&r.relay_leaves),
        pair(&r.improve),
    )
}

pub const LADDER_HEADING: &str = "picture     rungs         frames  missing  kbit/s  core%  decode%  beyond%  delay ms p50/p95   max";

pub fn ladder_row(r: &LadderResult) -> String {
    let percent = |share: f64| 100.0 * share;
    format!(
        "{:<10}  {:<12}  {:>6}  {:>7}  {:>6.0}  {:>5.1}  {:>7.1}  {:>7.1}  {:>8.1}/{:<7.1}  {:>5.1}",
        r.pattern,
        r.rungs.join(","),
        r.frames,
        r.missing,
        r.bitrate / 1_000.0,
        percent(r.core),
        percent(r.decode),
        percent(r.beyond()),
        r.delay.p50,
        r.delay.p95,
        r.delay.max,
    )
}
