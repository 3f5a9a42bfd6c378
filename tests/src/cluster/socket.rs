//! The services of a running site, over its Unix socket.

use std::path::Path;

use liandong_proto::fields::Fields;
use liandong_proto::id::RecordId;
use liandong_proto::pb::hub::v1::hub_client::HubClient;
use liandong_proto::pb::hub::v1::{CitiesRequest, CitiesResponse};
use liandong_proto::pb::node::v1 as pb;
use liandong_proto::pb::node::v1::records_client::RecordsClient;
use liandong_proto::pb::node::v1::upkeep_client::UpkeepClient;
use prost::Message;
use tonic::transport::{Channel, Endpoint};

use super::ClusterError;

/// The largest message either side takes, in bytes.
const MESSAGE_BYTES: usize = liandong_node::api::MESSAGE_BYTES;
/// Who writes in everything that this crate makes up.
const AUTHOR: &str = "demonstration";
const PAGE: u32 = 1_000;

/// An open way to a site.
#[derive(Debug, Clone)]
pub struct Door {
    channel: Channel,
}

impl Door {
    /// Connects; `None` while nobody serves the socket.
    pub async fn open(socket: &Path) -> Option<Door> {
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.to_str()?)).ok()?;
        Some(Door { channel: endpoint.connect().await.ok()? })
    }

    /// The records of the site.
    pub fn records(&self) -> RecordsClient<Channel> {
        RecordsClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    /// What only the hub answers.
    pub fn hub(&self) -> HubClient<Channel> {
        HubClient::new(self.channel.clone())
    }

    /// How the site is.
    ///
    /// # Errors
    /// [`ClusterError::Status`].
    pub async fn status(&self) -> Result<pb::StatusResponse, ClusterError> {
        Ok(UpkeepClient::new(self.channel.clone()).status(pb::StatusRequest {}).await?.into_inner())
    }

    /// What the site finds when it reads everything it stores: the last message of `verify`.
    ///
    /// # Errors
    /// [`ClusterError::Status`].
    pub async fn verify(&self) -> Result<pb::UpkeepProgress, ClusterError> {
        let mut upkeep = UpkeepClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
        let mut steps = upkeep.verify(pb::UpkeepRequest::default()).await?.into_inner();
        let mut last = pb::UpkeepProgress::default();
        while let Some(step) = steps.message().await? {
            last = step;
        }
        Ok(last)
    }

    /// How the hub sees the cities.
    ///
    /// # Errors
    /// [`ClusterError::Status`].
    pub async fn cities(&self) -> Result<CitiesResponse, ClusterError> {
        Ok(self.hub().cities(CitiesRequest {}).await?.into_inner())
    }

    /// Sets fields of a record, or makes a new one.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] with the first problem.
    pub async fn put(
        &self,
        kind: u32,
        record: Option<RecordId>,
        fields: &impl Message,
    ) -> Result<RecordId, ClusterError> {
        let put = pb::Put {
            kind,
            record: record.map(|id| id.0.to_vec().into()).unwrap_or_default(),
            set: fields.encode_to_vec().into(),
            ..pb::Put::default()
        };
        let mut ids = self.put_all(vec![put]).await?;
        ids.pop().ok_or_else(|| ClusterError::Refused("the site did not answer".into()))
    }

    /// Writes a batch; the records' ids, in order.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] with the first problem.
    pub async fn put_all(&self, puts: Vec<pb::Put>) -> Result<Vec<RecordId>, ClusterError> {
        let request = pb::PutRequest { puts, author: AUTHOR.into(), ..pb::PutRequest::default() };
        let results = self.records().put(request).await?.into_inner().results;
        let mut ids = Vec::with_capacity(results.len());
        for result in results {
            if let Some(problem) = result.problems.first() {
                return Err(ClusterError::Refused(format!("{} · {}", problem.zh, problem.en)));
            }
            ids.extend(RecordId::from_slice(&result.record));
        }
        Ok(ids)
    }

    /// All records of a kind that have these values, by id.
    ///
    /// # Errors
    /// [`ClusterError::Status`].
    pub async fn list(&self, kind: u32, filters: &[(&str, &str)]) -> Result<Vec<pb::Record>, ClusterError> {
        let filter =
            |(field, equals): &(&str, &str)| pb::Filter { field: (*field).into(), equals: (*equals).into() };
        let mut request = pb::ListRequest {
            kind,
            filters: filters.iter().map(filter).collect(),
            page_size: PAGE,
            ..pb::ListRequest::default()
        };
        let mut records = Vec::new();
        loop {
            let page = self.records().list(request.clone()).await?.into_inner();
            records.extend(page.records);
            if page.next_page_token.is_empty() {
                return Ok(records);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// One record; `None` when the site has never heard of it.
    ///
    /// # Errors
    /// [`ClusterError::Status`].
    pub async fn get(&self, kind: u32, record: RecordId) -> Result<Option<pb::Record>, ClusterError> {
        let request = pb::GetRequest { kind, record: record.0.to_vec().into() };
        match self.records().get(request).await {
            Ok(record) => Ok(Some(record.into_inner())),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }
}

/// The fields of a record as its message; what is absent or cannot be read is left at its default.
pub fn decoded<M: Message + Default>(record: &pb::Record) -> M {
    M::decode(record.fields.clone()).unwrap_or_default()
}

/// The id of a record.
pub fn id_of(record: &pb::Record) -> RecordId {
    RecordId::from_slice(&record.record).unwrap_or_default()
}

/// A put of the fields of `message`.
pub fn put_of(kind: u32, record: Option<RecordId>, message: &impl Message) -> pb::Put {
    pb::Put {
        kind,
        record: record.map(|id| id.0.to_vec().into()).unwrap_or_default(),
        set: message.encode_to_vec().into(),
        ..pb::Put::default()
    }
}

/// The fields of a record, split.
pub fn fields_of(record: &pb::Record) -> Fields {
    Fields::split(record.fields.clone()).unwrap_or_default()
}
