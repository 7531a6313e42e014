//! Adds up what the workers say of the last second, each in its own time, to what the leaf says. Pure.

use crate::worker::PipelineFigures;
use soleil_protocol::PipelineId;
use std::collections::BTreeMap;

/// What the workers have said.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What each of them has said last; what counts up in it is taken out when it has been told.
    latest: BTreeMap<usize, Vec<PipelineFigures>>,
}

impl Tally {
    /// A worker has figures of its last second. The first worker sets the pace: with its figures those
    /// of all are given.
    pub(super) fn add(
        &mut self,
        worker: usize,
        mut figures: Vec<PipelineFigures>,
    ) -> Option<Vec<PipelineFigures>> {
        let before = self.latest.remove(&worker).unwrap_or_default();
        for old in
            before.into_iter().filter(|old| (old.bytes, old.nacks, old.key_frames) != (0, 0, 0))
        {
            // It has said something twice between two reports: both count.
            match figures.iter_mut().find(|f| f.pipeline == old.pipeline) {
                Some(f) => count(f, &old),
                None => {
                    let mut f =
                        PipelineFigures { pipeline: old.pipeline, ..PipelineFigures::default() };
                    count(&mut f, &old);
                    figures.push(f);
                }
            }
        }
        self.latest.insert(worker, figures);
        (worker == 0).then(|| self.sum())
    }

    fn sum(&mut self) -> Vec<PipelineFigures> {
        let mut sums = BTreeMap::<PipelineId, PipelineFigures>::new();
        for f in self.latest.values_mut().flatten() {
            let sum = sums.entry(f.pipeline).or_insert_with(|| PipelineFigures {
                pipeline: f.pipeline,
                ..PipelineFigures::default()
            });
            sum.viewers += f.viewers;
            sum.reported += f.reported;
            sum.rtts += f.rtts;
            sum.fraction_lost += f.fraction_lost;
            sum.jitter += f.jitter;
            sum.rtt += f.rtt;
            sum.lost += f.lost;
            count(sum, f);
            // Viewers are there until their worker says otherwise; what they got is told once.
            (f.bytes, f.nacks, f.key_frames) = (0, 0, 0);
        }
        sums.into_values().collect()
    }
}

/// Adds what counts up.
fn count(sum: &mut PipelineFigures, f: &PipelineFigures) {
    sum.bytes += f.bytes;
    sum.nacks += f.nacks;
    sum.key_frames += f.key_frames;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(pipeline: u32, viewers: u64, bytes: u64) -> PipelineFigures {
        PipelineFigures {
            pipeline: PipelineId(pipeline),
            viewers,
            reported: viewers,
            rtts: viewers,
            fraction_lost: 0.5,
            jitter: 0.25,
            rtt: 0.125,
            lost: 2,
            bytes,
            nacks: 3,
            key_frames: 1,
        }
    }

    #[test]
    fn one_worker_is_told_as_it_is() {
        let mut tally = Tally::default();
        let all = vec![figures(1, 5, 100), figures(2, 1, 10)];
        assert_eq!(tally.add(0, all.clone()), Some(all.clone()));
        assert_eq!(tally.add(0, all.clone()), Some(all));
        assert_eq!(tally.add(0, vec![]), Some(vec![]), "its viewers have gone");
    }

    #[test]
    fn workers_are_summed_whatever_their_pace() {
        let mut tally = Tally::default();
        assert_eq!(tally.add(2, vec![figures(1, 2, 10)]), None);
        assert_eq!(tally.add(1, vec![figures(1, 3, 100), figures(2, 1, 1)]), None);
        let sums = tally.add(0, vec![figures(1, 5, 1_000)]).unwrap();
        let first = PipelineFigures {
            fraction_lost: 1.5,
            jitter: 0.75,
            rtt: 0.375,
            lost: 6,
            nacks: 9,
            key_frames: 3,
            ..figures(1, 10, 1_110)
        };
        assert_eq!(sums, [first, figures(2, 1, 1)]);
        // One is late: its viewers are still there, but what they got has been told.
        tally.add(1, vec![figures(1, 3, 100)]);
        let sums = tally.add(0, vec![figures(1, 5, 1_000)]).unwrap();
        assert_eq!((sums.len(), sums[0].viewers, sums[0].bytes, sums[0].nacks), (1, 10, 1_100, 6));
        // And then it is twice in time; a pipeline that it has no more is counted to the end.
        tally.add(2, vec![figures(1, 2, 10), figures(3, 1, 7)]);
        tally.add(2, vec![figures(1, 2, 20)]);
        let sums = tally.add(0, vec![]).unwrap();
        assert_eq!((sums[0].viewers, sums[0].bytes), (5, 30));
        assert_eq!((sums[1].pipeline, sums[1].viewers, sums[1].bytes), (PipelineId(3), 0, 7));
        tally.add(2, vec![figures(1, 2, 20)]);
        assert_eq!(tally.add(0, vec![]).unwrap().len(), 1, "gone");
    }
}
