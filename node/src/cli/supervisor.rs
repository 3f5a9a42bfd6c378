//! What a process that stays tells the service manager, by the protocol of systemd's `sd_notify(3)`. Nothing where no
//! manager asks (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState::{ExtendTimeoutUsec, Ready, Status, Stopping, Watchdog};

use super::exit::Failure;
use crate::now::now_ms;
use crate::say;
use crate::site::{Progress, SiteError};
use crate::text::{Lang, Said};

/// How long opening may take before it first says how far it is: a large index is looked at from end to end.
const FIRST: Duration = Duration::from_secs(600);
/// And how long after it has said so, before it says so again.
const NEXT: Duration = Duration::from_secs(120);
/// How often it is said.
const TELL_EVERY_MS: u64 = 5_000;

/// Says whether what must be alive in this process is alive.
pub type Pulse = Arc<dyn Fn() -> Result<(), SiteError> + Send + Sync>;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Supervisor {
    lang: Lang,
    told_ms: AtomicU64,
}

impl Supervisor {
    /// Says that the site is being opened.
    pub fn begin(lang: Lang) -> Arc<Supervisor> {
        let supervisor = Supervisor { lang, told_ms: AtomicU64::new(0) };
        let said = say!("正在打开：读取日志，补齐索引", "opening: reading the log into the index");
        supervisor.tell(&[ExtendTimeoutUsec(FIRST.as_micros() as u32), Status(said.in_lang(lang))]);
        Arc::new(supervisor)
    }

    /// Says how far the opening is, now and then. As long as it goes on, the start takes as long as it takes.
    pub fn opening(&self, progress: Progress) {
        if !self.is_time(now_ms()) {
            return;
        }
        let said = told(progress);
        self.tell(&[ExtendTimeoutUsec(NEXT.as_micros() as u32), Status(said.in_lang(self.lang))]);
    }

    fn is_time(&self, now_ms: u64) -> bool {
        let told_ms = self.told_ms.load(Ordering::Relaxed);
        let is_time = now_ms >= told_ms + TELL_EVERY_MS;
        if is_time {
            self.told_ms.store(now_ms, Ordering::Relaxed);
        }
        is_time
    }

    /// Says that everything is served.
    pub fn ready(&self) {
        let said = say!("正在运行", "serving");
        self.tell(&[Ready, Status(said.in_lang(self.lang))]);
    }

    /// Says that the process is ending, and why if it does so by itself.
    pub fn stopping(&self, broken: Option<&Failure>) {
        let said = say!("正在收尾", "finishing what is under way");
        let said = broken.map_or(&said, |failure| &failure.said);
        self.tell(&[Stopping, Status(&said.in_lang(self.lang).replace('\n', " "))]);
    }

    /// Says again and again that the process lives, if the manager wants to hear it, for as long as it does.
    pub async fn beat(self: Arc<Supervisor>, pulse: Pulse) {
        if let Some(within) = sd_notify::watchdog_enabled() {
            beat(within / 2, pulse, || self.tell(&[Watchdog])).await;
        }
    }

    fn tell(&self, states: &[sd_notify::NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            cannot_tell(&error);
        }
    }
}

fn cannot_tell(error: &io::Error) {
    tracing::warn!(%error, "the service manager does not hear this process; it may take it for one that hangs");
}

fn told(progress: Progress) -> Said {
    let Progress { done, total, .. } = progress;
    let percent = (done.min(total) * 100).checked_div(total).unwrap_or(0);
    say!("正在打开：由日志补齐索引，{percent}%", "opening: reading the log into the index, {percent}%")
}

/// Calls `tell` once in every `every` while the pulse is felt; one that does not answer in time is none.
async fn beat(every: Duration, pulse: Pulse, tell: impl Fn()) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let pulse = Arc::clone(&pulse);
        // One after the other: a pulse that hangs is waited for, not asked again.
        match tokio::task::spawn_blocking(move || pulse()).await {
            Ok(Ok(())) => tell(),
            Ok(Err(error)) => {
                tracing::error!(%error, "this process cannot go on; the service manager will start it again");
            }
            Err(_) => tracing::error!("looking after this process was cut short"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn the_opening_is_told_now_and_then_only() {
        let supervisor = Supervisor { lang: Lang::En, told_ms: AtomicU64::new(0) };
        let told: Vec<bool> =
            [9_000, 9_001, 13_999, 14_000, 14_001].map(|now_ms| supervisor.is_time(now_ms)).to_vec();
        assert_eq!(told, [true, false, false, true, false]);
        let percent = |done, total| super::told(Progress { what: "replay", done, total }).en;
        assert!(
            percent(1, 3).ends_with("33%")
                && percent(0, 0).ends_with(" 0%")
                && percent(9, 3).ends_with("100%")
        );
    }

    /// A pulse is asked for until it has said yes, no and yes: told is what was yes.
    #[tokio::test]
    async fn only_a_living_process_says_that_it_lives() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let pulse: Pulse = Arc::new(move || match count.fetch_add(1, Ordering::SeqCst) {
            1 => Err(SiteError::torn()),
            _ => Ok(()),
        });
        let told = Mutex::new(Vec::new());
        let third = tokio::sync::Notify::new();
        let tell = || {
            told.lock().expect("no panic").push(asked.load(Ordering::SeqCst));
            if asked.load(Ordering::SeqCst) == 3 {
                third.notify_one();
            }
        };
        tokio::select! {
            () = beat(Duration::from_millis(1), pulse, tell) => unreachable!("it goes on for ever"),
            () = third.notified() => {}
        }
        // It may have gone on before it was stopped.
        assert_eq!(told.lock().expect("no panic")[..2], [1, 3]);
    }
}
