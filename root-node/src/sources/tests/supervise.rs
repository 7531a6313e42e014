//! The supervisor, step by step: after each event everything that it wants is taken out, so that one
//! action too many shows as well as one that is missing.

use crate::config::SourceKind;
use crate::sources::job::Report;
use crate::sources::status::{Handling, Problem, SourceStatus, State, TrackStatus, Work};
use crate::sources::supervise::{Action, Event, Limits, Supervisor};
use proptest::prelude::*;
use soleil_protocol::{Mono, Now, Wall};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    supervisor: Supervisor,
    now: Now,
}

fn at(time: Duration) -> Now {
    let micros = time.as_micros() as u64;
    Now { mono: Mono(micros), wall: Wall(1_700_000_000_000_000 + micros) }
}

fn plan() -> Report {
    let track =
        TrackStatus { name: "video".into(), input: None, handling: Handling::PassedThrough };
    Report::Plan { input: vec!["H.264".into()], tracks: vec![track] }
}

fn trouble() -> Report {
    Report::Problem(Problem::new("input", "no route"))
}

fn flowing() -> Report {
    Report::Flowing { packets: 30 }
}

fn exited() -> Event {
    Event::Exited("signal 11".into())
}

impl Scene {
    fn new(kind: SourceKind) -> Scene {
        Scene::of(kind.into())
    }

    fn of(kind: Work) -> Scene {
        let now = at(SECOND);
        let tracks = ["video".to_owned()];
        let supervisor = Supervisor::new(now, kind, &tracks, Limits::default(), [7; 32]);
        Scene { supervisor, now }
    }

    /// One that has started its first worker.
    fn started(kind: SourceKind) -> Scene {
        let mut scene = Scene::new(kind);
        assert_eq!(scene.pass(Duration::ZERO), [Action::Start(vec![])]);
        scene
    }

    fn running() -> Scene {
        let mut scene = Scene::started(SourceKind::Srt);
        assert_eq!(scene.say(plan()), []);
        assert_eq!(scene.state(), State::Running);
        scene
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.supervisor.poll_action()).collect()
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.supervisor.handle(self.now, event);
        self.actions()
    }

    fn say(&mut self, report: Report) -> Vec<Action> {
        self.event(Event::Report(report))
    }

    /// Lets time pass, with all timers that end meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now.mono.after(time);
        let mut all = Vec::new();
        while let Some(due) = self.supervisor.poll_timeout().filter(|due| *due <= end) {
            self.now = at(Duration::from_micros(due.max(self.now.mono).0));
            self.supervisor.handle_timeout(self.now);
            all.extend(self.actions());
        }
        self.now = at(Duration::from_micros(end.0));
        all
    }

    /// The pause until the next start.
    fn pause(&mut self) -> Duration {
        let due = self.supervisor.poll_timeout().unwrap();
        let pause = due.since(self.now.mono);
        assert!(matches!(self.pass(pause)[..], [Action::Start(_)]));
        pause
    }

    fn status(&self) -> &SourceStatus {
        self.supervisor.status()
    }

    fn state(&self) -> State {
        self.status().state
    }

    fn error(&self) -> String {
        self.status().last_error.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

#[test]
fn a_source_starts_waits_runs_and_says_since_when() {
    let mut scene = Scene::started(SourceKind::Srt);
    assert_eq!((scene.state(), scene.status().since), (State::Starting, 1_700_000_001_000));
    scene.pass(SECOND);
    assert_eq!(scene.say(Report::Waiting), []);
    assert_eq!((scene.state(), scene.status().since), (State::Waiting, 1_700_000_002_000));
    // Nobody sends for hours: that is no failure, as long as the worker shows life.
    for _ in 0..3600 {
        assert_eq!(scene.pass(SECOND), []);
        assert_eq!(scene.say(Report::Flowing { packets: 0 }), []);
    }
    assert_eq!(scene.say(plan()), []);
    assert_eq!(scene.state(), State::Running);
    assert_eq!(scene.status().tracks[0].handling, Handling::PassedThrough);
    assert_eq!((scene.status().restarts, scene.error()), (0, String::new()));
}

#[test]
fn pauses_double_up_to_the_limit_and_vary() {
    let mut scene = Scene::started(SourceKind::Rtsp);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        assert_eq!(scene.say(trouble()), []);
        assert_eq!(scene.event(Event::Exited("exit code 1".into())), []);
        assert_eq!(scene.state(), State::BackingOff);
        assert_eq!(scene.error(), "input: no route");
        pauses.push(scene.pause().as_secs_f64());
    }
    let middle = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0];
    for (pause, middle) in pauses.iter().zip(middle) {
        assert!((0.75 * middle..=1.25 * middle).contains(pause), "{pauses:?}");
    }
    assert!(pauses[6] != pauses[7] && pauses[7] != pauses[8], "no chance in them: {pauses:?}");
    assert_eq!(scene.status().restarts, 10);
}

