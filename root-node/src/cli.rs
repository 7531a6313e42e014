//! The command line of `root-node`.

#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::root::Root;
use crate::store::access::{ApiTokenRow, Right};
use crate::store::{Store, StoreError, TokenRow};
use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_node::clock::Clock;
use relay_node::config::ConfigError;
use relay_node::config::values::parse_period;
use relay_node::logging;
use soleil_protocol::{Role, Wall};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The command line.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "root-node",
    version,
    about = "The root of a Soleil tree: takes broadcasts in, plans the tree, serves the pages",
    after_help = "Examples:\n  \
        root-node                                      run with the defaults (stream `demo`)\n  \
        root-node --config /etc/soleil/root-node.toml --check\n  \
        root-node token create --role relay            let a relay join\n  \
        root-node token create --role leaf --ttl 24h --label \"rack 4\"\n  \
        root-node token create --role operator         change streams by the API\n  \
        root-node token create --role publisher --stream demo\n  \
        root-node token list\n  \
        root-node token revoke 0123456789abcdef\n\n\
        The token commands work while the root runs; they need the same --config or --data-dir.\n\
        Every key of the file is also a variable: http.listen is SOLEIL_HTTP__LISTEN.\n\
        Flags go over variables, variables over the file.\n\n\
        Open to nodes: TCP and UDP 7443. Open to viewers: TCP 8080. Open to broadcasters: TCP \
        8080, UDP 8189. Not open: the operations address.\n\
        Exit codes: 0 stopped as asked, 64 usage, 78 configuration, 1 anything else."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Check the configuration and exit (0: good, 78: not)
    #[arg(long)]
    pub check: bool,
    /// TCP address for pages and play redirects [http.listen; default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// TCP address for control links of nodes [overlay.listen; default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// UDP address for media to nodes [media.listen; default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub media: Option<SocketAddr>,
    /// What to do; nothing named: run
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where configuration and database are.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file (TOML); a commented sample is beside the sources
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Directory of the database [node.data_dir]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

/// Commands beside running.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Tokens: what lets relays and leaves into the tree, operators change streams, publishers send one
    #[command(subcommand)]
    Token(TokenCommand),
    /// The child process of a source; the root starts it
    #[command(name = crate::sources::job::SUBCOMMAND, hide = true)]
    SourceWorker,
    /// The child process of a ladder; the root starts it
    #[command(name = crate::ladder::job::SUBCOMMAND, hide = true)]
    LadderWorker,
}

/// What can be done with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it: it is shown this once
    Create {
        /// What its bearer is
        #[arg(long, value_enum)]
        role: TokenRole,
        /// The stream that a publisher may send
        #[arg(long, value_name = "NAME", required_if_eq("role", "publisher"))]
        stream: Option<String>,
        /// How long it is good, like 30m, 24h or 7d [default: no end]
        #[arg(long, value_parser = lifetime)]
        ttl: Option<Duration>,
        /// Your words, shown by `token list`
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List all tokens, without their secrets
    List,
    /// Take a token back: it opens nothing any more
    Revoke {
        /// Its id, the first column of `token list`
        id: String,
    },
}

/// Roles that have tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Multiplies streams
    Relay,
    /// Hands streams to browsers
    Leaf,
    /// Changes streams by the API
    Operator,
    /// Sends one stream
    Publisher,
}

impl Cli {
    /// File, environment, flags; checked.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn load(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.common.config.as_deref())?;
        if let Some(dir) = &self.common.data_dir {
            config.node.data_dir = Some(dir.clone());
        }
        config.http.listen = self.http.unwrap_or(config.http.listen);
        config.overlay.listen = self.listen.unwrap_or(config.overlay.listen);
        config.media.listen = self.media.unwrap_or(config.media.listen);
        config.check_listeners(self.common.config.as_deref())?;
        Ok(config)
    }
}

/// The whole program.
///
/// # Errors
/// A [`relay_node::config::ConfigError`] for exit code 78, anything else for 1.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    if matches!(cli.command, Some(Command::SourceWorker)) {
        return source_worker();
    }
    if matches!(cli.command, Some(Command::LadderWorker)) {
        return ladder_worker();
    }
    let config = cli.load()?;
    if cli.check {
        let drawing = config.tree.load(config.name()).map_err(ConfigError::Other)?;
        for remark in drawing.iter().flat_map(|(_, drawn)| drawn.remarks()) {
            println!("{remark}");
        }
        println!("the configuration is good");
        return Ok(());
    }
    if let Some(Command::Token(command)) = &cli.command {
        let store = Store::open(&config.data_dir())?;
        let streams: Vec<&str> = config.stream.iter().map(|s| s.name.as_str()).collect();
        println!("{}", token(&store, Clock::start().now().wall, &streams, command)?);
        return Ok(());
    }
    let log = logging::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reason = runtime.block_on(async {
        let root = Root::start(config, log).await?;
        root.run_until_signalled().await
    })?;
    tracing::info!(%reason, "stopped");
    Ok(())
}

