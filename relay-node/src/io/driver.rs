//! The driver: runs a control core on sockets. Events in, actions out, one timer. It moves bytes
//! and decides nothing.

mod handle;

pub use handle::{DriverHandle, DriverOptions, Plane};

use super::accept::{Acceptor, ConnNumbers};
use super::conn::{LinkEvent, Outbound, Shared, count};
use super::counters::Direction;
use super::dial::Dial;
use super::limits::MAX_COMMANDS;
use super::process::ProcessMeter;
use super::tls_state::TlsState;
use crate::clock::Clock;
use crate::control::api::{
    Action, ConnId, Core, DialId, DialTarget, Event, Lack, NodeCommand, PlaneReport,
};
use crate::identity::JoinToken;
use crate::identity::tls::Strangers;
use crate::media::api::PlaneEvent;
use handle::Control;
use soleil_protocol::limits::MAX_MESSAGE;
use soleil_protocol::message::{HostPort, Identity};
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{Message, NodeId, PipelineId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

/// How often the core is told what the forwarding plane measured.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Starts a driver on the current runtime. The task ends with the reason why the node stopped.
///
/// # Errors
/// If the identity to begin with cannot be used.
pub fn start<C, P>(
    options: DriverOptions,
    core: C,
    plane: P,
    plane_events: mpsc::Receiver<PlaneEvent>,
) -> anyhow::Result<(DriverHandle<C::Command>, JoinHandle<String>)>
where
    C: Core + 'static,
    C::Command: From<NodeCommand>,
    P: Plane,
{
    let clock = options.clock;
    let (shared, inbox) = Shared::new(options.limits, clock);
    let (commands, commands_in) = mpsc::channel(MAX_COMMANDS);
    // A drain and a few identities: never more than one of each at a time.
    let (control, control_in) = mpsc::channel(8);
    let strangers = if options.tokens.is_some() { Strangers::MayJoin } else { Strangers::Refused };
    let pinned = options.root.as_ref().map(|(_, token)| token.authority);
    let mut tls = TlsState::new(options.vault.key().clone(), pinned, strangers, clock);
    if let Some(identity) = &options.identity {
        tls.adopt(identity)?;
    }
    let tasks = TaskTracker::new();
    let numbers = ConnNumbers::default();
    if let Some(listener) = options.listener {
        let acceptor = Acceptor {
            listener,
            tls: tls.server(),
            tokens: options.tokens,
            numbers: numbers.clone(),
            shared: shared.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(acceptor.run());
    }
    let pipelines = watch::Sender::new(Arc::default());
    let identity = watch::Sender::new(options.identity);
    let attached = watch::Sender::new(false);
    let lack = watch::Sender::new(options.root.is_some().then_some(Lack::Parent));
    let handle = DriverHandle {
        commands,
        control,
        pipelines: pipelines.subscribe(),
        identity: identity.subscribe(),
        attached: attached.subscribe(),
        lack: lack.subscribe(),
        counters: shared.counters.clone(),
    };
    let driver = Driver {
        core,
        plane,
        clock,
        shared,
        inbox,
        commands: commands_in,
        control: control_in,
        plane_events,
        conns: HashMap::new(),
        tls,
        root: options.root,
        numbers,
        tasks,
        meter: ProcessMeter::default(),
        pipelines,
        identity,
        attached,
        lack,
        drain_timeout: options.drain_timeout,
        deadline: None,
    };
    Ok((handle, tokio::spawn(driver.run())))
}

struct Driver<C: Core, P> {
    core: C,
    plane: P,
    clock: Clock,
    shared: Shared,
    inbox: mpsc::Receiver<LinkEvent>,
    commands: mpsc::Receiver<C::Command>,
    control: mpsc::Receiver<Control>,
    plane_events: mpsc::Receiver<PlaneEvent>,
    conns: HashMap<ConnId, Outbound>,
    tls: TlsState,
    root: Option<(HostPort, JoinToken)>,
    numbers: ConnNumbers,
    tasks: TaskTracker,
    meter: ProcessMeter,
    pipelines: watch::Sender<Arc<BTreeMap<PipelineId, PipelineDef>>>,
    identity: watch::Sender<Option<Identity>>,
    attached: watch::Sender<bool>,
    lack: watch::Sender<Option<Lack>>,
    drain_timeout: Duration,
    /// When a drain must be over.
    deadline: Option<Instant>,
}

impl<C, P> Driver<C, P>
where
    C: Core,
    C::Command: From<NodeCommand>,
    P: Plane,
{
    async fn run(mut self) -> String {
        let reason = self.serve().await;
        tracing::info!(%reason, "the node stops");
        self.attached.send_replace(false);
        self.lack.send_replace(Some(Lack::Parent));
        self.finish().await;
        reason
    }

    /// Runs the core until it has stopped.
    async fn serve(&mut self) -> String {
        let mut report = tokio::time::interval(REPORT_INTERVAL);
        report.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            while let Some(action) = self.core.poll_action() {
                if let Some(reason) = self.act(action) {
                    return reason;
                }
            }
            let wake = self.core.poll_timeout().map(|at| self.clock.instant(at).into());
            let deadline = self.deadline;
            // A closed channel of commands or plane events only means that nobody is left to speak.
            let event = tokio::select! {
                Some(event) = self.inbox.recv() => self.link_event(event),
                Some(event) = self.plane_events.recv() => Some(Event::Plane(event)),
                Some(command) = self.commands.recv() => Some(Event::Command(command)),
                Some(control) = self.control.recv() => self.controlled(control),
                _ = report.tick() => Some(Event::PlaneReport(self.report())),
                () = at(wake) => Some(Event::Timeout),
                () = at(deadline) => return "the drain took too long".into(),
            };
            if let Some(event) = event {
                self.core.handle(self.clock.now(), event);
            }
        }
    }

    fn report(&mut self) -> PlaneReport {
        let now = self.clock.now();
        let cpu = self.meter.cpu(now.mono);
        self.shared.tell_overdue();
        PlaneReport { cpu, memory: self.meter.memory(), ..self.plane.report(now) }
    }

    fn controlled(&mut self, control: Control) -> Option<Event<C::Command>> {
        match control {
            Control::Drain(reason) => {
                let deadline = self.clock.deadline(self.drain_timeout).into();
                self.deadline.get_or_insert(deadline);
                Some(Event::Command(NodeCommand::Drain(reason).into()))
            }
            Control::Identity(identity) => {
                self.adopt(*identity);
                None
            }
        }
    }

    fn link_event(&mut self, event: LinkEvent) -> Option<Event<C::Command>> {
        Some(match event {
            LinkEvent::Accepted { conn, peer, remote, out } => {
                tracing::debug!(?conn, ?peer, %remote, "link accepted");
                self.conns.insert(conn, out);
                Event::Accepted { conn, peer, remote }
            }
            LinkEvent::Dialed { dial, conn, local, out } => {
                tracing::debug!(?conn, ?dial, "link dialed");
                self.conns.insert(conn, out);
                Event::Dialed { dial, conn, local }
            }
            LinkEvent::DialFailed { dial, error, refused } => {
                tracing::warn!(%error, refused, "cannot dial");
                Event::DialFailed { dial, error, refused }
            }
            // What arrives after the core has closed a connection is nobody's any more.
            LinkEvent::Message(conn, message) => {
                self.conns.get(&conn)?;
                Event::Message(conn, message)
            }
            LinkEvent::Malformed(conn, report) => {
                self.conns.get(&conn)?;
                Event::Malformed { conn, report }
            }
            LinkEvent::Closed(conn) => {
                self.conns.remove(&conn)?;
                Event::Closed(conn)
            }
        })
    }

    /// Does one thing; `Some` is the reason why the node has stopped.
    fn act(&mut self, action: Action) -> Option<String> {
        match action {
            Action::Dial(dial, target) => self.dial(dial, target),
            Action::Send(conn, message) => self.send(conn, &message),
            Action::Close(conn, reason) => {
                if let Some(out) = self.conns.remove(&conn) {
                    out.close(reason);
                }
            }
            Action::Plane(command) => self.plane.command(command),
            Action::Identity(identity) => self.adopt(identity),
            Action::Pipelines(pipelines) => {
                self.pipelines.send_replace(pipelines);
            }
            Action::Attached(attached) => {
                self.attached.send_if_modified(|now| std::mem::replace(now, attached) != attached);
            }
            Action::Lacks(lack) => {
                self.lack.send_replace(lack);
            }
            Action::Reserve(ready) => self.shared.counters.reserve(ready),
            Action::FailedOver => self.shared.counters.failed_over(),
            Action::Refused { why, who, text } => {
                let who = who.as_ref().map_or("somebody without a name", NodeId::as_str);
                self.shared.refuse(why, &who, &text);
            }
            Action::Stopped(reason) => return Some(reason),
        }
        None
    }

    fn send(&mut self, conn: ConnId, message: &Message) {
        let Some(out) = self.conns.get(&conn) else { return };
        let text = message.to_xml();
        if text.len() > MAX_MESSAGE {
            // The receiver would close the link over it.
            tracing::error!(kind = message.body.kind(), "a message of ours is too long: not sent");
            return;
        }
        // If the queue is full the connection is cut, and says so by `Closed`.
        if out.send(text) {
            count(&self.shared, Direction::Out, &message.body);
        }
    }

    fn adopt(&mut self, identity: Identity) {
        match self.tls.adopt(&identity) {
            Ok(()) => {
                tracing::info!(id = %identity.id, incarnation = %identity.incarnation, "identity");
                self.identity.send_replace(Some(identity));
            }
            Err(error) => tracing::error!(%error, "the identity is not used"),
        }
    }

    fn dial(&mut self, dial: DialId, target: DialTarget) {
        let prepared = match target {
            DialTarget::Root => match &self.root {
                Some((address, token)) => self.tls.to_root().map(|tls| Dial {
                    dial,
                    to: address.clone(),
                    tls,
                    bearer: Some(Zeroizing::new(token.bearer())),
                }),
                None => Err(crate::identity::IdentityError::Token("there is none to join with")),
            },
            DialTarget::Node(id, to) => {
                self.tls.to_node(&id).map(|tls| Dial { dial, to, tls, bearer: None })
            }
        };
        match prepared {
            Ok(prepared) => {
                self.tasks.spawn(prepared.run(self.numbers.clone(), self.shared.clone()));
            }
            Err(error) => {
                let inbox = self.shared.inbox.clone();
                let error = error.to_string();
                self.tasks.spawn(async move {
                    let event = LinkEvent::DialFailed { dial, error, refused: false };
                    let _ = inbox.send(event).await;
                });
            }
        }
    }

    /// Lets what was sent leave, then ends every task.
    async fn finish(mut self) {
        self.shared.stop.cancel();
        // Dropped queues are sent to their end, then closed.
        self.conns.clear();
        self.tasks.close();
        let patience = self.clock.deadline(self.shared.limits.close_timeout).into();
        loop {
            tokio::select! {
                () = self.tasks.wait() => return,
                () = tokio::time::sleep_until(patience) => return,
                // A connection that was made meanwhile is dropped with its event.
                Some(_) = self.inbox.recv() => {}
            }
        }
    }
}

/// Waits for a moment; for ever if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
