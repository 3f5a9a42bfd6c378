//! A table of a release, as the engine reads it.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::datasource::{TableProvider, TableType, source_as_provider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableScan};
use datafusion::physical_plan::ExecutionPlan;

use super::engine::STORE;
use super::shelf::Shelf;
use crate::release::{Manifest, ReleaseError, open};

/// Which table it is.
#[derive(Debug)]
pub struct Place {
    /// Name of its schema.
    pub schema: String,
    /// Its own.
    pub name: String,
    /// What its release says of itself.
    pub manifest: Manifest,
}

/// A table of a release. Where a project reads a file of its own, that is made when its rows are asked for, and not before:
/// its columns are those of the file that was published.
#[derive(Debug)]
pub struct Table {
    place: Arc<Place>,
    shelf: Arc<Shelf>,
    published: ListingTable,
    /// Where that is.
    within: String,
}

impl Table {
    /// A table of which the file was published there.
    ///
    /// # Errors
    /// When that cannot be read.
    pub async fn open(shelf: Arc<Shelf>, place: Place, path: PathBuf) -> Result<Table> {
        let within = shelf.desk.hub.releases().within(&path);
        let schema = blocking(move || Ok(Arc::clone(open(&path)?.schema()))).await?;
        let published = listing(&within, schema)?;
        Ok(Table { place: Arc::new(place), shelf, published, within })
    }

    /// That of a scan; `None` where it is none of a release.
    pub fn of(scan: &TableScan) -> Option<Arc<Place>> {
        let provider = source_as_provider(&scan.source).ok()?;
        (provider.as_ref() as &dyn Any).downcast_ref().map(|table: &Table| Arc::clone(&table.place))
    }
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.published.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.published.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (shelf, place) = (Arc::clone(&self.shelf), Arc::clone(&self.place));
        let within = blocking(move || {
            let releases = shelf.desk.hub.releases();
            let path = releases.file(&place.manifest, &shelf.analyst.reader, &place.name)?;
            Ok(path.map(|path| releases.within(&path)))
        });
        match within.await? {
            Some(within) if within != self.within => {
                listing(&within, self.schema())?.scan(state, projection, filters, limit).await
            }
            _ => self.published.scan(state, projection, filters, limit).await,
        }
    }
}

/// Runs work beside the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| DataFusionError::External(Box::new(error)))?;
    done.map_err(|error| DataFusionError::External(Box::new(error)))
}

fn listing(within: &str, schema: SchemaRef) -> Result<ListingTable> {
    let url = ListingTableUrl::parse(format!("{STORE}{within}"))?;
    let format = ParquetFormat::default().with_skip_metadata(true);
    let options = ListingOptions::new(Arc::new(format));
    ListingTable::try_new(ListingTableConfig::new(url).with_listing_options(options).with_schema(schema))
}
