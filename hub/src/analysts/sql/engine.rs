//! The engine that answers SQL over releases: read-only, within bounds of memory and time that all readers share.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::shelf::{CATALOG, LATEST, Shelf};
use super::table::Table;
use crate::analysts::{Analyst, Desk};

/// Where tables are found. No path of the machine is in any plan, and no other file can be named.
pub const STORE: &str = "release://shelf/";
/// Bytes that all queries together may hold.
const MEMORY: usize = 256 << 20;
/// Rows that travel together.
const BATCH_ROWS: usize = 16_384;

/// The engine.
pub struct Engine {
    runtime: Arc<RuntimeEnv>,
}

impl Engine {
    /// An engine over a hub's releases.
    ///
    /// # Errors
    /// When their directory cannot be used.
    pub fn new(desk: &Desk) -> Result<Engine> {
        let dir = desk.hub.releases().dir();
        std::fs::create_dir_all(dir)?;
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY)))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let url = url::Url::parse(STORE).map_err(|error| DataFusionError::External(Box::new(error)))?;
        runtime.register_object_store(&url, Arc::new(LocalFileSystem::new_with_prefix(dir)?));
        Ok(Engine { runtime })
    }

    /// The releases as somebody sees them now.
    pub fn shelf(self: &Arc<Engine>, desk: &Desk, analyst: Arc<Analyst>, latest: u64) -> Arc<Shelf> {
        Arc::new_cyclic(|me: &Weak<Shelf>| Shelf {
            desk: desk.clone(),
            analyst,
            latest,
            engine: Arc::clone(self),
            me: me.clone(),
        })
    }

    /// A session over a shelf, in which names without a schema are those of `schema`.
    pub fn context(&self, shelf: &Arc<Shelf>, schema: &str) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, schema)
            .with_batch_size(BATCH_ROWS);
        // Clients get the types that the dictionary names.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        config.options_mut().execution.parquet.pushdown_filters = true;
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime));
        context.register_catalog(CATALOG, Arc::<Shelf>::clone(shelf) as _);
        context
    }

    /// The plan of a statement that only reads.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn plan(&self, shelf: &Arc<Shelf>, sql: &str) -> Result<(SessionContext, LogicalPlan)> {
        let context = self.context(shelf, LATEST);
        let plan = context.state().create_logical_plan(sql).await?;
        let only_reads =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_reads.verify_plan(&plan)?;
        Ok((context, plan))
    }

    /// The tables that a plan reads, for the record.
    pub fn tables(plan: &LogicalPlan) -> String {
        let mut tables = BTreeSet::new();
        let _ = plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                tables.insert(match Table::of(scan) {
                    Some(place) if place.schema == LATEST => place.name.clone(),
                    Some(place) => format!("{}.{}", place.schema, place.name),
                    None => scan.table_name.to_string(),
                });
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let named: Vec<String> = tables.into_iter().collect();
        format!("sql {}", named.join(" "))
    }

    /// How many rows a plan gives, where that is known before it runs. Of plans that do more than read and order whole
    /// tables nothing is said: what the engine takes for exact is not always so there, and a client that was told a
    /// number holds the answer against it.
    pub fn rows(plan: &dyn ExecutionPlan) -> Option<usize> {
        if !keeps_rows(plan) {
            return None;
        }
        match StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok()?.num_rows {
            Precision::Exact(rows) => Some(rows),
            _ => None,
        }
    }

    /// The parameters of a plan, in their order.
    ///
    /// # Errors
    /// When two uses of one do not fit.
    pub fn parameters(plan: &LogicalPlan) -> Result<Schema> {
        let mut types: Vec<(String, Option<DataType>)> = plan.get_parameter_types()?.into_iter().collect();
        types.sort_by_key(|(name, _)| name.trim_start_matches('$').parse::<u32>().unwrap_or(u32::MAX));
        let field = |(name, ty): (String, Option<DataType>)| {
            let ty = match ty.unwrap_or(DataType::Utf8) {
                DataType::Dictionary(_, text) => *text,
                ty => ty,
            };
            Field::new(name, ty, true)
        };
        Ok(Schema::new(types.into_iter().map(field).collect::<Vec<_>>()))
    }
}

/// Whether as many rows come out of a plan as are in its table.
fn keeps_rows(plan: &dyn ExecutionPlan) -> bool {
    const KEEPING: [&str; 6] = [
        "CoalescePartitionsExec",
        "CooperativeExec",
        "DataSourceExec",
        "ProjectionExec",
        "SortExec",
        "SortPreservingMergeExec",
    ];
    let is_one = KEEPING.contains(&plan.name()) && plan.fetch().is_none();
    is_one && plan.children().iter().all(|child| keeps_rows(child.as_ref()))
}
