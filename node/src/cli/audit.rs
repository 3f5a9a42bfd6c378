//! `audit …`: reading, writing out and checking the audit log. The same at node and hub, whether the site runs or not:
//! whoever serves the site is asked, and where nobody does the files are all it takes.

mod acts;
mod export;
mod list;
mod verify;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use liandong_proto::format::Date;
use liandong_proto::id::{SiteCode, hex};
use liandong_proto::pb::audit::v1 as pb;
use liandong_proto::schema;
use pb::audit_log_client::AuditLogClient;
use serde_json::{Value, json};
use tokio_stream::Stream;
use tonic::Status;
use tonic::transport::Channel;

use super::door::{blocking, reach};
use super::exit::{Exit, Failure};
use super::screen::Screen;
use crate::api::Local;
use crate::audit::{self, Audit, What};
use crate::caller::Caller;
use crate::log::{DirLock, LogError};
use crate::say;
use crate::site::{Paths, SiteError};

pub use acts::{put_back, rebuilt, repaired, restored, started, stopped, taken_over};

/// What to do with the audit log.
#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// 列出审计记录 · List what was recorded
    List(list::ListArgs),
    /// 导出为 JSONL 或 CSV 文件 · Write it out as JSONL or CSV
    Export(export::ExportArgs),
    /// 检查哈希链是否完整 · Check the chain
    Verify(verify::VerifyArgs),
}

/// Which records are wanted.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Wanted {
    /// 从哪一天起，如 2026-01-31 · From this day on
    #[arg(long, value_name = "DATE")]
    since: Option<String>,
    /// 只看此人或此市，如 uid:1000、"city 440100" · Only what this person or city did
    #[arg(long, value_name = "ID")]
    who: Option<String>,
    /// 只看这些事项，如 READ,INVITED · Only these, such as READ,INVITED
    #[arg(long, value_delimiter = ',', value_name = "WHAT,…")]
    what: Vec<String>,
}

/// Runs one of them.
///
/// # Errors
/// [`Failure`].
pub async fn run(
    command: AuditCommand,
    data_dir: &Path,
    local: &Local,
    caller: &Caller,
    screen: &Screen,
) -> Result<Exit, Failure> {
    // What was typed is looked at before anything is recorded.
    match command {
        AuditCommand::List(args) => {
            let asked = args.wanted.asked(caller)?;
            list::run(Way::find(data_dir, local).await?, &args, asked, screen).await
        }
        AuditCommand::Export(args) => {
            let asked = pb::ReadRequest { to_file: true, ..args.wanted.asked(caller)? };
            export::run(Way::find(data_dir, local).await?, &args, asked, screen).await
        }
        AuditCommand::Verify(args) => {
            let asked = args.asked(caller)?;
            verify::run(Way::find(data_dir, local).await?, asked, screen).await
        }
    }
}

impl Wanted {
    fn asked(&self, caller: &Caller) -> Result<pb::ReadRequest, Failure> {
        let since = self.since.as_deref().map(|text| {
            Date::read(text).map_err(|fault| Failure::usage(say!("--since：{fault}", "--since: {fault}")))
        });
        let since = since.transpose()?;
        let what = self.what.iter().map(|name| what_named(name).map(|what| what as i32));
        Ok(pb::ReadRequest {
            since_ms: since.map_or(0, |date| date.first_day().begins_in_china()),
            who: self.who.clone().unwrap_or_default(),
            what: what.collect::<Result<_, _>>()?,
            reader: caller.author.clone(),
            purpose: caller.purpose.clone(),
            to_file: false,
        })
    }
}

/// All that can be recorded.
fn all() -> impl Iterator<Item = What> {
    (1..=i32::from(u8::MAX)).filter_map(|number| What::try_from(number).ok())
}

/// The name of something recorded, as programs see it.
fn name(what: What) -> &'static str {
    what.as_str_name().trim_start_matches("WHAT_")
}

fn what_named(typed: &str) -> Result<What, Failure> {
    let is_meant = |what: &What| {
        name(*what).eq_ignore_ascii_case(typed.trim()) || audit::labels(*what).zh == typed.trim()
    };
    all().find(is_meant).ok_or_else(|| {
        let names: Vec<&str> = all().map(name).collect();
        let names = names.join(", ");
        Failure::usage(say!(
            "没有“{typed}”这种事项；有：{names}",
            "nothing is recorded as \"{typed}\"; there are: {names}"
        ))
    })
}

