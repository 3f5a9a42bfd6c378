//! Signals to stop: the first one drains, the second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;
use crate::say;

/// As shells count: 128 and the number of SIGINT.
const ENDED_AT_ONCE: i32 = 130;

/// SIGTERM and SIGINT, from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
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
        Ok(Signals { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    /// Waits for the next one; its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// From here on the next signal ends the process at once. What was answered is durable all the same.
    pub fn end_at_next(mut self) {
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::warn!(signal = name, "ending at once");
            std::process::exit(ENDED_AT_ONCE);
        });
    }
}
