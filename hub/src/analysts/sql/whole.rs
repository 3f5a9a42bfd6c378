//! Whole tables, which is what analysts take most: sent as they lie in their files, nothing is decoded on the way.

use std::sync::Arc;

use arrow_flight::FlightData;
use datafusion::logical_expr::LogicalPlan;
use futures_util::stream::{BoxStream, iter};
use futures_util::{Stream, StreamExt as _, TryFutureExt as _};
use tonic::Status;

use super::shelf::{CATALOG, LATEST, Shelf, blocking};
use super::told::status;
use crate::release::{Form, Message, Messages};

/// Messages that are read ahead of the one that is sent.
const AHEAD: usize = 2;

/// The table of which an optimised plan gives all rows and columns: name of its schema, and its own.
pub fn whole(plan: &LogicalPlan) -> Option<(String, String)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => whole(&alias.input),
        LogicalPlan::TableScan(scan) => {
            let columns = 0..scan.source.schema().fields().len();
            let has_all = scan.projection.as_ref().is_none_or(|shown| shown.iter().copied().eq(columns));
            let name = &scan.table_name;
            let is_ours = name.catalog().is_none_or(|catalog| catalog == CATALOG);
            let is_whole = is_ours && has_all && scan.filters.is_empty() && scan.fetch.is_none();
            is_whole.then(|| (name.schema().unwrap_or(LATEST).to_owned(), name.table().to_owned()))
        }
        _ => None,
    }
}

/// The messages of a table, whose file is made when it is asked for first; `None` when it is none of a release.
///
/// # Errors
/// When the file cannot be made or opened; one that cannot be read is an error in its place.
pub async fn messages(
    shelf: &Arc<Shelf>,
    schema: &str,
    table: &str,
) -> Result<Option<BoxStream<'static, Result<Message, Status>>>, Status> {
    let Some(manifest) = shelf.manifest(schema) else { return Ok(None) };
    let (at, table) = (Arc::clone(shelf), table.to_owned());
    let opened = blocking(move || {
        let releases = at.desk.hub.releases();
        let path = releases.form(&manifest, &at.analyst.reader, &table, Form::Arrow)?;
        path.map(|path| Messages::open(&path)).transpose()
    });
    let Some(file) = opened.await.map_err(|error| status(&error))?.map(Arc::new) else { return Ok(None) };
    let count = file.count();
    let read = move |at| {
        let file = Arc::clone(&file);
        blocking(move || file.read(at)).map_err(|error| status(&error))
    };
    Ok(Some(iter(0..count).map(read).buffered(AHEAD).boxed()))
}

/// A table as the protocol has it.
pub fn sent(
    messages: impl Stream<Item = Result<Message, Status>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let data = |Message { head, body, .. }: Message| FlightData {
        data_header: head,
        data_body: body,
        ..FlightData::default()
    };
    messages.map(move |message| message.map(data)).boxed()
}