#[cfg(feature = "gstreamer")]
fn source_worker() -> anyhow::Result<()> {
    crate::sources::worker::run()
}

#[cfg(feature = "gstreamer")]
fn ladder_worker() -> anyhow::Result<()> {
    crate::ladder::worker::run()
}

#[cfg(not(feature = "gstreamer"))]
fn ladder_worker() -> anyhow::Result<()> {
    source_worker()
}

#[cfg(not(feature = "gstreamer"))]
fn source_worker() -> anyhow::Result<()> {
    anyhow::bail!("this root-node was built without GStreamer")
}

/// How long a token lives: one second at least, or it is none.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    match parse_period(text) {
        Ok(period) if period >= Duration::from_secs(1) => Ok(period),
        _ => Err("write it like 30m, 24h or 7d, one second at least".into()),
    }
}

/// Does a token command; gives what is to be printed. `configured` are the streams of the
/// configuration.
fn token(
    store: &Store,
    now: Wall,
    configured: &[&str],
    command: &TokenCommand,
) -> Result<String, StoreError> {
    match command {
        TokenCommand::Create { role, stream, ttl, label } => {
            let right = match (role, stream) {
                (TokenRole::Publisher, Some(stream)) => {
                    known(store, configured, stream)?;
                    Right::Publish(stream.clone())
                }
                (_, Some(_)) => {
                    let text = "--stream is for --role publisher only";
                    return Err(StoreError::Refused(text.into()));
                }
                (TokenRole::Publisher, None) => {
                    let text = "--role publisher needs --stream NAME";
                    return Err(StoreError::Refused(text.into()));
                }
                (TokenRole::Operator, None) => Right::Operate,
                (TokenRole::Relay, None) => return join(store, now, Role::Relay, *ttl, label),
                (TokenRole::Leaf, None) => return join(store, now, Role::Leaf, *ttl, label),
            };
            store.create_api_token(now, &right, *ttl, label).map(|(token, _)| token.to_string())
        }
        TokenCommand::List => Ok(table(&store.tokens()?, &store.api_tokens()?, now)),
        TokenCommand::Revoke { id } => {
            if store.revoke_token(now, id)? {
                return Ok(format!("{id} is revoked: nobody joins with it any more"));
            }
            if store.revoke_api_token(now, id, None)? {
                return Ok(format!("{id} is revoked: it opens nothing any more"));
            }
            let text = format!("no token {id} that is not revoked already: see `token list`");
            Err(StoreError::Refused(text))
        }
    }
}

fn join(
    store: &Store,
    now: Wall,
    role: Role,
    ttl: Option<Duration>,
    label: &str,
) -> Result<String, StoreError> {
    store.create_token(now, role, ttl, label).map(|token| token.to_string())
}

/// A token for a stream that does not exist is a mistyped name.
fn known(store: &Store, configured: &[&str], stream: &str) -> Result<(), StoreError> {
    let defined = store.defined_streams()?;
    let mut names = defined.iter().map(|d| d.name.as_str()).chain(configured.iter().copied());
    if names.any(|name| name == stream) {
        return Ok(());
    }
    let text =
        "there is no stream of this name, neither in the configuration nor defined by the API";
    Err(StoreError::Refused(text.into()))
}

fn table(joins: &[TokenRow], others: &[ApiTokenRow], now: Wall) -> String {
    let first =
        joins.iter().map(|t| (&t.id, t.role.as_str(), t.state(now), t.expires, "-", &t.label));
    let second = others.iter().map(|t| {
        (&t.id, t.right.role(), t.state(now), t.expires, t.right.stream().unwrap_or("-"), &t.label)
    });
    let mut out =
        format!("{:<18}{:<11}{:<9}{:<12}{:<16} label", "id", "role", "state", "ends in", "stream");
    if joins.is_empty() && others.is_empty() {
        return "no tokens: `root-node token create --role relay` makes one".to_owned();
    }
    for (id, role, state, expires, stream, label) in first.chain(second) {
        let ends = match expires {
            Some(end) if state == "valid" => remaining(end.0.saturating_sub(now.millis().0)),
            _ => "-".to_owned(),
        };
        let _ = write!(out, "\n{id:<18}{role:<11}{state:<9}{ends:<12}{stream:<16} {label}");
    }
    out
}

/// Two units are enough for people.
fn remaining(millis: u64) -> String {
    let minutes = millis.div_ceil(60_000);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, m) => format!("{m}m"),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, _) => format!("{d}d {h}h"),
    }
}
