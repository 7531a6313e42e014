//! What the benchmarks are told on the command line.

use clap::{Args, Parser, Subcommand};
use root_node::ladder::rung::Rung;
use soleil_tests::load::{Audience, Crowd, Setting};
use soleil_tests::viewer::Codec;
use std::net::IpAddr;
use std::path::PathBuf;

/// Benchmarks of Soleil. docs/benchmarks.md says how to read them.
#[derive(Debug, Parser)]
#[command(name = "soleil-bench", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: What,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// Viewers of one leaf on one core: CPU, loss, delay, joins, memory.
    Leaf {
        #[command(flatten)]
        watch: WatchArguments,
        #[command(flatten)]
        setting: SettingArguments,
    },
    /// The same of Janus' streaming plugin, which has to be installed.
    Janus {
        #[command(flatten)]
        watch: WatchArguments,
        #[command(flatten)]
        setting: SettingArguments,
        /// Event loops that its viewers share, 1 is its best on one core; 0 is a thread for each
        /// viewer, as it comes.
        #[arg(long, default_value_t = 1)]
        event_loops: usize,
    },
    /// The same of any WHEP server that runs already, and of whatever it streams.
    Whep {
        /// Where viewers join, like http://localhost:8080/whep/demo.
        #[arg(long)]
        url: String,
        #[command(flatten)]
        watch: WatchArguments,
        /// Process of the server, if it runs on this machine: for CPU time and memory.
        #[arg(long)]
        pid: Option<u32>,
        /// The URL is Janus' HTTP interface, like http://localhost:8088/janus, and this the mountpoint.
        /// On this machine it needs --local, with another address than loopback's.
        #[arg(long, value_name = "MOUNTPOINT")]
        janus: Option<u64>,
        /// Video codecs that viewers take, best first.
        #[arg(long, value_enum, value_delimiter = ',', default_value = "vp8,h264,vp9,av1")]
        video: Vec<Codec>,
        /// Bearer token for the server.
        #[arg(long)]
        token: Option<String>,
        /// Address at which viewers receive; the one towards the server if not given.
        #[arg(long)]
        local: Option<IpAddr>,
        /// Core of the viewers, if they are to stay on one.
        #[arg(long)]
        core: Option<usize>,
    },
    /// The root's planner: a whole plan, and what one node that comes or goes costs.
    Planner {
        /// Nodes of the tree.
        #[arg(long, short, value_delimiter = ',', default_value = "100,1000,10000")]
        nodes: Vec<usize>,
        /// How often a whole plan is made.
        #[arg(long, default_value_t = 10)]
        repeat: usize,
        /// Of which the nodes are made.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the figures go.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// A storm of joins: that many viewers within a second, beside those who are there.
    Storm {
        #[command(flatten)]
        crowd: CrowdArguments,
        /// How many join within a second.
        #[arg(long, default_value_t = 500)]
        joins: usize,
    },
    /// Viewers come and go for minutes: does memory stay where it is?
    Churn {
        #[command(flatten)]
        crowd: CrowdArguments,
        /// How many come and go each second.
        #[arg(long, default_value_t = 50)]
        joins: usize,
        /// For how long.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// A leaf under attack: offers, first flights, forged and spoofed checks, slow requests, one after
    /// the other beside viewers who must not notice.
    Siege {
        #[command(flatten)]
        crowd: CrowdArguments,
        /// Requests or datagrams of each attack.
        #[arg(long, default_value_t = 50_000)]
        sent: usize,
    },
    /// A ladder of a 720p30 source in real time: CPU beyond the source's decoding, delay that it adds.
    Ladder(LadderArguments),
    /// Draws the figures of a run, from its JSON files.
    Plot {
        /// Where they are.
        #[arg(long, default_value = "target/bench")]
        figures: PathBuf,
        /// The picture; bench.svg beside the figures if not given.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// Sets our leaf beside the peers of the same run, from its JSON files.
    Compare {
        /// Where they are.
        #[arg(long, default_value = "target/bench")]
        figures: PathBuf,
        /// With how many viewers.
        #[arg(short = 'n', long, default_value_t = 200)]
        viewers: usize,
    },
    /// The machine's limit by itself: the job comes as JSON on stdin. For internal use.
    #[command(hide = true)]
    Limit,
}

/// Who watches.
#[derive(Debug, Args)]
pub struct WatchArguments {
    /// How many viewers, one measurement each.
    #[arg(short = 'n', long, value_delimiter = ',', default_value = "10,50,100,200,400,800,1600")]
    viewers: Vec<usize>,
    /// Joins a second; 50, and 200 from 400 viewers on, if not given.
    #[arg(long)]
    join_rate: Option<f64>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Viewers' sockets take no merged datagrams.
    #[arg(long)]
    no_gro: bool,
    /// Viewers give transport-wide feedback, ten times a second, and the server may estimate.
    #[arg(long)]
    twcc: bool,
    /// Where the figures go as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl WatchArguments {
    pub fn audiences(&self) -> impl Iterator<Item = Audience> {
        let usual = |viewers| if viewers < 400 { 50.0 } else { 200.0 };
        self.viewers.iter().map(move |viewers| Audience {
            viewers: *viewers,
            join_rate: self.join_rate.unwrap_or_else(|| usual(*viewers)),
            gro: !self.no_gro,
            twcc: self.twcc,
            seconds: self.seconds,
        })
    }
}

/// What the server is given.
#[derive(Debug, Args)]
pub struct SettingArguments {
    /// Bits a second of the stream.
    #[arg(long, default_value_t = 2_500_000)]
    bitrate: u64,
    /// The source spreads its frames instead of sending them at once.
    #[arg(long)]
    paced: bool,
    /// Core of the server; everything else runs on the next one.
    #[arg(long, default_value_t = 0)]
    pub core: usize,
    /// Threads of the leaf that serve viewers, all on that core: what more than one costs.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

impl SettingArguments {
    pub fn setting(&self) -> Setting {
        Setting {
            bitrate: self.bitrate,
            paced: self.paced,
            server_core: self.core,
            workers: self.workers,
        }
    }
}

/// A ladder.
#[derive(Debug, Args)]
pub struct LadderArguments {
    /// The rungs, best first.
    #[arg(long, value_delimiter = ',', default_value = "360p")]
    pub rungs: Vec<Rung>,
    /// Pictures, as GStreamer's videotestsrc calls them: one that is all movement, and one with little.
    #[arg(long, value_delimiter = ',', default_value = "zone-plate,ball")]
    pub pattern: Vec<String>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 20)]
    pub seconds: usize,
    /// Where the figures go.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// Crowds at a leaf.
#[derive(Debug, Args)]
pub struct CrowdArguments {
    /// Viewers who are there all the time.
    #[arg(short = 'n', long, default_value_t = 200)]
    viewers: usize,
    /// Bits a second of the stream.
    #[arg(long, default_value_t = 2_500_000)]
    bitrate: u64,
    /// Core of the leaf; everything else runs on the next one.
    #[arg(long, default_value_t = 0)]
    pub core: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl CrowdArguments {
    pub fn crowd(&self, joins: usize) -> Crowd {
        Crowd { before: self.viewers, joins, bitrate: self.bitrate, server_core: self.core }
    }
}
