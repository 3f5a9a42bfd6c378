//! What only the hub answers on its socket: cities, and the settling of findings.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use liandong_node::api::{Local, ServeError, blocking, services};
use liandong_node::audit::{Note, What};
use liandong_node::now::now_ms;
use liandong_node::rows;
use liandong_node::site::{By, Put, Records, SiteError};
use liandong_proto::city;
use liandong_proto::entry::{Op, Patch};
use liandong_proto::fields::Fields;
use liandong_proto::id::{Origin, RecordId, SiteCode};
use liandong_proto::pb::hub::v1 as pb;
use liandong_proto::pb::record::v1 as record;
use liandong_proto::schema;
use liandong_proto::sign::VerifyingKey;
use liandong_proto::state::RecordState;
use liandong_proto::validate;
use pb::hub_server::{Hub as HubRpc, HubServer};
use prost::Message as _;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::agreements::Lack;
use crate::findings::{self, Choice};
use crate::hub::{Hub, locked};

/// The hub's services: those of every site, and its own.
pub async fn routes(hub: Arc<Hub>) -> Routes {
    let records: Arc<dyn Records> = hub.clone();
    services(records).await.add_service(HubServer::new(Service { hub }))
}

/// Serves them on the hub's machine until `shutdown`.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    hub: Arc<Hub>,
    local: &Local,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    local.bind().await?.serve(routes(hub).await, shutdown).await
}

struct Service {
    hub: Arc<Hub>,
}

#[tonic::async_trait]
impl HubRpc for Service {
    async fn cities(&self, _: Request<pb::CitiesRequest>) -> Result<Response<pb::CitiesResponse>, Status> {
        let hub = Arc::clone(&self.hub);
        Ok(Response::new(blocking(move || hub.city_list()).await?))
    }

    async fn invite(
        &self,
        request: Request<pb::InviteRequest>,
    ) -> Result<Response<pb::InviteResponse>, Status> {
        let service = Service { hub: Arc::clone(&self.hub) };
        Ok(Response::new(blocking(move || service.invite(&request.into_inner())).await?))
    }

    async fn exclude(
        &self,
        request: Request<pb::ExcludeRequest>,
    ) -> Result<Response<pb::ExcludeResponse>, Status> {
        let (hub, asked) = (Arc::clone(&self.hub), request.into_inner());
        let site = SiteCode(asked.site);
        blocking(move || hub.exclude(site, &asked.reason, asked.retire, &asked.author)).await?;
        Ok(Response::new(pb::ExcludeResponse {}))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<pb::RotateSigningKeyRequest>,
    ) -> Result<Response<pb::RotateSigningKeyResponse>, Status> {
        let hub = Arc::clone(&self.hub);
        let (old, new) = blocking(move || hub.rotate_signing_key(&request.into_inner().author)).await?;
        let (old_key, new_key) = (old.fingerprint(), new.fingerprint());
        Ok(Response::new(pb::RotateSigningKeyResponse { old_key, new_key }))
    }

    async fn send_linking_key(
        &self,
        request: Request<pb::SendLinkingKeyRequest>,
    ) -> Result<Response<pb::SendLinkingKeyResponse>, Status> {
        let (hub, asked) = (Arc::clone(&self.hub), request.into_inner());
        let site = SiteCode(asked.site);
        blocking(move || hub.send_linking_key(site, asked.linking_key, &asked.author)).await?;
        Ok(Response::new(pb::SendLinkingKeyResponse {}))
    }

    async fn restored(
        &self,
        request: Request<pb::RestoredRequest>,
    ) -> Result<Response<pb::RestoredResponse>, Status> {
        let hub = Arc::clone(&self.hub);
        blocking(move || hub.say_restored(&request.into_inner().author)).await?;
        Ok(Response::new(pb::RestoredResponse {}))
    }

    async fn confirm(
        &self,
        request: Request<pb::ConfirmRequest>,
    ) -> Result<Response<pb::ConfirmResponse>, Status> {
        let hub = Arc::clone(&self.hub);
        blocking(move || hub.confirm(&request.into_inner().author)).await?;
        Ok(Response::new(pb::ConfirmResponse {}))
    }

    async fn settle(
        &self,
        request: Request<pb::SettleRequest>,
    ) -> Result<Response<pb::SettleResponse>, Status> {
        let hub = Arc::clone(&self.hub);
        Ok(Response::new(blocking(move || hub.settle(&request.into_inner())).await?))
    }
}

