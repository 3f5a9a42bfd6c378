//! `run`: what the process that stays is made of, step by step; `main` is their order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use liandong_proto::pb::node::v1::Link;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::door::{Open, Opened, blocking, open_patiently};
use super::exit::{Exit, Failure};
use super::supervisor::{Pulse, Supervisor};
use super::{PROGRAM, Setup, audit};
use crate::api::access::{Identity, Listener, Listening};
use crate::api::{self, Local, ServeError};
use crate::config::{Flag, NodeConfig};
use crate::now::now_ms;
use crate::say;
use crate::site::{OnProgress, Records, Site, SiteError, SiteOptions};
use crate::trust::Membership;
use crate::trust::ends::{LOOK_AGAIN, Told};
use crate::uplink::{self, UplinkOptions};

/// Pause after an erasure that could not be carried out, as on a full disk.
const ERASE_AGAIN: Duration = Duration::from_secs(10);

/// Flags of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// 省级枢纽的地址，仅在与加入时不同时需要 · Address of the provincial hub, where it has moved since joining
    #[arg(long, value_name = "HOST:PORT")]
    hub: Option<String>,
    /// 关联密钥文件 · File with the linking key
    #[arg(long, value_name = "FILE")]
    linking_key: Option<String>,
}

impl RunArgs {
    /// The settings they stand for.
    pub fn flags(self) -> Vec<Flag> {
        vec![
            Flag { flag: "--hub", key: "hub", value: self.hub },
            Flag { flag: "--linking-key", key: "linking_key", value: self.linking_key },
        ]
    }
}

/// The way to the site on this machine.
pub fn local(setup: &Setup) -> Local {
    Local::new(setup.config.local, &setup.data_dir, "node")
}

/// How the site is opened.
pub(super) fn options(config: &NodeConfig, data_dir: &Path) -> SiteOptions {
    SiteOptions {
        linking_key: config.linking_key.clone(),
        segment_bytes: config.segment_bytes,
        overlay_bytes: config.overlay_bytes,
        cache_bytes: config.cache_bytes,
        require_purpose: config.require_purpose,
        ..SiteOptions::new(data_dir)
    }
}

/// Opens the site for a command that finds nobody serving it.
pub(super) fn opener(setup: &Setup) -> Open<Opened> {
    let options = options(&setup.config, &setup.data_dir);
    Arc::new(move |progress| {
        let site = Site::open(&options, progress)?;
        site.try_erasures();
        let records: Arc<dyn Records> = Arc::clone(&site) as Arc<dyn Records>;
        let outbound = api::outbound(Arc::clone(&site));
        Ok(Opened {
            routes: Box::pin(async { api::services(records).await.add_service(outbound) }),
            close: Box::new(move || Ok(site.close()?)),
        })
    })
}

/// Says who runs, where, and with whom it syncs.
pub fn who_we_are(setup: &Setup) {
    let hub = setup.config.hub.as_deref().unwrap_or("-");
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %setup.data_dir.display(),
        hub,
        "{PROGRAM} starts"
    );
}

/// Opens the site, with a bar when its index has to be made again, and word of it to the service manager.
///
/// # Errors
/// [`Failure`].
pub async fn open(setup: &Setup, supervisor: &Arc<Supervisor>) -> Result<Arc<Site>, Failure> {
    let (options, supervisor) = (options(&setup.config, &setup.data_dir), Arc::clone(supervisor));
    let open = move |progress: OnProgress<'_>| {
        Site::open(&options, &mut |now| {
            supervisor.opening(now);
            progress(now);
        })
    };
    open_patiently(Arc::new(open), &setup.screen).await
}

/// What runs beside the waiting.
pub struct Running {
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    served: JoinHandle<Result<(), ServeError>>,
    /// For the city's other systems; without end where they are not served.
    api: JoinHandle<Result<(), ServeError>>,
    uplink: JoinHandle<()>,
    renewal: JoinHandle<()>,
}

