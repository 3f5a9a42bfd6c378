//! The releases as a catalog: a schema for each, and `latest`. What a reader may not see is in no file behind it.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::datasource::TableProvider;
use datafusion::error::Result;

use super::engine::Engine;
use super::table::{Place, Table};
use crate::analysts::{Analyst, Desk};
use crate::release::{Manifest, Role, VIEWS, View};

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

impl CatalogProvider for Shelf {
    fn schema_names(&self) -> Vec<String> {
        let all = self.desk.hub.releases().numbers().unwrap_or_default();
        let latest = (self.latest > 0).then(|| LATEST.to_owned());
        latest.into_iter().chain(all.into_iter().map(schema_name)).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let release = match name {
            LATEST => self.latest,
            name => name.strip_prefix('r').filter(|digits| digits.len() == 6)?.parse().ok()?,
        };
        let manifest = self.desk.hub.releases().manifest(release).ok()?;
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
        let path = self.shelf.desk.hub.releases().path(self.manifest.release).join(listed.path());
        let place =
            Place { schema: self.name.clone(), name: name.to_owned(), manifest: self.manifest.clone() };
        Ok(Some(Arc::new(Table::open(Arc::clone(&self.shelf), place, path).await?)))
    }
}
