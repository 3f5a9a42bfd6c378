//! `run`: what the process that stays is made of, step by step; `main` is their order.

use std::sync::Arc;
use std::time::Duration;

use liandong_node::api::{Local, ServeError};
use liandong_node::cli::audit;
use liandong_node::cli::door::{Open, Opened, blocking, open_patiently};
use liandong_node::cli::exit::{Exit, Failure};
use liandong_node::cli::run::stopped;
use liandong_node::cli::supervisor::{Pulse, Supervisor};
use liandong_node::config::Flag;
use liandong_node::now::now_ms;
use liandong_node::say;
use liandong_node::site::{OnProgress, Records as _};
use liandong_proto::id::SiteCode;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{PROGRAM, Setup};
use crate::analysts::Desk;
use crate::analysts::port::{Port, PortError};
use crate::hub::{Hub, HubOptions};
use crate::listen::{ListenError, Listener};
use crate::release::schedule;
use crate::{api, ends};

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// 同步端口的地址 · Address of the sync port
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

impl RunArgs {
    /// The settings they stand for.
    pub fn flags(self) -> Vec<Flag> {
        vec![Flag { flag: "--listen", key: "listen", value: self.listen }]
    }
}

/// The way to the hub on this machine.
pub fn local(setup: &Setup) -> Local {
    Local::new(setup.config.local, &setup.data_dir, "hub")
}

/// How the hub is opened.
pub(super) fn options(setup: &Setup) -> HubOptions {
    HubOptions {
        mirror: setup.config.mirror.clone(),
        segment_bytes: setup.config.segment_bytes,
        overlay_bytes: setup.config.overlay_bytes,
        cache_bytes: setup.config.cache_bytes,
        require_purpose: setup.config.require_purpose,
        ..HubOptions::new(&setup.data_dir)
    }
}

/// Opens the hub for a command that finds nobody serving it.
pub(super) fn opener(setup: &Setup) -> Open<Opened> {
    let options = options(setup);
    Arc::new(move |progress| {
        let hub = Hub::open(&options, progress)?;
        let served = Arc::clone(&hub);
        Ok(Opened { routes: Box::pin(api::routes(served)), close: Box::new(move || Ok(hub.close()?)) })
    })
}

/// Says who runs, and where.
pub fn who_we_are(setup: &Setup) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %setup.data_dir.display(),
        listen = %setup.config.listen,
        "{PROGRAM} starts"
    );
}

/// Opens the hub, with a bar when its index has to be made again, and word of it to the service manager.
///
/// # Errors
/// [`Failure`].
pub async fn open(setup: &Setup, supervisor: &Arc<Supervisor>) -> Result<Arc<Hub>, Failure> {
    let (options, supervisor) = (options(setup), Arc::clone(supervisor));
    let open = move |progress: OnProgress<'_>| {
        Hub::open(&options, &mut |now| {
            supervisor.opening(now);
            progress(now);
        })
    };
    open_patiently(Arc::new(open), &setup.screen).await
}

/// What runs beside the waiting.
pub struct Running {
    hub: Arc<Hub>,
    stop: watch::Sender<bool>,
    served: JoinHandle<Result<(), ServeError>>,
    listened: JoinHandle<Result<(), ListenError>>,
    /// The port of the analysts, where there is one.
    read: Option<JoinHandle<Result<(), PortError>>>,
}

/// Starts the socket and the sync port, and says where they are.
///
/// # Errors
/// [`Failure`] when one of them cannot be bound.
pub async fn start(setup: &Setup, hub: Arc<Hub>) -> Result<Running, Failure> {
    let (stop, stopping) = watch::channel(false);
    let port = Listener::bind(setup.config.listen, setup.config.enrolment).await.map_err(no_port)?;
    let analysts = match setup.config.analysts {
        Some(addr) => Some(Port::bind(addr, &setup.config.analyst_names).await.map_err(no_analysts)?),
        None => None,
    };
    let analysts_at = analysts.as_ref().map(|port| port.addr.to_string());
    let local = local(setup);
    let listening = local.bind().await?;
    let (sync, enrolment) = (port.addr.to_string(), port.enrolment_addr.to_string());
    let served =
        tokio::spawn(listening.serve(api::routes(Arc::clone(&hub)).await, stopped(stopping.clone())));
    tokio::spawn(ends::watch(Arc::clone(&hub), stopping.clone()));
    let read = match analysts {
        Some(port) => {
            let desk = Desk::open(Arc::clone(&hub))?;
            Some(tokio::spawn(port.serve(desk, now_ms(), stopped(stopping.clone()))))
        }
        None => None,
    };
    tokio::spawn(schedule::publish(Arc::clone(&hub), setup.config.publish_hours, stopping.clone()));
    let listened = tokio::spawn(port.serve(Arc::clone(&hub), stopped(stopping)));
    audit::started(hub.audit(), &setup.caller, env!("CARGO_PKG_VERSION"));
    tracing::info!(%sync, %enrolment, socket = %local.file().display(), "serving");
    if setup.screen.json {
        let json = json!({
            "site": SiteCode::PROVINCE.to_string(),
            "sync": sync,
            "enrolment": enrolment,
            "analysts": analysts_at,
            "socket": local.file().display().to_string(),
            "pid": std::process::id(),
        });
        setup.screen.line(&json.to_string())?;
    }
    Ok(Running { hub, stop, served, listened, read })
}

