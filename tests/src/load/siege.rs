//! A leaf under attack beside viewers who must not notice: what strangers can send, in bulk, from an
//! address of their own.

use super::crowd::{Crowd, CrowdError, GONE, SETTLE};
use super::pause;
use super::stage::Stage;
use crate::harness::Options;
use crate::http::{self, HttpError};
use crate::viewer::{self, Abuse, Answer, Codec, Offer, Percentiles, ViewerError, Viewers, forge};
use hyper::body::Body;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use relay_node::clock::Clock;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::pin::pin;
use std::time::Duration;

/// Where the attacker sits.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Ports that he sends datagrams from.
const PORTS: usize = 200;
/// Requests or datagrams that are sent at once, and the pause after them, which leaves the viewers
/// time to receive: 10,000 datagrams a second at most.
const WAVE: usize = 50;
const WAVE_PAUSE: Duration = Duration::from_millis(5);
/// Connections that are slow, for how long they send a byte each second.
const SLOW: usize = 500;
const SLOW_SECONDS: u64 = 15;
/// An offer of the size that is refused, and a little more.
const BOMB_LINES: usize = 5_000;
/// Viewers of the address that those who were there share: attackers, and one who comes then.
const NEWCOMERS: usize = 10;
/// Attackers who are viewers.
const ATTACKERS: usize = 8;
/// What they have to send is sent within this time, or the machine is too slow for it.
const FLOOD: Duration = Duration::from_secs(120);
/// A newcomer has a picture within this time.
const NEWCOMER: Duration = Duration::from_secs(20);
const UFRAG: &str = "abcdefgh";

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// Offers that nobody follows, one after the other on one connection.
    Offers,
    /// Offers with thousands of lines.
    Bombs,
    /// First flights of DTLS from ports that no check came from.
    Hellos,
    /// Checks for a session that is there, with a wrong password.
    ForgedChecks,
    /// Valid checks from many ports, none of which answers.
    Spoofed,
    /// Connections that send their request a byte a second.
    Slow,
    /// Connected viewers who ask for hundreds of packets again, over and over.
    Nacks,
    /// Connected viewers who send one SRTCP packet over and over.
    Replays,
}

impl Attack {
    /// All, in the order in which they come.
    pub const ALL: [Self; 8] = [
        Self::Offers,
        Self::Bombs,
        Self::Hellos,
        Self::ForgedChecks,
        Self::Spoofed,
        Self::Slow,
        Self::Nacks,
        Self::Replays,
    ];
}

/// What an attacker has done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Done {
    /// Requests, datagrams or connections.
    pub sent: usize,
    /// Bytes of the datagrams.
    pub bytes: u64,
    /// Bytes that came back to them; where checks are valid, 1 KiB of the offer's credit is in them.
    pub back: u64,
    /// HTTP answers by status.
    pub statuses: BTreeMap<u16, usize>,
    /// Connections that the leaf has closed.
    pub closed: usize,
}

/// What an attack has cost.
#[derive(Debug, Clone, Serialize)]
pub struct SiegeResult {
    /// Which one.
    pub attack: Attack,
    /// What was sent.
    pub done: Done,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// CPU time of the leaf meanwhile, viewers included, in milliseconds.
    pub cpu_ms: f64,
    /// Memory of the leaf before and after, in bytes.
    pub memory: (u64, u64),
    /// What the viewers lost, against the source, in percent.
    pub loss_percent: f64,
    /// Their delay meanwhile, in milliseconds.
    pub delay: Percentiles,
    /// POST to key frame of somebody who joins right afterwards, in milliseconds; none if he could
    /// not.
    pub newcomer_ms: Option<f64>,
}

