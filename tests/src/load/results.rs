//! The figures of a whole run, read back from their JSON files: what the plot draws, and how our leaf
//! stands to a peer of the same run.

use super::CellResult;
use std::io;
use std::path::{Path, PathBuf};

/// What our leaf is called.
const OURS: &str = "soleil";

/// Why figures cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The directory or a file.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A file is not one of ours.
    #[error("{0}: {1}")]
    Json(PathBuf, serde_json::Error),
}

/// Reads all cells below a directory's `*.json`. Files that hold something else than a list (storms,
/// coming and going) are passed over.
///
/// # Errors
/// If something cannot be read, or a list is not one of cells.
pub fn read(directory: &Path) -> Result<Vec<CellResult>, ResultsError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ResultsError::Io(path, error)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    let mut cells = Vec::new();
    for path in files {
        let text = std::fs::read(&path).map_err(failed(&path))?;
        let wrong = |error| ResultsError::Json(path.clone(), error);
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(wrong)?;
        if value.is_array() {
            let list: Vec<CellResult> = serde_json::from_value(value).map_err(wrong)?;
            cells.extend(list);
        }
    }
    Ok(cells)
}

/// Our leaf beside a peer, with all else equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The peer.
    pub peer: String,
    /// Viewers' sockets take merged datagrams.
    pub gro: bool,
    /// CPU time for a packet in microseconds: ours.
    pub ours_us: f64,
    /// And the peer's.
    pub theirs_us: f64,
}

impl Comparison {
    /// The part of the peer's cost that ours is.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours_us / self.theirs_us
    }
}

/// Our leaf beside each peer with that many viewers, where both were measured; those with GRO first.
#[must_use]
pub fn compare(cells: &[CellResult], viewers: usize) -> Vec<Comparison> {
    let alike = |a: &CellResult, b: &CellResult| {
        let key = |c: &CellResult| {
            let setting = c.cell.setting.as_ref().map(|s| (s.bitrate, s.paced));
            (c.cell.audience.viewers, c.cell.audience.gro, c.cell.audience.twcc, setting)
        };
        key(a) == key(b)
    };
    let with_setting = |c: &&CellResult| c.cell.setting.is_some();
    let peers = cells.iter().filter(with_setting).filter(|c| c.server != OURS);
    let mut found: Vec<Comparison> = peers
        .filter(|peer| peer.cell.audience.viewers == viewers)
        .filter_map(|peer| {
            let ours = cells.iter().find(|c| c.server == OURS && alike(c, peer))?;
            Some(Comparison {
                peer: peer.server.clone(),
                gro: peer.cell.audience.gro,
                ours_us: ours.figures.cpu_us?,
                theirs_us: peer.figures.cpu_us?,
            })
        })
        .collect();
    found.sort_by_key(|c| !c.gro);
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::{Audience, Cell, Figures, Setting};
    use crate::viewer::Percentiles;

    pub(in crate::load) fn cell(server: &str, viewers: usize, gro: bool, us: f64) -> CellResult {
        let audience = Audience { viewers, join_rate: 50.0, gro, twcc: false, seconds: 8 };
        let setting = Setting { bitrate: 2_500_000, paced: false, server_core: 0, workers: 1 };
        let delay = Percentiles { count: 1, p50: us, p95: us, p99: 4.0 * us, max: 9.0 * us };
        CellResult {
            server: server.into(),
            cell: Cell { audience, setting: Some(setting) },
            figures: Figures { cpu_us: Some(us), delay: Some(delay), ..Figures::default() },
            limit_us: (server == OURS).then_some(1.0),
            limit_dropped: None,
        }
    }

    #[test]
    fn figures_come_back_and_like_is_set_beside_like() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &dyn erased::Json| {
            std::fs::write(directory.path().join(name), value.text()).unwrap();
        };
        let mut paced = cell(OURS, 200, false, 3.5);
        paced.cell.setting.as_mut().unwrap().paced = true;
        write("leaf.json", &vec![cell(OURS, 100, true, 1.4), cell(OURS, 200, true, 1.5)]);
        write("leaf-no-gro.json", &vec![paced, cell(OURS, 200, false, 2.5)]);
        let peer = "janus, event_loops=1";
        write("peer.json", &vec![cell(peer, 200, false, 12.5), cell(peer, 200, true, 12.0)]);
        let mut foreign = cell("http://elsewhere/whep", 200, true, 1.0);
        foreign.cell.setting = None;
        foreign.figures.cpu_us = None;
        write("whep.json", &vec![foreign]);
        write("storm.json", &serde_json::json!({ "connected": 500 }));
        std::fs::write(directory.path().join("bench.svg"), "<svg/>").unwrap();

        let cells = read(directory.path()).unwrap();
        assert_eq!(cells.len(), 7);
        let found = compare(&cells, 200);
        assert_eq!(
            found.iter().map(|c| (c.gro, c.ours_us, c.theirs_us)).collect::<Vec<_>>(),
            [(true, 1.5, 12.0), (false, 2.5, 12.5)]
        );
        assert_eq!((found[0].ratio(), found[1].ratio()), (0.125, 0.2));
        assert_eq!(compare(&cells, 100), []);

        write("broken.json", &serde_json::json!([{ "server": 1 }]));
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("broken.json"), "{error}");
    }

    mod erased {
        pub trait Json {
            fn text(&self) -> String;
        }
        impl<T: serde::Serialize> Json for T {
            fn text(&self) -> String {
                serde_json::to_string(self).unwrap()
            }
        }
    }
}
