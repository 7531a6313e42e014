//! Streams whose ingest has failed begin again by themselves: soon at first, and later each time that it
//! happens again. One that an operator has stopped or removed meanwhile stays as it is. When is said by
//! [`Falls`], which has no clock.

use super::super::Refused;
use super::{Registry, State};
use soleil_protocol::Mono;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The first wait: a fault that one packet has caused is over by then.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait: what fails at once each time shall not fill the log.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What has not failed for so long begins with the first wait again.
const STEADY: Duration = Duration::from_secs(600);

/// Why a stream that has failed is taken up.
const AGAIN: &str = "the stream begins again";

/// How often one stream has failed lately, and when it is begun again.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Falls {
    times: u32,
    last: Option<Mono>,
    due: Option<Mono>,
}

impl Falls {
    /// It has failed. What waits already goes on waiting.
    fn fell(&mut self, now: Mono) {
        if self.due.is_some() {
            return;
        }
        let steady = self.last.is_none_or(|last| now.since(last) >= STEADY);
        self.times = if steady { 0 } else { self.times.saturating_add(1) };
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.times)).min(LONGEST_WAIT);
        (self.last, self.due) = (Some(now), Some(now.after(wait)));
    }

    /// Whether its time has come; then it waits no longer.
    fn take(&mut self, now: Mono) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }
}

impl Registry {
    /// Begins streams again whose ingest has failed, until the root ends.
    pub async fn mend(self: Arc<Self>) {
        let mut falls: BTreeMap<String, Falls> = BTreeMap::new();
        loop {
            let due = falls.values().filter_map(|f| f.due).min();
            let timer = async {
                match due {
                    Some(at) => {
                        tokio::time::sleep_until(self.around.clock.instant(at).into()).await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.around.stop.cancelled() => return,
                () = self.around.fell.notified() => {}
                () = timer => {}
            }
            let now = self.around.clock.now().mono;
            for name in self.fallen() {
                falls.entry(name).or_default().fell(now);
            }
            let ready = falls.iter_mut().filter_map(|(name, f)| f.take(now).then(|| name.clone()));
            for name in ready.collect::<Vec<_>>() {
                match self.again(name.clone()).await {
                    Ok(true) => tracing::warn!(stream = %name, "the ingest begins again"),
                    // It runs, rests or is gone: nothing to be mended.
                    Ok(false) => drop(falls.remove(&name)),
                    Err(error) => {
                        tracing::error!(stream = %name, %error, "the ingest can't begin again");
                        falls.entry(name).or_default().fell(self.around.clock.now().mono);
                    }
                }
            }
        }
    }

    /// Those whose ingest has failed.
    fn fallen(&self) -> Vec<String> {
        let entries = self.read();
        let failed = entries
            .iter()
            .filter(|(_, e)| e.running.as_ref().is_some_and(|r| r.failure().is_some()));
        failed.map(|(name, _)| name.clone()).collect()
    }

    /// Begins a stream again that has failed, on the ports that it had; `false` if it has not.
    ///
    /// # Errors
    /// Why it can't.
    pub(in crate::streams) async fn again(self: &Arc<Self>, name: String) -> Result<bool, Refused> {
        self.whole(|this| async move { this.again_now(&name).await }).await
    }

    async fn again_now(self: &Arc<Self>, name: &str) -> Result<bool, Refused> {
        let _changing = self.changing.lock().await;
        let failure = self.update(name, |entry| match &entry.running {
            Some(running) => {
                let why = running.failure()?;
                // Whoever sends to it knows them, and does not hear of others.
                entry.definition.keep_ports(&running.handle.ports);
                Some(State::Failed(why.to_owned()))
            }
            None => Some(entry.state.clone()).filter(|state| matches!(state, State::Failed(_))),
        });
        let Some(failure) = failure.flatten() else { return Ok(false) };
        self.end_as(name, failure, AGAIN).await?;
        self.run(name).await.map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_anew_after_a_quiet_time() {
        let mut falls = Falls::default();
        let mut now = Mono(5_000_000);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            falls.fell(now);
            // Hearing of it twice is once.
            falls.fell(now);
            let due = now.after(Duration::from_secs(seconds));
            assert_eq!(falls.due, Some(due));
            assert!(!falls.take(Mono(due.0 - 1)) && falls.take(due) && !falls.take(due));
            now = due;
        }
        now = now.after(STEADY);
        falls.fell(now);
        assert_eq!(falls.due, Some(now.after(FIRST_WAIT)));
    }
}
