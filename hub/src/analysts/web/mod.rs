//! HTTPS: the releases as files, how the hub is, and its metrics.
//!
//! | path | answers |
//! |---|---|
//! | `/releases` | the releases, newest last (JSON) |
//! | `/releases/{number or latest}/manifest.json` | what a release says of itself |
//! | `/releases/{number or latest}/{table}.parquet`, `.csv`, `.xlsx` | a table |
//! | `/releases/{number or latest}/changes/{table}.parquet?since={number}` | what has changed in it since another release |
//! | `/healthz`, `/readyz` | whether the process, and the hub, work |
//! | `/metrics` | OpenMetrics |

mod files;
mod metrics;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use liandong_node::now::now_ms;

use tonic::Status;

use super::{Analyst, Desk};
use crate::release::ReleaseError;

/// All paths.
pub fn router(desk: Desk) -> Router {
    Router::new()
        .route("/releases", get(files::list))
        .route("/releases/{release}/{file}", get(files::file))
        .route("/releases/{release}/changes/{file}", get(files::changes))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .with_state(desk)
}

/// Where nothing is, whichever protocol is spoken.
pub async fn nothing(headers: HeaderMap) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/grpc") {
        return Status::unimplemented("this port speaks Arrow Flight SQL, and nothing else over gRPC")
            .into_http::<axum::body::Body>()
            .into_response();
    }
    No::Nothing("there is nothing at this path; /releases lists the releases and their tables".into())
        .into_response()
}

/// Why a request is not answered.
pub(super) enum No {
    /// Without a token, or with one that opens nothing.
    Token(String),
    /// With a token that is not for this.
    Role(&'static str),
    /// There is no such thing for whoever asks.
    Nothing(String),
    /// What is asked cannot be.
    Asked(String),
    /// The hub.
    Hub(ReleaseError),
}

impl From<ReleaseError> for No {
    fn from(error: ReleaseError) -> No {
        match error {
            ReleaseError::None(release) => {
                No::Nothing(format!("there is no release {release}; /releases lists those there are"))
            }
            ReleaseError::Withdrawn(_) => No::Nothing(error.to_string()),
            ReleaseError::TooLong { .. } => No::Asked(error.to_string()),
            other => No::Hub(other),
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            No::Token(text) => {
                let headers = [(header::WWW_AUTHENTICATE, "Bearer, Basic realm=\"liandong\"")];
                return (StatusCode::UNAUTHORIZED, headers, text + "\n").into_response();
            }
            No::Role(text) => (StatusCode::FORBIDDEN, text.to_owned()),
            No::Nothing(text) => (StatusCode::NOT_FOUND, text),
            No::Asked(text) => (StatusCode::BAD_REQUEST, text),
            No::Hub(error) => {
                tracing::error!(%error, "a download failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the hub cannot read this release; its log says why".to_owned(),
                )
            }
        };
        (status, text + "\n").into_response()
    }
}

/// Whoever asks, by the token of the request: as a bearer's, or as the password of a basic login.
pub(super) fn admit(desk: &Desk, headers: &HeaderMap) -> Result<Arc<Analyst>, No> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    desk.admit_with(shown, now_ms()).map(|(analyst, _)| analyst).map_err(No::Token)
}
