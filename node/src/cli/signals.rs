//! Signals to stop: the first one drains, the second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;
use crate::say;

/// As shells count: 128 and the number of SIGINT.
const ENDED_AT_ONCE: i32 = 130;

/// Ends the process as whoever sends a second signal wants it.
pub fn end_at_once() -> ! {
    std::process::exit(ENDED_AT_ONCE)
}

/// SIGTERM, SIGINT and SIGHUP, from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// A terminal that goes away; none where whoever started the process wants it to outlive that.
    hangup: Option<Signal>,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn listen() -> Result<Signals, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                Failure::internal(say!(
                    "无法接收停止信号：{error}",
                    "signals to stop cannot be received: {error}"
                ))
            })
        };
        let hangup = if outlives_its_terminal() { None } else { Some(on(SignalKind::hangup())?) };
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Waits for the next one; its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = hung_up(self.hangup.as_mut()) => "SIGHUP",
        }
    }

    /// From here on the next signal ends the process at once. What was answered is durable all the same.
    pub fn end_at_next(mut self) {
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::warn!(signal = name, "ending at once");
            end_at_once();
        });
    }
}

async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the process was started with SIGHUP ignored, as `nohup` does: then it stays so.
fn outlives_its_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores_hangup(&status)
}

fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, the lowest bit.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_has_set_is_seen() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup(""));
    }
}
