//! Downloads: whole or in ranges, and not again when the reader has them.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::{No, admit};
use crate::analysts::{Analyst, Desk};
use crate::release::{Changes, Form, Manifest, ReleaseError, Role, Scratch, Standing};

/// The releases there are and were.
pub async fn list(State(desk): State<Desk>, headers: HeaderMap) -> Result<Json<Value>, No> {
    let analyst = admit(&desk, &headers)?;
    let role = analyst.reader.role();
    let listed = blocking(move || desk.hub.releases().list()).await?;
    let each = listed.into_iter().map(|listed| match listed.standing {
        Standing::Published(manifest) => {
            let manifest = manifest.of(role);
            let mut json = json!({
                "release": manifest.release,
                "published_ms": manifest.published_ms,
                "tables": manifest.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(),
            });
            if role != Role::Public {
                (json["hub_seq"], json["note"]) = (json!(manifest.hub_seq), json!(manifest.note));
            }
            json
        }
        Standing::Withdrawn(it) => json!({ "release": it.release, "withdrawn_ms": it.withdrawn_ms }),
    });
    Ok(Json(each.collect()))
}

/// A file of a release: its manifest or a table.
pub async fn file(
    State(desk): State<Desk>,
    Path((release, file)): Path<(String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, No> {
    let analyst = admit(&desk, &headers)?;
    let manifest = manifest(&desk, &release).await?;
    let role = analyst.reader.role();
    if file == "manifest.json" {
        return Ok(Json(manifest.of(role)).into_response());
    }
    let (name, form) = form_of(&file)?;
    let unknown =
        || No::Nothing(format!("release {} has no table {name}; see its manifest.json", manifest.release));
    let table = manifest.table(role, name).ok_or_else(unknown)?.clone();
    let tag = format!("\"{}-{}\"", &analyst.reader.mark(&table.sha256), form.name());
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag || known.trim() == "*")) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let (reader, asked, at) = (Arc::clone(&analyst), name.to_owned(), desk.clone());
    let made = blocking(move || at.hub.releases().form(&manifest, &reader.reader, &asked, form)).await?;
    let path = made.ok_or_else(|| No::Nothing(format!("there is no table {name}")))?;
    desk.note_read(&analyst, &format!("download {file}"), table.rows);
    send(path, form, &file, Some(&tag), request).await
}

/// Since which release.
#[derive(Deserialize)]
pub struct Since {
    since: u64,
}

/// The changes of a table since an older release, as Parquet.
pub async fn changes(
    State(desk): State<Desk>,
    Path((release, file)): Path<(String, String)>,
    since: Result<Query<Since>, QueryRejection>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, No> {
    let analyst = admit(&desk, &headers)?;
    let Query(Since { since }) = since.map_err(|_| {
        No::Asked("changes are those since an older release: add ?since= and its number".into())
    })?;
    let newer = manifest(&desk, &release).await?;
    let older = manifest(&desk, &since.to_string()).await?;
    let (name, form) = form_of(&file)?;
    if form != Form::Parquet {
        return Err(No::Asked("changes come as .parquet".into()));
    }
    let (reader, name) = (Arc::clone(&analyst), name.to_owned());
    let (at, asked) = (desk.clone(), name.clone());
    let (scratch, rows) = blocking(move || delta(&at, &reader, &older, &newer, &asked))
        .await?
        .ok_or_else(|| No::Nothing(format!("there is no table {name}; see manifest.json")))?;
    desk.note_read(&analyst, &format!("changes of {name}"), rows);
    send(scratch.path().to_path_buf(), form, &file, None, request).await
}

fn delta(
    desk: &Desk,
    analyst: &Analyst,
    older: &Manifest,
    newer: &Manifest,
    name: &str,
) -> Result<Option<(Scratch, u64)>, ReleaseError> {
    let releases = desk.hub.releases();
    let Some(to) = releases.file(newer, &analyst.reader, name)? else { return Ok(None) };
    let from = releases.file(older, &analyst.reader, name)?;
    let out = releases.scratch()?;
    let tally = Changes::between(from.as_deref(), &to)?.write(out.path())?;
    Ok(Some((out, tally.rows())))
}

async fn manifest(desk: &Desk, release: &str) -> Result<Manifest, No> {
    let releases = Arc::clone(&desk.hub);
    if release == "latest" {
        let latest = blocking(move || releases.releases().latest()).await?;
        return latest.ok_or_else(|| {
            No::Nothing(
                "nothing was published yet; the province does that with: liandong-hub release publish".into(),
            )
        });
    }
    let number: u64 = release.parse().map_err(|_| {
        No::Asked(format!("{release} is no number of a release; write one of /releases, or latest"))
    })?;
    blocking(move || releases.releases().manifest(number)).await
}

fn form_of(file: &str) -> Result<(&str, Form), No> {
    let split = file.rsplit_once('.').and_then(|(name, ending)| Some((name, Form::named(ending)?)));
    split.ok_or_else(|| {
        No::Asked(format!("{file} has another ending; a table comes as .parquet, .arrow, .csv or .xlsx"))
    })
}

async fn send(
    path: PathBuf,
    form: Form,
    name: &str,
    tag: Option<&str>,
    request: Request,
) -> Result<Response, No> {
    let mut answer =
        ServeFile::new(path).oneshot(request).await.unwrap_or_else(|never| match never {}).map(Body::new);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
    if let Ok(named) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, named);
    }
    Ok(answer)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
) -> Result<T, No> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(No::Asked("the request was cut short; try again".into())),
    }
}
