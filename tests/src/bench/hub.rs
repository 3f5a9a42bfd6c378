//! The hub as a child: it listens on loopback and tells how far it is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use liandong_hub::agreements::AGREEMENT;
use liandong_hub::hub::{Hub, HubOptions};
use liandong_hub::listen::Listener;
use liandong_node::log::Pos;
use liandong_node::process::peak_rss_bytes;
use liandong_node::site::{By, Put};
use liandong_proto::fields::Fields;
use liandong_proto::id::SiteCode;
use liandong_proto::pb::record::v1::{Agreement, AgreementRole, AgreementStatus};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::node::Counters;
use super::peer::{self, Answers};
use super::{BenchError, Clock};

/// Hidden subcommand of this child.
pub const SUBCOMMAND: &str = "bench-hub";

/// Where it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Its directory; a hub is made there when it holds none.
    pub data_dir: PathBuf,
}

/// What it is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Where nodes reach it: host and port.
    Address,
    /// A code with which a city joins.
    Invite(u32),
    /// Register an agreement with a city.
    Agree(u32),
    /// Wait until everything up to this place of the order is durable and merged.
    Merged(u64),
    /// The newest place of the order.
    Place,
    /// Wait until the index has caught up: seconds.
    CatchUp,
    /// [`Counters`]; nothing is counted on the wire here.
    Count,
    /// Put everything away.
    Close,
}

/// The child's life.
pub fn serve(setup: Option<&OsString>) -> ExitCode {
    peer::serve::<Child>(setup)
}

struct Child {
    hub: Arc<Hub>,
    address: String,
    enrolment: String,
    /// Serves the port for as long as it is there.
    _runtime: Runtime,
}

impl Answers for Child {
    type Setup = Setup;
    type Ask = Ask;

    fn begin(setup: Setup) -> Result<Child, BenchError> {
        if !setup.data_dir.exists() {
            Hub::init(&setup.data_dir, None)?;
        }
        let hub = Hub::open(&HubOptions::new(&setup.data_dir), &mut |_| {})?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(BenchError::io("the runtime"))?;
        let failed = |error: liandong_hub::listen::ListenError| BenchError::Child {
            name: SUBCOMMAND.into(),
            why: error.to_string(),
        };
        let loopback = ([127, 0, 0, 1], 0).into();
        let listener = runtime.block_on(Listener::bind(loopback, loopback)).map_err(failed)?;
        let (address, enrolment) = (listener.addr.to_string(), listener.enrolment_addr.to_string());
        runtime.spawn(listener.serve(Arc::clone(&hub), std::future::pending()));
        Ok(Child { hub, address, enrolment, _runtime: runtime })
    }

    fn answer(&mut self, ask: Ask) -> Result<Value, BenchError> {
        Ok(match ask {
            Ask::Address => json!(self.address),
            Ask::Invite(site) => {
                json!(self.hub.invite(SiteCode(site), &self.enrolment, "")?.0.to_string())
            }
            Ask::Agree(city) => json!(self.agree(city)?),
            Ask::Merged(place) => json!(self.hub.wait_merged(place)?),
            Ask::Place => json!(self.hub.read(|published| published.row.hub_seq)),
            Ask::CatchUp => {
                let clock = Clock::start();
                self.hub.catch_up()?;
                json!(clock.seconds())
            }
            Ask::Count => json!(Counters {
                log: self.hub.log().bytes_from(Pos::default()),
                index: self.hub.index().disk_bytes(),
                rss: peak_rss_bytes(),
                ..Counters::default()
            }),
            Ask::Close => json!(self.hub.close()?),
        })
    }
}

impl Child {
    fn agree(&self, city: u32) -> Result<(), BenchError> {
        let agreement = Agreement {
            city,
            role: AgreementRole::Provide as i32,
            purpose: "bench".into(),
            from: "2020-01-01".into(),
            to: "2099-12-31".into(),
            document: "-".into(),
            status: AgreementStatus::InForce as i32,
            ..Agreement::default()
        };
        let fields = Fields::split(agreement.encode_to_vec()).expect("encoded as a message");
        let answers = self.hub.write(vec![Put::set(AGREEMENT, None, fields)], &By::default(), false)?;
        let refused = answers.iter().find_map(|answer| Some(answer.problems.first()?.en.clone()));
        refused.map_or(Ok(()), |why| Err(BenchError::Child { name: SUBCOMMAND.into(), why }))
    }
}
