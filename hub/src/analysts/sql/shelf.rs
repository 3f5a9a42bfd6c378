//! The releases as a catalog: a schema for each, and `latest`. What a reader may not see is in no file behind it.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::engine::{Engine, STORE};
use crate::analysts::{Analyst, Desk};
use crate::release::{Manifest, ReleaseError, Role, VIEWS, View};

/// Name of the catalog.
pub const CATALOG: &str = "liandong";
/// Name of the schema of the newest release.
pub const LATEST: &str = "latest";

/// The releases as one reader sees them.
pub struct Shelf {
    pub desk: Desk,
    pub analyst: Arc<Analyst>,
    /// Number of the release that is `latest` for as long as a statement runs; 0 where there is none.
    pub latest: u64,
    pub engine: Arc<Engine>,
    /// Itself, for the schemas that it hands out.
    pub me: Weak<Shelf>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("latest", &self.latest).finish_non_exhaustive()
    }
}

/// Name of a release's schema: `r000012`.
pub fn schema_name(release: u64) -> String {
    format!("r{release:06}")
}

impl Shelf {
    /// What the release says of itself that a schema stands for.
    pub fn manifest(&self, schema: &str) -> Option<Manifest> {
        let release = match schema {
            LATEST => self.latest,
            name => name.strip_prefix('r').filter(|digits| digits.len() == 6)?.parse().ok()?,
        };
        self.desk.hub.releases().manifest(release).ok()
    }
}

impl CatalogProvider for Shelf {
    fn schema_names(&self) -> Vec<String> {
        let all = self.desk.hub.releases().numbers().unwrap_or_default();
        let latest = (self.latest > 0).then(|| LATEST.to_owned());
        latest.into_iter().chain(all.into_iter().map(schema_name)).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let manifest = self.manifest(name)?;
        let shelf = self.me.upgrade()?;
        Some(Arc::new(Release { name: name.to_owned(), manifest, shelf }))
    }
}

/// One release as a schema.
#[derive(Debug)]
struct Release {
    name: String,
    manifest: Manifest,
    shelf: Arc<Shelf>,
}

impl Release {
    fn role(&self) -> Role {
        self.shelf.analyst.reader.role()
    }

    fn view(&self, name: &str) -> Option<&'static View> {
        VIEWS.iter().find(|view| view.name == name && view.roles.contains(&self.role()))
    }
}

#[async_trait]
impl SchemaProvider for Release {
    fn table_names(&self) -> Vec<String> {
        let role = self.role();
        let tables =
            self.manifest.tables.iter().filter(|table| table.role == role).map(|table| table.name.clone());
        let views = VIEWS.iter().filter(|view| view.roles.contains(&role)).map(|view| view.name.to_owned());
        tables.chain(views).collect()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.manifest.table(self.role(), name).is_some() || self.view(name).is_some()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(view) = self.view(name) {
            let context = self.shelf.engine.context(&self.shelf, &self.name);
            let plan = context.state().create_logical_plan(view.sql).await?;
            return Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.into())))));
        }
        let Some(listed) = self.manifest.table(self.role(), name) else { return Ok(None) };
        let releases = self.shelf.desk.hub.releases();
        let path = releases.path(self.manifest.release).join(listed.path());
        let (within, shelf, manifest) =
            (releases.within(&path), Arc::clone(&self.shelf), self.manifest.clone());
        let schema = blocking(move || columns(&path)).await?;
        let published = listing(&within, schema)?;
        Ok(Some(Arc::new(Table { name: name.to_owned(), manifest, shelf, published, within })))
    }
}

/// A table of a release. Where a project reads a file of its own, that is made when its rows are asked for, and not before:
/// its columns are those of the file that was published.
#[derive(Debug)]
struct Table {
    name: String,
    manifest: Manifest,
    shelf: Arc<Shelf>,
    published: ListingTable,
    /// Where that is.
    within: String,
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
        let (shelf, manifest, name) = (Arc::clone(&self.shelf), self.manifest.clone(), self.name.clone());
        let within = blocking(move || {
            let releases = shelf.desk.hub.releases();
            let path = releases.file(&manifest, &shelf.analyst.reader, &name)?;
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

fn columns(path: &Path) -> Result<SchemaRef, ReleaseError> {
    let file = File::open(path).map_err(ReleaseError::file(path))?;
    let read = ParquetRecordBatchReaderBuilder::try_new(file);
    let read = read.map_err(|source| ReleaseError::Parquet { path: path.to_path_buf(), source })?;
    Ok(Arc::clone(read.schema()))
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