/// The way to an audit log.
enum Way {
    /// This process has the site's directory.
    Here { audit: Arc<Audit>, _lock: DirLock },
    /// Another process serves it.
    Elsewhere(AuditLogClient<Channel>),
}

type Records = Pin<Box<dyn Stream<Item = Result<pb::AuditRecord, Status>> + Send>>;

/// How often, and how long after another, directory and socket are tried while another process is opening or leaving
/// the site: ten seconds in all.
const TRIES: usize = 200;
const TRY_AGAIN: Duration = Duration::from_millis(50);

impl Way {
    async fn find(data_dir: &Path, local: &Local) -> Result<Way, Failure> {
        let paths = Paths::new(data_dir);
        // An audit log alone will do: its site may have been lost.
        if !paths.log().exists() && !paths.audit().exists() {
            return Err(SiteError::NoSite(data_dir.to_path_buf()).into());
        }
        paths.check_layout()?;
        let mut tries = 0;
        loop {
            let locked = match DirLock::acquire(data_dir) {
                Ok(lock) => {
                    let audit = blocking(move || Audit::open(&paths.audit(), false)).await?;
                    return Ok(Way::Here { audit, _lock: lock });
                }
                Err(locked @ LogError::Locked { .. }) => locked,
                Err(error) => return Err(SiteError::from(error).into()),
            };
            if let Some(channel) = reach(local).await {
                return Ok(Way::Elsewhere(AuditLogClient::new(channel)));
            }
            tries += 1;
            if tries == TRIES {
                return Err(SiteError::from(locked).into());
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn read(&mut self, asked: pb::ReadRequest) -> Result<Records, Failure> {
        match self {
            Way::Here { audit, .. } => {
                let who = asked.reader.clone();
                Ok(Box::pin(audit::read(Arc::clone(audit), asked, who, peer())))
            }
            Way::Elsewhere(client) => Ok(Box::pin(client.read(asked).await?.into_inner())),
        }
    }

    async fn verify(&mut self, asked: pb::VerifyRequest) -> Result<pb::VerifyResponse, Failure> {
        match self {
            Way::Here { audit, .. } => {
                let (audit, who) = (Arc::clone(audit), asked.reader.clone());
                blocking(move || audit::verify(&audit, &asked, who, peer())).await
            }
            Way::Elsewhere(client) => Ok(client.verify(asked).await?.into_inner()),
        }
    }
}

/// A site's audit log, open for what a command does with tokens.
pub struct Book {
    way: Way,
    caller: Caller,
}

impl Book {
    /// Finds it, whether the site runs or not.
    ///
    /// # Errors
    /// [`Failure`] when it can neither be reached nor opened.
    pub async fn find(data_dir: &Path, local: &Local, caller: &Caller) -> Result<Book, Failure> {
        Ok(Book { way: Way::find(data_dir, local).await?, caller: caller.clone() })
    }

    /// Records what is done with a token; durable before this returns.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be written.
    pub async fn record(&mut self, what: What, token: &str) -> Result<(), Failure> {
        let Caller { author, purpose } = self.caller.clone();
        let asked = pb::RecordRequest { what: what.into(), author, purpose, detail: token.to_owned() };
        match &mut self.way {
            Way::Here { audit, .. } => {
                let (audit, who) = (Arc::clone(audit), asked.author.clone());
                blocking(move || audit::record(&audit, asked, who, peer())).await??;
            }
            Way::Elsewhere(client) => drop(client.record(asked).await?),
        }
        Ok(())
    }
}

/// The account of this process.
fn peer() -> String {
    format!("uid:{}", rustix::process::getuid().as_raw())
}

/// A record for programs.
fn json(record: &pb::AuditRecord) -> Value {
    let kind = schema::kind(record.kind).map(|kind| kind.name);
    json!({
        "number": record.number,
        "at_ms": record.at_ms,
        "what": name(record.what()),
        "who": record.who,
        "via": record.via,
        "peer": record.peer,
        "kind": kind,
        "count": record.count,
        "purpose": record.purpose,
        "site": Some(record.site).filter(|site| *site > 0).map(|site| SiteCode(site).to_string()),
        "detail": record.detail,
        "prev_hash": hex(&record.prev_hash),
    })
}
