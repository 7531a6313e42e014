//! The messages that carry statistics: STATS, REQFULLSTATS, FULLSTATS (thesis 3.1.2).

use super::error::Fault;
use super::read::bounded;
use super::tree::Element;
use super::write::Out;
use crate::limits;
use crate::message::{FullStats, ReqFullStats, Stat, StatsContainer};
use crate::stats;
use crate::text::trim;
use std::fmt;

pub(super) fn write_stats(out: &mut Out, containers: &[StatsContainer]) {
    out.element("statsContainers", &[], |out| write_containers(out, containers));
}

pub(super) fn read_stats(root: &Element) -> Result<Vec<StatsContainer>, Fault> {
    read_containers(root.child("statsContainers")?)
}

pub(super) fn write_request(out: &mut Out, request: &ReqFullStats) {
    out.leaf_opt("pipeid", request.pipeline);
}

pub(super) fn read_request(root: &Element) -> Result<ReqFullStats, Fault> {
    Ok(ReqFullStats { pipeline: root.leaf("pipeid")? })
}

pub(super) fn write_full(out: &mut Out, full: &FullStats) {
    out.element("xmlDb", &[], |out| write_containers(out, &full.containers));
    out.leaf_opt("endTime", full.end);
}

pub(super) fn read_full(root: &Element) -> Result<FullStats, Fault> {
    Ok(FullStats { containers: read_containers(root.child("xmlDb")?)?, end: root.leaf("endTime")? })
}

fn write_containers(out: &mut Out, containers: &[StatsContainer]) {
    for container in containers {
        out.element("statsContainer", &[], |out| {
            out.leaf("startTime", container.start);
            out.leaf("endTime", container.end);
            out.leaf("numOfChildren", container.children);
            out.leaf_opt("id", container.id);
            out.element("statArray", &[], |out| {
                container.stats.iter().for_each(|stat| write_stat(out, stat));
            });
        });
    }
}

fn write_stat(out: &mut Out, stat: &Stat) {
    // A number that is none is nothing to tell.
    if !stat.value.is_finite() || stat.weight.is_some_and(|weight| !weight.is_finite()) {
        return;
    }
    out.element("DBValue", &[], |out| {
        out.leaf("name", stats::canonical(&stat.name));
        out.leaf("value", Number(stat.value));
        out.leaf_opt("weight", stat.weight.map(Number));
    });
}

fn read_containers(list: &Element) -> Result<Vec<StatsContainer>, Fault> {
    list.list("statsContainer", "statistics containers", limits::MAX_CONTAINERS)?
        .map(read_container)
        .collect()
}

fn read_container(container: &Element) -> Result<StatsContainer, Fault> {
    let mut stats = Vec::new();
    if let Some(array) = container.only("statArray")? {
        for entry in array.list("DBValue", "statistics", limits::MAX_STATS)? {
            stats.extend(read_stat(entry)?);
        }
    }
    Ok(StatsContainer {
        start: container.need_leaf("startTime")?,
        end: container.need_leaf("endTime")?,
        children: container.need_leaf("numOfChildren")?,
        id: container.leaf("id")?,
        stats,
    })
}

/// `None` for a statistic of a later version whose value is no number (a sketch).
fn read_stat(entry: &Element) -> Result<Option<Stat>, Fault> {
    let name = trim(&entry.child("name")?.text);
    bounded(name, "name of a statistic", limits::MAX_STAT_NAME)?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(Fault::value("name", name));
    }
    let name = stats::canonical(name);
    let text = trim(&entry.child("value")?.text);
    let value = match text.parse::<f64>() {
        Ok(value) if value.is_finite() => value,
        Err(_) if stats::rule(name).is_none() => return Ok(None),
        _ => return Err(Fault::value(name, text)),
    };
    let weight: Option<f64> = entry.leaf("weight")?;
    if weight.is_some_and(|weight| !weight.is_finite() || weight < 0.0) {
        return Err(Fault::value("weight", "not finite or negative"));
    }
    Ok(Some(Stat { name: name.to_owned(), value, weight }))
}

/// The shortest text that reads back as the same number, without hundreds of zeros.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}