#[test]
fn who_has_run_well_is_forgiven() {
    let mut scene = Scene::started(SourceKind::Rtsp);
    for _ in 0..6 {
        scene.say(trouble());
        scene.event(exited());
        scene.pause();
    }
    scene.say(plan());
    for _ in 0..30 {
        scene.pass(SECOND);
        scene.say(flowing());
    }
    scene.event(exited());
    assert!(scene.error().contains("signal 11"), "{}", scene.error());
    assert!(scene.pause() < SECOND);
}

#[test]
fn a_stall_shows_and_ends_by_itself_or_by_a_new_worker() {
    let mut scene = Scene::running();
    assert_eq!(scene.pass(4 * SECOND), []);
    assert_eq!(scene.state(), State::Running);
    assert_eq!(scene.pass(SECOND), []);
    assert_eq!(scene.state(), State::Stalled);
    scene.say(flowing());
    assert_eq!(scene.state(), State::Running);
    assert_eq!(scene.pass(5 * SECOND), []);
    assert_eq!(scene.state(), State::Stalled);
    scene.say(Report::Flowing { packets: 0 });
    assert_eq!(scene.pass(10 * SECOND), [Action::End]);
    assert_eq!(scene.error(), "input: no packet for 15 s");
    assert_eq!(scene.event(exited()), []);
    assert_eq!(scene.state(), State::BackingOff);
    // What the old one said stays the last error; its end adds none.
    assert_eq!(scene.error(), "input: no packet for 15 s");
}

#[test]
fn one_that_does_not_end_is_killed_once_and_one_that_hangs_at_once() {
    let mut scene = Scene::running();
    assert_eq!(scene.say(trouble()), []);
    assert_eq!(scene.pass(3 * SECOND), [Action::Kill]);
    assert_eq!(scene.pass(100 * SECOND), []);
    scene.event(exited());
    scene.pause();

    // It does not say a word: not even that nothing flows.
    scene.say(Report::Waiting);
    assert_eq!(scene.pass(20 * SECOND), [Action::Kill]);
    assert_eq!(scene.error(), "worker: it has said nothing for 20 s");
    scene.event(exited());
    scene.pause();

    // It speaks and brings nothing.
    for _ in 0..29 {
        assert_eq!(scene.pass(SECOND), []);
        scene.say(Report::Flowing { packets: 0 });
    }
    assert_eq!(scene.pass(SECOND), [Action::End]);
    assert_eq!(scene.error(), "input: no media within 30 s");
}

#[test]
fn a_file_ends_a_sender_that_leaves_is_waited_for() {
    let mut scene = Scene::started(SourceKind::File);
    scene.say(plan());
    assert_eq!(scene.say(Report::End), []);
    assert_eq!(scene.event(Event::Exited("exit code 0".into())), []);
    assert_eq!((scene.state(), scene.error()), (State::Ended, String::new()));
    assert_eq!(scene.pass(3600 * SECOND), []);

    let mut scene = Scene::started(SourceKind::Srt);
    for _ in 0..5 {
        scene.say(plan());
        scene.say(Report::End);
        scene.event(Event::Exited("exit code 0".into()));
        // However often he comes and goes, he need not wait long.
        assert!(scene.pause() < SECOND);
    }
    assert_eq!(scene.error(), "");
}

#[test]
fn what_must_be_converted_after_all_is_remembered() {
    let mut scene = Scene::running();
    let late = Report::Convert { track: "video".into(), reason: "B-frames".into() };
    assert_eq!(scene.say(late.clone()), []);
    assert_eq!(scene.event(Event::Exited("exit code 0".into())), []);
    let convert = vec![("video".to_owned(), "B-frames".to_owned())];
    assert_eq!(scene.pass(Duration::ZERO), [Action::Start(convert.clone())]);
    assert_eq!(scene.error(), "");
    // It asks again for what it was told: that would go on for ever.
    scene.say(plan());
    scene.say(late);
    scene.event(exited());
    assert!(scene.error().contains("was to be converted"), "{}", scene.error());
    assert_eq!(scene.state(), State::BackingOff);
    assert_eq!(scene.pass(SECOND), [Action::Start(convert)]);
}