/// All of a run: a file of its own shape beside the lists of the other measurements.
#[derive(Debug, Serialize)]
pub struct Siege {
    /// One after the other.
    pub attacks: Vec<SiegeResult>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum SiegeError {
    /// Tree, source, or those who had to be there first.
    #[error("{0}")]
    Crowd(#[from] CrowdError),
    /// The attacker's or the newcomer's DTLS.
    #[error("{0}")]
    Viewer(#[from] ViewerError),
    /// Sockets, or the leaf's figures.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The attacker's offer.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The connection with offers broke.
    #[error("offers: {0}")]
    Hyper(#[from] hyper::Error),
    /// The leaf gave no session to attack.
    #[error("no session to attack: {0}")]
    Session(String),
}

/// One attack after the other; `sent` requests or datagrams each (but a tenth of the bombs).
///
/// # Errors
/// If something does not start, or viewers do not come before it.
pub fn run(
    crowd: &Crowd,
    sent: usize,
    clock: Clock,
    mut told: impl FnMut(&SiegeResult),
) -> Result<Siege, SiegeError> {
    let options = Options {
        leaf_per_address: crowd.before + NEWCOMERS,
        ..Stage::options(crowd.server_core, crowd.before)
    };
    let (stage, there) = crowd.begin_with(&options, clock)?;
    // Until nobody is catching up with the stream any more.
    pause(SETTLE);
    let mut attacks = Vec::new();
    for attack in Attack::ALL {
        there.mark();
        let (memory, cpu, began) = (stage.memory()?, stage.cpu_ns()?, clock.now().mono);
        let done = attack.run(&stage, sent)?;
        let seconds = clock.now().mono.since(began).as_secs_f64();
        let cpu = stage.cpu_ns()? - cpu;
        let report = there.report();
        let newcomer = Viewers::start(&stage.url(), 1, &crowd.options(1.0, false))?;
        let came = newcomer.wait(NEWCOMER, |r| r.with_first_key() == 1);
        let result = SiegeResult {
            attack,
            done,
            seconds,
            cpu_ms: cpu as f64 / 1e6,
            memory: (memory, stage.memory()?),
            loss_percent: report.bulk.loss_percent(),
            delay: Percentiles::from(&report.bulk.delay),
            newcomer_ms: came.ok().map(|r| r.first_key.p50),
        };
        told(&result);
        let _ = newcomer.stop();
        // His places are free again before he goes on.
        crate::wait::holds_within(GONE, || stage.sessions() <= crowd.before as u64);
        attacks.push(result);
    }
    Ok(Siege { attacks })
}

impl Attack {
    fn run(self, stage: &Stage, sent: usize) -> Result<Done, SiegeError> {
        let to = stage.media();
        match self {
            Self::Offers => post(stage, sent, &offer()),
            Self::Bombs => {
                let line = "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n";
                post(stage, sent / 10, &format!("{}{}", offer(), line.repeat(BOMB_LINES)))
            }
            Self::Hellos => {
                let hello = forge::client_hello(to)?;
                datagrams(to, sent, || Some(hello.clone()))
            }
            Self::ForgedChecks => {
                let mut checks =
                    forge::Checks::new(&session(stage)?, UFRAG, Some("not the password of it"))?;
                datagrams(to, sent, || checks.next())
            }
            Self::Spoofed => {
                let mut checks = forge::Checks::new(&session(stage)?, UFRAG, None)?;
                datagrams(to, sent, || checks.next())
            }
            Self::Slow => Ok(slow(stage.http())?),
            Self::Nacks => viewers(stage, sent, Abuse::Nacks),
            Self::Replays => viewers(stage, sent, Abuse::Replays),
        }
    }
}

fn offer() -> String {
    Offer {
        id: 1,
        ufrag: UFRAG,
        pwd: "abcdefghijklmnopqrstuvwx",
        fingerprint: &["AB"; 32].join(":"),
        video: &[Codec::Vp8],
        audio: false,
        feedback: false,
        candidate: SocketAddr::from((ADDRESS, 9)),
    }
    .to_sdp()
}

const SDP: [(&str, &str); 1] = [("Content-Type", "application/sdp")];

/// A session of the attacker's own.
fn session(stage: &Stage) -> Result<Answer, SiegeError> {
    let response = http::follow("POST", &stage.url(), &SDP, offer().as_bytes())?;
    let text = response.text();
    Answer::parse(&text).map_err(|e| SiegeError::Session(format!("{} {e}", response.status)))
}

/// Offers to the leaf itself, by way of the root's redirect, as fast as it answers.
fn post(stage: &Stage, count: usize, offer: &str) -> Result<Done, SiegeError> {
    let usual = self::offer();
    let redirect = http::request("POST", &stage.url(), &SDP, usual.as_bytes())?;
    let to = redirect.header("location").unwrap_or_default().to_owned();
    let (authority, path) = http::split(&to)?;
    let server = stage.http();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut done = Done::default();
        let mut connection = None;
        while done.sent < count {
            let sender = match &mut connection {
                Some(sender) => sender,
                None => connection.insert(connect(server).await?),
            };
            done.sent += 1;
            if done.sent.is_multiple_of(WAVE) {
                pause(WAVE_PAUSE);
            }
            let request = Request::post(&path)
                .header(header::HOST, &authority)
                .header(header::CONTENT_TYPE, "application/sdp")
                .body(offer.to_owned())
                .map_err(io::Error::other)?;
            match ask(sender, request).await {
                Ok(status) => *done.statuses.entry(status.as_u16()).or_default() += 1,
                // The leaf has hung up, as it may after a refusal.
                Err(_) => {
                    done.closed += 1;
                    connection = None;
                }
            }
        }
        Ok(done)
    })
}

type Requests = hyper::client::conn::http1::SendRequest<String>;

async fn connect(server: SocketAddr) -> Result<Requests, SiegeError> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ADDRESS, 0)))?;
    let stream = TokioIo::new(socket.connect(server).await?);
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // It ends with the connection; what went wrong there the next request is told.
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut Requests, request: Request<String>) -> Result<StatusCode, hyper::Error> {
    sender.ready().await?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let mut body = pin!(body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        frame?;
    }
    Ok(parts.status)
}