impl Service {
    fn invite(&self, request: &pb::InviteRequest) -> Result<pb::InviteResponse, SiteError> {
        let listened = || {
            // All addresses of this machine are none that a city could reach.
            let addr = locked(&self.hub.shared.enrolment).filter(|addr| !addr.ip().is_unspecified());
            addr.map(|addr| addr.to_string())
        };
        let address = Some(request.address.clone()).filter(|address| !address.is_empty()).or_else(listened);
        let address = address.ok_or_else(|| {
            SiteError::Refused(
                "where the cities find this hub is not known; set enrolment.address, name it with --address, or start the \
                 hub first if it does not run"
                    .into(),
            )
        })?;
        let (code, until_ms) = self.hub.invite(SiteCode(request.site), &address, &request.author)?;
        Ok(pb::InviteResponse { code: code.to_string(), until_ms })
    }
}

#[derive(Default)]
struct Counted {
    records: u64,
    drafts: u64,
    findings: u64,
}

impl Hub {
    fn city_list(&self) -> Result<pb::CitiesResponse, SiteError> {
        // Much follows from it, far from a look.
        let published = self.read(Clone::clone);
        let counted = self.count_by_city()?;
        let learned = locked(&self.shared.cities).clone();
        let today = validate::today(now_ms());
        let mut cities = Vec::new();
        for city in city::cities() {
            let (origin, row) = published
                .registry
                .living(city.code)
                .map_or((None, Default::default()), |(origin, row)| (Some(origin), row.clone()));
            let learned = learned.get(&city.code).copied().unwrap_or_default();
            let none = Counted::default();
            let counted = counted.get(&city.code).unwrap_or(&none);
            let connected =
                locked(&self.shared.sessions).get(&city.code).is_some_and(|session| !session.is_closed());
            let member = published.registry.members.city(city.code).cloned().unwrap_or_default();
            let enrolment = member.enrolment.as_ref();
            let signing_key = enrolment.and_then(|it| VerifyingKey::from_slice(&it.signing_key));
            let agreed = published.registry.agreements.check(city.code, today, signing_key.as_slice());
            cities.push(pb::City {
                agreement_to: agreed.map(|day| day.to_string()).unwrap_or_default(),
                agreement_of_other_key: agreed == Err(Lack::OtherKey),
                standing: member.standing as u32,
                certificate_until_ms: enrolment.map_or(0, |it| it.until_ms),
                invited_until_ms: published.registry.members.invited_until(city.code),
                signing_key: signing_key.map(|key| key.fingerprint()).unwrap_or_default(),
                linking_recipient: enrolment.map(|it| it.linking_recipient.clone()).unwrap_or_default(),
                linking_key_sent: !member.linking_key.is_empty(),
                reason: member.reason.clone(),
                site: city.code.0,
                connected,
                seq: row.seq,
                last_received_ms: row.last_received_ms,
                lag_changes: origin.map_or(Ok(0), |origin| self.lag(origin, learned.applied))?,
                records: counted.records,
                open_findings: counted.findings,
                comparison: learned.comparison,
                compared_at_ms: learned.compared_at_ms,
                changed_at_ms: member.changed_at_ms,
                seen_at_ms: learned.seen_at_ms,
                drafts: counted.drafts,
            });
        }
        let (generation, hub_seq) = (published.row.generation, published.row.hub_seq);
        let unconfirmed_since_ms = published.registry.members.unconfirmed_since().unwrap_or(0);
        let started_at_ms = self.shared.started_at_ms;
        Ok(pb::CitiesResponse { cities, generation, hub_seq, unconfirmed_since_ms, started_at_ms })
    }

    /// Records in a city's feed that it has not confirmed.
    fn lag(&self, origin: Origin, applied: u64) -> Result<u64, SiteError> {
        let from = rows::feed_from(origin.site, applied.saturating_add(1));
        let mut n = 0;
        for row in self.index().scan(&from, Some(&rows::feed_end(origin.site))) {
            row?;
            n += 1;
        }
        Ok(n)
    }

