//! Whole tables, which is what analysts take most: sent as they lie in their files, nothing is decoded on the way.

use std::sync::Arc;

use arrow_flight::FlightData;
use datafusion::logical_expr::LogicalPlan;
use futures_util::stream::{BoxStream, iter};
use futures_util::{Stream, StreamExt as _, TryFutureExt as _};
use tonic::Status;

use super::shelf::Shelf;
use super::table::{Place, Table, blocking};
use super::told::status;
use crate::release::{Form, Message, Messages};

/// Messages that are read ahead of the one that is sent.
const AHEAD: usize = 2;

/// The table of which an optimised plan gives all rows and columns.
pub fn whole(plan: &LogicalPlan) -> Option<Arc<Place>> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => whole(&alias.input),
        LogicalPlan::TableScan(scan) => {
            let columns = 0..scan.source.schema().fields().len();
            let has_all = scan.projection.as_ref().is_none_or(|shown| shown.iter().copied().eq(columns));
            let is_whole = has_all && scan.filters.is_empty() && scan.fetch.is_none();
            is_whole.then(|| Table::of(scan)).flatten()
        }
        _ => None,
    }
}

/// The messages of a table, whose file is made when it is asked for first; `None` when the reader has no such table.
///
/// # Errors
/// When the file cannot be made or opened; one that cannot be read is an error in its place.
pub async fn messages(
    shelf: &Arc<Shelf>,
    place: &Arc<Place>,
) -> Result<Option<BoxStream<'static, Result<Message, Status>>>, Status> {
    let (shelf, place) = (Arc::clone(shelf), Arc::clone(place));
    let opened = blocking(move || {
        let releases = shelf.desk.hub.releases();
        let path = releases.form(&place.manifest, &shelf.analyst.reader, &place.name, Form::Arrow)?;
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
