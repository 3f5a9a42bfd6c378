//! What analysts have in hand: a Flight SQL client, and HTTPS.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures_util::TryStreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

pub type Client = FlightSqlServiceClient<Channel>;

/// The certificate of a hub's authority, as the documentation says where it is.
pub fn certificate(hub: &Path) -> String {
    std::fs::read_to_string(hub.join("keys").join("ca.crt")).expect("the authority's certificate")
}

/// A Flight SQL client.
pub async fn client(address: &str, certificate: &str, token: Option<&str>) -> Client {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificate));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
    let channel = endpoint.tls_config(tls).expect("a certificate").connect().await.expect("TLS stands");
    let mut client = Client::new(channel);
    token.into_iter().for_each(|token| client.set_token(token.to_owned()));
    client
}

/// What a client is told there is, fetched. Where the number of rows was said before, it is that of the answer.
pub async fn fetched(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        let ticket = endpoint.ticket.expect("a ticket");
        batches.extend(client.do_get(ticket).await?.try_collect::<Vec<_>>().await?);
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let told = info.total_records;
    assert!(told < 0 || told as usize == rows, "{told} rows were told, {rows} came");
    Ok(batches)
}

/// The answer to a statement.
pub async fn rows(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, FlightError> {
    let info = client.execute(sql.to_owned(), None).await?;
    println!("{} rows are told of {sql}", info.total_records);
    fetched(client, info).await
}

/// All cells as text, row by row.
pub fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let of = |batch: &RecordBatch| {
        let columns = batch.columns().iter();
        let columns: Vec<_> =
            columns.map(|column| ArrayFormatter::try_new(column, &options).expect("shown")).collect();
        let row = |at: usize| columns.iter().map(|column| column.value(at).to_string()).collect();
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// The cells of a statement that must be answered.
pub async fn asked(client: &mut Client, sql: &str) -> Vec<Vec<String>> {
    match rows(client, sql).await {
        Ok(batches) => cells(&batches),
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// The first column of that.
pub async fn column(client: &mut Client, sql: &str) -> Vec<String> {
    asked(client, sql).await.into_iter().map(|mut row| row.remove(0)).collect()
}

/// How a statement is refused: code and words.
pub fn refusal<T>(answer: Result<T, FlightError>) -> (tonic::Code, String) {
    match answer {
        Err(FlightError::Tonic(status)) => (status.code(), status.message().to_owned()),
        Err(other) => (tonic::Code::Unknown, other.to_string()),
        Ok(_) => panic!("it is not refused"),
    }
}

/// An answer over HTTPS.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }
}

/// HTTPS to a hub: HTTP/1.1, a connection for each request.
pub struct Https {
    tls: TlsConnector,
    address: String,
    authorization: Option<String>,
}

impl Https {
    pub fn new(address: &str, certificate: &str, token: Option<&str>) -> Https {
        let mut roots = RootCertStore::empty();
        for read in CertificateDer::pem_slice_iter(certificate.as_bytes()) {
            roots.add(read.expect("a certificate")).expect("one of an authority");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let authorization = token.map(|token| format!("Bearer {token}"));
        Https { tls: TlsConnector::from(Arc::new(config)), address: address.to_owned(), authorization }
    }

    /// Shows this in place of a token.
    #[must_use]
    pub fn showing(mut self, authorization: &str) -> Https {
        self.authorization = Some(authorization.to_owned());
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let tcp = TcpStream::connect(&self.address).await.expect("it listens");
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let mut stream = self.tls.connect(name, tcp).await.expect("TLS stands");
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        let authorization = self.authorization.iter().map(|shown| ("authorization", shown.as_str()));
        for (name, value) in authorization.chain(headers.iter().copied()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered to the end");
        parsed(answer)
    }
}

fn parsed(answer: Vec<u8>) -> Answer {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an end of the head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = answer[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        body = unchunked(&body);
    } else if let Some(length) = headers.get("content-length").filter(|_| !body.is_empty()) {
        assert_eq!(*length, body.len().to_string(), "nothing was cut off");
    }
    Answer { status, headers, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").expect("a length");
        let length = std::str::from_utf8(&rest[..end]).expect("text");
        let length = usize::from_str_radix(length, 16).expect("a number");
        if length == 0 {
            return body;
        }
        let from = end + 2;
        body.extend_from_slice(&rest[from..from + length]);
        rest = &rest[from + length + 2..];
    }
}
