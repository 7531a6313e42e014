//! What the node is told, step by step, without a node.

use super::*;

struct Bench {
    control: Control,
    commands: Receiver<NodeCommand>,
    demand: Arc<Demand>,
    pipelines: watch::Sender<Pipelines>,
}

fn control() -> Bench {
    let clock = Clock::start();
    let (upcalls_in, upcalls) = mpsc::channel(8);
    let (workers, _sink) = worker::start(WorkerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        workers: 1,
        clock,
        dtls: DtlsContext::new(clock).unwrap(),
        handshake_threads: 1,
        metrics: Arc::default(),
        upcalls: upcalls_in,
    })
    .unwrap();
    let demand = Arc::<Demand>::default();
    let (tx, commands) = channel();
    let pipelines = watch::Sender::new(pipelines(&[1, 2]));
    let control = Control {
        clock,
        workers,
        node: NodeSide {
            pipelines: pipelines.subscribe(),
            identity: watch::Sender::new(None).subscribe(),
            lack: watch::Sender::new(None).subscribe(),
            command: Box::new(move |c| tx.send(c).unwrap()),
        },
        wanted: demand.watch(),
        upcalls,
        playing: BTreeMap::new(),
        totals: BTreeMap::new(),
        rates: Rates::new(Bytes::default(), clock.now().mono),
        tally: Tally::default(),
        counters: Arc::default(),
        events: Arc::default(),
        metrics: Arc::default(),
    };
    Bench { control, commands, demand, pipelines }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.control.workers.stop();
    }
}

impl Bench {
    fn said(&self) -> Vec<String> {
        self.commands.try_iter().map(|c| format!("{c:?}")).collect()
    }
}

#[test]
fn a_pipeline_is_played_from_the_first_viewer_until_after_the_last() {
    let mut b = control();
    let now = Mono(1_000_000);
    let first = b.demand.want(DEMO);
    let second = b.demand.want(DEMO);
    b.control.follow_demand(now);
    b.control.follow_demand(now);
    assert_eq!(b.said(), ["Play(PipelineId(1))"]);
    drop((first, second));
    b.control.follow_demand(now);
    b.control.stop_lingering(now.after(PLAY_LINGER - Duration::from_millis(1)));
    assert!(b.said().is_empty());
    // Somebody comes back just in time.
    let third = b.demand.want(DEMO);
    b.control.follow_demand(now);
    b.control.stop_lingering(now.after(2 * PLAY_LINGER));
    assert!(b.said().is_empty());
    drop(third);
    b.control.follow_demand(now);
    b.control.follow_demand(now.after(Duration::from_secs(9)));
    b.control.stop_lingering(now.after(PLAY_LINGER));
    assert_eq!(b.said(), ["Stop(PipelineId(1))"], "the first look at it counts");
    b.control.stop_lingering(now.after(3 * PLAY_LINGER));
    assert!(b.said().is_empty());
}

#[test]
fn what_comes_back_is_asked_for_again_and_what_is_unknown_is_not() {
    let mut b = control();
    let now = Mono(1_000_000);
    let _unknown = b.demand.want(PipelineId(9));
    let _wanted = b.demand.want(DEMO);
    b.control.follow_demand(now);
    assert_eq!(b.said(), ["Play(PipelineId(1))"]);
    for (ids, said) in [(&[2][..], 0), (&[1, 2][..], 1), (&[1, 2, 9][..], 1)] {
        let pipelines = pipelines(ids);
        b.pipelines.send_replace(pipelines.clone());
        b.control.set_pipelines(now, pipelines);
        assert_eq!(b.said().len(), said, "{ids:?}");
    }
}

#[test]
fn figures_become_means_that_weigh_their_viewers() {
    let figures = PipelineFigures {
        pipeline: DEMO,
        viewers: 4,
        reported: 2,
        rtts: 1,
        fraction_lost: 0.5,
        jitter: 0.02,
        rtt: 0.1,
        lost: 10,
        bytes: 1_000,
        nacks: 3,
        key_frames: 2,
    };
    let mut b = control();
    b.control.report(&[figures]);
    b.control.report(&[figures]);
    let all: Vec<NodeCommand> = b.commands.try_iter().collect();
    let Some(NodeCommand::LocalStats(containers)) = all.last() else { panic!("{all:?}") };
    let of = |name: &str| {
        let stats = containers.iter().flat_map(|c| &c.stats);
        let found = stats.into_iter().find(|s| s.name == name).unwrap();
        (found.value, found.weight.unwrap())
    };
    let close = |name: &str, value: f64, weight: f64| {
        let (v, w) = of(name);
        assert!((v - value).abs() < 1e-9 && (w - weight).abs() < 1e-9, "{name}: {v} {w}");
    };
    close("viewers", 4.0, 1.0);
    close("bitrate", 2_000.0, 4.0);
    close("fractionlost", 0.25, 2.0);
    close("viewerjitter", 10.0, 2.0);
    close("viewerlost", 5.0, 2.0);
    close("rtt", 100.0, 1.0);
    close("nacks", 6.0, 1.0);
    close("plis", 4.0, 1.0);
    close("egress", 8_000.0, 1.0);
    let silent = PipelineFigures { pipeline: DEMO, ..PipelineFigures::default() };
    let stats = container(9, &silent, &Totals::default()).stats;
    assert!(stats.iter().all(|s| s.value.is_finite()));
    assert_eq!(stats.len(), 3, "no means of nobody");
}
