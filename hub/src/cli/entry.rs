//! The program from its arguments to its exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::global::Global;
use liandong_node::cli::logs;
use liandong_node::cli::screen::Screen;
use liandong_node::cli::signals::Signals;
use liandong_node::cli::supervisor::Supervisor;

use super::{Args, Command, Setup, answer, run};

/// Runs the program; the first of `args` is its name.
///
/// A table of contents: parse, read the settings, say who runs, open, start, wait, drain with a deadline. It is a
/// function of the library so that other programs can stand for this one.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    let mut screen = args.global.screen();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen.fail(&Failure::runtime(&error));
            return Exit::Internal.into();
        }
    };
    let ended = runtime.block_on(carry_out(args, &mut screen));
    // What may still run is a check that nobody waits for; everything answered is durable.
    runtime.shutdown_timeout(Duration::ZERO);
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            screen.fail(&failure);
            failure.exit.into()
        }
    }
}

async fn carry_out(args: Args, screen: &mut Screen) -> Result<Exit, Failure> {
    match args.command {
        Command::Run(flags) => serve(&args.global, flags, screen).await,
        command => answer(command, &args.global, screen).await,
    }
}

/// The life of the process that stays.
async fn serve(global: &Global, flags: run::RunArgs, screen: &mut Screen) -> Result<Exit, Failure> {
    let setup = Setup::load(global, flags.flags(), screen)?;
    logs::start(&setup.config.log)?;
    run::who_we_are(&setup);

    let mut signals = Signals::listen()?;
    let supervisor = Supervisor::begin(screen.lang);
    let hub = run::open(&setup, &supervisor).await?;
    let mut running = run::start(&setup, hub).await?;
    supervisor.ready();
    let beating = tokio::spawn(Arc::clone(&supervisor).beat(running.pulse()));

    let broken = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining");
            None
        }
        failure = running.broken() => Some(failure),
    };

    beating.abort();
    supervisor.stopping(broken.as_ref());
    signals.end_at_next();
    let drained = running.drain(&setup).await;
    broken.map_or(drained, Err)
}