fn no_analysts(error: PortError) -> Failure {
    let en = error.to_string();
    Failure::internal(say!("分析端口无法使用：{en}", "the port of the analysts cannot be used: {en}"))
}

async fn analysts_ended(read: &mut Option<JoinHandle<Result<(), PortError>>>) -> Failure {
    match read {
        None => std::future::pending().await,
        Some(read) => match read.await {
            Ok(Err(error)) => no_analysts(error),
            _ => {
                Failure::internal(say!("分析端口意外停止", "the port of the analysts has stopped by itself"))
            }
        },
    }
}

fn no_port(error: ListenError) -> Failure {
    let en = error.to_string();
    let said = say!("端口无法使用：{en}；请换一个端口，或停止占用它的程序", "a port cannot be used: {en}");
    Failure::internal(said)
}

impl Running {
    /// Whether what the hub lives by is alive.
    pub fn pulse(&self) -> Pulse {
        let hub = Arc::clone(&self.hub);
        Arc::new(move || hub.alive())
    }

    /// Waits until the socket or the port is no longer served or the hub cannot go on, which happens by itself
    /// only when something is wrong. A supervisor starts the hub again, and that goes on from the log.
    pub async fn broken(&mut self) -> Failure {
        tokio::select! {
            served = &mut self.served => match served {
                Ok(Err(error)) => error.into(),
                _ => Failure::internal(say!("本地接口意外停止", "the local socket has stopped by itself")),
            },
            listened = &mut self.listened => match listened {
                Ok(Err(error)) => no_port(error),
                _ => Failure::internal(say!("同步端口意外停止", "the sync port has stopped by itself")),
            },
            failure = analysts_ended(&mut self.read) => failure,
            error = self.hub.failed() => error.into(),
        }
    }

    /// Finishes what is under way and puts the hub away, within the deadline.
    ///
    /// # Errors
    /// [`Failure`] when the time was too short; what was answered is durable all the same.
    pub async fn drain(self, setup: &Setup) -> Result<Exit, Failure> {
        let Running { hub, stop, served, listened, read } = self;
        stop.send_replace(true);
        let seconds = setup.config.drain_seconds;
        audit::stopped(hub.audit(), &setup.caller);
        let drained = tokio::time::timeout(Duration::from_secs(seconds), async move {
            // Whatever they ended with has been told; the hub is put away in any case.
            if !listened.is_finished() {
                let _ = listened.await;
            }
            if let Some(read) = read.filter(|read| !read.is_finished()) {
                let _ = read.await;
            }
            if !served.is_finished() {
                let _ = served.await;
            }
            blocking(move || hub.close()).await
        });
        match drained.await {
            Ok(closed) => {
                closed??;
                tracing::info!("stopped");
                Ok(Exit::Done)
            }
            Err(_) => Err(Failure::internal(say!(
                "{seconds} 秒内没有全部收尾；已保存的都在，下次启动会从日志补齐索引",
                "not everything was finished within {seconds} seconds; what was saved is safe, the next \
                 start reads the log into the index"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use liandong_node::site::SiteError;

    use super::*;
    use crate::cli::Args;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hub_that_cannot_go_on_ends_the_process_that_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        Hub::init(dir.path(), None).expect("a hub is made");
        let data_dir = dir.path().to_str().expect("an ordinary path");
        let args = Args::parse_from([PROGRAM, "--data-dir", data_dir, "status"]);
        let mut screen = args.global.screen();
        let mut flags = RunArgs { listen: Some("127.0.0.1:0".into()) }.flags();
        flags.push(Flag { flag: "-", key: "enrolment.listen", value: Some("127.0.0.1:0".into()) });
        let setup = Setup::load(&args.global, flags, &mut screen).expect("settings");
        let hub = open(&setup, &Supervisor::begin(screen.lang)).await.expect("the hub opens");
        let mut running = start(&setup, Arc::clone(&hub)).await.expect("it is served");
        let pulse = running.pulse();
        assert!(pulse().is_ok());
        hub.shared.fail(SiteError::corrupt("a stored record", "a tag of no field"));
        let ended = tokio::time::timeout(Duration::from_secs(30), running.broken()).await;
        assert_eq!(ended.expect("it ends").exit, Exit::Damaged);
        assert!(pulse().is_err(), "the service manager does not hear of it any more");
        running.drain(&setup).await.expect("it is put away in time");
    }
}