    fn count_by_city(&self) -> Result<HashMap<SiteCode, Counted>, SiteError> {
        let mut out: HashMap<SiteCode, Counted> = HashMap::new();
        for row in self.index().scan(rows::RECORDS, Some(&rows::after_prefix(rows::RECORDS))) {
            let (key, value) = row?;
            let Some((kind, _)) = rows::parse_record(&key) else { continue };
            let state = RecordState::decode(&value)?;
            if state.deleted() {
                continue;
            }
            if kind == findings::KIND {
                let finding = record::Finding::decode(state.fields.bytes().clone()).unwrap_or_default();
                if finding.status() == record::FindingStatus::Open {
                    for site in finding.sites {
                        out.entry(SiteCode(site)).or_default().findings += 1;
                    }
                }
            } else {
                let counted = out.entry(state.home).or_default();
                if state.fields.is_empty() && state.held.is_empty() {
                    counted.drafts += 1;
                } else {
                    counted.records += 1;
                }
            }
        }
        Ok(out)
    }

    /// Settles a finding: the choice becomes an ordinary change of the subject where the province may make
    /// it, and is noted on the finding with its reason.
    ///
    /// # Errors
    /// [`SiteError::Refused`] saying why it cannot be settled so.
    pub fn settle(&self, request: &pb::SettleRequest) -> Result<pb::SettleResponse, SiteError> {
        let id = RecordId::from_slice(&request.finding).ok_or(SiteError::NotFound)?;
        let state = self.state(findings::KIND, id)?.ok_or(SiteError::NotFound)?;
        let finding = record::Finding::decode(state.fields.bytes().clone())
            .map_err(|error| SiteError::corrupt("a finding", error))?;
        if finding.status() != record::FindingStatus::Open {
            return Err(SiteError::Refused("the finding is settled already".into()));
        }
        if request.reason.trim().is_empty() {
            return Err(SiteError::Refused("a settlement needs a reason; give one with --reason".into()));
        }
        let choice = match request.choice {
            1 => Choice::Shown,
            2 => Choice::Held,
            3 => Choice::Other(Fields::split(request.value.clone())?),
            _ => return Err(SiteError::Refused("choose shown, held or other".into())),
        };
        let mut puts = Vec::new();
        let mut own_decision = true;
        for subject in &finding.subjects {
            let Some(record) = RecordId::from_slice(&subject.record) else { continue };
            let Some(state) = self.state(subject.kind, record)? else { continue };
            let Some(patch) = findings::settlement(&state, subject, &choice) else { continue };
            if !province_may_write(subject.kind, &patch) {
                own_decision = false;
                continue;
            }
            puts.push(Put {
                kind: subject.kind,
                record: Some(record),
                op: Op::Put,
                patch,
                expected_version: None,
                touch: true,
            });
        }
        if puts.is_empty() && !own_decision && choice != Choice::Shown {
            return Err(SiteError::Refused(
                "the field is the city's: it settles this by an edit of its own; the province can only keep the value shown".into(),
            ));
        }
        let note = record::Finding {
            status: record::FindingStatus::Settled as i32,
            choice: request.choice as i32,
            reason: request.reason.clone(),
            settled_by: request.author.clone(),
            ..record::Finding::default()
        };
        puts.insert(0, Put::set(findings::KIND, Some(id), Fields::split(note.encode_to_vec())?));
        let by = By { author: request.author.clone(), import_id: Bytes::new() };
        for answer in self.write(puts, &by, false)? {
            if let Some(problem) = answer.problems.first() {
                return Err(SiteError::Refused(format!("{} / {}", problem.zh, problem.en)));
            }
        }
        self.shared.audit.note_behind(Note {
            what: What::Settled,
            who: request.author.clone(),
            kind: findings::KIND,
            count: 1,
            // The reason is a field of the finding.
            detail: format!("{id} choice {}", request.choice),
            ..Note::default()
        });
        Ok(pb::SettleResponse {
            finding: request.finding.clone(),
            hub_seq: self.read(|published| published.row.hub_seq),
        })
    }
}

fn province_may_write(kind: u32, patch: &Patch) -> bool {
    let tags = patch.set.iter().map(|(tag, _)| tag).chain(patch.cleared.iter().copied());
    let mut tags = tags.peekable();
    tags.peek().is_some()
        && tags.all(|tag| {
            let field = schema::kind(kind).and_then(|kind| kind.field(tag));
            field.is_some_and(|field| matches!(field.owner, schema::Party::Province | schema::Party::Shared))
        })
}