#[test]
fn one_on_demand_starts_when_it_is_wanted_only() {
    let mut scene = Scene::new(SourceKind::Rtmp);
    assert_eq!(scene.pass(3600 * SECOND), []);
    assert_eq!(scene.state(), State::Waiting);
    assert_eq!(scene.event(Event::Wanted), [Action::Start(vec![])]);
    assert_eq!(scene.event(Event::Wanted), []);
    scene.say(plan());
    scene.say(trouble());
    scene.event(exited());
    assert_eq!((scene.state(), scene.error()), (State::Waiting, "input: no route".into()));
    assert_eq!(scene.pass(3600 * SECOND), []);
    assert_eq!(scene.event(Event::Wanted), [Action::Start(vec![])]);
}

#[test]
fn a_stopped_one_stays_so() {
    let mut scene = Scene::running();
    assert_eq!(scene.event(Event::Stop), [Action::End]);
    assert_eq!(scene.event(Event::Stop), []);
    assert_eq!(scene.event(exited()), []);
    assert_eq!(scene.pass(3600 * SECOND), []);
    assert_eq!(scene.state(), State::Stopped);

    // Between two workers.
    let mut scene = Scene::running();
    scene.event(exited());
    assert_eq!(scene.event(Event::Stop), []);
    assert_eq!(scene.pass(3600 * SECOND), []);
    assert_eq!(scene.state(), State::Stopped);

    // Not even the first one could be started.
    let mut scene = Scene::started(SourceKind::File);
    assert_eq!(scene.event(Event::NotStarted("no memory".into())), []);
    assert_eq!(scene.error(), "worker: it can't be started: no memory");
    assert!(scene.pause() < SECOND);
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Wanted),
        Just(exited()),
        Just(Event::Report(Report::Waiting)),
        Just(Event::Report(plan())),
        Just(Event::Report(flowing())),
        Just(Event::Report(trouble())),
        Just(Event::Report(Report::End)),
    ]
}

proptest! {
    /// Whatever comes in whatever order: never two workers at once, never two kills of one, and no
    /// worker that has to end is waited for without a limit.
    #[test]
    fn one_worker_at_a_time(steps in prop::collection::vec((events(), 0_u64..40), 1..60)) {
        let mut scene = Scene::new(SourceKind::Srt);
        let (mut alive, mut killed) = (false, false);
        for (event, wait) in steps {
            // Only what is there can end or speak.
            let actions = if alive || event == Event::Wanted {
                if event == exited() {
                    alive = false;
                }
                scene.event(event)
            } else {
                Vec::new()
            };
            for action in actions.into_iter().chain(scene.pass(Duration::from_secs(wait))) {
                match action {
                    Action::Start(_) => {
                        prop_assert!(!alive, "a second worker");
                        (alive, killed) = (true, false);
                    }
                    Action::End => prop_assert!(alive),
                    Action::Kill => {
                        prop_assert!(alive && !killed);
                        killed = true;
                    }
                }
            }
            prop_assert_eq!(scene.supervisor.is_down(), !alive);
        }
    }
}

#[test]
fn a_ladder_is_there_while_its_source_is() {
    let mut scene = Scene::of(Work::Ladder);
    assert_eq!(scene.pass(3600 * SECOND), []);
    assert_eq!(scene.state(), State::Waiting);
    assert_eq!(scene.event(Event::Wanted), [Action::Start(vec![])]);
    assert_eq!(scene.event(Event::Wanted), []);
    scene.say(plan());
    // One that dies is started again, as any other.
    scene.event(exited());
    assert_eq!((scene.state(), scene.status().restarts), (State::BackingOff, 0));
    assert!(scene.pause() < SECOND);
    assert_eq!(scene.status().restarts, 1);
    scene.say(plan());
    // Its source has gone: it ends in order, and nothing has failed.
    let error = scene.error();
    assert_eq!(scene.event(Event::Unwanted), [Action::End]);
    assert_eq!(scene.event(exited()), []);
    assert_eq!((scene.state(), scene.error()), (State::Waiting, error));
    assert_eq!(scene.pass(3600 * SECOND), []);
    // It comes and goes before the worker has ended: another one begins at once.
    scene.event(Event::Wanted);
    scene.say(plan());
    assert_eq!(scene.event(Event::Unwanted), [Action::End]);
    assert_eq!(scene.event(Event::Wanted), []);
    assert_eq!(scene.event(exited()), []);
    assert_eq!(scene.pass(Duration::ZERO), [Action::Start(vec![])]);
    // It is to do something else.
    scene.say(plan());
    assert_eq!(scene.event(Event::Again), [Action::End]);
    assert_eq!(scene.event(exited()), []);
    assert_eq!(scene.pass(Duration::ZERO), [Action::Start(vec![])]);
    assert_eq!(scene.status().restarts, 1, "none of these has failed");
    // While it waits for the next try nobody wants it any more.
    scene.event(exited());
    assert_eq!(scene.event(Event::Unwanted), []);
    assert_eq!(scene.pass(3600 * SECOND), []);
}