/// Starts the socket and the uplink, and says where the socket is.
///
/// # Errors
/// [`Failure`] when the socket cannot be bound.
pub async fn start(setup: &Setup, site: Arc<Site>) -> Result<Running, Failure> {
    let (stop, stopping) = watch::channel(false);
    let local = local(setup);
    let listening = local.bind().await?;
    let routes = api::services(Arc::clone(&site) as Arc<dyn Records>).await;
    let routes = routes.add_service(api::outbound(Arc::clone(&site)));
    if setup.config.accept_outbound_unattended && !*site.outbound_accepted().borrow() {
        site.accept_outbound(&site.rules().fingerprint(), &setup.author, true)?;
    }
    let port = api_port(setup, &site).await?;
    let served = tokio::spawn(listening.serve(routes, stopped(stopping.clone())));
    let api = tokio::spawn(serve_api(port, Arc::clone(&site), stopped(stopping.clone())));
    site.set_link(|state| state.link = Link::None);
    let retry_max = Duration::from_secs(setup.config.retry_max_s);
    let options = UplinkOptions { hub: setup.config.hub.clone(), retry_max };
    let renewal = tokio::spawn(renew_tokens(Arc::clone(&site), stopping.clone()));
    tokio::spawn(finish_erasures(Arc::clone(&site), stopping.clone()));
    tokio::spawn(watch_certificate(Arc::clone(&site), stopping.clone()));
    let uplink = tokio::spawn(uplink::run(Arc::clone(&site), options, stopping));
    let (code, socket) = (site.code(), local.file());
    audit::started(site.audit(), &setup.caller, env!("CARGO_PKG_VERSION"));
    tracing::info!(site = %code, socket = %socket.display(), "serving");
    let listening = site.listening.get().cloned();
    if let Some(Listening { address, fingerprint }) = &listening {
        tracing::info!(address, fingerprint, "serving the city's other systems");
    }
    if setup.screen.json {
        let json = json!({
            "site": code.to_string(),
            "socket": socket.display().to_string(),
            "pid": std::process::id(),
            "api": listening.as_ref().map(|it| &it.address),
            "api_fingerprint": listening.as_ref().map(|it| &it.fingerprint),
        });
        setup.screen.line(&json.to_string())?;
    }
    Ok(Running { site, stop, served, api, uplink, renewal })
}

/// Binds the port for the city's other systems, if there is to be one.
async fn api_port(setup: &Setup, site: &Site) -> Result<Option<Listener>, Failure> {
    let Some(address) = setup.config.api_listen else { return Ok(None) };
    let identity = match api_identity(setup)? {
        Some((certificate, key)) => Identity::read(certificate, key)?,
        None => Identity::own(site.paths(), address, now_ms())?,
    };
    let port = Listener::bind(address, identity).await?;
    // Nobody else sets it.
    let _ = site.listening.set(port.listening.clone());
    Ok(Some(port))
}

async fn serve_api(
    port: Option<Listener>,
    site: Arc<Site>,
    stopped: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let paths = site.paths().clone();
    match port {
        Some(port) => port.serve(site, &paths, stopped).await,
        None => {
            stopped.await;
            Ok(())
        }
    }
}

/// The files of the certificate that was configured.
///
/// # Errors
/// When only one of the two was.
pub fn api_identity(setup: &Setup) -> Result<Option<(&Path, &Path)>, Failure> {
    match &setup.config.api_identity {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        _ => Err(Failure::usage(say!(
            "api_certificate 和 api_key 只设了一个，没有启动；请两个都设，或都不设（自动生成自签名证书）",
            "only one of api_certificate and api_key is set, so nothing was started; set both, or neither for a \
             self-signed one"
        ))),
    }
}

