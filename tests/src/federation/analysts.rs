//! What an analyst gets in the end: a release, and an answer to a question.

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures_util::TryStreamExt as _;
use liandong_node::cli::exit::Failure;
use liandong_node::say;
use serde_json::Value;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::cluster::{Cluster, ClusterError};

/// What is asked: members of each city with a qualification, and how many of them come up for renewal.
pub const QUESTION: &str = "SELECT site, name_zh AS city, sum(members) AS active, \
                            sum(members) FILTER (WHERE qualification_level IS NOT NULL) AS qualified \
                            FROM members_by_city_level GROUP BY site, name_zh ORDER BY site";

/// Tokens of the three roles.
pub struct Tokens {
    /// Sees names.
    pub registrar: String,
    /// Sees pseudonyms.
    pub analyst: String,
    /// Sees counts.
    pub public: String,
}

/// Publishes a release: its number, and how many members are in it.
pub async fn publish(cluster: &Cluster) -> Result<(u64, u64), Failure> {
    let told = cluster.hub().answer(&["release", "publish", "--json"]).await?;
    let told: Value = serde_json::from_str(&told).unwrap_or_default();
    let tables = told["tables"].as_array().cloned().unwrap_or_default();
    let members =
        tables.iter().find(|table| table["name"] == "members").and_then(|table| table["rows"].as_u64());
    Ok((told["release"].as_u64().unwrap_or_default(), members.unwrap_or_default()))
}

/// Gives out a token for each role.
pub async fn tokens(cluster: &Cluster) -> Result<Tokens, Failure> {
    Ok(Tokens {
        registrar: token(cluster, "registrar").await?,
        analyst: token(cluster, "analyst").await?,
        public: token(cluster, "public").await?,
    })
}

/// A token of a role.
///
/// # Errors
/// [`ClusterError`].
pub async fn token(cluster: &Cluster, role: &str) -> Result<String, ClusterError> {
    let asked = ["token", "create", "--role", role, "--purpose", "示范", "--expires", "30d", "--json"];
    let told: Value = serde_json::from_str(&cluster.hub().answer(&asked).await?).unwrap_or_default();
    Ok(told["token"].as_str().unwrap_or_default().to_owned())
}

/// A client of Flight SQL, which trusts the province's authority.
///
/// # Errors
/// [`ClusterError`].
pub async fn client(cluster: &Cluster, token: &str) -> Result<FlightSqlServiceClient<Channel>, ClusterError> {
    let failed = |error: tonic::transport::Error| ClusterError::Refused(error.to_string());
    let ca = cluster.hub().data_dir.join("keys").join("ca.crt");
    let ca = std::fs::read_to_string(&ca).map_err(ClusterError::file(&ca))?;
    let address = cluster.ports().map(|ports| ports.analysts.clone()).unwrap_or_default();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(failed)?;
    let endpoint = endpoint.initial_stream_window_size(8 << 20).initial_connection_window_size(16 << 20);
    let channel = endpoint.tls_config(tls).map_err(failed)?.connect().await.map_err(failed)?;
    let mut client = FlightSqlServiceClient::new(channel);
    client.set_token(token.to_owned());
    Ok(client)
}

/// Asks over Flight SQL.
pub async fn ask(cluster: &Cluster, token: &str, sql: &str) -> Result<Vec<RecordBatch>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::internal(say!("查询失败：{error}", "the query failed: {error}"))
    };
    let mut client = client(cluster, token).await?;
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| failed(&error))?;
    let mut batches = Vec::new();
    for ticket in info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
        let rows = client.do_get(ticket).await.map_err(|error| failed(&error))?;
        batches.extend(rows.try_collect::<Vec<_>>().await.map_err(|error| failed(&error))?);
    }
    Ok(batches)
}

/// Rows as a table for people.
pub fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).map(|table| table.to_string()).unwrap_or_default()
}