/// Datagrams from many ports; none of them answers anything.
fn datagrams(
    to: SocketAddr,
    count: usize,
    mut next: impl FnMut() -> Option<Vec<u8>>,
) -> Result<Done, SiegeError> {
    let ports: Vec<UdpSocket> =
        (0..PORTS).map(|_| UdpSocket::bind((ADDRESS, 0))).collect::<Result<_, _>>()?;
    for port in &ports {
        port.set_nonblocking(true)?;
    }
    let mut done = Done::default();
    let mut buffer = [0; 2_048];
    while done.sent < count {
        for _ in 0..WAVE {
            let Some(data) = next() else { continue };
            done.bytes += ports[done.sent % PORTS].send_to(&data, to)? as u64;
            done.sent += 1;
        }
        pause(WAVE_PAUSE);
        for port in &ports {
            while let Ok((len, _)) = port.recv_from(&mut buffer) {
                done.back += len as u64;
            }
        }
    }
    Ok(done)
}

/// Viewers who have a picture and send what no good one sends. `back` is what they got again.
fn viewers(stage: &Stage, count: usize, abuse: Abuse) -> Result<Done, SiegeError> {
    let options = viewer::Options {
        video: vec![Codec::Vp8],
        audio: false,
        // Nobody knows what their links carry: the largest allowance.
        feedback_us: None,
        nack: false,
        open_one_in: 1_000,
        local: Some(ADDRESS.into()),
        abuse: Some(abuse),
        ..viewer::Options::default()
    };
    let attackers = Viewers::start(&stage.url(), ATTACKERS, &options)?;
    let sent = |r: &viewer::Report| r.each.iter().map(|v| v.abuse.0).sum::<u64>();
    let report = attackers
        .wait(FLOOD, |r| sent(r) >= count as u64)
        .map_err(|r| SiegeError::Session(format!("{} sent by {}", sent(&r), r.connected)))?;
    let _ = attackers.stop();
    Ok(Done {
        sent: sent(&report) as usize,
        bytes: report.each.iter().map(|v| v.abuse.1).sum(),
        back: report.each.iter().map(|v| v.rtx_bytes).sum(),
        ..Done::default()
    })
}

/// Connections that send their request a byte a second.
fn slow(server: SocketAddr) -> io::Result<Done> {
    let request = b"POST /whep/load HTTP/1.1\r\nHost: somewhere.example\r\n";
    let mut open = Vec::new();
    for _ in 0..SLOW {
        let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
        stream.set_nonblocking(true)?;
        open.push(stream);
    }
    let mut done = Done { sent: SLOW, ..Done::default() };
    for byte in request.iter().take(SLOW_SECONDS as usize) {
        open.retain_mut(|stream| {
            let over = matches!(stream.read(&mut [0; 512]), Ok(0));
            !over && stream.write_all(&[*byte]).is_ok()
        });
        pause(Duration::from_secs(1));
    }
    done.closed = SLOW - open.len();
    Ok(done)
}