/// Makes tokens again whenever another linking key has come, and at the start what an earlier life has left.
async fn renew_tokens(site: Arc<Site>, mut stopping: watch::Receiver<bool>) {
    let mut news = site.renewal();
    while !*stopping.borrow() {
        let (site, stop) = (Arc::clone(&site), stopping.clone());
        let renewed = tokio::task::spawn_blocking(move || site.renew_tokens(|| *stop.borrow())).await;
        if let Ok(Err(error)) = renewed {
            tracing::error!(%error, "tokens cannot be made again now; the next start goes on");
        }
        tokio::select! {
            Ok(()) = news.changed() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Erases what an earlier life has left, beside whatever else is done: it reads the whole log.
async fn finish_erasures(site: Arc<Site>, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        let erasing = Arc::clone(&site);
        let finished = tokio::task::spawn_blocking(move || erasing.finish_erasures()).await;
        match finished {
            Ok(Err(error)) => tracing::error!(%error, "records wait to be erased; it is tried again"),
            _ => return,
        }
        tokio::select! {
            () = tokio::time::sleep(ERASE_AGAIN) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Warns once a day of a certificate that comes to its end.
async fn watch_certificate(site: Arc<Site>, mut stopping: watch::Receiver<bool>) {
    let (mut daily, mut told) = (tokio::time::interval(LOOK_AGAIN), Told::default());
    loop {
        tokio::select! {
            _ = daily.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        // A membership that cannot be read is told by the uplink.
        let Ok(Some(member)) = Membership::load(site.paths()) else { continue };
        if let Some((ends, days)) = told.news(site.code(), member.not_after_ms, now_ms()) {
            ends.tell(site.code(), days);
        }
    }
}

/// Ends when the process is told to stop.
pub async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone means stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

impl Running {
    /// Whether what the site lives by is alive.
    pub fn pulse(&self) -> Pulse {
        let site = Arc::clone(&self.site);
        Arc::new(move || site.alive())
    }

    /// Waits until the socket is no longer served or the index has ended, which happens by itself only when
    /// something is wrong. A supervisor starts the site again, and that makes a damaged index anew.
    pub async fn broken(&mut self) -> Failure {
        let index = self.site.index();
        tokio::select! {
            served = &mut self.served => match served {
                Ok(Err(error)) => error.into(),
                _ => Failure::internal(say!("本地接口意外停止", "the local socket has stopped by itself")),
            },
            api = &mut self.api => match api {
                Ok(Err(error)) => error.into(),
                _ => Failure::internal(say!(
                    "供其他系统使用的端口意外停止",
                    "the port for other systems has stopped by itself"
                )),
            },
            error = index.ended() => SiteError::from(error).into(),
        }
    }

    /// Finishes what is under way and puts the site away, within the deadline.
    ///
    /// # Errors
    /// [`Failure`] when the time was too short; what was answered is durable all the same.
    pub async fn drain(self, setup: &Setup) -> Result<Exit, Failure> {
        let Running { site, stop, served, api, uplink, renewal } = self;
        stop.send_replace(true);
        let seconds = setup.config.drain_seconds;
        audit::stopped(site.audit(), &setup.caller);
        let drained = tokio::time::timeout(Duration::from_secs(seconds), async move {
            // Whatever they ended with has been logged; the site is put away in any case.
            let _ = uplink.await;
            let _ = renewal.await;
            for served in [served, api] {
                if !served.is_finished() {
                    let _ = served.await;
                }
            }
            blocking(move || site.close()).await
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
    use liandong_proto::entry::Op;
    use liandong_proto::fields::Fields;
    use liandong_proto::id::SiteCode;
    use liandong_proto::pb::record::v1::{Member, MemberStatus};
    use prost::Message as _;

    use super::*;
    use crate::cli::Args;
    use crate::index::IndexError;
    use crate::site::{By, Put};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_waits_to_be_erased_is_erased_beside_serving() {
        let dir = tempfile::tempdir().expect("a directory");
        Site::init(dir.path(), SiteCode(440_100)).expect("a site is made");
        let data_dir = dir.path().to_str().expect("an ordinary path");
        let args = Args::parse_from([PROGRAM, "--data-dir", data_dir, "status"]);
        let mut screen = args.global.screen();
        let setup = Setup::load(&args.global, Vec::new(), &mut screen).expect("settings");
        let supervisor = Supervisor::begin(screen.lang);
        let site = open(&setup, &supervisor).await.expect("the site opens");
        let member =
            Member { name: "王芳".into(), status: MemberStatus::Active as i32, ..Member::default() };
        let fields = Fields::split(member.encode_to_vec()).expect("a message");
        let made = site.put(vec![Put::set(1, None, fields)], &By::default(), false).expect("written");
        let erase = Put { op: Op::Erase, ..Put::delete(1, made[0].record, None) };
        site.put(vec![erase], &By::default(), false).expect("written");
        // As a crash leaves it.
        drop(site);
        let site = open(&setup, &supervisor).await.expect("the site opens");
        assert!(site.erasures_wait().expect("read"), "serving does not wait for it");
        let running = start(&setup, Arc::clone(&site)).await.expect("it is served");
        let erased = async {
            while site.erasures_wait().expect("read") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), erased).await.expect("it is erased");
        assert!(running.drain(&setup).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_index_ends_the_process_that_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        Site::init(dir.path(), SiteCode(440_100)).expect("a site is made");
        let data_dir = dir.path().to_str().expect("an ordinary path");
        let args = Args::parse_from([PROGRAM, "--data-dir", data_dir, "status"]);
        let mut screen = args.global.screen();
        let setup = Setup::load(&args.global, Vec::new(), &mut screen).expect("settings");
        let site = open(&setup, &Supervisor::begin(screen.lang)).await.expect("the site opens");
        let mut running = start(&setup, Arc::clone(&site)).await.expect("it is served");
        let pulse = running.pulse();
        assert!(pulse().is_ok());
        site.index().condemn(IndexError::Damaged { prefix: 'r' });
        let ended = tokio::time::timeout(Duration::from_secs(30), running.broken()).await;
        assert_eq!(ended.expect("it ends").exit, Exit::Damaged);
        assert!(pulse().is_err(), "the service manager does not hear of it any more");
        assert!(running.drain(&setup).await.is_err(), "the next start makes the index again");
    }
}
